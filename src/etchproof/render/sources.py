"""A team's own RTL, taken as it is: files named by patterns, copied byte for byte."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Final

from etchproof.errors import InputError
from etchproof.project.declaration import Project
from etchproof.project.filelist import with_lists
from etchproof.project.sources import named
from etchproof.render.fabric import NATIVE, Setup

_WAIVERS: Final = "ep_waived.vlt"


def matched(root: Path, patterns: Sequence[str | Path], *, source: Path, key: str) -> list[Path]:
    """The files of each pattern, in the order of the patterns; those of one pattern by name, none twice.

    Args:
        root: what relative patterns start from.
        source: the file that names the patterns, for the message; ``key`` likewise.

    Raises:
        InputError: a pattern matches no file.
    """
    found: dict[Path, None] = {}
    for pattern in map(str, patterns):
        here = [path for path in named(root, pattern) if path.is_file()]
        if not here:
            raise InputError(f"{pattern!r} names no file below {str(root)!r}", source=source, key=key)
        found |= dict.fromkeys(here)
    return list(found)


def copy_as_they_are(files: Sequence[Path], root: Path, out: Path) -> list[str]:
    """Copy files; each keeps its path below ``root``, and one from elsewhere its name.

    Returns:
        Their names below ``out``, in the same order.

    Raises:
        InputError: two files would have one name.
    """
    names: list[str] = []
    for path in files:
        name = copied_name(path, root)
        if name in names or (out / name).exists():
            raise InputError(f"{name!r} is there twice", source=root)
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(path.read_bytes())  # an error of copyfile names the file that was read
        names.append(name)
    return names


def copied_name(path: Path, root: Path) -> str:
    """The name of a file's copy in a fabric: its path below ``root``, or its name where it lies elsewhere."""
    return (path.relative_to(root) if path.is_relative_to(root) else Path(path.name)).as_posix()


def testbench_names(project: Project) -> frozenset[str]:
    """The names, in a fabric, of what ``[rtl] testbench`` names.

    Raises:
        InputError: a pattern matches no file.
    """
    found = matched(project.root, with_lists(project).testbench, source=project.file, key="rtl.testbench")
    return frozenset(copied_name(path, project.root) for path in found)


def simulation_names(project: Project) -> frozenset[str]:
    """The names, in a fabric, of the project's own that is not synthesized: ``sim/`` of ``[rtl] hw``, the testbench.

    Raises:
        InputError: as ``testbench_names``.
    """
    hw = project.hw_dir
    apart = () if hw is None else (hw / "sim").glob("*.sv")
    return testbench_names(project) | {path.name for path in apart}


def _included(root: Path, folders: Sequence[str], source: Path) -> list[Path]:
    """The files of folders of included files, and the headers in folders below them.

    Of the root itself only its own files are taken: below it lies everything.

    Raises:
        InputError: a folder holds none.
    """
    found: dict[Path, None] = {}
    for folder in folders:
        below = () if PurePath(folder) == PurePath() else (f"{folder}/**/*.svh", f"{folder}/**/*.vh")
        patterns = (f"{folder}/*", *below)
        here = [path for pattern in patterns for path in named(root, pattern) if path.is_file()]
        if not here:
            raise InputError(f"{folder!r} holds no file to include", source=source, key="include")
        found |= dict.fromkeys(here)
    return list(found)


def write_waivers(out: Path, warnings: Sequence[str], names: Sequence[str]) -> list[str]:
    """Write the control file that lets warnings of Verilator pass in some files of a fabric, and in no other.

    What the engine adds around a chip stays strict: a pin that is missing or of another width would not be compared.

    Returns:
        The file's name, which has to be compiled first; nothing where nothing is waived.
    """
    if not warnings:
        return []
    (out / _WAIVERS).write_text(lint_off(warnings, names), encoding="utf-8")
    return [_WAIVERS]


def lint_off(warnings: Sequence[str | None], names: Sequence[str]) -> str:
    """A control file of Verilator that lets warnings pass in some files of a fabric.

    Args:
        warnings: None stands for all that Verilator calls lint.
    """
    rules = ["" if warning is None else f"-rule {warning} " for warning in warnings]
    patterns = [re.sub(r"[^\w./+-]", "?", name) for name in names]
    lines = [f'lint_off {rule}-file "*{pattern}"' for rule in rules for pattern in patterns]
    return "\n".join(["`verilator_config", *lines, ""])


def take(
    root: Path,
    out: Path,
    *,
    files: Sequence[str | Path],
    testbench: Sequence[str] = (),
    include: Sequence[str] = (),
    data: Mapping[str, str] | None = None,
    source: Path,
) -> tuple[list[str], Setup]:
    """Copy RTL and what it needs into a fabric's folder.

    Args:
        root: what the paths start from.
        files: patterns of what is compiled, in order.
        testbench: likewise, of what is compiled after it: SystemVerilog, and C++ that is linked into the simulator.
        include: folders of included files; of the folders below them, headers are taken (``.svh``, ``.vh``).
        data: files that the RTL reads while it runs, by where it looks.
        source: the file that names all this, for messages.

    Returns:
        The names of the copies in the order of compilation, and the setup that says which are included or read.

    Raises:
        InputError: something is not there, or would have the name of another.
    """
    compiled = matched(root, [*files], source=source, key="files")
    around = [
        path for path in matched(root, testbench, source=source, key="testbench") if path not in compiled
    ]
    native = {path for path in around if path.suffix in NATIVE}
    compiled += around
    included = [path for path in _included(root, include, source) if path not in compiled]
    places = data or {}
    read = {place: matched(root, [name], source=source, key="data") for place, name in places.items()}
    for place, found in read.items():
        if len(found) > 1:
            raise InputError(f"{places[place]!r} names several files", source=source, key="data")
    apart = {path: None for (path,) in read.values() if path not in (*compiled, *included)}
    names = copy_as_they_are([*compiled, *included, *apart], root, out)
    name_of = dict(zip([*compiled, *included, *apart], names, strict=True))
    return names, Setup(
        include=tuple(include),
        included=frozenset(name_of[path] for path in included),
        data={place: name_of[path] for place, (path,) in read.items()},
        native=frozenset(name_of[path] for path in native),
    )
