"""``etchproof replay``: the smallest run that still fails as a stored one did, in a folder that repeats it anywhere."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from etchproof.compare.comparator import COMPARISON_FILE, Comparison
from etchproof.contract.taps import TapKey
from etchproof.errors import InputError
from etchproof.files.json_record import read_json_record
from etchproof.files.regular import exists
from etchproof.project.declaration import Project
from etchproof.regress.prompt import generates
from etchproof.regress.subject import keep_subject
from etchproof.replay.bench import Bench, layer_chip, layer_inputs, whole_chip
from etchproof.replay.folder import VECTORS_FILE, make_portable, read_replay
from etchproof.replay.neighbours import around
from etchproof.replay.record import REPLAY_FILE, FedSequence, ReplayRecord, named
from etchproof.replay.shrink import shrink
from etchproof.replay.stored import Fed, Stored, differs, read_stored, sequences
from etchproof.replay.subject import Subject, make_subject
from etchproof.run.cosim import Outcome
from etchproof.run.folder import RunFolder, check_out, claim, log
from etchproof.run.record import make_result
from etchproof.run.slots import Plan, loads_of
from etchproof.run.testrun import TestRun
from etchproof.run.watcher import Watcher
from etchproof.run.waves import Window
from etchproof.sim.build import Kind
from etchproof.sim.forks import Forks
from etchproof.tools import own_command
from etchproof.verdict.expect import Generation

_TRIALS: Final = 200
_BEFORE_PS: Final = 2_000_000  # of waves: a window around the first wrong value
_AFTER_PS: Final = 500_000
_ALONE_KEY: Final = "--alone"


@dataclass(frozen=True)
class Replayed:
    """A replay that was made."""

    outcome: Outcome
    record: ReplayRecord


class _Found(NamedTuple):
    """What is left of a stored run.

    Attributes:
        fed: the items; nothing of a scenario.
        divergence_ps: when the first difference was recorded.
    """

    fed: tuple[Fed, ...]
    trials: int
    minimal: bool
    scenario: str | None
    divergence_ps: int | None


def replay(
    project: Project,
    run: Path,
    out: Path | None,
    watcher: Watcher,
    *,
    unit: TapKey | None = None,
    alone: bool = False,
    waves: bool = False,
    timeout_s: float = 600.0,
) -> Replayed:
    """Find the smallest run that fails as a stored one did, and make it; or make a replay once more.

    Args:
        project: of the stored run.
        run: its folder, or that of a replay.
        out: for the new one, new or empty; None for one below ``runs/``.
        unit: the tap that has to differ; None for the one that differed first, which then has to differ first again.
        alone: whether the unit's layer is simulated alone.
        waves: whether waves are written, of a window around the first wrong value.
        timeout_s: wall-clock limit of a simulation.

    Raises:
        InputError: the stored run has no tap that differs, cannot be repeated, or does not fail again.
    """
    if out is not None:
        check_out(out)
    if exists(run / REPLAY_FILE):
        for key, given in (("--unit", unit), (_ALONE_KEY, alone or None)):
            if given is not None:
                raise InputError("stands with the folder of a replay, which is made as it is", key=key)
        return _again(project, run, out, watcher, waves=waves, timeout_s=timeout_s)
    stored = read_stored(run, project, unit)
    with tempfile.TemporaryDirectory(prefix="etchproof-replay-") as name:
        work = Path(name)
        fed = stored.fed[0].item if stored.vectors is None else stored.vectors
        subject = make_subject(
            *(project, stored.spec, stored.injected, stored.model_sha256, fed),
            *(work / VECTORS_FILE, timeout_s, watcher),
        )
        kind = subject.job.request.kind
        items: Sequence[Fed]
        vectors: NDArray[np.int64] | None
        if alone:
            items, vectors = layer_inputs(subject, stored)
            # One simulator for the trials and for the waves: building another takes longer than a layer's trials do.
            kind = "waves" if waves else kind
        else:
            items, vectors = stored.fed, stored.vectors
        bench = _bench(subject, stored.unit, vectors, items, work / "chip", kind, watcher, alone=alone)
        with watcher.stage("shrink") as say:
            found = _shrink(bench, stored, items, work / "trial", alone=alone)
            what = "as it was" if found.scenario else f"{len(found.fed)} of {stored.count} tokens"
            say(f"{what}, {found.trials} simulations")
    record = ReplayRecord(
        run=str(run.absolute()),
        project=project.name,
        layer=stored.unit[0],
        tap=stored.unit[1],
        first=stored.first,
        fed=stored.count,
        places=tuple(one.number for one in found.fed),
        trials=found.trials + 1,
        minimal=found.minimal,
        alone=alone,
        scenario=found.scenario,
        waves=waves,
        spec=stored.spec,
        injected=stored.injected,
        model_sha256=stored.model_sha256,
        sequences=sequences(found.fed),
    )
    return _make(subject, record, vectors, out, found.divergence_ps, watcher)


def _again(
    project: Project, run: Path, out: Path | None, watcher: Watcher, *, waves: bool, timeout_s: float
) -> Replayed:
    """A replay once more."""
    record, vectors = read_replay(run, project)
    record = record.model_copy(update={"waves": waves or record.waves})
    divergence_ps = None
    if record.waves:
        divergence_ps = read_json_record(run / COMPARISON_FILE, Comparison).divergence_ps
    with tempfile.TemporaryDirectory(prefix="etchproof-replay-") as name:
        fed = 0 if record.alone or vectors is None else vectors
        subject = make_subject(
            *(project, record.spec, record.injected, record.model_sha256, fed),
            *(Path(name) / VECTORS_FILE, timeout_s, watcher),
        )
    return _make(subject, record, vectors, out, divergence_ps, watcher)


def _bench(
    subject: Subject,
    unit: TapKey,
    vectors: NDArray[np.int64] | None,
    fed: Sequence[Fed] | Sequence[FedSequence],
    folder: Path,
    kind: Kind,
    watcher: Watcher,
    *,
    alone: bool,
) -> Bench:
    if not alone:
        return whole_chip(subject, unit, vectors, folder, kind, watcher)
    assert vectors is not None
    used = sorted({one.adapter for one in fed if one.adapter is not None})
    return layer_chip(subject, unit, vectors, used, folder, kind, watcher)


class _Trial:
    """Whether a chip still fails when it is fed some of the items; ``close`` has to be called.

    Attributes:
        count: of the simulations.
        divergence_ps: when the first difference was recorded in the last one.
    """

    def __init__(self, bench: Bench, folder: Path, *, first: bool) -> None:
        self._bench, self._folder, self._first = bench, folder, first
        self._forks = Forks()
        self.count = 0
        self.divergence_ps: int | None = None

    def __call__(self, fed: Sequence[Fed]) -> bool:
        self.count += 1
        return self._fails(self._bench.feed(sequences(fed), self._folder, launcher=self._forks))

    def plays(self) -> bool:
        """Whether the test of the stored run fails as it was."""
        self.count += 1
        return self._fails(self._bench.play(self._folder))

    def _fails(self, done: TestRun) -> bool:
        if done.comparison is None:
            return False
        self.divergence_ps = done.comparison.divergence_ps
        return differs(done.comparison, self._bench.unit, first=self._first)

    def close(self) -> None:
        """End the simulator that waits."""
        self._forks.close()


def _shrink(bench: Bench, stored: Stored, fed: Sequence[Fed], folder: Path, *, alone: bool) -> _Found:
    """The fewest items with which the chip still fails; the test as it was, where its items do not fail alone."""
    # A unit of a layer alone cannot differ because of another one before the layer: it is the layer's own inputs that
    # are fed. What differs first among the layer's own taps differs first of all.
    trial = _Trial(bench, folder, first=stored.first)
    where = named(stored.unit)
    try:
        last = [one for one in fed if one.sequence == fed[-1].sequence]
        tried = (last,) if len(last) == len(fed) else (last, fed)
        begin = next((some for some in tried if trial(some)), None)
        if begin is None and alone:
            raise InputError(
                f"{where} does not differ in its layer alone: what makes it fail is not in the layer",
                source=stored.folder,
                key=_ALONE_KEY,
                hint=f"leave out {_ALONE_KEY}: the whole chip is simulated then",
            )
        if begin is None:
            if generates(stored.spec, bench.subject.project) or not trial.plays():
                problem = f"does not fail again at {where}: what made it fail is not there any more"
                raise InputError(problem, source=stored.folder)
            return _Found((), trial.count, False, stored.spec.test, trial.divergence_ps)
        places, _, minimal = shrink(begin, trial, _TRIALS)
        if not trial(places):
            raise InputError("does not fail each time: the chip is not deterministic", source=stored.folder)
        return _Found(tuple(places), trial.count, minimal, None, trial.divergence_ps)
    finally:
        trial.close()


def _make(
    subject: Subject,
    record: ReplayRecord,
    vectors: NDArray[np.int64] | None,
    out: Path | None,
    divergence_ps: int | None,
    watcher: Watcher,
) -> Replayed:
    """Make a replay in its folder."""
    folder = claim(out, f"replay-{subject.design.source.label}")
    try:
        done = _run(subject, record, vectors, folder, divergence_ps, watcher)
        if not done.outcome.result.mismatches or done.outcome.result.first_divergence is None:
            raise InputError(
                "does not fail again: what made it fail is not there any more", source=record.run
            )
        return done
    except BaseException as error:
        log.error("no verdict: %s", error)
        raise
    finally:
        folder.close()


def _run(
    subject: Subject,
    record: ReplayRecord,
    vectors: NDArray[np.int64] | None,
    folder: RunFolder,
    divergence_ps: int | None,
    watcher: Watcher,
) -> Replayed:
    kind: Kind = "waves" if record.waves else subject.job.request.kind
    bench = _bench(
        *(subject, record.unit, vectors, record.sequences, folder.path, kind, watcher), alone=record.alone
    )
    window = None
    if record.waves:
        at = divergence_ps
        window = Window() if at is None else Window(max(0, at - _BEFORE_PS), at + _AFTER_PS)
        window = replace(window, around=around(bench))
    with watcher.stage("simulate") as say:
        if record.scenario is None:
            run = bench.feed(record.sequences, folder.path, keeps_taps=True, waves=window)
        else:
            run = bench.play(folder.path, keeps_taps=True, waves=window)
        comparison = run.comparison
        say(f"{len(comparison.tokens) if comparison else 0} tokens, {run.outcome.status}")
    make_portable(folder.path, record, subject.project, vectors)
    if not record.alone:
        keep_subject(folder.path, subject.spec, subject.design)  # so that it can be diagnosed
    rerun = shlex.join([*own_command(), "replay", str(folder.path), f"--project={subject.project.root}"])
    outcome = _outcome(bench, record, run, folder.path, rerun)
    folder.write_result(outcome.result)
    log.info("verdict: %s", outcome.result.verdict)
    return Replayed(outcome, record)


@dataclass(frozen=True)
class _Named:
    """An adapter, as a record names it."""

    name: str
    path: Path
    sha256: str


def _outcome(bench: Bench, record: ReplayRecord, run: TestRun, folder: Path, rerun: str) -> Outcome:
    """The run, as ``cosim`` leaves one."""
    job, design = bench.subject.job, bench.chip.design
    paths = {adapter.sha256: adapter.path for adapter in job.adapters}
    adapters = tuple(
        _Named(
            one.quantized.name,
            paths.get(one.quantized.sha256, Path(one.quantized.name)),
            one.quantized.sha256,
        )
        for one in bench.loaded
    )
    tokens: dict[int, list[int]] = {}
    fed = () if run.comparison is None else run.comparison.tokens
    for token in fed:
        if token.status == 0:
            tokens.setdefault(token.sequence, []).append(token.token_in)
    counts = () if run.comparison is None else run.comparison.sequences
    of_sequence = {count.sequence: count.adapter for count in counts}
    texts = tuple(
        Generation(tuple(ids), 1, (), of_sequence.get(number)) for number, ids in sorted(tokens.items())
    ) or (Generation((0,), 1),)
    if bench.vectors is not None:
        rows = [item for one in record.sequences for item in one.items]
        request = replace(job.request, vectors=folder / VECTORS_FILE)
        job = replace(job, request=request, vectors=bench.vectors[rows])
    job = replace(
        job,
        design=design,
        tokenizer=None if record.alone else job.tokenizer,
        planned=Plan(texts, loads_of(texts, design.slots)),
    )
    result = make_result(job, bench.chip, bench.loaded, run, None, run.reasons, rerun, adapters)
    adapted = [adapter.quantized.linears.keys() for adapter in bench.loaded]
    wanted = design.taps.wanted(adapted, [(one.adapter, one.tokens_fed) for one in result.sequences])
    return Outcome(result, folder, wanted, bench.chip, bench.loaded, run.waves)
