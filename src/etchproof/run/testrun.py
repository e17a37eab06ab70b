"""One test of the testbench on one chip: what every command, the benchmarks and the test suite do in the same way.

``prepare`` makes a ``Chip`` ready; ``run_test`` states what a run has to do, simulates and judges. Nothing here prints.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from etchproof.compare.comparator import COMPARISON_FILE, Comparison
from etchproof.compare.differing import KEPT_FILE
from etchproof.compare.readback import READBACK_FILE, Readback
from etchproof.contract.golden import GoldenSession
from etchproof.errors import EtchproofError, InputError
from etchproof.files.json_record import read_json_record
from etchproof.host.stimulus import CONFIG, expectation
from etchproof.project import reading
from etchproof.project.declaration import Project
from etchproof.quantize.recipe import Recipe
from etchproof.render.fabric import FABRIC_FILE, Fabric, place_data, write_fabric
from etchproof.render.images import Image, ImageSet, write_images
from etchproof.render.images_index import IndexedImage, write_images_index
from etchproof.render.pins import port_problems
from etchproof.render.templates import Rendering
from etchproof.run import flow, hooks
from etchproof.run.design import Design
from etchproof.run.flow import Injection
from etchproof.run.model_files import MODEL_FOLDER, keep_model
from etchproof.run.slots import ADAPTERS_FOLDER, LoadedAdapter, expect_texts, write_frames
from etchproof.run.streams import (
    directed_test,
    generation_test,
    longest_sequences,
    run_facts,
    stream_facts,
    test_modules,
)
from etchproof.run.watcher import Silent, Watcher
from etchproof.run.waves import WavesOfRun, Window, tap_sizes
from etchproof.sim.build import Build, BuildError, Kind, build
from etchproof.sim.forks import Launcher, start
from etchproof.sim.golden import GoldenSource
from etchproof.sim.run import SimOutcome, simulate
from etchproof.tools import find_verilator
from etchproof.verdict.expect import Expectation, Generation, PlannedRun
from etchproof.verdict.judge import causes_first, check_fabric, check_rom, judge, read_comparison
from etchproof.verdict.result import Reason
from etchproof.waves.fst import Waves

IMAGES_INDEX: Final = "images.index"
_OWN_FILES: Final = (COMPARISON_FILE, KEPT_FILE, READBACK_FILE, "coverage.dat")
"""What a run leaves: of a run before, none of it counts."""


@dataclass(frozen=True)
class Etched:
    """A design as SystemVerilog and ROM images on disk.

    Attributes:
        design: the checkpoint under its recipe.
        model: what the project's functions get: the integers of a Llama, or what ``[model] load`` gave.
        fabric: the rendered SystemVerilog.
        images: the ROM images.
    """

    design: Design
    model: Any
    fabric: Fabric
    images: ImageSet

    @property
    def plan(self) -> Any:
        """The project's own record of shapes and widths."""
        return self.design.plan

    @property
    def folder(self) -> Path:
        """Where ``fabric/`` and ``rom/`` are."""
        return self.fabric.folder.parent


@dataclass(frozen=True)
class Chip(Etched):
    """A design that is ready to simulate.

    Attributes:
        build: the simulator.
    """

    build: Build


@dataclass(frozen=True)
class Variation:
    """What the test suite and the benchmarks do differently from everybody else.

    Attributes:
        modules: in place of the project's test modules.
        stands_for: the test whose expectation holds, where the one that runs is not the project's own.
        golden: makes the session of another golden model, in place of the project's.
        replaced: images that the simulator reads in place of the chip's.
        plusargs: further arguments of the simulator.
        python_path: further folders from which the testbench imports.
        tap_bytes: capacity of the memory for taps.
        launcher: starts the simulator.
        keeps_taps: whether a run that fails keeps the taps that differ, for a diagnosis.
    """

    modules: tuple[str, ...] = ()
    stands_for: str | None = None
    golden: Callable[[], GoldenSession] | None = None
    replaced: tuple[IndexedImage, ...] = ()
    plusargs: tuple[str, ...] = ()
    python_path: tuple[Path, ...] = ()
    tap_bytes: int | None = None
    launcher: Launcher = start
    keeps_taps: bool = True


@dataclass(frozen=True)
class TestRun:
    """A test that came to its end.

    Attributes:
        outcome: how the simulator ended.
        comparison: what the testbench wrote; None when it left none that counts.
        readback: what it read back from the chip's ROMs; None when it left no such record that counts.
        reasons: every reason why the run is no PASS.
        folder: the run's files.
        waves: of the run, where they were asked for and something was written.
    """

    __test__ = False  # pytest: no test class

    outcome: SimOutcome
    comparison: Comparison | None
    readback: Readback | None
    reasons: tuple[Reason, ...]
    folder: Path
    waves: Waves | None = None

    @property
    def passed(self) -> bool:
        return not self.reasons


def prepare(
    design: Design,
    folder: Path,
    kind: Kind,
    cache: Path,
    watcher: Watcher | None = None,
    corners: int | None = None,
    asked: Recipe | None = None,
) -> Chip:
    """Quantize, render, etch and build; arguments and errors as of ``etch`` and ``with_simulator``."""
    watcher = watcher or Silent()
    return with_simulator(etch(design, folder, cache, watcher, corners, asked), kind, cache, watcher)


def etch(
    design: Design,
    folder: Path,
    cache: Path,
    watcher: Watcher | None = None,
    corners: int | None = None,
    asked: Recipe | None = None,
) -> Etched:
    """Quantize, render and etch.

    Args:
        folder: gets ``fabric/``, ``rom/`` and ``model/`` (``keep_model``).
        watcher: is told of each stage.
        corners: seed of the project's weights that are etched in place of the checkpoint's (``flow.corner_weights``).
        asked: the recipe as it was named, where random weights changed it.

    Raises:
        InputError: bad input or a missing tool.
    """
    watcher = watcher or Silent()
    model = flow.etched_model(design, cache, watcher, asked)
    if corners is not None:
        model = flow.corner_weights(design, model, corners)
    return etch_model(design, model, folder, watcher)


def etch_model(
    design: Design,
    model: Any,
    folder: Path,
    watcher: Watcher,
    renderings: Sequence[Rendering] | None = None,
    content: Iterable[Image] | None = None,
) -> Etched:
    """Render and etch a model that is made; arguments and errors as of ``etch``.

    Args:
        model: as the project's functions get it.
        renderings: in place of the project's own.
        content: images, in place of the project's own.
    """
    reading.allow(folder)
    with watcher.stage("render") as say:
        (folder / "fabric").mkdir(parents=True)
        fabric = flow.render_plan(design.project, design.plan, folder / "fabric", renderings)
        write_fabric(fabric, folder / FABRIC_FILE)
        say(f"{len(fabric.sources)} files, fabric {fabric.sha256[:12]}")
    with watcher.stage("etch") as say:
        if content is None:
            content = hooks.images(design.project)(model, design.plan)
        images = write_images(folder / "rom", content)
        keep_model(design, folder / MODEL_FOLDER)
        size_bytes = sum(image.size_bytes for image in images.images)
        say(f"{len(images.images)} images, {size_bytes:,} bytes, rom {images.sha256[:12]}")
    return Etched(design, model, fabric, images)


def with_simulator(etched: Etched, kind: Kind, cache: Path, watcher: Watcher | None = None) -> Chip:
    """A chip with its simulator, from the cache or built now.

    Raises:
        InputError: a tool is missing, or the build failed.
    """
    watcher = watcher or Silent()
    with watcher.stage("build") as say:
        watcher.busy("compiling the simulator, once for each fabric")
        verilator = find_verilator()
        try:
            simulator = build(etched.fabric, kind, verilator=verilator, cache_dir=cache)
        except BuildError:
            _check_pins(etched.design.project)
            raise
        what = "cached" if simulator.cached else "compiled"
        code = "untouched" if simulator.rewrites is None else "rewritten"
        say(f"{what}, {kind}, {code}, {verilator.version} ({verilator.source})")
    return Chip(etched.design, etched.model, etched.fabric, etched.images, simulator)


def _check_pins(project: Project) -> None:
    """Say it in the words of ``[host]`` where a build failed for its ports.

    Raises:
        InputError: ``[host]`` does not fit the chip.
    """
    if project.host is None:
        return
    try:
        problems = list(port_problems(project, project.host))
    except InputError:
        return  # there is no slang, or it does not read the RTL: what Verilator said stands
    for key, _, problem in problems:
        raise InputError(problem, source=project.file, key=key, hint="`etchproof check` says all of it")


def run_test(
    chip: Chip,
    test: str,
    folder: Path,
    *,
    seed: int,
    config: Mapping[str, Any] | None = None,
    adapters: Sequence[LoadedAdapter] = (),
    injections: Sequence[Injection] = (),
    timeout_s: float = 600.0,
    on_progress: Callable[[dict[str, Any]], None] | None = None,
    variation: Variation | None = None,
    waves: Window | None = None,
) -> TestRun:
    """State what a test has to do, run it in its own process, and judge it.

    Args:
        test: name of a class of the testbench's modules.
        folder: the run's files go there.
        seed: of the test's random choices and of a strict simulator's unknown values.
        config: for the test; what every run needs is added.
        adapters: that the golden model knows, and whose frames the test is given.
        injections: bits that only the simulator reads inverted.
        timeout_s: wall-clock limit.
        on_progress: gets each event that the testbench writes.
        variation: for tests of the testbench itself.
        waves: what is written of the chip's waves, by a simulator that is built for them.
    """
    varied = variation or Variation()
    design, project = chip.design, chip.design.project
    folder.mkdir(parents=True, exist_ok=True)
    with reading.allowed(folder):
        _clear(folder)
        replaced = [*flow.inject(chip.images, injections, folder), *varied.replaced]
        index = chip.images.index(replaced)
        write_images_index(folder / IMAGES_INDEX, index)
        place_data(chip.fabric, folder)
        chip.images.place_memories(folder, replaced)
        told = {
            "project": str(project.root),
            "images": len(index),
            "rom": str(chip.images.folder.absolute()),
            "adapters": write_frames(folder / ADAPTERS_FOLDER, adapters) if adapters else [],
            "keep_taps": varied.keeps_taps,
            **(config or {}),
        }
        if (facts := run_facts(design, config or {})) is not None:
            told[CONFIG] = facts.to_json()
        expected_of_it, reasons = state(chip, varied.stands_for or test, told, adapters, seed)
        quantized = [adapter.quantized for adapter in adapters]
        hooks.golden(project)  # what cannot be imported is refused before anything runs

        def session() -> GoldenSession:
            if varied.golden is not None:
                return varied.golden()
            return flow.make_golden(design, chip.model, quantized).session()

        recorded = None
        if waves is not None:
            sizes = tap_sizes(session, design.taps, longest_sequences(design, told))
            recorded = WavesOfRun(chip.build, folder, design.taps, sizes, waves)
        try:
            outcome = simulate(
                chip.build,
                run_dir=folder,
                test_modules=varied.modules or test_modules(project),
                test_case=test,
                images_index=folder / IMAGES_INDEX,
                memories=chip.images.memories,
                data=chip.fabric.setup.data,
                config=told,
                seed=seed,
                timeout_s=timeout_s,
                golden=GoldenSource(None if project.chip is None else design.plan, design.taps, session),
                python_path=[*varied.python_path, project.root],
                on_progress=on_progress,
                plusargs=(*varied.plusargs, *(() if recorded is None else recorded.plusargs)),
                tap_bytes=varied.tap_bytes,
                launcher=varied.launcher,
            )
        except BaseException:
            if recorded is not None:
                recorded.finish(None)  # what there is of them can be read
            raise
        reading.check_libraries()
        comparison, unreadable = read_comparison(folder)
        reasons += unreadable
        readback = read_readback(folder)
        reasons += judge(
            comparison=comparison,
            outcome=outcome,
            expectation=expected_of_it,
            taps=design.taps,
            context=design.context,
            readback=readback,
        )
        reasons += check_fabric(chip.fabric, chip.build)
        reasons += check_rom(chip.images)
        waved = None if recorded is None else recorded.finish(comparison)
        return TestRun(outcome, comparison, readback, causes_first(reasons), folder, waved)


def state(
    chip: Etched, test: str, config: Mapping[str, Any], adapters: Sequence[LoadedAdapter], seed: int
) -> tuple[Expectation | None, list[Reason]]:
    """What a run has to do, and what is wrong with how the project says it; never an exception."""
    try:
        found = expected(chip, test, config, adapters, seed)
    except Exception as error:  # a project's code may fail in any way
        what = str(error) if isinstance(error, EtchproofError) else f"{type(error).__name__}: {error}"
        return None, [Reason(name="expectation_broken", message=f"{test}: {what}")]
    directed = test == directed_test(chip.design.project)
    if directed and found is not None and not found.feeds(config.get("directed", ())):
        # What is to be fed is the engine's own word, which no project may forget.
        message = f"{test}: what the project expects is not the sequences that were asked for"
        return found, [Reason(name="expectation_broken", message=message)]
    return found, []


def expected(
    chip: Etched, test: str, config: Mapping[str, Any], adapters: Sequence[LoadedAdapter], seed: int
) -> Expectation | None:
    """What a run has to do; None where nobody says it.

    Args:
        config: as the test finds it in the simulator.
    """
    design = chip.design
    facts = stream_facts(design)
    own = None if facts is None else expectation(test, facts, seed, config)
    if own is not None:
        return own
    if test == generation_test(design.project):
        texts = [
            Generation(
                tuple(text["prompt"]),
                text["new_tokens"],
                tuple(text.get("stop_tokens", ())),
                text.get("adapter"),
            )
            for text in config.get("sequences", ())
        ]
        found: Expectation | None = expect_texts(texts, adapters, design.slots)
    else:
        expect = hooks.expect(design.project)
        if expect is None:
            return None
        frames = [adapter.frame for adapter in adapters]
        run = PlannedRun(design.plan, seed, config, frames, chip.images)
        found = expect(test, run)
    if found is None:
        return None
    return replace(found, adapted=tuple(adapter.quantized.linears.keys() for adapter in adapters))


def _clear(folder: Path) -> None:
    for name in _OWN_FILES:
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / ADAPTERS_FOLDER, ignore_errors=True)


def read_readback(folder: Path) -> Readback | None:
    """What a run read back from the chip's ROMs; None where it left no such record that counts."""
    try:
        return read_json_record(folder / READBACK_FILE, Readback, strict=True)
    except InputError:
        return None
