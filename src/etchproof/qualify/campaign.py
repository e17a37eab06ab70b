"""The campaign: each fault in a chip of its own, held against one run after the other.

It goes round by round: a run, and every fault that it may tell something of. A fault is done with when two tests have
seen it, or when every run has passed. One that a single test has seen meets some more tests, so that what is seen by
whatever looks, and what hardly anything sees, are told apart; all tests would take as long as the rest together.
"""

from __future__ import annotations

import hashlib
import queue
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from etchproof.project.sources import together
from etchproof.qualify import images
from etchproof.qualify.images import ImageFault
from etchproof.qualify.stored import read_stored, store
from etchproof.qualify.trial import Builds, Proven
from etchproof.regress.key import item_key
from etchproof.run.testrun import TestRun
from etchproof.schemata.faults import PLUSARG, RtlFault
from etchproof.schemata.sources import Schemata
from etchproof.signoff.qualification import Detection, FaultResult, Outcome, State
from etchproof.sim.build import Kind
from etchproof.sim.forks import Forks
from etchproof.sim.results import UNTIL
from etchproof.verdict.result import Reason

OUTCOMES_FOLDER: Final = "outcomes"
_CPU_S: Final = 60  # of a run that is stuck in one moment of simulated time
_WALL_S: Final = 1800.0  # of one for which nothing else has an end
_ENDED_BY_THE_CHIP: Final = ("SIGXCPU", "Verilog $stop")
"""What a killed simulator says where it was out of time, or an assertion failed."""
_OF_THE_BENCH: Final = frozenset(
    {
        *("golden_failed", "expectation_broken", "no_expectation", "comparison_broken", "fabric_changed"),
        *("fabric_unknown", "rom_changed", "memory_unread", "undeclared_file", "no_test_run", "test_skipped"),
        "timeout",  # of wall-clock time, which says more of the machine
    }
)
"""Reasons that say nothing of the chip."""

Fault = RtlFault | ImageFault


@dataclass(frozen=True)
class Bench:
    """What a campaign runs on.

    Attributes:
        builds: by the kind that a run names.
        schemata: the sources with all faults.
        runs: that faults are held against, in order.
        sources: hash of the project's own files, the engine and the tools (``regress.key.sources_sha256``).
        out: the folder.
    """

    builds: Mapping[Kind, Builds]
    schemata: Schemata
    runs: tuple[Proven, ...]
    sources: str
    out: Path

    def stored(self, run: Proven) -> Path:
        """Where the outcomes of a run are: of no other chip, project, engine or run."""
        key = together(
            [
                ("schemata", self.schemata.fabric.sha256),
                ("rom", run.trial.etched.images.sha256),
                ("item", item_key(run.trial.spec, self.sources)),
            ]
        )
        return self.out / OUTCOMES_FOLDER / key[:32]


def needs(outcomes: Sequence[Outcome], first_of_its_test: bool, opinions: int) -> bool:
    """Whether one more run may tell something of a fault.

    Args:
        outcomes: of the runs that it met.
        first_of_its_test: whether no earlier run was of the same test.
        opinions: tests that a fault meets after the one that saw it, until another one sees it, too.
    """
    if any(outcome.broken for outcome in outcomes):
        return False
    places = [place for place, outcome in enumerate(outcomes) if outcome.seen is not None]
    if not places:
        return True
    return len(places) < 2 and len(outcomes) - 1 - places[0] < opinions and first_of_its_test


def _state(outcomes: Sequence[Outcome]) -> State:
    if any(outcome.broken for outcome in outcomes):
        return "broken"
    return "detected" if any(outcome.seen for outcome in outcomes) else "survived"


def run_faults(
    bench: Bench,
    faults: Sequence[tuple[int, Fault]],
    pool: ThreadPoolExecutor,
    jobs: int,
    hear: Callable[[str], None],
    *,
    opinions: int,
    most: Mapping[str, int] = MappingProxyType({}),
) -> tuple[FaultResult, ...]:
    """Try each fault.

    Args:
        faults: each with its number in the schemata, 0 for those of images.
        jobs: simulators at once; the pool has as many threads.
        hear: is told of each round.
        opinions: as ``needs`` has it.
        most: how many of the runs are for a fault, by its name, where it is not all of them.
    """
    found: dict[str, list[Outcome]] = {fault.name: [] for _, fault in faults}
    launchers: queue.SimpleQueue[Forks] = queue.SimpleQueue()
    made = [Forks(_CPU_S) for _ in range(jobs)]
    for forks in made:
        launchers.put(forks)
    tests: set[str] = set()
    try:
        for place, run in enumerate(bench.runs, 1):
            first = run.record.test not in tests
            tests.add(run.record.test)
            asked = [
                one
                for one in faults
                if place <= most.get(one[1].name, len(bench.runs))
                and _applies(bench, run, one[1])
                and needs(found[one[1].name], first, opinions)
            ]
            hear(f"{place} of {len(bench.runs)}: {run.record.name}, {len(asked)} faults")
            stored = bench.stored(run)

            def tried(one: tuple[int, Fault], run: Proven = run, stored: Path = stored) -> Outcome:
                return _outcome(bench, run, stored, *one, launchers)

            for (_, fault), outcome in zip(asked, pool.map(tried, asked), strict=True):
                found[fault.name].append(outcome)
            run.trial.golden.forget()
    finally:
        for forks in made:
            forks.close()
    return tuple(_result(fault, found[fault.name]) for _, fault in faults)


def _applies(bench: Bench, run: Proven, fault: Fault) -> bool:
    """Whether a run is of the chip that the fault is in: with other weights the image is another one."""
    if isinstance(fault, RtlFault):
        return True
    return run.trial.etched.images.sha256 == bench.runs[0].trial.etched.images.sha256


def _outcome(
    bench: Bench, run: Proven, stored: Path, number: int, fault: Fault, launchers: queue.SimpleQueue[Forks]
) -> Outcome:
    """That of a run and a fault, as it is stored or made now."""
    file = stored / f"{hashlib.sha256(fault.name.encode()).hexdigest()[:32]}.json"
    if (outcome := read_stored(file, Outcome, fault.name)) is not None:
        return outcome
    launcher = launchers.get()
    try:
        outcome = _judged(fault, run, _made(bench, run, number, fault, file.with_suffix(""), launcher))
    finally:
        launchers.put(launcher)
    store(file, outcome)
    return outcome


def _made(bench: Bench, run: Proven, number: int, fault: Fault, folder: Path, launcher: Forks) -> TestRun:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    trial, builds = run.trial, bench.builds[run.trial.spec.kind]
    varied: dict[str, Any] = {"launcher": launcher}
    plusargs = [f"+{UNTIL}={run.until_ps}"]
    if isinstance(fault, RtlFault):
        build, fabric = builds.mutated, bench.schemata.fabric
        plusargs.append(f"+{PLUSARG}={number}")
    else:
        build, fabric = builds.plain, trial.etched.fabric
        varied["replaced"] = tuple(images.write(trial.etched.images, fault, folder))
    made = trial.run(folder, build, fabric, _WALL_S, plusargs=tuple(plusargs), **varied)
    shutil.rmtree(folder, ignore_errors=True)
    return made


def _judged(fault: Fault, run: Proven, made: TestRun) -> Outcome:
    if made.passed:
        return Outcome(name=fault.name, seen=None, broken=False)
    broken = [reason for reason in made.reasons if is_of_the_bench(reason)]
    reason = (broken or made.reasons)[0]
    first = None if made.comparison is None else made.comparison.first_divergence
    seen = Detection.of(run.record.name, reason.name, reason.message, test=run.record.test, at=first)
    return Outcome(name=fault.name, seen=seen, broken=bool(broken))


def is_of_the_bench(reason: Reason) -> bool:
    """Whether a reason says nothing of the chip."""
    if reason.name == "simulator_killed":
        return not any(said in reason.message for said in _ENDED_BY_THE_CHIP)
    return reason.name in _OF_THE_BENCH


def _result(fault: Fault, outcomes: Sequence[Outcome]) -> FaultResult:
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
        state=_state(outcomes),
        seen_by=tuple(outcome.seen for outcome in outcomes if outcome.seen is not None),
        runs=len(outcomes),
    )
