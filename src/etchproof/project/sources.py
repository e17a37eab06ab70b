"""What a result is made from, by content: the project's files that can reach it, and the engine's.

What counts is decided by rule, not by a list of suffixes (docs/regression.md, "What a result counts for").
"""

from __future__ import annotations

import ast
import hashlib
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import sys
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
_INSTALLED: Final = frozenset({"site-packages", "dist-packages"})
_OF_THE_INSTALLER: Final = frozenset({"INSTALLER", "REQUESTED", "direct_url.json"})
_LEFT_OUT: Final = frozenset({"__pycache__", ".git"})


def project_sha256(project: Project) -> str:
    """Hash of ``project_files``, and of the installed packages that its modules import.

    Raises:
        InputError: a file cannot be read.
    """
    files, installed = _found(project)
    return together([("files", tree_sha256(files, project.root)), *installed.items()])


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
    what those import from the project's root or from other folders of source, such as an editable installation; each
    file and folder that a key names; and what lists of RTL name. The files that
    judge results make none: sign-off and qualification read them anew each time.
    """
    return _found(project)[0]


def _found(project: Project) -> tuple[set[Path], dict[str, str]]:
    """The files of ``project_files``, and the installed packages by name, each as its installation tells of it."""
    found, modules = {project.file}, _Modules(project.root)
    for text in _texts(project):
        name, colon, _ = text.partition(":")
        modules.take(name.partition(".")[0], code=bool(colon) or text in project.verif.tests)
        for path in named(project.root, text):
            found |= set(files_below(path)) if path.is_dir() else {path}
    if project.rtl.filelist:
        listed = read_lists(project)
        found |= {*listed.lists, *(project.root / name for name in (*listed.files, *listed.testbench))}
        found |= {path for folder in listed.include for path in files_below(project.root / folder)}
    signoff = project.signoff
    judges = (signoff.testplan, signoff.gates, signoff.waivers, signoff.exclusions, project.qualify.survivors)
    found |= modules.files
    return found - {project.root / name for name in judges}, dict(sorted(modules.installed.items()))


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


class _Modules:
    """Modules and packages, with all that they import, but for the interpreter's and the engine's.

    Attributes:
        files: those at the root, and in other folders of source; packages are whole.
        installed: the others, by name: what the installation wrote of their files.
    """

    def __init__(self, root: Path) -> None:
        self.files: set[Path] = set()
        self.installed: dict[str, str] = {}
        self._root = root
        self._seen: set[str] = set()

    def take(self, name: str, *, code: bool = True) -> None:
        """One by its first name; of a text that may be no name of code, only one at the root."""
        if name in self._seen:
            return
        found = self._in(self._root, name)
        if not found and not code:
            return
        self._seen.add(name)
        if not found:
            found = self._elsewhere(name)
        self.files |= found
        for path in found:
            if path.suffix == ".py":
                for imported in _imports(path, self._root):
                    self.take(imported)

    def _in(self, folder: Path, name: str) -> set[Path]:
        package = folder / name
        modules = {folder / f"{name}{suffix}" for suffix in importlib.machinery.all_suffixes()}
        found = {path for path in modules if path.is_file()}  # compiled ones too
        return found | set(files_below(package)) if package.is_dir() else found

    def _elsewhere(self, name: str) -> set[Path]:
        """The files of a module that is not at the root; none of one that is installed."""
        if name == ENGINE.name or name in sys.stdlib_module_names:
            return set()
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            return set()  # importing it fails, and says so
        if spec is None:
            return set()
        places = list(spec.submodule_search_locations or ()) or [spec.origin or ""]
        if all(_INSTALLED & set(Path(place).parts) for place in places) and (said := _installation(name)):
            self.installed[name] = said
            return set()
        return {
            path
            for place in map(Path, places)
            for path in (files_below(place) if place.is_dir() else [place])
            if path.is_file()
        }


@lru_cache(maxsize=256)
def _installation(name: str) -> str:
    """The list of files with their hashes that pip wrote when it installed a package."""
    try:
        record = importlib.metadata.distribution(name).read_text("RECORD") or ""
        if f"\n{name}/" in record or f"\n{name}." in record:
            return without_the_place(record)
    except importlib.metadata.PackageNotFoundError:
        pass  # it came with one of another name
    names = importlib.metadata.packages_distributions().get(name, [])  # reads those of all
    records = (importlib.metadata.distribution(one) for one in sorted(set(names)))
    return "\n".join(
        without_the_place(record.read_text("RECORD") or "") or record.version for record in records
    )


def without_the_place(record: str) -> str:
    """A list of installed files without those that tell where and how they were installed.

    Scripts, whose first line names the interpreter, lie outside of the packages' folder; compiled modules and the list
    itself have no hash.

    Args:
        record: as the specification "Recording installed projects" has it: path, hash and size in a line.
    """
    kept = []
    for line in record.splitlines():
        path, _, rest = line.partition(",sha256=")
        if rest and not path.startswith("..") and Path(path).name not in _OF_THE_INSTALLER:
            kept.append(line)
    return "\n".join(kept)


def _imports(path: Path, root: Path) -> set[str]:
    """First names of what a module imports. A relative import stays in its package, which is hashed whole.

    Of an import by a name that is only known when the module runs, every module and package at the root may be meant.
    """
    try:
        seen = path.stat()
    except OSError:
        return set()
    found, any_module = _imported(path, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)
    names = set(found)
    if any_module:
        names |= {entry.name.partition(".")[0] for entry in root.iterdir() if _importable(entry)}
    return names - {""}


@lru_cache(maxsize=4096)
def _imported(path: Path, *_stat: int) -> tuple[frozenset[str], bool]:
    """First names of what a module imports, and whether it imports by a name that only running it tells."""
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except (OSError, SyntaxError, ValueError):
        return frozenset(), False  # importing it fails, and says so; its own content is hashed
    names, any_module = set(), False
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
                any_module = True
    return frozenset(names), any_module


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
