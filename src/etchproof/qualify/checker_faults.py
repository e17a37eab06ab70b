"""Faults of the checker, tried: would anybody notice that Etchproof itself is blind?

A slip is there in this process and in the simulator's, and what a sign-off makes of the good chip is made with it: runs
that are known to be bad are played to the checker, the good chip runs, bits that are proven to be seen are inverted.
The slip is **detected** where that is no PASS, and has **survived** where it is: then nothing in a sign-off tells.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from etchproof.contract.golden import Golden
from etchproof.coverage import hooks as coverage_hooks
from etchproof.coverage.corpus import Segment
from etchproof.coverage.injection import Drawn, inject_all
from etchproof.errors import InputError
from etchproof.project.sources import engine_sha256, project_sha256, together
from etchproof.qualify.checker_slips import CheckerFault, faults
from etchproof.qualify.edits import Edit, applied, copies
from etchproof.qualify.flow_faults import one_thread
from etchproof.qualify.stored import read_stored, store
from etchproof.regress.recorded import Recorded, record
from etchproof.run import flow
from etchproof.run.testrun import Chip, run_test
from etchproof.signoff.known_bad import check_known_bad, known_bad_spec
from etchproof.signoff.observed import Weights, draw_faults, observe_all
from etchproof.signoff.plan import SignoffRequest
from etchproof.signoff.qualification import FAULTS_FOLDER, Detection, FaultResult, State

_DRAW_SEED: Final = 1
_ENGINE_AT: Final = 'root = Path(str(files("etchproof"))).parent'


@dataclass(frozen=True)
class WatchBench:
    """What these faults are held against.

    Attributes:
        chip: the good one, with its simulator.
        recorded: a run of it that passed, made again with each fault; ``runs`` are others.
        golden: its golden model.
        drawn: bits that a sign-off would invert.
        out: the folder; ``jobs`` simulators at once.
    """

    chip: Chip
    recorded: Recorded
    golden: Golden
    drawn: tuple[Drawn, ...]
    runs: tuple[Recorded, ...]
    out: Path
    jobs: int

    def key(self, fault: CheckerFault) -> str:
        """What a stored result of a fault depends on."""
        return together(
            [
                ("engine", engine_sha256()),
                ("project", project_sha256(self.chip.design.project)),
                ("rom", self.chip.images.sha256),
                ("fabric", self.chip.fabric.sha256),
                ("runs", " ".join(one.spec.model_dump_json() for one in self.runs)),
                ("bits", " ".join(bit.site for bit in self.drawn)),
                ("fault", fault.name),
            ]
        )


def make_watch_bench(
    request: SignoffRequest, chip: Chip, bits: int, runs: Sequence[Recorded] = ()
) -> WatchBench:
    """Make what has to hold without a fault.

    Args:
        chip: of a model that takes tokens.
        bits: how many the stage's sign-off inverts.
        runs: of the stage that passed, cheapest first; one with adapters should be among them.

    Raises:
        InputError: the good chip is no PASS without a fault.
    """
    folder = request.out / "watched"
    shutil.rmtree(folder, ignore_errors=True)
    with one_thread():
        recorded = record(known_bad_spec(request, chip.design), chip, (), folder / "recorded")
        golden = flow.make_golden(chip.design, chip.model)
        project, drawn = chip.design.project, tuple[Drawn, ...]()
        if bits and project.coverage is not None and project.coverage.rom is not None:
            units = tuple(coverage_hooks.rom(project)(chip.model, chip.design.plan))
            fed = tuple(one.tokens for one in recorded.sequences)
            segments = [Segment(recorded.spec.name, fed)]
            mask = observe_all(
                Weights(units, segments, lambda tokens: golden.session().predict(tokens, True))
            )
            drawn = draw_faults(chip, mask, bits, _DRAW_SEED).bits
        bench = WatchBench(chip, recorded, golden, drawn, tuple(runs), request.out, request.jobs)
        problem = _signed(bench, folder / "good")
    if problem is not None:
        raise InputError(f"is no PASS without a fault: {problem.message}", source=problem.run)
    return bench


def run_checker_faults(
    bench: WatchBench, count: int, listener: Callable[[FaultResult], None]
) -> tuple[FaultResult, ...]:
    """Try the first ``count`` faults; no other thread may check a run meanwhile.

    Raises:
        InputError: a slip whose text is not in the code any more.
    """
    found = []
    with one_thread():
        for fault in list(faults())[:count]:
            result = _stored(bench, fault)
            found.append(result)
            listener(result)
    return tuple(found)


def _stored(bench: WatchBench, fault: CheckerFault) -> FaultResult:
    file = bench.out / FAULTS_FOLDER / f"{bench.key(fault)[:32]}.json"
    if (stored := read_stored(file, FaultResult, fault.name)) is not None:
        return stored
    result = try_checker_fault(bench, fault)
    store(file, result)
    return result


def try_checker_fault(bench: WatchBench, fault: CheckerFault) -> FaultResult:
    """One fault; errors as of ``applied``."""
    # A simulator that the slip lets live may still write into its folder, so each fault has its own.
    with TemporaryDirectory(prefix="slip-", dir=bench.out / "watched", ignore_cleanup_errors=True) as made:
        folder = Path(made)
        copy = copies([fault.edit], folder / "copy")
        here = Edit("etchproof.sim.run", _ENGINE_AT, f"root = Path({str(copy.absolute())!r})")
        with applied([fault.edit, here]):
            by = _signed(bench, folder)
    state: State = "survived" if by is None else "detected"
    return FaultResult(
        name=fault.name,
        kind="checker",
        where="checker",
        place=fault.place,
        operator=fault.operator,
        was=fault.edit.was,
        becomes=fault.becomes,
        state=state,
        seen_by=() if by is None else (by,),
        runs=0 if by is not None and by.run == "signoff.checker" else 1,
    )


def _signed(bench: WatchBench, folder: Path) -> Detection | None:
    """What a sign-off with this checker finds wrong first, of the good chip; None where it finds nothing.

    Whatever the checker raises is no PASS either.
    """
    for step, found in (
        ("signoff.checker", _known_bad),
        *((one.spec.name, _good_run(one)) for one in (bench.recorded, *bench.runs)),
        ("injected_faults", _injected),
    ):
        try:
            problem = found(bench, folder)
        except Exception as error:  # the code is wrong on purpose, and may fail in any way
            problem = f"raised {type(error).__name__}: {error}"
        if problem is not None:
            return Detection.of(step, step, problem)
    return None


def _known_bad(bench: WatchBench, folder: Path) -> str | None:
    passed, message = check_known_bad(bench.recorded, bench.golden)
    return None if passed else message


def _good_run(recorded: Recorded) -> Callable[[WatchBench, Path], str | None]:
    def found(bench: WatchBench, folder: Path) -> str | None:
        config: dict[str, Any] = {key: value for key, value in recorded.config.items() if key != "dump_taps"}
        run = run_test(
            recorded.chip,
            recorded.spec.test,
            folder / "run",
            seed=recorded.spec.seed,
            config=config,
            adapters=recorded.adapters,
            timeout_s=recorded.spec.timeout_s,
        )
        return None if run.passed else f"{run.reasons[0].name}: {run.reasons[0].message}"

    return found


def _injected(bench: WatchBench, folder: Path) -> str | None:
    bits = inject_all(bench.chip, bench.drawn, folder / "injected", bench.jobs)
    missed = [bit.site for bit in bits if not (bit.caught and bit.located)]
    return (
        f"{len(missed)} of {len(bits)} bits are not caught where they have to be: {missed[0]}"
        if missed
        else None
    )
