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
from etchproof.regress.execute import make_design
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


def make_again(folder: Path, project: Project, watcher: Watcher) -> Again:
    """What the run in a folder was of.

    Raises:
        InputError: the folder is no failed run of the project, or its model is another one now.
    """
    file, subject = folder / SUBJECT_FILE, read_subject(folder, project)
    spec = subject.spec
    with watcher.stage("import") as say:
        design = make_design(spec, project)
        say(str(design.source))
    if design.source.sha256 != subject.model_sha256:
        raise InputError(
            f"{str(design.source.path)!r} is another model than the one that ran",
            source=file,
            key="model_sha256",
        )
    model = flow.etched_model(design, flow.cache_folder(), watcher)
    if spec.corners is not None:
        model = flow.corner_weights(design, model, spec.corners)
    cache = flow.quantized_folder(flow.cache_folder())
    loaded = run_adapters(design, model, spec.adapters, spec.seed, cache)
    return Again(design, model, tuple(adapter.quantized for adapter in loaded))
