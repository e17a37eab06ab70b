"""One test of the testbench on one chip: what ``cosim``, a regression and the test suite all do in the same way.

A ``Chip`` is everything up to the simulation; ``run_test`` is the simulation and its judgement. Nothing here prints.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from etchproof import flow
from etchproof.compare import Comparison, tap_plan
from etchproof.errors import InputError
from etchproof.flow import Design, Injection
from etchproof.images import ImageSet
from etchproof.quantized import QuantizedModel
from etchproof.result import Reason
from etchproof.sim.build import Build, Kind, build
from etchproof.sim.fabric import Fabric
from etchproof.sim.golden import GoldenSource
from etchproof.sim.images import write_images_index
from etchproof.sim.run import SimOutcome, simulate
from etchproof.tools import find_verilator
from etchproof.verdict import read_comparison

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
    design: Design, folder: Path, kind: Kind, cache: Path, progress: Callable[[str], None] | None = None
) -> Chip:
    """Quantize, render, etch and build.

    Args:
        folder: gets ``fabric/`` and ``rom/``.

    Raises:
        InputError: bad input or a missing tool.
    """
    model = flow.quantize_design(design, cache, progress)
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
    injections: Sequence[Injection] = (),
    timeout_s: float = 600.0,
    on_progress: Callable[[dict[str, Any]], None] | None = None,
) -> TestRun:
    """Run one test of the project's testbench in its own process, and judge it.

    Args:
        test: name of a class of the testbench's module.
        folder: the run's files go there.
        seed: of the test's random choices and of a strict simulator's unknown values.
        config: for the test; what every run needs is added.
        injections: bits that only the simulator reads inverted.
        timeout_s: wall-clock limit.
        on_progress: gets each event that the testbench writes.
    """
    design = chip.design
    project = design.project
    folder.mkdir(parents=True, exist_ok=True)
    index = chip.images.index(flow.inject(chip.images, injections, folder))
    write_images_index(folder / IMAGES_INDEX, index)
    outcome = simulate(
        chip.build,
        run_dir=folder,
        test_module=project.verif.tests,
        test_case=test,
        images_index=folder / IMAGES_INDEX,
        config={
            "project": str(project.root),
            "images": len(index),
            "rom": str(chip.images.folder.absolute()),
            **(config or {}),
        },
        seed=seed,
        timeout_s=timeout_s,
        golden=GoldenSource(design.plan, lambda: flow.make_golden(design, chip.model).session()),
        python_path=[project.root],
        on_progress=on_progress,
    )
    comparison, reasons = read_comparison(folder)
    n_layers = design.checkpoint.config.n_layers
    return TestRun(outcome, comparison, tuple(reasons + judge_test(comparison, outcome, n_layers)), folder)


def judge_test(comparison: Comparison | None, outcome: SimOutcome, n_layers: int) -> list[Reason]:
    """Every reason why a run of any test is no PASS; ``etchproof.verdict.judge`` knows more of generated tokens."""
    reasons: list[Reason] = []
    if comparison is not None:
        first = comparison.first_divergence
        if comparison.mismatches or first is not None:
            where = f"at {first.tap} of layer {first.layer}, token {first.token}" if first else "nowhere"
            reasons.append(
                Reason(name="mismatch", message=f"{comparison.mismatches} elements differ, the first {where}")
            )
        reasons += [Reason(name=failure.name, message=failure.message) for failure in comparison.failures]
        reasons += _coverage(comparison, n_layers)
    known = {reason.name for reason in reasons}
    for failure in outcome.failures:
        line = next((line.strip() for line in failure.message.splitlines() if line.strip()), "")
        if failure.name == "test_failed" and line.partition(":")[0] in known:
            continue  # the testbench's own verdict, on what stands above
        reasons.append(Reason(name=failure.name, message=f"{failure.test}: {line}" if failure.test else line))
    if not reasons and (outcome.status != "passed" or not outcome.passed):
        reasons.append(
            Reason(name="no_test_run", message=f"the simulation ended as {outcome.status!r} without a test")
        )
    return reasons


def _coverage(comparison: Comparison, n_layers: int) -> list[Reason]:
    """Whether every tap of every accepted token was compared, in each sequence, and no adapter's: none is loaded."""
    if comparison.elements == 0:
        return [Reason(name="nothing_compared", message="no element of any tap was compared")]
    plan = tap_plan(n_layers)
    counts = {(count.layer, count.tap): count.vectors for count in comparison.taps}
    accepted = Counter(token.sequence for token in comparison.tokens if token.status == 0)
    total = accepted.total()
    short = [
        f"{counts.get(key, 0)} of {total} vectors of layer {key[0]} {key[1]}"
        for key in plan
        if counts.get(key, 0) != total
    ]
    short += [f"{counts[key]} of 0 vectors of layer {key[0]} {key[1]}" for key in counts if key not in plan]
    compared = {count.sequence: count.vectors for count in comparison.sequences}
    short += [
        f"{compared.get(number, 0)} of {accepted[number] * len(plan)} vectors of sequence {number}"
        for number in sorted({*accepted, *compared})
        if compared.get(number, 0) != accepted[number] * len(plan)
    ]
    if not short:
        return []
    message = f"{short[0]} were compared, and {len(short) - 1} more counts differ"
    return [Reason(name="taps_missing", message=message)]


def check_test_name(design: Design, test: str, known: Sequence[str]) -> None:
    """Refuse a test that the testbench does not have.

    Raises:
        InputError: naming those that it has.
    """
    if test not in known:
        raise InputError(
            f"{test!r} is no test of {design.project.verif.tests}",
            key="test",
            hint=f"known are {', '.join(known)}",
        )
