"""One test of the testbench on one chip: what ``cosim``, a regression and the test suite all do in the same way.

A ``Chip`` is everything up to the simulation; ``run_test`` is the simulation and its judgement. Nothing here prints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from etchproof import flow
from etchproof.compare import Comparison
from etchproof.flow import Design, Injection
from etchproof.images import ImageSet
from etchproof.quantized import QuantizedModel
from etchproof.result import Reason
from etchproof.sim.build import Build, Kind, build
from etchproof.sim.fabric import Fabric
from etchproof.sim.golden import GoldenSource
from etchproof.sim.images import write_images_index
from etchproof.sim.run import SimOutcome, simulate
from etchproof.slots import ADAPTERS_FOLDER, LoadedAdapter, write_frames
from etchproof.tools import find_verilator
from etchproof.verdict import judge_test, read_comparison

IMAGES_INDEX: Final = "images.index"


@dataclass(frozen=True)
class Chip:
    """A design that is ready to simulate.

    Attributes:
        design: the checkpoint under its recipe.
        model: its integers.
        fabric: the rendered SystemVerilog.
        images: the ROM images on disk.
        build: the simulator.
    """

    design: Design
    model: QuantizedModel
    fabric: Fabric
    images: ImageSet
    build: Build


@dataclass(frozen=True)
class TestRun:
    """A test that came to its end.

    Attributes:
        outcome: how the simulator ended.
        comparison: what the testbench wrote; None when it left none that counts.
        reasons: every reason why the run is no PASS.
        folder: the run's files.
    """

    __test__ = False  # pytest: no test class

    outcome: SimOutcome
    comparison: Comparison | None
    reasons: tuple[Reason, ...]
    folder: Path

    @property
    def passed(self) -> bool:
        return not self.reasons


def prepare(
    design: Design,
    folder: Path,
    kind: Kind,
    cache: Path,
    progress: Callable[[str], None] | None = None,
    corners: int | None = None,
) -> Chip:
    """Quantize, render, etch and build.

    Args:
        folder: gets ``fabric/`` and ``rom/``.
        corners: seed of the project's weights that are etched in place of the checkpoint's (``flow.corner_weights``).

    Raises:
        InputError: bad input or a missing tool.
    """
    model = flow.quantize_design(design, cache, progress)
    if corners is not None:
        model = flow.corner_weights(design, model, corners)
    (folder / "fabric").mkdir(parents=True)
    fabric = flow.render_fabric(design, folder / "fabric")
    images = flow.etch(design, model, folder / "rom")
    if progress is not None:
        progress("compiling the simulator, once for each fabric")
    simulator = build(fabric, kind, verilator=find_verilator(), cache_dir=cache)
    return Chip(design, model, fabric, images, simulator)


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
) -> TestRun:
    """Run one test of the project's testbench in its own process, and judge it.

    Args:
        test: name of a class of the testbench's modules.
        folder: the run's files go there.
        seed: of the test's random choices and of a strict simulator's unknown values.
        config: for the test; what every run needs is added.
        adapters: that the golden model knows, and whose frames the test is given.
        injections: bits that only the simulator reads inverted.
        timeout_s: wall-clock limit.
        on_progress: gets each event that the testbench writes.
    """
    design = chip.design
    project = design.project
    folder.mkdir(parents=True, exist_ok=True)
    index = chip.images.index(flow.inject(chip.images, injections, folder))
    write_images_index(folder / IMAGES_INDEX, index)
    quantized = [adapter.quantized for adapter in adapters]
    told = {"adapters": write_frames(folder / ADAPTERS_FOLDER, adapters)} if adapters else {}
    outcome = simulate(
        chip.build,
        run_dir=folder,
        test_modules=project.verif.tests,
        test_case=test,
        images_index=folder / IMAGES_INDEX,
        config={
            "project": str(project.root),
            "images": len(index),
            "rom": str(chip.images.folder.absolute()),
            **told,
            **(config or {}),
        },
        seed=seed,
        timeout_s=timeout_s,
        golden=GoldenSource(design.plan, lambda: flow.make_golden(design, chip.model, quantized).session()),
        python_path=[project.root],
        on_progress=on_progress,
    )
    comparison, reasons = read_comparison(folder)
    adapted = [adapter.linears.keys() for adapter in quantized]
    reasons += judge_test(comparison, outcome, design.checkpoint.config.n_layers, adapted)
    return TestRun(outcome, comparison, tuple(reasons), folder)
