"""The campaign: each fault in a chip of its own, one run after the other until one sees it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from etchproof.compare.comparator import Comparison
from etchproof.errors import InputError
from etchproof.files.atomic import write_atomically
from etchproof.files.json_record import read_json_record
from etchproof.project.sources import together
from etchproof.qualify import images
from etchproof.qualify.images import ImageFault
from etchproof.qualify.record import FAULTS_FOLDER, Detection, FaultResult, RunRecord, State
from etchproof.qualify.remembered import Remembered
from etchproof.qualify.rtl import PLUSARG, RtlFault
from etchproof.qualify.schemata import Schemata
from etchproof.regress.execute import adapters_of, etched_of, test_config
from etchproof.regress.spec import ItemSpec
from etchproof.run import flow
from etchproof.run.slots import LoadedAdapter
from etchproof.run.testrun import Chip, Etched, TestRun, Variation, run_test
from etchproof.sim.build import Build, Kind

_PATIENCE: Final = 20.0
"""How many times as long as without a fault a run may take, and as many seconds more as it takes to start."""
_START_S: Final = 20.0

_OF_THE_BENCH: Final = frozenset(
    {
        *("golden_failed", "expectation_broken", "no_expectation", "comparison_broken", "fabric_changed"),
        *("fabric_unknown", "rom_changed", "memory_unread", "undeclared_file", "no_test_run", "test_skipped"),
    }
)
"""Reasons that say nothing of the chip."""

Fault = RtlFault | ImageFault


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

    def run(self, folder: Path, build: Build, fabric: Any, timeout_s: float, **varied: Any) -> TestRun:
        """Make it, on a simulator of that fabric."""
        chip = Chip(self.etched.design, self.etched.model, fabric, self.etched.images, build)
        variation = Variation(golden=self.golden.session, **varied)
        return run_test(
            chip,
            self.spec.test,
            folder,
            seed=self.spec.seed,
            config=self.config,
            adapters=self.adapters,
            timeout_s=timeout_s,
            variation=variation,
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
class Bench:
    """What a campaign runs on.

    Attributes:
        builds: by the kind that a run names.
        schemata: the sources with all faults.
        trials: cheapest first.
        records: of the trials without a fault.
        out: the folder.
    """

    builds: Mapping[Kind, Builds]
    schemata: Schemata
    trials: tuple[Trial, ...]
    records: tuple[RunRecord, ...]
    out: Path

    def key(self, fault: Fault) -> str:
        """What a stored result of a fault depends on."""
        return together(
            [
                ("schemata", self.schemata.fabric.sha256),
                ("rom", self.trials[0].etched.images.sha256),
                ("runs", " ".join(trial.spec.model_dump_json() for trial in self.trials)),
                ("fault", fault.name),
            ]
        )


def first_runs(
    trials: Sequence[Trial], builds: Mapping[Kind, Builds], schemata: Schemata, out: Path
) -> tuple[tuple[Trial, ...], tuple[RunRecord, ...]]:
    """Make each run without a fault, on both simulators; returns them cheapest first.

    Raises:
        InputError: a run is no PASS without a fault.
    """
    found = []
    for trial in trials:
        folder = out / "plain" / trial.spec.name
        both, runs = builds[trial.spec.kind], []
        for build, fabric in ((both.plain, trial.etched.fabric), (both.mutated, schemata.fabric)):
            shutil.rmtree(folder, ignore_errors=True)
            run = trial.run(folder, build, fabric, trial.spec.timeout_s, plusargs=(f"+{PLUSARG}=0",))
            if not run.passed or run.comparison is None:
                reason = run.reasons[0]
                raise InputError(
                    f"is no PASS without a fault: {reason.name}: {reason.message}", source=trial.spec.name
                )
            runs.append((run.comparison, run.outcome.wall_s))
        (before, _), (after, wall_s) = runs
        record = RunRecord(
            name=trial.spec.name,
            test=trial.spec.test,
            elements=before.elements,
            cycles=sum(token.cycles for token in before.tokens),
            equal=_untimed(before) == _untimed(after),
            wall_s=round(wall_s, 3),
        )
        found.append((record.elements, record.name, trial, record))
    found.sort(key=lambda one: one[:2])
    return tuple(trial for *_, trial, _ in found), tuple(record for *_, record in found)


def _untimed(comparison: Comparison) -> dict[str, Any]:
    """Everything that a run found, but for how long it took."""
    return comparison.model_dump(exclude={"sim_s", "golden_s", "compare_s", "wait_s"})


def run_faults(
    bench: Bench, faults: Sequence[tuple[int, Fault]], jobs: int, listener: Callable[[FaultResult], None]
) -> tuple[FaultResult, ...]:
    """Try each fault; results that are stored count where they are of the same fault on the same bench.

    Args:
        faults: each with its number in the schemata, 0 for those of images.
    """

    def tried(fault: tuple[int, Fault]) -> FaultResult:
        result = _stored(bench, *fault)
        listener(result)
        return result

    with ThreadPoolExecutor(max_workers=jobs) as pool:
        return tuple(pool.map(tried, faults))


def _stored(bench: Bench, number: int, fault: Fault) -> FaultResult:
    file = bench.out / FAULTS_FOLDER / f"{bench.key(fault)[:32]}.json"
    try:
        found = read_json_record(file, FaultResult)
        if found.name == fault.name:
            return found
    except InputError:
        pass
    result = _try(bench, number, fault, file.with_suffix(""))
    write_atomically(file, result.model_dump_json(indent=1) + "\n")
    return result


def _try(bench: Bench, number: int, fault: Fault, folder: Path) -> FaultResult:
    state: State = "survived"
    by, runs = None, 0
    for trial, record in zip(bench.trials, bench.records, strict=True):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if isinstance(fault, RtlFault):
            varied: dict[str, Any] = {"plusargs": (f"+{PLUSARG}={number}",)}
            build, fabric = bench.builds[trial.spec.kind].mutated, bench.schemata.fabric
        else:
            if trial.etched.images.sha256 != bench.trials[0].etched.images.sha256:
                continue  # other weights: the image is another one
            varied = {"replaced": tuple(images.write(trial.etched.images, fault, folder))}
            build, fabric = bench.builds[trial.spec.kind].plain, trial.etched.fabric
        run = trial.run(folder, build, fabric, _START_S + _PATIENCE * record.wall_s, **varied)
        runs += 1
        names = {reason.name for reason in run.reasons}
        if names & _OF_THE_BENCH:
            state, by = "broken", _detection(trial, run)
            break
        if names:
            state, by = "detected", _detection(trial, run)
            break
    shutil.rmtree(folder, ignore_errors=True)
    if isinstance(fault, RtlFault):
        where, place, was, becomes = fault.module, fault.place, fault.was, fault.edit.text
    else:
        where = place = f"layer {fault.layer} {fault.image}"
        was, becomes = "", fault.operator
    return FaultResult(
        name=fault.name,
        kind="rtl" if isinstance(fault, RtlFault) else "image",
        where=where,
        place=place,
        operator=fault.operator,
        was=was,
        becomes=becomes,
        state=state,
        by=by,
        runs=runs,
    )


def _detection(trial: Trial, run: TestRun) -> Detection:
    reason = run.reasons[0]
    first = None if run.comparison is None else run.comparison.first_divergence
    return Detection(
        run=trial.spec.name,
        reason=reason.name,
        message=reason.message[:300],
        tap=None if first is None else first.tap,
        layer=None if first is None else first.layer,
        token=None if first is None else first.token,
    )
