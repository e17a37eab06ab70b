"""What lists of RTL name, gathered in order; whatever cannot be taken is refused with its place in the list."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from etchproof.errors import InputError, shown

CPP: Final = (".cc", ".cpp", ".cxx", ".h", ".hpp")
"""Suffixes of C++ that is linked into the simulator, and of its headers."""

HEADERS: Final = (".svh", ".vh")
"""Suffixes of what is only included: a fabric compiles none (``etchproof.render.fabric``)."""

_LINKED: Final = (".a", ".c", ".o", ".so")
_NAME: Final = re.compile(r"[A-Za-z_]\w*")
_MOST_LISTS: Final = 1000
_MOST: Final = 100_000  # of everything else that lists name


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: a file, and the line or key in it."""

    source: Path
    key: str

    def refuse(self, problem: str, hint: str | None = None) -> InputError:
        """The error to raise about what stands here."""
        return InputError(problem, source=self.source, key=self.key, hint=hint)


@dataclass(slots=True)
class Listed:
    """What the lists of a project name. Paths are relative to the root and have no "..".

    Attributes:
        root: the project's folder, without links.
        files: what is compiled, in order; the first mention of a file counts. The values mean nothing.
        testbench: C++ and its headers, likewise.
        include: folders of included files, likewise.
        defines: macros.
        parameters: of the top module.
        lists: the lists that were read, absolute.
    """

    root: Path
    files: dict[str, None] = field(default_factory=dict)
    testbench: dict[str, None] = field(default_factory=dict)
    include: dict[str, None] = field(default_factory=dict)
    defines: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    lists: list[Path] = field(default_factory=list)
    _count: int = 0

    def begin(self, path: Path, where: Place) -> None:
        """Note that a list is read, which ``where`` names.

        Raises:
            InputError: there are too many.
        """
        self.lists.append(path)
        if len(self.lists) > _MOST_LISTS:
            raise where.refuse(f"the lists that this one belongs to are more than {_MOST_LISTS:,}")

    def add_file(self, base: Path, text: str, where: Place, hint: str | None = None) -> None:
        """Take a file whose path starts from ``base``.

        Args:
            hint: what to do about it if it is not there.

        Raises:
            InputError: it is not there, lies outside the project, or is nothing that is compiled.
        """
        path = self.place_of(base, text)
        if not os.path.isfile(path):  # unlike Path.is_file, of any text
            raise where.refuse(f"{shown(text)} is no file", hint)
        if path.suffix in HEADERS:
            raise where.refuse(
                f"{shown(text)} is a header by its suffix, and would be compiled for itself",
                "say that it is included (+incdir+ of its folder; in EDAM is_include_file), or give it the suffix .sv",
            )
        if path.suffix in _LINKED:
            raise where.refuse(f"{shown(text)} is neither Verilog nor C++", f"C++ is {', '.join(CPP)}")
        kind = self.testbench if path.suffix in CPP else self.files
        kind[self._name(path, text, where)] = None

    def add_include(self, base: Path, text: str, where: Place) -> None:
        """Take a folder of included files, whose path starts from ``base``.

        Raises:
            InputError: it is not there, or lies outside the project.
        """
        path = self.place_of(base, text)
        if not os.path.isdir(path):
            raise where.refuse(f"{shown(text)} is no folder")
        self.include[self._name(path, text, where)] = None

    def define(self, name: str, value: str, where: Place) -> None:
        """Take a macro; an empty value defines the name alone.

        Raises:
            InputError: it is no macro, or has another value already.
        """
        self._give(self.defines, "macro", name, value, where)

    def set_parameter(self, name: str, value: str, where: Place) -> None:
        """Take a parameter of the top module; errors as for ``define``."""
        self._give(self.parameters, "parameter", name, value, where)

    def _give(self, values: dict[str, str], kind: str, name: str, value: str, where: Place) -> None:
        self._counted(where)
        if _NAME.fullmatch(name) is None or not value.isprintable():
            raise where.refuse(f"{shown(name)} = {shown(value)} is no {kind}")
        if (known := values.setdefault(name, value)) != value:
            raise where.refuse(
                f"{kind} {name} is {shown(value)} here and {shown(known)} before", "give it one value"
            )

    def place_of(self, base: Path, text: str) -> Path:
        """Where a path leads, without ".."; into the project, it is written below the root."""
        path = base / text
        flat = Path(os.path.normpath(path))
        if ".." in path.parts and without_links(flat) != without_links(path):
            flat = without_links(path)  # ".." after a link
        if not flat.is_relative_to(self.root) and (real := without_links(flat)).is_relative_to(self.root):
            return real
        return flat

    def _name(self, path: Path, text: str, where: Place) -> str:
        self._counted(where)
        if not path.is_relative_to(self.root):
            raise where.refuse(
                f"{shown(text)} is {str(path)!r}, which lies outside the project",
                "put etchproof.toml into a folder above it",
            )
        return path.relative_to(self.root).as_posix()

    def _counted(self, where: Place) -> None:
        self._count += 1
        if self._count > _MOST:
            raise where.refuse(f"the lists name more than {_MOST:,} files, folders and values")


def without_links(path: Path) -> Path:
    """A path without links. One that no file can have, or whose links go in a circle, raises nothing."""
    try:
        return Path(os.path.realpath(path))
    except ValueError:  # NUL
        return path
