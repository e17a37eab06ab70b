"""The project's own Python, imported from its root, and held to what its results are hashed with."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from etchproof.errors import InputError
from etchproof.project import reading
from etchproof.project.declaration import Project, load_project
from etchproof.project.sources import project_files


def hashed_files(root: Path) -> set[Path]:
    """``project_files`` of the project in a folder."""
    return project_files(load_project(root))


def load_object(project: Project, name: str, *, key: str | None = None) -> Any:
    """Imports ``module:attribute`` from the project's root, which is put first on ``sys.path`` once.

    Args:
        project: whose root the import starts from.
        name: a value of its ``etchproof.toml``, such as ``project.golden.factory``.
        key: the key that the value stands under ("golden.factory"), for the message.

    Raises:
        InputError: there is no such module or attribute, importing it failed, or the module came from another folder.
    """
    module_name, _, attribute = name.partition(":")
    if not attribute:
        raise InputError(f"{name!r} is not of the form 'module:attribute'", source=project.file, key=key)
    found: Any = _import(project, module_name, name, key)
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            raise InputError(
                f"{name!r}: {module_name} has no {attribute!r}", source=project.file, key=key
            ) from error
    return found


def load_module(project: Project, name: str, *, key: str | None = None) -> ModuleType:
    """Imports a module from the project's root; arguments and errors as for ``load_object``."""
    return _import(project, name, name, key)


def _import(project: Project, name: str, value: str, key: str | None) -> ModuleType:
    """Imports module ``name``; ``value`` is what the project's file says."""
    reading.watch(project.root, hashed_files)
    root = str(project.root)
    if root not in sys.path:
        sys.path.insert(0, root)
    try:
        module = importlib.import_module(name)
    except InputError:
        raise
    except Exception as error:
        # A project's file may fail in any way; the line names the place, the cause keeps the traceback.
        place = traceback.extract_tb(error.__traceback__)[-1]
        own = Path(place.filename).is_relative_to(project.root)
        what = type(error).__name__ + (f" at {place.filename}:{place.lineno}" if own else "")
        raise InputError(
            f"{value!r} cannot be imported: {what}: {error}", source=project.file, key=key
        ) from error
    _check_origin(project, module, value, key)
    return module


def _check_origin(project: Project, module: ModuleType, value: str, key: str | None) -> None:
    """Refuses a namesake: ``models`` already imported from, or shadowed by, another project."""
    top = project.root / module.__name__.partition(".")[0]
    own = top.is_dir() or top.with_suffix(".py").is_file()
    origin = getattr(module, "__file__", None)  # a module of the interpreter has none
    if own and origin is not None and not Path(origin).resolve().is_relative_to(project.root):
        raise InputError(
            f"{value!r} was imported from {origin}, not from this project",
            source=project.file,
            key=key,
            hint="one process serves one project",
        )
