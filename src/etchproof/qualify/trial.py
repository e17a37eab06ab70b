"""A run of a stage, as faulty chips are held against it: the golden model computed once, the simulator forked."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from etchproof.compare.comparator import Comparison
from etchproof.errors import InputError
from etchproof.qualify.remembered import Remembered
from etchproof.regress.execute import adapters_of, etched_of, test_config
from etchproof.regress.spec import ItemSpec
from etchproof.render.fabric import Fabric
from etchproof.run import flow
from etchproof.run.slots import LoadedAdapter
from etchproof.run.testrun import Chip, Etched, TestRun, Variation, run_test
from etchproof.schemata.faults import PLUSARG
from etchproof.schemata.sources import Schemata
from etchproof.signoff.qualification import RunRecord
from etchproof.sim.build import Build, Kind
from etchproof.sim.results import limit_ps

_COST: Final[Mapping[Kind, int]] = {"fast": 1, "plain": 2, "strict": 4}
"""What a simulator takes for the same simulated time, in parts of a fast one's; measured on two chips."""


@dataclass(frozen=True)
class Trial:
    """A run that faults are held against.

    Attributes:
        spec: the item of the stage's regression.
        etched: its chip.
        adapters: of the run.
        config: what the test is told.
        golden: its golden model.
    """

    spec: ItemSpec
    etched: Etched
    adapters: tuple[LoadedAdapter, ...]
    config: Mapping[str, Any]
    golden: Remembered

    def run(self, folder: Path, build: Build, fabric: Fabric, timeout_s: float, **varied: Any) -> TestRun:
        """Make it, on a simulator of that fabric; further arguments are those of a ``Variation``."""
        chip = Chip(self.etched.design, self.etched.model, fabric, self.etched.images, build)
        return run_test(
            chip,
            self.spec.test,
            folder,
            seed=self.spec.seed,
            config=self.config,
            adapters=self.adapters,
            timeout_s=timeout_s,
            variation=Variation(golden=self.golden.session, keeps_taps=False, **varied),
        )


def make_trial(spec: ItemSpec, design: Any, out: Path) -> Trial:
    """A run of a stage, ready to be made; errors as of ``etched_of``."""
    etched = etched_of(spec, design.project, out)
    adapters = adapters_of(spec, etched)
    config = test_config(spec, etched.design, adapters)
    quantized = [adapter.quantized for adapter in adapters]
    golden = flow.make_golden(etched.design, etched.model, quantized)
    return Trial(spec, etched, adapters, config, Remembered(golden.session))


@dataclass(frozen=True)
class Builds:
    """Simulators of one kind: of the chip, and of the sources with all faults."""

    plain: Build
    mutated: Build


@dataclass(frozen=True)
class Proven:
    """A trial that passed without a fault, on both simulators.

    Attributes:
        record: of it.
        until_ps: simulated time at which a run with a fault is given up.
    """

    trial: Trial
    record: RunRecord
    until_ps: int


def prove(
    trials: Sequence[Trial], builds: Mapping[Kind, Builds], schemata: Schemata, out: Path, pool: Executor
) -> tuple[Proven, ...]:
    """Make each run without a fault, on both simulators; returns them in the order in which faults meet them.

    The cheapest comes first: by the time that it simulates, and by what a simulator of its kind takes for that.

    Raises:
        InputError: a run is no PASS without a fault.
    """
    found = list(pool.map(lambda trial: _prove(trial, builds[trial.spec.kind], schemata, out), trials))
    return tuple(
        sorted(
            found,
            key=lambda one: (one.until_ps * _COST[one.trial.spec.kind], one.record.elements, one.record.name),
        )
    )


def _prove(trial: Trial, builds: Builds, schemata: Schemata, out: Path) -> Proven:
    folder = out / "plain" / trial.spec.name
    runs: list[tuple[Comparison, TestRun]] = []
    for build, fabric in ((builds.plain, trial.etched.fabric), (builds.mutated, schemata.fabric)):
        shutil.rmtree(folder, ignore_errors=True)
        run = trial.run(folder, build, fabric, trial.spec.timeout_s, plusargs=(f"+{PLUSARG}=0",))
        if not run.passed or run.comparison is None:
            reason = run.reasons[0]
            raise InputError(
                f"is no PASS without a fault: {reason.name}: {reason.message}", source=trial.spec.name
            )
        runs.append((run.comparison, run))
    trial.golden.forget()
    (before, _), (after, run) = runs
    record = RunRecord(
        name=trial.spec.name,
        test=trial.spec.test,
        elements=before.elements,
        cycles=sum(token.cycles for token in before.tokens),
        equal=_untimed(before) == _untimed(after),
        wall_s=round(run.outcome.wall_s, 3),
    )
    return Proven(trial, record, limit_ps(run.outcome.results_xml))


def _untimed(comparison: Comparison) -> dict[str, Any]:
    """Everything that a run found, but for how long it took."""
    return comparison.model_dump(exclude={"sim_s", "golden_s", "compare_s", "wait_s"})
