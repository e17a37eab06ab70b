"""Co-simulation: a checkpoint, a recipe and a prompt in; every tap of every token compared; a verdict out."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from etchproof import flow
from etchproof.checkpoint import Checkpoint, Tokenizer
from etchproof.checkpoint.tokenizer import TOKENIZER_FILE
from etchproof.compare import COMPARISON_FILE, Comparison
from etchproof.errors import InputError
from etchproof.flow import Design, Injection
from etchproof.images import ImageSet
from etchproof.project import Project
from etchproof.result import ModelRecord, Reason, RecipeRecord, RunResult, SimRecord
from etchproof.run_folder import RunFolder, check_out, claim, log
from etchproof.sim.build import Build, Kind, build
from etchproof.sim.fabric import Fabric
from etchproof.sim.images import write_images_index
from etchproof.sim.run import SimOutcome, simulate
from etchproof.tools import find_verilator, tool_versions
from etchproof.verdict import Generation, check_fabric, generated, judge, read_comparison

IMAGES_INDEX: Final = "images.index"
_DUMP: Final = "taps.npz"


@dataclass(frozen=True)
class CosimRequest:
    """What is asked for.

    Attributes:
        project: whose chip.
        model_dir: the checkpoint.
        recipe: name or file; None is the project's default.
        prompt: text; None with ``prompt_ids``. Empty text is the BOS token alone.
        prompt_ids: token ids as they are, no BOS added; None with ``prompt``.
        tokens: how many to generate.
        out: the run's folder, new or empty; None for one below ``runs/``.
        inject: faults that only the simulator sees.
        dump_taps: where every tap goes as chip and golden have it, an .npz file.
        seed: of everything random.
        kind: which build of the simulator.
        timeout_s: wall-clock limit of the simulation.
        context: positions of the chip, in place of the recipe's.
    """

    project: Project
    model_dir: Path
    recipe: str | None
    prompt: str | None
    prompt_ids: tuple[int, ...] | None
    tokens: int
    out: Path | None = None
    inject: tuple[str, ...] = ()
    dump_taps: Path | None = None
    seed: int = 1
    kind: Kind = "fast"
    timeout_s: float = 600.0
    context: int | None = None


class Watcher(Protocol):
    """Who is told how it goes."""

    def stage(self, name: str) -> AbstractContextManager[Callable[[str], None]]:
        """Around a stage; what is yielded takes one line on what came out."""
        ...

    def busy(self, line: str) -> None:
        """What the current stage is doing."""
        ...

    def text(
        self, tokenizer: Tokenizer | None, prompt: Sequence[int]
    ) -> AbstractContextManager[Callable[[int], None]]:
        """Around the simulation; what is yielded takes each token that the chip generates."""
        ...


@dataclass(frozen=True)
class Outcome:
    """A run that came to its verdict.

    Attributes:
        result: as in ``run.json``.
        folder: where it is.
        n_layers: decoder layers of the chip.
    """

    result: RunResult
    folder: Path
    n_layers: int


@dataclass(frozen=True)
class _Job:
    """A request whose every part has been checked, before anything is written."""

    request: CosimRequest
    design: Design
    tokenizer: Tokenizer | None
    planned: Generation
    injections: tuple[Injection, ...]
    tools: dict[str, str]


def cosim(request: CosimRequest, watcher: Watcher, rerun_command: Callable[[Sequence[int]], str]) -> Outcome:
    """Run a co-simulation.

    Args:
        rerun_command: from the prompt's token ids, the command that repeats the run, for the records.

    Raises:
        InputError: bad input or a missing tool; before the run's folder is made, except for what fails while building.
    """
    with watcher.stage("import") as say:
        job = _check(request)
        config = job.design.checkpoint.config
        say(
            f"{config.name}: {config.n_layers} layers, hidden {config.hidden_size}, vocabulary {config.vocab_size}"
        )
    folder = claim(request.out, f"{config.name}-{job.design.recipe.name}")
    try:
        rerun = rerun_command(job.planned.prompt)
        folder.write_rerun(rerun)
        log.info("rerun: %s", rerun)
        log.info("tools: %s", job.tools)
        result = _run(job, folder, watcher, rerun)
        folder.write_result(result)
        log.info("verdict: %s", result.verdict)
        return Outcome(result, folder.path, config.n_layers)
    except (KeyboardInterrupt, SystemExit):
        log.error("interrupted: no verdict")
        raise
    except InputError as error:
        log.error("%s", error)
        raise
    except BaseException:
        log.exception("no verdict")
        raise
    finally:
        folder.close()


def _check(request: CosimRequest) -> _Job:
    project = request.project
    if request.out is not None:
        check_out(request.out)
    if request.dump_taps is not None:
        _check_dump(request.dump_taps)
    if not request.timeout_s > 0:  # NaN is not either
        raise InputError(f"is {request.timeout_s}, expected more than 0 seconds", key="--timeout")
    recipe = flow.read_recipe(project, request.recipe)
    design = flow.plan_design(project, request.model_dir, recipe, request.context)
    checkpoint = design.checkpoint
    tokenizer = _tokenizer(checkpoint, needed=bool(request.prompt))
    prompt = _prompt(request, checkpoint, tokenizer)
    _check_length(len(prompt), request, design.context)
    injections = flow.locate(design, request.inject)
    planned = Generation(prompt, request.tokens, checkpoint.config.eos_token_ids)
    return _Job(request, design, tokenizer, planned, injections, tool_versions())


def _check_dump(file: Path) -> None:
    if file.suffix != ".npz":
        raise InputError(f"{str(file)!r} does not end in .npz", key="--dump-taps")
    if file.is_dir() or not file.absolute().parent.is_dir():
        raise InputError(f"{str(file)!r} is a folder, or in none", key="--dump-taps")


def _tokenizer(checkpoint: Checkpoint, *, needed: bool) -> Tokenizer | None:
    if not needed and not (checkpoint.path / TOKENIZER_FILE).exists():
        return None
    try:
        return checkpoint.tokenizer()
    except InputError as error:
        if error.source is not None and not Path(error.source).exists():
            raise InputError(
                error.problem, source=error.source, hint="give the prompt as --prompt-ids"
            ) from None
        raise


def _prompt(request: CosimRequest, checkpoint: Checkpoint, tokenizer: Tokenizer | None) -> tuple[int, ...]:
    """The prompt's token ids, at least one."""
    config = checkpoint.config
    if request.prompt_ids is not None:
        for token in request.prompt_ids:
            if not 0 <= token < config.vocab_size:
                raise InputError(
                    f"{token} is outside the vocabulary of {config.vocab_size}", key="--prompt-ids"
                )
        ids = request.prompt_ids
    elif tokenizer is not None and request.prompt:
        ids = tuple(tokenizer.encode(request.prompt))
    else:
        ids = () if config.bos_token_id is None else (config.bos_token_id,)
    if not ids:
        raise InputError("is empty, and the model has no BOS token to begin with", key="--prompt")
    return ids


def _check_length(prompt: int, request: CosimRequest, context: int) -> None:
    """The last generated token is not fed, so it takes no position."""
    new = request.tokens
    if prompt > context:
        key = "--prompt" if request.prompt_ids is None else "--prompt-ids"
        raise InputError(f"has {prompt} tokens, the chip's context holds {context}", key=key)
    if prompt + new - 1 > context:
        raise InputError(
            f"is {new}: with the prompt's {prompt} tokens that takes {prompt + new - 1} positions, the chip's context "
            f"holds {context}",
            key="--tokens",
            hint=f"at most {context - prompt + 1} fit",
        )


def _run(job: _Job, folder: RunFolder, watcher: Watcher, rerun: str) -> RunResult:
    request, design, cache = job.request, job.design, flow.cache_folder()
    with watcher.stage("quantize") as say:
        model, quantized = flow.quantize_design(design, cache, watcher.busy)
        recipe = design.recipe
        say(
            f"{recipe.name}: {recipe.activation_bits}-bit activations, {recipe.kv_bits}-bit cache, {recipe.method}"
        )
    with watcher.stage("render") as say:
        fabric = flow.render_fabric(design, folder.subfolder("fabric"))
        say(f"{len(fabric.sources)} files, fabric {fabric.sha256[:12]}")
    with watcher.stage("etch") as say:
        rom = folder.subfolder("rom")
        images = flow.etch(design, model, rom)
        index = images.index(flow.inject(images, job.injections, rom))
        write_images_index(folder.path / IMAGES_INDEX, index)
        faults = f", {len(job.injections)} inverted for the simulator" if job.injections else ""
        say(
            f"{len(index)} images, {sum(i.size_bytes for i in index):,} bytes, rom {images.sha256[:12]}{faults}"
        )
    with watcher.stage("build") as say:
        watcher.busy("compiling the simulator, once for each fabric")
        simulator = build(fabric, request.kind, verilator=find_verilator(), cache_dir=cache)
        say(f"{'cached' if simulator.cached else 'compiled'}, {request.kind}, {job.tools['verilator']}")
    with watcher.stage("simulate") as say:
        outcome = _simulate(job, folder, simulator, len(index), quantized, watcher)
        comparison, reasons = read_comparison(folder.path)
        reasons += judge(
            comparison=comparison,
            outcome=outcome,
            planned=job.planned,
            n_layers=design.checkpoint.config.n_layers,
            context=design.context,
        )
        reasons += check_fabric(fabric, simulator)
        reasons += _deliver_dump(request, folder)
        fed = len(comparison.tokens) if comparison else 0
        say(f"{fed} tokens, {outcome.status}")
    return _result(job, fabric, images, simulator, outcome, comparison, reasons, rerun)


def _simulate(
    job: _Job, folder: RunFolder, simulator: Build, images: int, quantized: Path, watcher: Watcher
) -> SimOutcome:
    project, planned, request = job.request.project, job.planned, job.request
    config = {
        "project": str(project.root),
        "golden": project.golden.factory,
        "quantized": str(quantized),
        "images": images,
        "sequences": [
            {"prompt": planned.prompt, "new_tokens": planned.new_tokens, "stop_tokens": planned.stop_tokens}
        ],
        "dump_taps": str(folder.path / _DUMP) if request.dump_taps else None,
    }
    with watcher.text(job.tokenizer, planned.prompt) as push:

        def on_progress(event: dict[str, Any]) -> None:
            token = event.get("token_out")
            if event.get("event") == "token" and event.get("generated") is True and isinstance(token, int):
                push(token)
            elif "malformed" in event:
                log.warning("malformed progress: %s", event["malformed"])

        outcome = simulate(
            simulator,
            run_dir=folder.path,
            test_module=project.verif.tests,
            test_case=project.verif.generation,
            images_index=folder.path / IMAGES_INDEX,
            config=config,
            seed=request.seed,
            timeout_s=request.timeout_s,
            python_path=[project.root],
            on_progress=on_progress,
        )
    log.info("simulation: %s, exit code %d, %.2f s", outcome.status, outcome.exit_code, outcome.wall_s)
    for failure in outcome.failures:
        log.error("%s: %s %s", failure.name, failure.test, failure.message)
    return outcome


def _deliver_dump(request: CosimRequest, folder: RunFolder) -> list[Reason]:
    """The dump goes where it was asked for once it is complete."""
    if request.dump_taps is None:
        return []
    try:
        shutil.move(folder.path / _DUMP, request.dump_taps)
    except OSError as error:
        return [
            Reason(name="dump_missing", message=f"the testbench's taps cannot be delivered: {error.strerror}")
        ]
    return []


def _result(
    job: _Job,
    fabric: Fabric,
    images: ImageSet,
    simulator: Build,
    outcome: SimOutcome,
    comparison: Comparison | None,
    reasons: Sequence[Reason],
    rerun: str,
) -> RunResult:
    design, planned = job.design, job.planned
    checkpoint, tokens = design.checkpoint, comparison.tokens if comparison else ()
    made = generated(comparison, planned) if comparison else ()
    stopped = None
    if not reasons or (made and len(tokens) == len(planned.prompt) + len(made) - 1):
        if made and made[-1] in planned.stop_tokens:
            stopped = "stop_token"
        elif len(made) == planned.new_tokens:
            stopped = "length"
    return RunResult.model_validate(
        {
            "verdict": "FAIL" if reasons or comparison is None else "PASS",
            "reasons": reasons,
            "project": design.project.name,
            "model": ModelRecord(
                name=checkpoint.name, path=str(checkpoint.path.absolute()), sha256=checkpoint.sha256
            ),
            "recipe": RecipeRecord(
                name=design.recipe.name, sha256=design.recipe.sha256, context=design.context
            ),
            "fabric_sha256": fabric.sha256,
            "rom_sha256": images.sha256,
            "injected": tuple(injection.text for injection in job.injections),
            "tools": job.tools,
            "seed": job.request.seed,
            "prompt_tokens": planned.prompt,
            "prompt_text": _decoded(job.tokenizer, planned.prompt),
            "generated_tokens": made,
            "generated_text": _continuation(job.tokenizer, planned.prompt, made),
            "stopped_by": stopped,
            "tokens_fed": len(tokens),
            "taps_compared": comparison.vectors if comparison else 0,
            "elements_compared": comparison.elements if comparison else 0,
            "mismatches": comparison.mismatches if comparison else 0,
            "first_divergence": comparison.first_divergence if comparison else None,
            "taps": comparison.taps if comparison else (),
            "sim": _sim_record(job.request.kind, simulator, outcome, comparison),
            "rerun": rerun,
        }
    )


def _sim_record(
    kind: Kind, simulator: Build, outcome: SimOutcome, comparison: Comparison | None
) -> SimRecord:
    tokens = comparison.tokens if comparison else ()
    cycles = sum(token.cycles for token in tokens)
    parts = (comparison.sim_s, comparison.golden_s, comparison.compare_s) if comparison else (0.0, 0.0, 0.0)
    return SimRecord(
        kind=kind,
        cycles=cycles,
        cycles_per_token=cycles / len(tokens) if tokens else 0.0,
        wall_s=round(outcome.wall_s, 3),
        tokens_per_s=round(len(tokens) / outcome.wall_s, 3) if outcome.wall_s > 0 else 0.0,
        startup_s=round(max(0.0, outcome.wall_s - sum(parts)), 3),
        sim_s=round(parts[0], 3),
        golden_s=round(parts[1], 3),
        compare_s=round(parts[2], 3),
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


__all__ = ["COMPARISON_FILE", "CosimRequest", "Outcome", "Watcher", "cosim"]
