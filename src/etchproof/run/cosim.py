"""Co-simulation: a checkpoint, a recipe and a prompt in; every tap of every token compared; a verdict out."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from etchproof.compare.comparator import COMPARISON_FILE
from etchproof.compare.kept import DUMP_NAMES, TapDump, pack
from etchproof.contract.taps import TapKey
from etchproof.errors import InputError, machine_trouble
from etchproof.host.stimulus import VECTORS
from etchproof.run import flow, slots
from etchproof.run.flow import Injection
from etchproof.run.folder import RunFolder, claim, log
from etchproof.run.profile import ChildPeak, make_profile
from etchproof.run.record import make_result
from etchproof.run.request import CosimRequest, Job, check, draw_model
from etchproof.run.slots import LoadedAdapter
from etchproof.run.streams import generation_test
from etchproof.run.testrun import Chip, TestRun, etch, run_test, with_simulator
from etchproof.run.watcher import StageClock, Watcher, tell
from etchproof.verdict.result import Reason, RunResult
from etchproof.waves.fst import Waves

_DUMP: Final = DUMP_NAMES[0]


@dataclass(frozen=True)
class Outcome:
    """A run that came to its verdict.

    Attributes:
        result: as in ``run.json``.
        folder: where it is.
        wanted: vectors that there have to be of each tap, in dataflow order.
        chip: that ran.
        loaded: its adapters.
        waves: where they were asked for and something was written.
    """

    result: RunResult
    folder: Path
    wanted: Mapping[TapKey, int]
    chip: Chip
    loaded: tuple[LoadedAdapter, ...]
    waves: Waves | None = None


def cosim(
    request: CosimRequest,
    watcher: Watcher,
    rerun_command: Callable[[Sequence[int]], str],
    begun: float | None = None,
) -> Outcome:
    """Run a co-simulation.

    Args:
        rerun_command: from the prompt's token ids, the command that repeats the run, for the records.
        begun: ``time.perf_counter()`` when the command began, for the profile; by default, now.

    Raises:
        InputError: bad input or a missing tool; before the run's folder is made, except for what fails while building.
    """
    clock = StageClock(watcher)
    now = time.perf_counter()
    begun = now if begun is None else begun
    clock.stages_s["start"] = now - begun
    if request.random_model is not None:
        with clock.stage("draw") as say:
            model_dir, line = draw_model(request, request.random_model, flow.cache_folder())
            say(line)
    else:
        assert request.model_dir is not None
        model_dir = request.model_dir
    with clock.stage("import") as say:
        job = check(request, model_dir)
        tell(job.notes)
        say(str(job.design.source))
    folder = claim(request.out, job.design.source.label)
    try:
        rerun = rerun_command(job.planned.sequences[0].prompt if job.planned.sequences else ())
        folder.write_rerun(rerun)
        log.info("rerun: %s", rerun)
        for note in job.notes:
            log.warning("%s", note)
        log.info("tools: %s", job.tools)
        if job.asked is not None:
            log.info("recipe: %s", job.design.recipe.described(job.asked))
        outcome = _run(job, folder, clock, begun, rerun)
        folder.write_result(outcome.result)
        log.info("verdict: %s", outcome.result.verdict)
        return outcome
    except (KeyboardInterrupt, SystemExit):
        log.error("interrupted: no verdict")
        raise
    except InputError as error:
        log.error("%s", error)
        raise
    except Exception as error:
        trouble = machine_trouble(error, folder.path)
        if trouble is not None:
            raise trouble from error
        log.exception("no verdict")
        raise
    except BaseException:
        log.exception("no verdict")
        raise
    finally:
        folder.close()


def _run(job: Job, folder: RunFolder, watcher: StageClock, begun: float, rerun: str) -> Outcome:
    request, design, cache = job.request, job.design, flow.cache_folder()
    etched = etch(design, folder.path, cache, watcher, asked=job.asked)
    injections = flow.locate(
        request.project, etched.plan, job.rom_sites, etched.images
    )  # before a long build
    chip = with_simulator(etched, request.kind, cache, watcher)
    loaded: tuple[LoadedAdapter, ...] = ()
    if job.adapters:
        with watcher.stage("adapters") as say:
            cached = flow.quantized_folder(cache)
            loaded = slots.prepare(design, chip.model, job.adapters, cached, watcher.busy)
            words = sum(len(adapter.frame) for adapter in loaded)
            say(f"{_listed(loaded)}; {design.slots} slots, frames of {words:,} words")
    with watcher.stage("health") as say:
        health = flow.model_health(design, chip.model, cache)
        why = (
            "the model was not quantized here" if job.asked is None else "the golden model only predicts taps"
        )
        say(f"not measured: {why}" if health is None else str(health))
    with watcher.stage("simulate") as say:
        with ChildPeak(chip.build.executable) if request.profile else contextlib.nullcontext() as peak:
            run = _simulate(job, folder, chip, loaded, injections, watcher)
        reasons = [*run.reasons, *_deliver_dump(request, folder)]
        fed = len(run.comparison.tokens) if run.comparison else 0
        faults = len(job.rom_sites) + len(job.adapter_faults)
        inverted = f", {faults} bits inverted for the simulator" if faults else ""
        say(f"{fed} {'tokens' if job.vectors is None else 'vectors'}, {run.outcome.status}{inverted}")
    result = make_result(job, chip, loaded, run, health, reasons, rerun)
    if peak is not None:
        total_s = time.perf_counter() - begun
        profile = make_profile(watcher.stages_s, total_s, result.sim, peak.peak_bytes)
        result = result.model_copy(update={"profile": profile})
    adapted = [adapter.quantized.linears.keys() for adapter in loaded]
    wanted = design.taps.wanted(adapted, [(one.adapter, one.tokens_fed) for one in result.sequences])
    return Outcome(result, folder.path, wanted, chip, loaded, run.waves)


def _listed(loaded: Sequence[LoadedAdapter]) -> str:
    """Names and ranks."""
    parts = []
    for adapter in loaded:
        ranks = sorted(set(adapter.quantized.ranks.values()))
        span = f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {ranks[0]} to {ranks[-1]}"
        parts.append(f"{adapter.quantized.name} ({span}, {len(adapter.quantized.linears)} linears)")
    return ", ".join(parts)


def _simulate(
    job: Job,
    folder: RunFolder,
    chip: Chip,
    loaded: Sequence[LoadedAdapter],
    injections: Sequence[Injection],
    watcher: Watcher,
) -> TestRun:
    request = job.request
    config: dict[str, Any] = {
        "sequences": [asdict(sequence) for sequence in job.planned.sequences],
        "adapter_faults": [dict(fault) for fault in job.adapter_faults],
        "dump_taps": None
        if request.dump_taps is None
        else {
            "folder": str(_dump_folder(request.dump_taps, folder)),
            "only": request.dump_only.model_dump(),
        },
    }
    if job.vectors is not None:
        config["vectors"] = job.vectors.tolist()
    with _Text(job, watcher) as text:

        def on_progress(event: dict[str, Any]) -> None:
            token, sequence = event.get("token_out"), event.get("sequence")
            if event.get("event") == "token" and isinstance(token, int) and isinstance(sequence, int):
                text.push(sequence, token if event.get("generated") is True else None)
            elif "malformed" in event:
                log.warning("malformed progress: %s", event["malformed"])

        run = run_test(
            chip,
            generation_test(request.project) if job.vectors is None else VECTORS,
            folder.path,
            seed=request.seed,
            config=config,
            adapters=loaded,
            injections=injections,
            timeout_s=request.timeout_s,
            on_progress=on_progress,
            waves=request.waves,
        )
    outcome = run.outcome
    log.info("simulation: %s, exit code %d, %.2f s", outcome.status, outcome.exit_code, outcome.wall_s)
    for failure in outcome.failures:
        log.error("%s: %s %s", failure.name, failure.test, failure.message)
    return run


def _dump_folder(dump: Path, folder: RunFolder) -> Path:
    """Where the testbench writes taps: where they are asked for, but of one file."""
    return folder.path / _DUMP if dump.suffix == ".npz" else dump.absolute()


def _deliver_dump(request: CosimRequest, folder: RunFolder) -> list[Reason]:
    """Look whether the dump is whole; one file of it goes where it was asked for."""
    if request.dump_taps is None:
        return []
    written = _dump_folder(request.dump_taps, folder)
    try:
        if request.dump_taps.suffix == ".npz":
            partial = folder.path / f".{_DUMP}.npz"
            pack(written, partial)
            shutil.move(partial, request.dump_taps)
            shutil.rmtree(written)
        else:
            TapDump(written)
    except (InputError, OSError) as error:
        problem = error if isinstance(error, InputError) else error.strerror
        return [Reason(name="dump_missing", message=f"the testbench's taps cannot be delivered: {problem}")]
    return []


class _Text:
    """Shows the text of one sequence after the other."""

    def __init__(self, job: Job, watcher: Watcher) -> None:
        self._job, self._watcher = job, watcher
        self._stack = contextlib.ExitStack()
        self._sequence = -1
        self._push: Callable[[int], None] = lambda token: None

    def __enter__(self) -> _Text:
        if self._job.planned.sequences:
            self._open(0)
        return self

    def __exit__(self, *details: object) -> None:
        self._stack.close()

    def push(self, sequence: int, token: int | None) -> None:
        """A token of a sequence was answered; it may continue the text."""
        if sequence != self._sequence and 0 <= sequence < len(self._job.planned.sequences):
            self._stack.close()
            self._open(sequence)
        if token is not None:
            self._push(token)

    def _open(self, sequence: int) -> None:
        planned = self._job.planned.sequences[sequence]
        label = None
        if self._job.adapters:
            label = "base" if planned.adapter is None else self._job.adapters[planned.adapter].name
        self._sequence = sequence
        self._push = self._stack.enter_context(self._watcher.text(self._job.tokenizer, planned.prompt, label))


__all__ = ["COMPARISON_FILE", "CosimRequest", "Outcome", "Watcher", "cosim"]
