"""The key of an item: a hash of everything that decides its result. A stored result of another key is none.

What is hashed is decided by rule, not by a list of suffixes (docs/regression.md, "What a result counts for"): every
file of the project that can reach a result, every file of the engine, every file of the checkpoint and of the adapters,
the tools by content, and the item itself. Only documentation is left out, and the files that judge results anew.
"""

from __future__ import annotations

import ast
import hashlib
import platform
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from etchproof.errors import InputError
from etchproof.project import Project
from etchproof.regress.spec import ItemSpec
from etchproof.sim.environment import build_env
from etchproof.sim.identity import compiler_sha256, file_sha256, verilator_sha256
from etchproof.slots import DRAWN
from etchproof.tools import find_formatter, find_verilator
from etchproof.yaml_file import SUFFIXES

ENGINE: Final = Path(__file__).resolve().parents[1]
"""The package's folder."""

_DOCUMENTATION: Final = frozenset({".md", ".rst"})
_DOCUMENTS: Final = ("LICENSE", "NOTICE", "COPYING")
_LEFT_OUT: Final = frozenset({"__pycache__", ".git", "_reference"})
_PACKAGES: Final = ("cocotb", "jinja2", "numpy", "pydantic", "pyuvm", "safetensors", "tokenizers", "torch")
"""Installed packages that compute, by version."""


def sources_sha256(project: Project) -> str:
    """Hash of what every item of a project depends on: the project's own files, the engine, the tools.

    Raises:
        InputError: a file cannot be read, or a tool is missing.
    """
    return _together(
        [
            ("project", tree_sha256(project_files(project), project.root)),
            ("engine", tree_sha256(files_below(ENGINE), ENGINE)),
            ("tools", _tools_sha256()),
        ]
    )


def project_files(project: Project) -> set[Path]:
    """Every file of a project that can reach a result.

    These are ``etchproof.toml``; each module that one of its keys names, whole packages with whatever lies in them, and
    what those import from the project's root; and each file and folder that a key names. The four files of
    ``[signoff]`` judge results and make none: sign-off reads them anew each time.
    """
    found, seen = {project.file}, set[str]()
    for text in _texts(project):
        found |= _module_files(project.root, text.partition(":")[0].partition(".")[0], seen)
        path = project.root / text
        if path.is_dir():
            found |= set(files_below(path))
        elif path.is_file():
            found.add(path)
    signoff = project.signoff
    judges = (signoff.testplan, signoff.gates, signoff.waivers, signoff.exclusions)
    return found - {project.root / name for name in judges}


def files_below(folder: Path) -> Iterator[Path]:
    """Every file below a folder but documentation, caches and what version control keeps."""
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder).parts
        if not _LEFT_OUT & set(inside) and path.is_file() and not is_documentation(path):
            yield path


def is_documentation(path: Path) -> bool:
    """Whether a file explains and decides nothing."""
    return path.suffix.lower() in _DOCUMENTATION or path.name.upper().startswith(_DOCUMENTS)


def tree_sha256(paths: Iterable[Path], root: Path) -> str:
    """Hash of files: their paths below ``root``, or as they are, and their contents.

    Raises:
        InputError: one cannot be read.
    """

    def name(path: Path) -> str:
        return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)

    return _together((name(path), file_sha256(path)) for path in sorted(paths))


def item_key(spec: ItemSpec, sources: str) -> str:
    """What a stored result must carry to count as this item's.

    Args:
        sources: ``sources_sha256`` of the project.

    Raises:
        InputError: what the item names is missing or cannot be read.
    """
    parts = [("item", spec.model_dump_json()), ("sources", sources)]
    if spec.model is not None:
        parts.append(("model", _folder_sha256(Path(spec.model), "models")))
    parts += [
        ("adapter", _folder_sha256(Path(name), "adapters"))
        for name in spec.adapters
        if not name.startswith(DRAWN)
    ]
    if spec.recipe.endswith(SUFFIXES):
        parts.append(("recipe", file_sha256(Path(spec.recipe))))
    if spec.shape is not None and spec.shape.shape.endswith(SUFFIXES):
        parts.append(("shape", file_sha256(Path(spec.shape.shape))))
    return _together(parts)


def _folder_sha256(folder: Path, key: str) -> str:
    if not folder.is_dir():
        raise InputError("is no folder", source=folder, key=key)
    return tree_sha256(files_below(folder), folder)


def _texts(record: BaseModel) -> Iterator[str]:
    """Every text in the project's file, whatever its key: a key that is new to us names files all the same."""
    for name in type(record).model_fields:
        value: Any = getattr(record, name)
        if isinstance(value, BaseModel):
            yield from _texts(value)
        for text in value if isinstance(value, tuple) else (value,):
            if isinstance(text, str) and text:
                yield text


def _module_files(root: Path, name: str, seen: set[str]) -> set[Path]:
    """The files of a module or package at the root, and of those at the root that it imports."""
    if name in seen:
        return set()
    seen.add(name)
    package, module = root / name, root / f"{name}.py"
    if package.is_dir():
        found = set(files_below(package))
    elif module.is_file():
        found = {module}
    else:
        return set()  # installed, not the project's
    for path in list(found):
        if path.suffix == ".py":
            for imported in _imports(path):
                found |= _module_files(root, imported, seen)
    return found


def _imports(path: Path) -> set[str]:
    """First names of what a module imports. A relative import stays in its package, which is hashed whole."""
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except (OSError, SyntaxError, ValueError):
        return set()  # importing it fails, and says so; its own content is hashed
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


@lru_cache(maxsize=1)
def _tools_sha256() -> str:
    """Hash of what renders, builds and computes."""
    verilator = find_verilator()
    env = build_env(verilator)
    return _together(
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


def _together(parts: Iterable[tuple[str, str]]) -> str:
    digest = hashlib.sha256()
    for name, what in parts:
        digest.update(f"{name} {len(what)}\n{what}\n".encode())
    return digest.hexdigest()
