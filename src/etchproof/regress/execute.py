"""One item of a regression: made ready, run, judged, recorded."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from etchproof.checkpoint.prompt import open_tokenizer
from etchproof.coverage.verilator import COVERAGE_FILE, read
from etchproof.errors import InputError
from etchproof.files.atomic import write_atomically
from etchproof.host.stimulus import read_vectors
from etchproof.project.declaration import Project, load_project
from etchproof.regress.item import (
    CODE_COVERAGE_FILE,
    DIRECTED_FILE,
    ITEM_FILE,
    ItemAdapter,
    ItemResult,
    derived,
    files_sha256,
    read_item,
)
from etchproof.regress.prompt import generates, generation_of
from etchproof.regress.spec import ItemSpec
from etchproof.regress.subject import keep_subject
from etchproof.run import flow
from etchproof.run.design import Design, Quantized
from etchproof.run.slots import LoadedAdapter, plan_run, run_adapters
from etchproof.run.streams import stream_facts
from etchproof.run.testrun import Chip, Etched, etch, read_readback, run_test, state, with_simulator
from etchproof.sim.run import SimOutcome
from etchproof.tools import own_command
from etchproof.verdict.judge import judge, read_comparison
from etchproof.verdict.result import Reason

CHIPS_FOLDER: Final = "chips"
ITEMS_FOLDER: Final = "items"


def rerun_command(spec: ItemSpec, project: Project, folder: Path) -> str:
    """The command that repeats an item from anywhere."""
    words = [*own_command(), "test", spec.test]
    if spec.model is not None:
        words.append(spec.model)
    elif spec.shape is not None:
        words += [f"--shape={spec.shape.shape}", f"--random-weights={spec.shape.weights}"]
        words += [f"--layers={spec.shape.layers}"] if spec.shape.layers is not None else []
        words += [f"--vocab={spec.shape.vocab}"] if spec.shape.vocab is not None else []
    words += [
        f"--project={project.root}",
        *([f"--recipe={spec.recipe}"] if spec.recipe else []),
        f"--seed={spec.seed}",
        f"--build={spec.kind}",
    ]
    words += [f"--adapter={name}" for name in spec.adapters]
    words += [f"--corners={spec.corners}"] if spec.corners is not None else []
    words += [f"--context={spec.context}"] if spec.context is not None else []
    words += [f"--prompt={spec.prompt}", f"--tokens={spec.tokens}"] if spec.prompt is not None else []
    if spec.prompt_ids is not None:
        words += [f"--prompt-ids={','.join(map(str, spec.prompt_ids))}", f"--tokens={spec.tokens}"]
    words += [f"--directed={folder / DIRECTED_FILE}"] if spec.directed else []
    words += [f"--vectors={spec.vectors}"] if spec.vectors is not None else []
    words.append(f"--timeout={spec.timeout_s:g}")
    return shlex.join(words)


def make_design(spec: ItemSpec, project: Project) -> Design:
    """The model of an item, a Llama under its recipe.

    Raises:
        InputError: it cannot be.
    """
    if spec.shape is None:
        assert spec.model is not None
        return flow.make_design(project, Path(spec.model), spec.recipe, spec.context)
    recipe = flow.read_recipe(project, spec.recipe)
    random = spec.shape.random_model
    config = random.config(project.shapes_dir)
    folder, _ = flow.draw(config, random.seed, flow.cache_folder())
    return flow.plan_design(project, folder, recipe.for_random_weights(), spec.context)


@lru_cache(maxsize=4)
def _etched(project_root: Path, chip: ItemSpec, out: Path) -> Etched:
    """A chip that this process rendered and etched; kept for the items that follow on it."""
    project = load_project(project_root)
    label = hashlib.sha256(chip.model_dump_json().encode()).hexdigest()[:12]
    folder = out / CHIPS_FOLDER / f"{label}-{os.getpid()}"
    shutil.rmtree(folder, ignore_errors=True)
    design = make_design(chip, project)
    return etch(design, folder, flow.cache_folder(), corners=chip.corners)


def chip_spec(spec: ItemSpec) -> ItemSpec:
    """What decides an item's chip."""
    blank: dict[str, Any] = {
        "name": "",
        "test": "",
        "seed": 1,
        "prompt": None,
        "prompt_ids": None,
        "tokens": 1,
        "directed": (),
        "vectors": None,
        "adapters": (),
        "timeout_s": 1.0,
    }
    return spec.model_copy(update={**blank, "kind": "fast"})


def etched_of(spec: ItemSpec, project: Project, out: Path) -> Etched:
    """The chip of an item without its simulator, made at most once in this process.

    Raises:
        InputError: it cannot be made.
    """
    return _etched(project.root, chip_spec(spec), out)


def chip_of(spec: ItemSpec, project: Project, out: Path) -> Chip:
    """The chip of an item; errors as of ``etched_of``, and those of a build."""
    return with_simulator(etched_of(spec, project, out), spec.kind, flow.cache_folder())


def test_config(spec: ItemSpec, design: Design, adapters: Sequence[LoadedAdapter]) -> dict[str, Any]:
    """What the test is told; one that generates runs the base, each adapter and swaps between them."""
    config: dict[str, Any] = {"directed": [list(tokens) for tokens in spec.directed]} if spec.directed else {}
    if spec.vectors is not None:
        facts = stream_facts(design)
        assert facts is not None
        config["vectors"] = read_vectors(Path(spec.vectors), facts).tolist()
    if generates(spec, design.project):
        if isinstance(design.source, Quantized):
            checkpoint = design.checkpoint
            tokenizer = open_tokenizer(checkpoint, needed=bool(spec.prompt))
            generation = generation_of(spec, design.inputs, checkpoint.config, tokenizer)
        else:
            generation = generation_of(spec, design.inputs)
        quantized = [adapter.quantized for adapter in adapters]
        planned = plan_run(generation, quantized, design.slots)
        config["sequences"] = [asdict(sequence) for sequence in planned.sequences]
    return config


def stored_item(spec: ItemSpec, project: Project, out: Path, folder: Path, key: str) -> ItemResult | str:
    """A stored result that counts for a resumed regression, or why the item has to run.

    Beside what ``read_item`` asks, a result that passed must be of the chip as it is rendered and etched now, and the
    judge must find no reason in its comparison.

    Raises:
        InputError: its chip cannot be made.
    """
    found = read_item(folder, spec, key)
    if isinstance(found, str) or found.verdict != "PASS":
        return found
    chip = etched_of(spec, project, out)
    if found.checkpoint_sha256 != chip.design.source.sha256:
        return "its model was another one"
    if found.fabric_sha256 != chip.fabric.sha256:
        return "it ran another fabric"
    if found.rom_sha256 != chip.images.sha256:
        return "it ran other ROM contents"
    adapters = adapters_of(spec, chip)
    config = test_config(spec, chip.design, adapters)
    expectation, reasons = state(chip, spec.test, config, adapters, spec.seed)
    comparison, unreadable = read_comparison(folder)
    reasons += unreadable
    passed = SimOutcome("passed", 0, (spec.test,), (), 0.0, folder, folder)  # as its item says
    reasons += judge(
        comparison=comparison,
        outcome=passed,
        expectation=expectation,
        taps=chip.design.taps,
        context=chip.design.context,
        readback=read_readback(folder),
    )
    return f"{reasons[0].name}: {reasons[0].message}" if reasons else found


def adapters_of(spec: ItemSpec, chip: Etched) -> tuple[LoadedAdapter, ...]:
    cache = flow.quantized_folder(flow.cache_folder())
    return run_adapters(chip.design, chip.model, spec.adapters, spec.seed, cache)


def run_item(spec: ItemSpec, project: Project, out: Path, folder: Path, key: str) -> ItemResult:
    """Run an item and leave its result in ``folder``, which is emptied first.

    Raises:
        InputError: its chip cannot be made.
    """
    started = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / DIRECTED_FILE).write_text(json.dumps(spec.directed), encoding="utf-8")
    rerun = rerun_command(spec, project, folder)
    (folder / "rerun.sh").write_text(f'#!/bin/sh\nexec {rerun} "$@"\n', encoding="utf-8")
    chip = chip_of(spec, project, out)
    adapters = adapters_of(spec, chip)
    run = run_test(
        chip,
        spec.test,
        folder,
        seed=spec.seed,
        config=test_config(spec, chip.design, adapters),
        adapters=adapters,
        timeout_s=spec.timeout_s,
    )
    reasons = [*run.reasons, *_keep_coverage(spec, folder)]
    design = chip.design
    recipe = design.source.recipe if isinstance(design.source, Quantized) else None
    result = ItemResult(
        name=spec.name,
        test=spec.test,
        key=key,
        verdict="FAIL" if reasons else "PASS",
        reasons=tuple(reasons),
        seed=spec.seed,
        kind=spec.kind,
        rewrites=chip.build.rewrites,
        model_name=design.source.name,
        checkpoint_sha256=design.source.sha256,
        recipe_name="" if recipe is None else recipe.name,
        recipe_sha256="" if recipe is None else recipe.sha256,
        context=design.context,
        fabric_sha256=chip.fabric.sha256,
        rom_sha256=chip.images.sha256,
        adapters=tuple(
            ItemAdapter(name=adapter.quantized.name, sha256=adapter.quantized.sha256) for adapter in adapters
        ),
        wall_s=round(time.monotonic() - started, 3),
        files=files_sha256(folder),
        rerun=rerun,
        **derived(run.comparison),
    )
    if result.verdict == "FAIL":
        keep_subject(folder, spec, design)
    write_atomically(folder / ITEM_FILE, result.model_dump_json(indent=1))
    return result


def _keep_coverage(spec: ItemSpec, folder: Path) -> list[Reason]:
    """What a coverage build counted, made small; the reason why there is none."""
    if spec.kind != "coverage":
        return []
    written = folder / COVERAGE_FILE
    try:
        coverage = read(written)
    except InputError as error:
        return [Reason(name="coverage_missing", message=str(error))]
    coverage.save(folder / CODE_COVERAGE_FILE)
    written.unlink()
    if not coverage.counts.any():
        return [Reason(name="coverage_missing", message=f"{COVERAGE_FILE} counts nothing")]
    return []
