"""One item of a regression: made ready, run, judged, recorded."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from etchproof import flow
from etchproof.coverage.verilator import COVERAGE_FILE, read
from etchproof.errors import InputError
from etchproof.expect import Generation
from etchproof.flow import Design
from etchproof.project import PROJECT_FILE, Project, load_project
from etchproof.regress.spec import ItemSpec
from etchproof.result import Reason
from etchproof.sim.build import Kind
from etchproof.sim.rewrites import Rewrites
from etchproof.slots import DRAWN, LoadedAdapter, plan_run, run_adapters
from etchproof.testrun import Chip, prepare, run_test

ITEM_FILE: Final = "item.json"
CHIPS_FOLDER: Final = "chips"
ITEMS_FOLDER: Final = "items"
CODE_COVERAGE_FILE: Final = "coverage.npz"
_SOURCES: Final = (".py", ".cpp", ".sv", ".svh", ".j2", ".toml", ".yaml", ".vlt", ".rules")


class ItemAdapter(BaseModel):
    """An adapter of a run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    sha256: str


class ItemSequence(BaseModel):
    """The accepted tokens of a sequence; ``adapter`` is an index of the run's, None for the base alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    adapter: int | None
    tokens: tuple[int, ...]


class ItemResult(BaseModel):
    """``item.json``, written last and in one step: no file, no result.

    Attributes:
        key: hash of the item and of everything that it depends on; a result of another key is none.
        reasons: why it is no PASS; empty exactly when it is.
        adapters: of the run.
        rewrites: what Etchproof changed in the simulator's C++; None for a simulator as Verilator wrote it.
        sequences: with them every tap can be computed again.
        statuses: how often each status was answered.
        answers: to tokens, and to loads that the host did not stall.
        in_cycles: of them, those that took exactly the cycles that the cycle model says.
        rerun: the command that repeats the run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    test: str
    key: str
    verdict: Literal["PASS", "FAIL"]
    reasons: tuple[Reason, ...]
    seed: int
    kind: Kind
    rewrites: Rewrites | None
    model_name: str
    checkpoint_sha256: str
    recipe_name: str
    recipe_sha256: str
    context: int
    fabric_sha256: str
    rom_sha256: str
    adapters: tuple[ItemAdapter, ...]
    sequences: tuple[ItemSequence, ...]
    statuses: dict[int, int]
    vectors: int
    elements: int
    answers: int
    in_cycles: int
    cycles: int
    wall_s: float
    rerun: str

    @property
    def base_sequences(self) -> tuple[tuple[int, ...], ...]:
        """The tokens of those without an adapter."""
        return tuple(sequence.tokens for sequence in self.sequences if sequence.adapter is None)


def sources_sha256(project: Project) -> str:
    """Hash of the project's and the engine's sources: when one changes, results of before are no results."""
    engine = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for root in (project.root, engine):
        for path in sorted(_sources(root, project)):
            content = path.read_bytes()
            digest.update(f"{path.relative_to(root)} {len(content)}\n".encode())
            digest.update(content)
    return digest.hexdigest()


def _sources(root: Path, project: Project) -> Iterator[Path]:
    if root != project.root:
        yield from (
            path for path in root.rglob("*") if path.suffix in _SOURCES and "_reference" not in path.parts
        )
        return
    yield root / PROJECT_FILE
    packages = {
        name.partition(":")[0].partition(".")[0] for name in (project.golden.factory, *project.verif.tests)
    }
    folders = {project.chip.hw, project.chip.templates, project.recipes.path, project.shapes.path, *packages}
    signoff = project.signoff  # judges results, and changes none
    judges = {root / name for name in (signoff.testplan, signoff.gates, signoff.waivers, signoff.exclusions)}
    seen = {path for folder in folders for path in (root / folder).rglob("*") if path.suffix in _SOURCES}
    yield from seen - judges


def item_key(spec: ItemSpec, sources: str) -> str:
    """What a stored result must carry to count as this item's."""
    text = spec.model_dump_json() + sources + (_folder_sha256(spec.model) if spec.model else "")
    text += "".join(_folder_sha256(name) for name in spec.adapters if not name.startswith(DRAWN))
    if spec.recipe.endswith((".yaml", ".yml")) and Path(spec.recipe).is_file():
        text += hashlib.sha256(Path(spec.recipe).read_bytes()).hexdigest()
    return hashlib.sha256(text.encode()).hexdigest()


@lru_cache(maxsize=16)
def _folder_sha256(folder: str) -> str:
    """Hash of the files of a checkpoint's or an adapter's folder."""
    digest = hashlib.sha256()
    for path in sorted(Path(folder).glob("*")):
        if path.suffix in (".json", ".safetensors"):
            with path.open("rb") as file:
                digest.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def read_item(folder: Path, key: str) -> ItemResult | None:
    """The stored result of an item, None where there is none, or it is another's."""
    try:
        result = ItemResult.model_validate_json((folder / ITEM_FILE).read_bytes())
    except (OSError, ValidationError):
        return None
    return result if result.key == key else None


def rerun_command(spec: ItemSpec, project: Project, folder: Path) -> str:
    """The command that repeats an item from anywhere."""
    script = Path(sys.executable).with_name("etchproof")
    words = [str(script)] if script.is_file() else [sys.executable, "-m", "etchproof"]
    words += ["test", spec.test]
    if spec.model is not None:
        words.append(spec.model)
    elif spec.shape is not None:
        words += [f"--shape={spec.shape.shape}", f"--random-weights={spec.shape.weights}"]
        words += [f"--layers={spec.shape.layers}"] if spec.shape.layers is not None else []
        words += [f"--vocab={spec.shape.vocab}"] if spec.shape.vocab is not None else []
    words += [
        f"--project={project.root}",
        f"--recipe={spec.recipe}",
        f"--seed={spec.seed}",
        f"--build={spec.kind}",
    ]
    words += [f"--adapter={name}" for name in spec.adapters]
    words += [f"--corners={spec.corners}"] if spec.corners is not None else []
    words += [f"--context={spec.context}"] if spec.context is not None else []
    words += [f"--prompt={spec.prompt}", f"--tokens={spec.tokens}"] if spec.prompt is not None else []
    words += [f"--directed={folder / DIRECTED_FILE}"] if spec.directed else []
    words.append(f"--timeout={spec.timeout_s:g}")
    return shlex.join(words)


DIRECTED_FILE: Final = "directed.json"


def make_design(spec: ItemSpec, project: Project) -> Design:
    """The checkpoint or shape of an item under its recipe.

    Raises:
        InputError: it cannot be.
    """
    recipe = flow.read_recipe(project, spec.recipe)
    if spec.shape is None:
        assert spec.model is not None
        return flow.plan_design(project, Path(spec.model), recipe, spec.context)
    random = spec.shape.random_model
    config = random.config(project.shapes_dir)
    folder, _ = flow.draw(config, random.seed, flow.cache_folder())
    return flow.plan_design(project, folder, recipe.for_random_weights(), spec.context)


@lru_cache(maxsize=2)
def _chip(project_root: Path, chip_spec: ItemSpec, out: Path) -> Chip:
    """A chip that this process made ready; kept for the items that follow on it."""
    project = load_project(project_root)
    label = hashlib.sha256(chip_spec.model_dump_json().encode()).hexdigest()[:12]
    folder = out / CHIPS_FOLDER / f"{label}-{os.getpid()}"
    shutil.rmtree(folder, ignore_errors=True)
    design = make_design(chip_spec, project)
    return prepare(design, folder, chip_spec.kind, flow.cache_folder(), corners=chip_spec.corners)


def chip_of(spec: ItemSpec, project: Project, out: Path) -> Chip:
    """The chip of an item, made ready at most once in this process."""
    blank: dict[str, Any] = {
        "name": "",
        "test": "",
        "seed": 1,
        "prompt": None,
        "tokens": 1,
        "directed": (),
        "adapters": (),
        "timeout_s": 1.0,
    }
    return _chip(project.root, spec.model_copy(update=blank), out)


def test_config(spec: ItemSpec, design: Design, adapters: Sequence[LoadedAdapter]) -> dict[str, Any]:
    """What the test is told; one that generates runs the base, each adapter and swaps between them."""
    config: dict[str, Any] = {"directed": [list(tokens) for tokens in spec.directed]} if spec.directed else {}
    if spec.prompt is not None or spec.test == design.project.verif.generation:
        checkpoint = design.checkpoint.config
        if spec.prompt:
            prompt: Sequence[int] = design.checkpoint.tokenizer().encode(spec.prompt)
        else:
            prompt = [checkpoint.bos_token_id or 0]
        new = min(spec.tokens, design.context - len(prompt) + 1)
        if new < 1:
            raise InputError(
                f"has {len(prompt)} tokens, the chip's context holds {design.context}",
                source=spec.name,
                key="prompt",
            )
        generation = Generation(tuple(prompt), new, checkpoint.eos_token_ids)
        quantized = [adapter.quantized for adapter in adapters]
        planned = plan_run(generation, quantized, design.recipe.lora.slots)
        config["sequences"] = [asdict(sequence) for sequence in planned.sequences]
    return config


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
    adapters = run_adapters(
        chip.design, chip.model, spec.adapters, spec.seed, flow.quantized_folder(flow.cache_folder())
    )
    run = run_test(
        chip,
        spec.test,
        folder,
        seed=spec.seed,
        config=test_config(spec, chip.design, adapters),
        adapters=adapters,
        timeout_s=spec.timeout_s,
    )
    tokens = run.comparison.tokens if run.comparison else ()
    timed = run.comparison.timed if run.comparison else ()
    counts = run.comparison.sequences if run.comparison else ()
    opened = {count.sequence: count.adapter for count in counts}
    sequences: dict[int, list[int]] = {}
    statuses: dict[int, int] = {}
    for token in tokens:
        statuses[token.status] = statuses.get(token.status, 0) + 1
        if token.status == 0:
            sequences.setdefault(token.sequence, []).append(token.token_in)
    reasons = [*run.reasons, *_keep_coverage(spec, folder)]
    design = chip.design
    result = ItemResult(
        name=spec.name,
        test=spec.test,
        key=key,
        verdict="FAIL" if reasons else "PASS",
        reasons=tuple(reasons),
        seed=spec.seed,
        kind=spec.kind,
        rewrites=chip.build.rewrites,
        model_name=design.checkpoint.name,
        checkpoint_sha256=design.checkpoint.sha256,
        recipe_name=design.recipe.name,
        recipe_sha256=design.recipe.sha256,
        context=design.context,
        fabric_sha256=chip.fabric.sha256,
        rom_sha256=chip.images.sha256,
        adapters=tuple(
            ItemAdapter(name=adapter.quantized.name, sha256=adapter.quantized.sha256) for adapter in adapters
        ),
        sequences=tuple(
            ItemSequence(adapter=opened.get(number), tokens=tuple(found))
            for number, found in sorted(sequences.items())
        ),
        statuses=statuses,
        vectors=run.comparison.vectors if run.comparison else 0,
        elements=run.comparison.elements if run.comparison else 0,
        answers=len(timed),
        in_cycles=sum(answer.cycles == answer.cycles_model for answer in timed),
        cycles=sum(token.cycles for token in tokens),
        wall_s=round(time.monotonic() - started, 3),
        rerun=rerun,
    )
    partial = folder / f".{ITEM_FILE}"
    partial.write_text(result.model_dump_json(indent=1), encoding="utf-8")
    partial.replace(folder / ITEM_FILE)
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
