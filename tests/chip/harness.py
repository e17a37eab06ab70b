"""Chips of the reference project for tests, by the one path that every command takes (``etchproof.run.testrun``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from etchproof.compare.comparator import Comparison
from etchproof.project.declaration import Project, load_project
from etchproof.quantize.quantized_model import QuantizedAdapter
from etchproof.run import flow, slots
from etchproof.run.testrun import Chip, TestRun, Variation, prepare, run_test
from etchproof.sim.build import Kind
from models.golden import Golden
from tests.conftest import ROOT

PROJECT = load_project(ROOT)


def make_chip(
    checkpoint: Path, recipe: Path | str, folder: Path, kind: Kind = "fast", *, hw: Path = ROOT / "hw"
) -> Chip:
    """Everything up to the simulation; ``hw`` may be a mutated copy."""
    project = _with_hw(hw)
    design = flow.plan_design(project, checkpoint, flow.read_recipe(project, str(recipe)))
    return prepare(design, folder, kind, flow.cache_folder())


def _with_hw(hw: Path) -> Project:
    return PROJECT.model_copy(update={"rtl": PROJECT.rtl.model_copy(update={"hw": str(hw)})})


def run(
    chip: Chip,
    test: str,
    *,
    seed: int = 1,
    module: str | None = None,
    stands_for: str | None = None,
    golden: type[Golden] | None = None,
    adapters: Sequence[QuantizedAdapter] = (),
    config: Mapping[str, Any] | None = None,
    plusargs: Sequence[str] = (),
    python_path: Sequence[Path] = (),
    timeout_s: float = 300,
) -> TestRun:
    """Run one test of the testbench, or one of ``module`` that stands for it.

    Adapters get the slots 0, 1, ... and again 0 where the chip has no more.
    """
    variation = Variation(
        modules=(module,) if module else (),
        stands_for=stands_for,
        golden=None if golden is None else lambda: golden(chip.model, adapters).session(),
        plusargs=tuple(plusargs),
        python_path=tuple(python_path),
    )
    return run_test(
        chip,
        test,
        chip.folder / "".join([f"{test}-{seed}", *plusargs]),
        seed=seed,
        config=config,
        adapters=slots.place(chip.design, adapters),
        timeout_s=timeout_s,
        variation=variation,
    )


def assert_clean(done: TestRun) -> Comparison:
    """The run passed."""
    assert done.passed, done.reasons
    assert done.comparison is not None and done.comparison.mismatches == 0 < done.comparison.elements
    return done.comparison
