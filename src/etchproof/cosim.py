"""Co-simulation: a checkpoint, a recipe and a prompt in; every tap of every token compared; a verdict out."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from etchproof import flow
from etchproof.checkpoint import Tokenizer
from etchproof.compare import COMPARISON_FILE, Comparison
from etchproof.errors import InputError
from etchproof.images import ImageSet
from etchproof.profile import ChildPeak, make_profile
from etchproof.quantized import QuantizedModel
from etchproof.request import CosimRequest, Job, check, draw_model
from etchproof.result import ModelRecord, Reason, RecipeRecord, RunResult, SimRecord
from etchproof.run_folder import RunFolder, claim, log
from etchproof.sim.build import Build, Kind, build
from etchproof.sim.fabric import Fabric
from etchproof.sim.golden import GoldenSource
from etchproof.sim.images import write_images_index
from etchproof.sim.run import SimOutcome, simulate
from etchproof.tools import find_verilator
from etchproof.verdict import check_fabric, generated, judge, read_comparison
from etchproof.watcher import StageClock, Watcher

IMAGES_INDEX: Final = "images.index"
_DUMP: Final = "taps.npz"


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
        config = job.design.checkpoint.config
        layers = f"{config.n_layers} layer{'s' if config.n_layers > 1 else ''}"
        say(f"{config.name}: {layers}, hidden {config.hidden_size}, vocabulary {config.vocab_size}")
    folder = claim(request.out, f"{config.name}-{job.design.recipe.name}")
    try:
        rerun = rerun_command(job.planned.prompt)
        folder.write_rerun(rerun)
        log.info("rerun: %s", rerun)
        log.info("tools: %s", job.tools)
        log.info("recipe: %s", _described(job))
        result = _run(job, folder, clock, begun, rerun)
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


def _described(job: Job) -> str:
    """The recipe in a line, with what random weights changed in it."""
    recipe, asked = job.design.recipe, job.asked
    method = recipe.method if recipe.method == asked.method else f"{recipe.method} in place of {asked.method}"
    random = ", calibrated on random tokens" if recipe.calibration.source == "random" else ""
    widths = f"{recipe.activation_bits}-bit activations, {recipe.kv_bits}-bit cache"
    return f"{recipe.name}: {widths}, {method}{random}"


def _run(job: Job, folder: RunFolder, watcher: StageClock, begun: float, rerun: str) -> RunResult:
    request, design, cache = job.request, job.design, flow.cache_folder()
    with watcher.stage("quantize") as say:
        model = flow.quantize_design(design, cache, watcher.busy)
        say(_described(job))
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
        with ChildPeak(simulator.executable) if request.profile else contextlib.nullcontext() as peak:
            outcome = _simulate(job, folder, simulator, len(index), model, watcher)
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
    result = _result(job, fabric, images, simulator, outcome, comparison, reasons, rerun)
    if peak is not None:
        total_s = time.perf_counter() - begun
        profile = make_profile(watcher.stages_s, total_s, result.sim, peak.peak_bytes)
        result = result.model_copy(update={"profile": profile})
    return result


def _simulate(
    job: Job, folder: RunFolder, simulator: Build, images: int, model: QuantizedModel, watcher: Watcher
) -> SimOutcome:
    project, planned, request = job.request.project, job.planned, job.request
    config = {
        "project": str(project.root),
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
            golden=GoldenSource(job.design.plan, lambda: flow.make_golden(job.design, model).session()),
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
    job: Job,
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
                name=design.recipe.name,
                sha256=design.recipe.sha256,
                context=design.context,
                method=design.recipe.method,
                calibration=design.recipe.calibration.source,
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
    sim_s, wait_s = (comparison.sim_s, comparison.wait_s) if comparison else (0.0, 0.0)
    return SimRecord(
        kind=kind,
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


__all__ = ["COMPARISON_FILE", "CosimRequest", "Outcome", "Watcher", "cosim"]
