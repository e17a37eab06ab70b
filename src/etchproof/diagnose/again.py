"""What a failed run was of, made again from the folder that it left."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etchproof.errors import InputError
from etchproof.files.json_record import read_json_record
from etchproof.files.regular import exists
from etchproof.project.declaration import Project
from etchproof.quantize.quantized_model import QuantizedAdapter
from etchproof.regress.execute import chip_spec, make_design
from etchproof.regress.spec import ItemSpec
from etchproof.regress.subject import SUBJECT_FILE, Subject
from etchproof.run import flow
from etchproof.run.design import Design
from etchproof.run.slots import run_adapters
from etchproof.run.watcher import Watcher


@dataclass(frozen=True)
class Again:
    """What a run was of, made again.

    Attributes:
        model: as the project's functions get it.
        adapters: of the run, by their index.
    """

    design: Design
    model: Any
    adapters: tuple[QuantizedAdapter, ...]


def read_subject(folder: Path, project: Project) -> Subject:
    """What the run in a folder says that it was of.

    Raises:
        InputError: the folder is no failed run of the project.
    """
    file = folder / SUBJECT_FILE
    if not exists(file):
        raise InputError(
            "is no folder of a failed run", source=folder, key="RUN", hint=f"it has no {file.name}"
        )
    subject = read_json_record(file, Subject, strict=True)
    if subject.project != project.name:
        raise InputError(
            f"is {subject.project!r}, the project is {project.name!r}",
            source=file,
            key="project",
            hint="say --project DIR",
        )
    return subject


Known = dict[ItemSpec, tuple[Design, Any]]
"""Models that were made, by what decides them."""


def make_again(folder: Path, project: Project, watcher: Watcher, known: Known | None = None) -> Again:
    """What the run in a folder was of.

    Args:
        known: models of other runs, made again before; this one is added.

    Raises:
        InputError: the folder is no failed run of the project, or its model is another one now.
    """
    subject = read_subject(folder, project)
    spec, known = subject.spec, {} if known is None else known
    chip = chip_spec(spec)
    if chip not in known:
        known[chip] = _model(spec, project, watcher)
    design, model = known[chip]
    if design.source.sha256 != subject.model_sha256:
        raise InputError(
            f"{str(design.source.path)!r} is another model than the one that ran",
            source=folder / SUBJECT_FILE,
            key="model_sha256",
        )
    cache = flow.quantized_folder(flow.cache_folder())
    loaded = run_adapters(design, model, spec.adapters, spec.seed, cache)
    return Again(design, model, tuple(adapter.quantized for adapter in loaded))


def _model(spec: ItemSpec, project: Project, watcher: Watcher) -> tuple[Design, Any]:
    with watcher.stage("import") as say:
        design = make_design(spec, project)
        say(str(design.source))
    model = flow.etched_model(design, flow.cache_folder(), watcher)
    return design, model if spec.corners is None else flow.corner_weights(design, model, spec.corners)
