"""The key of an item: a hash of everything that decides its result. A stored result of another key is none.

What is hashed is decided by rule, not by a list of suffixes (docs/regression.md, "What a result counts for"): every
file of the project that can reach a result, every file of the engine, every file of the checkpoint and of the adapters,
the tools by content, and the item itself. Only documentation is left out, and the files that judge results anew.
"""

from __future__ import annotations

import platform
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from etchproof.errors import InputError
from etchproof.files.yaml_file import SUFFIXES
from etchproof.project.declaration import Project
from etchproof.project.sources import (
    engine_sha256,
    file_sha256,
    files_below,
    project_sha256,
    together,
    tree_sha256,
)
from etchproof.regress.spec import ItemSpec
from etchproof.run.slots import DRAWN
from etchproof.sim.environment import build_env
from etchproof.sim.identity import compiler_sha256, verilator_sha256
from etchproof.tools import find_formatter, find_verilator

_PACKAGES: Final = ("cocotb", "jinja2", "numpy", "pydantic", "pyuvm", "safetensors", "tokenizers", "torch")
"""Installed packages that compute, by version."""


def sources_sha256(project: Project) -> str:
    """Hash of what every item of a project depends on: the project's own files, the engine, the tools.

    Raises:
        InputError: a file cannot be read, or a tool is missing.
    """
    return together(
        [
            ("project", project_sha256(project)),
            ("engine", engine_sha256()),
            ("tools", _tools_sha256()),
        ]
    )


def item_key(spec: ItemSpec, sources: str) -> str:
    """What a stored result must carry to count as this item's.

    Args:
        sources: ``sources_sha256`` of the project.

    Raises:
        InputError: what the item names is missing or cannot be read.
    """
    parts = [("item", spec.model_dump_json()), ("sources", sources)]
    if spec.model is not None:
        model = Path(spec.model)
        parts.append(("model", file_sha256(model) if model.is_file() else _folder_sha256(model, "models")))
    parts += [
        ("adapter", _folder_sha256(Path(name), "adapters"))
        for name in spec.adapters
        if not name.startswith(DRAWN)
    ]
    if spec.recipe.endswith(SUFFIXES):
        parts.append(("recipe", file_sha256(Path(spec.recipe))))
    if spec.vectors is not None:
        parts.append(("vectors", file_sha256(Path(spec.vectors))))
    if spec.shape is not None and spec.shape.shape.endswith(SUFFIXES):
        parts.append(("shape", file_sha256(Path(spec.shape.shape))))
    return together(parts)


def _folder_sha256(folder: Path, key: str) -> str:
    if not folder.is_dir():
        raise InputError("is no folder", source=folder, key=key)
    return tree_sha256(files_below(folder), folder)


@lru_cache(maxsize=1)
def _tools_sha256() -> str:
    """Hash of what renders, builds and computes."""
    verilator = find_verilator()
    env = build_env(verilator)
    return together(
        [
            ("python", platform.python_version()),
            ("machine", platform.machine()),
            ("verilator", verilator_sha256(verilator, env)),
            ("compiler", compiler_sha256(env)),
            ("formatter", file_sha256(find_formatter())),
            *((name, _version(name)) for name in _PACKAGES),
        ]
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
