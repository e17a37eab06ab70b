"""The record of a run put together from what its stages left (docs/run-json.md)."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from etchproof.checkpoint import Tokenizer
from etchproof.compare.comparator import Comparison
from etchproof.errors import InputError
from etchproof.quantize.health import ModelHealth
from etchproof.run.design import Design, Loaded, Quantized
from etchproof.run.request import Job
from etchproof.run.slots import LoadedAdapter
from etchproof.run.testrun import Chip, TestRun
from etchproof.sim.build import Build
from etchproof.sim.run import SimOutcome
from etchproof.verdict.fed import tokens_of
from etchproof.verdict.judge import generated
from etchproof.verdict.result import (
    AdapterLoadRecord,
    AdapterRecord,
    ChatRecord,
    HealthRecord,
    ModelRecord,
    Reason,
    RecipeRecord,
    RunResult,
    SequenceRecord,
    SimRecord,
    VectorsRecord,
)


class AdapterSource(Protocol):
    """Where an adapter comes from."""

    @property
    def name(self) -> str: ...

    @property
    def path(self) -> Path: ...

    @property
    def sha256(self) -> str: ...


def make_result(
    job: Job,
    chip: Chip,
    loaded: Sequence[LoadedAdapter],
    run: TestRun,
    health: ModelHealth | None,
    reasons: Sequence[Reason],
    rerun: str,
    adapters: Sequence[AdapterSource] | None = None,
) -> RunResult:
    """``run.json``, but for the profile.

    Args:
        adapters: where each of ``loaded`` comes from; None for the job's own.
    """
    sources: Sequence[AdapterSource] = job.adapters if adapters is None else adapters
    comparison = run.comparison
    design = job.design
    if job.vectors is None:
        count = len(job.planned.sequences)
        sequences = [_sequence(job, comparison, number, clean=not reasons) for number in range(count)]
    else:
        sequences = [_vectors_sequence(comparison)]
    first = sequences[0]
    return RunResult.model_validate(
        {
            "verdict": "FAIL" if reasons or comparison is None else "PASS",
            "reasons": reasons,
            "project": design.project.name,
            "model": model_record(design),
            "recipe": recipe_record(design),
            "vectors": _vectors(job, comparison),
            "fabric_sha256": chip.fabric.sha256,
            "rom_sha256": chip.images.sha256,
            "health": None if health is None else _health(health),
            "injected": job.request.inject,
            "tools": job.tools,
            "seed": job.request.seed,
            "adapters": tuple(
                _adapter(job, index, sources[index], loaded[index], comparison)
                for index in range(len(loaded))
            ),
            "sequences": tuple(sequences),
            "prompt_tokens": first.prompt_tokens,
            "prompt_text": first.prompt_text,
            "chat": _chat(job),
            "generated_tokens": first.generated_tokens,
            "generated_text": first.generated_text,
            "stopped_by": first.stopped_by,
            "tokens_fed": len(comparison.tokens) if comparison else 0,
            "taps_compared": comparison.vectors if comparison else 0,
            "elements_compared": comparison.elements if comparison else 0,
            "mismatches": comparison.mismatches if comparison else 0,
            "first_divergence": comparison.first_divergence if comparison else None,
            "taps": comparison.taps if comparison else (),
            "sim": _sim(chip.build, run.outcome, comparison),
            "rerun": rerun,
        }
    )


def model_record(design: Design) -> ModelRecord:
    """What the records say of the model."""
    source = design.source
    published = source.checkpoint.published if isinstance(source, Quantized) else None
    return ModelRecord(
        name=source.name, path=str(source.path.absolute()), sha256=source.sha256, published=published
    )


def recipe_record(design: Design) -> RecipeRecord | None:
    """How a model was quantized; None of one that nobody quantized."""
    if isinstance(design.source, Loaded):
        return None
    recipe = design.recipe
    return RecipeRecord(
        name=recipe.name,
        sha256=recipe.sha256,
        context=design.quantized.context,
        method=recipe.method,
        calibration=recipe.calibration.source,
    )


def _chat(job: Job) -> ChatRecord | None:
    """The message that the prompt is made of."""
    said = job.chat
    if said is None:
        return None
    return ChatRecord(
        message=said.message,
        template=said.template.source.name,
        template_sha256=said.template.sha256,
        now=None if said.now is None else said.now.isoformat(timespec="seconds"),
    )


def _vectors(job: Job, comparison: Comparison | None) -> VectorsRecord | None:
    """What a chip that takes vectors was fed and answered."""
    if job.vectors is None:
        return None
    assert job.request.vectors is not None and job.vectors_sha256 is not None
    return VectorsRecord(
        path=str(job.request.vectors.absolute()),
        sha256=job.vectors_sha256,
        vectors=len(job.vectors),
        answers=tuple(token.token_out for token in comparison.tokens) if comparison else (),
    )


def _vectors_sequence(comparison: Comparison | None) -> SequenceRecord:
    """The one sequence of a run that feeds vectors: no token is in it."""
    nothing: dict[str, Any] = {"adapter": None, "prompt_tokens": (), "prompt_text": None}
    nothing |= {"generated_tokens": (), "generated_text": None, "stopped_by": None}
    counts: dict[str, Any] = {
        "tokens_fed": len(comparison.tokens) if comparison else 0,
        "taps_compared": comparison.vectors if comparison else 0,
        "elements_compared": comparison.elements if comparison else 0,
        "mismatches": comparison.mismatches if comparison else 0,
    }
    return SequenceRecord.model_validate(nothing | counts)


def _health(health: ModelHealth) -> HealthRecord:
    worst = health.worst
    return HealthRecord(
        tokens=health.tokens,
        saturated_percent=round(worst.share, 4) if worst else 0.0,
        saturated_tap=worst.name if worst and worst.saturated else None,
        dead=health.dead,
    )


def _sequence(job: Job, comparison: Comparison | None, number: int, *, clean: bool) -> SequenceRecord:
    planned = job.planned.sequences[number]
    tokens = tokens_of(comparison, number) if comparison else ()
    made = generated(comparison, job.planned.sequences, number) if comparison else ()
    stopped = None
    if clean or (made and len(tokens) == len(planned.prompt) + len(made) - 1):
        if made and made[-1] in planned.stop_tokens:
            stopped = "stop_token"
        elif len(made) == planned.new_tokens:
            stopped = "length"
    counts = {count.sequence: count for count in comparison.sequences} if comparison else {}
    count = counts.get(number)
    content: dict[str, Any] = {
        "adapter": planned.adapter,
        "prompt_tokens": planned.prompt,
        "prompt_text": _decoded(job.tokenizer, planned.prompt),
        "generated_tokens": made,
        "generated_text": _continuation(job.tokenizer, planned.prompt, made),
        "stopped_by": stopped,
        "tokens_fed": len(tokens),
        "taps_compared": count.vectors if count else 0,
        "elements_compared": count.elements if count else 0,
        "mismatches": count.mismatches if count else 0,
    }
    return SequenceRecord.model_validate(content)


def _adapter(
    job: Job, index: int, adapter: AdapterSource, loaded: LoadedAdapter, comparison: Comparison | None
) -> AdapterRecord:
    planned = [number for number, (which, _) in enumerate(job.planned.loads) if which == index]
    loads = comparison.loads if comparison else ()
    return AdapterRecord(
        name=adapter.name,
        path=str(adapter.path.absolute()),
        sha256=adapter.sha256,
        slot=loaded.slot,
        ranks=loaded.quantized.module_ranks,
        loads=tuple(
            AdapterLoadRecord(
                status=loads[number].status,
                words=loads[number].words,
                cycles=loads[number].cycles,
                cycles_model=loaded.cycles,
            )
            for number in planned
            if number < len(loads)
        ),
    )


def _sim(simulator: Build, outcome: SimOutcome, comparison: Comparison | None) -> SimRecord:
    tokens = comparison.tokens if comparison else ()
    cycles = sum(token.cycles for token in tokens)
    sim_s, wait_s = (comparison.sim_s, comparison.wait_s) if comparison else (0.0, 0.0)
    return SimRecord(
        kind=simulator.kind,
        rewrites=simulator.rewrites,
        cycles=cycles,
        cycles_per_token=cycles / len(tokens) if tokens else 0.0,
        wall_s=round(outcome.wall_s, 3),
        tokens_per_s=round(len(tokens) / outcome.wall_s, 3) if outcome.wall_s > 0 else 0.0,
        startup_s=round(max(0.0, outcome.wall_s - sim_s - wait_s), 3),
        sim_s=round(sim_s, 3),
        wait_s=round(wait_s, 3),
        golden_s=round(comparison.golden_s if comparison else 0.0, 3),
        compare_s=round(comparison.compare_s if comparison else 0.0, 3),
        build_s=simulator.build_s,
        build_cached=simulator.cached,
    )


def _decoded(tokenizer: Tokenizer | None, ids: Sequence[int]) -> str | None:
    return tokenizer.decode(ids) if tokenizer else None


def _continuation(tokenizer: Tokenizer | None, prompt: Sequence[int], made: Sequence[int]) -> str | None:
    """The generated text; a chip gone wrong may answer ids that are no tokens, and has no text then."""
    if tokenizer is None:
        return None
    with contextlib.suppress(InputError):
        stream = tokenizer.stream(after=prompt)
        return "".join([*map(stream.push, made), stream.finish()])
    return None
