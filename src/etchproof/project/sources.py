"""What a result is made from, by content: the project's files that can reach it, and the engine's.

What counts is decided by rule, not by a list of suffixes (docs/regression.md, "What a result counts for").
"""

from __future__ import annotations

import ast
import hashlib
import importlib.machinery
import os
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from etchproof.errors import InputError
from etchproof.files.regular import open_regular
from etchproof.project.declaration import Project
from etchproof.project.filelist import read_lists

ENGINE: Final = Path(__file__).resolve().parents[1]
"""The package's folder."""

_IMPORTERS: Final = frozenset(
    {"import_module", "__import__", "run_module", "run_path", "spec_from_file_location"}
)
_CARRIED: Final = frozenset({"_reference", "_examples"})
_BLOCK_BYTES: Final = 1 << 22
_DOCUMENTATION: Final = frozenset({".md", ".rst"})
_DOCUMENTS: Final = ("LICENSE", "NOTICE", "COPYING")
_PATTERN: Final = frozenset("*?[")
_LEFT_OUT: Final = frozenset({"__pycache__", ".git"})


def project_sha256(project: Project) -> str:
    """Hash of ``project_files``.

    Raises:
        InputError: a file cannot be read.
    """
    return tree_sha256(project_files(project), project.root)


def engine_sha256() -> str:
    """Hash of the engine's own files, but for the projects that an installation carries beside them.

    Raises:
        InputError: a file cannot be read.
    """
    own = (path for path in files_below(ENGINE) if path.relative_to(ENGINE).parts[0] not in _CARRIED)
    return tree_sha256(own, ENGINE)


def project_files(project: Project) -> set[Path]:
    """Every file of a project that can reach a result.

    These are ``etchproof.toml``; each module that one of its keys names, whole packages with whatever lies in them, and
    what those import from the project's root; each file and folder that a key names; and what lists of RTL name. The
    four files of ``[signoff]`` judge results and make none: sign-off reads them anew each time.
    """
    found, seen = {project.file}, set[str]()
    for text in _texts(project):
        found |= _module_files(project.root, text.partition(":")[0].partition(".")[0], seen)
        for path in named(project.root, text):
            found |= set(files_below(path)) if path.is_dir() else {path}
    if project.rtl.filelist:
        listed = read_lists(project)
        found |= {*listed.files, *listed.testbench, *listed.read}
        found |= {path for folder in listed.include for path in files_below(folder)}
    signoff = project.signoff
    judges = (signoff.testplan, signoff.gates, signoff.waivers, signoff.exclusions)
    return found - {project.root / name for name in judges}


def named(root: Path, text: str) -> list[Path]:
    """The files and folders that a text names, a path or a pattern; what a pattern finds is sorted by name."""
    path = root / text  # an absolute one stays as it is
    if path.is_dir() or path.is_file():
        return [path]
    if not _PATTERN & set(text):
        return []
    fixed = Path(*takewhile(lambda part: not _PATTERN & set(part), path.parts))
    return sorted(
        found for found in fixed.glob(str(path.relative_to(fixed))) if found.is_dir() or found.is_file()
    )


def files_below(folder: Path) -> Iterator[Path]:
    """Every file below a folder, also through links to folders, but documentation, caches and version control's own."""
    yield from _files_below(folder, ())


def _files_below(folder: Path, above: tuple[str, ...]) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in above:
        return  # a link to a folder that it lies in: nothing there is new
    for path in sorted(folder.iterdir()):
        if path.name in _LEFT_OUT:
            continue
        if path.is_dir():
            yield from _files_below(path, (*above, real))
        elif path.is_file() and not is_documentation(path):
            yield path


def is_documentation(path: Path) -> bool:
    """Whether a file explains and decides nothing."""
    if path.suffix.lower() in _DOCUMENTATION:
        return True
    return path.stem.upper() in _DOCUMENTS and path.suffix.lower() in ("", ".txt")


def tree_sha256(paths: Iterable[Path], root: Path) -> str:
    """Hash of files: their paths below ``root``, or as they are, and their contents.

    Raises:
        InputError: one cannot be read.
    """

    def name(path: Path) -> str:
        return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)

    return together((name(path), file_sha256(path)) for path in sorted(paths))


def _texts(record: BaseModel) -> Iterator[str]:
    """Every text in the project's file, whatever its key: a key that is new to us names files all the same."""
    for name in type(record).model_fields:
        value: Any = getattr(record, name)
        if isinstance(value, BaseModel):
            yield from _texts(value)
        values = value if isinstance(value, tuple) else (value,)
        for text in value.values() if isinstance(value, dict) else values:
            if isinstance(text, str) and text:
                yield text


def _module_files(root: Path, name: str, seen: set[str]) -> set[Path]:
    """The files of a module or package at the root, and of those at the root that it imports."""
    if name in seen:
        return set()
    seen.add(name)
    package = root / name
    modules = {root / f"{name}{suffix}" for suffix in importlib.machinery.all_suffixes()}
    found = {path for path in modules if path.is_file()}  # compiled ones too
    if package.is_dir():
        found |= set(files_below(package))
    for path in list(found):
        if path.suffix == ".py":
            for imported in _imports(path, root):
                found |= _module_files(root, imported, seen)
    return found  # none of a module that is installed


def _imports(path: Path, root: Path) -> set[str]:
    """First names of what a module imports. A relative import stays in its package, which is hashed whole.

    Of an import by a name that is only known when the module runs, every module and package at the root may be meant.
    """
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
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in _IMPORTERS:
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                names.add(first.value.partition(".")[0])
            else:
                names |= {entry.name.partition(".")[0] for entry in root.iterdir() if _importable(entry)}
    return names - {""}


def _importable(path: Path) -> bool:
    if path.is_dir():
        return path.name.isidentifier() and any(path.glob("*.py"))
    return path.name.endswith(tuple(importlib.machinery.all_suffixes()))


def file_sha256(path: Path) -> str:
    """Hash of a file; one that has not changed is read once.

    Raises:
        InputError: it cannot be read.
    """
    try:
        seen = path.stat()
        return _file_sha256(
            os.path.realpath(path), seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns
        )
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", source=path) from error


@lru_cache(maxsize=4096)
def _file_sha256(path: str, *_stat: int) -> str:
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def together(parts: Iterable[tuple[str, str]]) -> str:
    """Hash of named texts, in order; no two lists of them have one."""
    digest = hashlib.sha256()
    for name, what in parts:
        digest.update(f"{name} {len(what)}\n{what}\n".encode())
    return digest.hexdigest()
