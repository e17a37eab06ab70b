"""What a command works on: a project; a checkpoint folder, or a shape in its place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from etchproof.errors import InputError
from etchproof.project.declaration import PROJECT_FILE, Project, current_folder, find_project, load_project

_GGUF: Final = ".gguf"


def check_source(model: Path | None, shape: str | None, of_shape: Mapping[str, int | None]) -> None:
    """Refuse both and neither.

    Args:
        model: MODEL_DIR.
        shape: ``--shape``.
        of_shape: the options that say something of a shape, by name.

    Raises:
        InputError: naming the option that does not belong.
    """
    if shape is not None and model is not None:
        raise InputError("stands beside MODEL_DIR", key="--shape", hint="give one of them")
    if shape is None:
        for key, value in of_shape.items():
            if value is not None:
                raise InputError("stands without --shape", key=key, hint="a checkpoint is taken as it is")
        if model is None:
            raise InputError(
                "is missing", key="MODEL_DIR", hint="name a checkpoint folder, a GGUF file, or a --shape"
            )


def choose_project(named: Path | None, *data: Path | None) -> Project:
    """The project that ``--project`` names, else the one around the current folder, else the reference chip.

    Args:
        named: ``--project``.
        data: MODEL_DIR, adapters, folders of results: a project found from inside of one of them is refused.

    Raises:
        InputError: there is none, it is not valid, or it may have come with data; or the current folder is unusable.
    """
    current_folder()
    if named is not None:
        return load_project(named)
    return find_project(data=[_folder(path) for path in data if path is not None])


def _folder(path: Path) -> Path:
    """What may have come together: a folder of data; of a file, its folder where that one is a project's."""
    beside = path.parent / PROJECT_FILE
    return path.parent if path.suffix.lower() == _GGUF and beside.is_file() else path


def check_takes_shapes(project: Project, shape: str | None) -> None:
    """Refuse a shape where models are of the project's own kind.

    Raises:
        InputError: naming the option.
    """
    if shape is not None and project.model is not None:
        raise InputError(
            "stands with a project that loads models of its own kind", key="--shape", hint="name a model"
        )
