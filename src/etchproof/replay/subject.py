"""What a replay is of, made again: the model, its chip's plan, the adapters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from etchproof.errors import InputError
from etchproof.project.declaration import Project
from etchproof.regress.spec import ItemSpec
from etchproof.run import flow, slots
from etchproof.run.design import Design, Loaded
from etchproof.run.request import CosimRequest, Job, check
from etchproof.run.slots import DRAWN, LoadedAdapter
from etchproof.run.watcher import Watcher


@dataclass(frozen=True)
class Subject:
    """What a replay is of.

    Attributes:
        spec: as the record says it, its paths absolute.
        job: the run as ``cosim`` would be asked for it; what it feeds is not that of the replay.
        model: as the project's functions get it.
        loaded: the adapters of the run, by their index.
    """

    spec: ItemSpec
    job: Job
    model: Any
    loaded: tuple[LoadedAdapter, ...]

    @property
    def project(self) -> Project:
        return self.job.request.project

    @property
    def design(self) -> Design:
        return self.job.design


def make_subject(
    project: Project,
    spec: ItemSpec,
    injected: tuple[str, ...],
    model_sha256: str,
    fed: int | NDArray[np.int64],
    vectors_file: Path,
    timeout_s: float,
    watcher: Watcher,
) -> Subject:
    """Make again what a run was of.

    Args:
        injected: faults that only the simulator sees.
        model_sha256: of the model that ran.
        fed: a token that it was fed, or all vectors.
        vectors_file: gets the vectors, where there are any.

    Raises:
        InputError: something is missing, or is not what it was.
    """
    if not isinstance(fed, int):
        np.save(vectors_file, fed)
    request = CosimRequest(
        project=project,
        model_dir=None if spec.model is None else Path(spec.model),
        random_model=None if spec.shape is None else spec.shape.random_model,
        recipe=spec.recipe or None,
        prompt=None,
        prompt_ids=(fed,) if isinstance(fed, int) else None,
        vectors=None if isinstance(fed, int) else vectors_file,
        tokens=1,
        inject=injected,
        seed=spec.seed,
        kind="fast" if spec.kind in ("waves", "coverage") else spec.kind,
        timeout_s=timeout_s,
        context=spec.context,
        adapters=tuple(Path(name) for name in spec.adapters if not name.startswith(DRAWN)),
    )
    with watcher.stage("import") as say:
        if request.random_model is not None:
            random, shapes = request.random_model, project.shapes_dir
            model_dir, _ = flow.draw(random.config(shapes), random.seed, flow.cache_folder())
        else:
            assert request.model_dir is not None
            model_dir = request.model_dir
        job = check(request, model_dir)
        if job.design.source.sha256 != model_sha256:
            raise InputError("is not the model of the run any more", source=model_dir)
        say(str(job.design.source))
    model = flow.etched_model(job.design, flow.cache_folder(), watcher, job.asked)
    if spec.corners is not None:
        model = flow.corner_weights(job.design, model, spec.corners)
    loaded: tuple[LoadedAdapter, ...] = ()
    if spec.adapters and not isinstance(job.design.source, Loaded):
        cached = flow.quantized_folder(flow.cache_folder())
        loaded = slots.run_adapters(job.design, model, spec.adapters, spec.seed, cached)
    return Subject(
        spec, replace(job, request=replace(request, model_dir=model_dir, random_model=None)), model, loaded
    )
