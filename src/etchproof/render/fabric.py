"""A fabric: the sources of one chip shape, rendered or as a team wrote them, as the simulator is built from."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Final

from pydantic import BaseModel, ConfigDict

from etchproof.errors import InputError
from etchproof.files.json_record import read_json_record
from etchproof.files.regular import read_bytes
from etchproof.render.places import place_problem

FABRIC_FILE: Final = "fabric.json"
"""Beside the folder of a fabric: what ``write_fabric`` leaves."""

_INCLUDED: Final = (".svh", ".vh")
_OF_THE_LINKER: Final = (".a", ".c", ".cc", ".cpp", ".cxx", ".o", ".so")
HEADERS: Final = (".h", ".hpp")
NATIVE: Final = (".cc", ".cpp", ".cxx", *HEADERS)
"""Suffixes of C++ that is linked into the simulator, and of its headers."""

_ENGINES_NATIVE: Final = ("ep_main", "ep_sink", "ep_sink.h")
_VERILATORS: Final = ("Vtop", "verilated")
_NAME: Final = re.compile(r"[A-Za-z_]\w*")
_WARNING: Final = re.compile(r"[A-Z][A-Z0-9]+")


@dataclass(frozen=True, slots=True)
class Setup:
    """How sources are compiled and run, beside their order.

    Attributes:
        include: folders relative to the fabric's, in which `` `include`` looks; the fabric's own comes last.
        included: sources that are only included, beside every ``.svh`` and ``.vh``.
        defines: macros by name; an empty value defines the name alone.
        parameters: of the top module, by name.
        data: files that the RTL reads while it runs: by where it looks from its working folder, the fabric's file.
        waive: warnings of Verilator that do not fail the build (``etchproof.render.sources.write_waivers``).
        native: sources in C++, which are linked into the simulator, and their headers.
    """

    include: tuple[str, ...] = ()
    included: frozenset[str] = frozenset()
    defines: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    data: Mapping[str, str] = field(default_factory=dict)
    waive: tuple[str, ...] = ()
    native: frozenset[str] = frozenset()

    @property
    def flags(self) -> tuple[str, ...]:
        """Verilator's, but for the folders."""
        defines = (f"-D{name}={value}" if value else f"-D{name}" for name, value in self.defines.items())
        parameters = (f"-G{name}={value}" for name, value in self.parameters.items())
        return (*defines, *parameters)

    def lines(self) -> list[str]:
        """What it says, for the hash; nothing for a setup that says nothing."""
        found = [f"include {name}" for name in self.include]
        found += [f"included {name}" for name in sorted(self.included)]
        found += [f"define {name}={value}" for name, value in self.defines.items()]
        found += [f"parameter {name}={value}" for name, value in self.parameters.items()]
        found += [f"data {place} {name}" for place, name in sorted(self.data.items())]
        found += [f"waive {name}" for name in sorted(self.waive)]
        return found + [f"native {name}" for name in sorted(self.native)]


@dataclass(frozen=True, slots=True)
class Fabric:
    """The sources of a simulation; ``make_fabric`` makes one.

    Attributes:
        folder: where the sources are, absolute.
        sources: every file's name relative to ``folder``, in the order of compilation; ``.vlt`` files are Verilator's
            control files.
        top: name of the top module.
        sha256: hash over the top's name, the setup, and every file's name and content; nothing else counts.
        setup: how they are compiled and run.
    """

    folder: Path
    sources: tuple[str, ...]
    top: str
    sha256: str
    setup: Setup = Setup()

    @property
    def compiled(self) -> tuple[str, ...]:
        """The sources named on Verilator's command line."""
        apart = self.setup.included | self.setup.native | set(self.setup.data.values())
        return tuple(name for name in self.sources if not name.endswith(_INCLUDED) and name not in apart)

    def hashed_now(self) -> str:
        """The hash of the files as they are now; errors as for ``make_fabric``."""
        return _sha256(self)


def place_data(fabric: Fabric, folder: Path) -> None:
    """Put the files that the RTL reads where it looks for them from ``folder``, in which the simulator runs.

    Raises:
        InputError: one cannot be read, or something else is where it has to be.
    """
    for place, name in fabric.setup.data.items():
        content = read_bytes(fabric.folder / name)
        try:
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            (folder / place).write_bytes(content)
        except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
            raise InputError(
                f"{name!r} cannot be put there: {error.strerror}", source=folder / place, key="data"
            ) from error


def write_fabric(fabric: Fabric, file: Path) -> None:
    """Write what makes a folder of files a fabric: their order, top and setup."""
    setup = fabric.setup
    file.write_text(
        _Manifest(
            sources=fabric.sources,
            top=fabric.top,
            include=setup.include,
            included=tuple(sorted(setup.included)),
            defines=dict(setup.defines),
            parameters=dict(setup.parameters),
            data=dict(setup.data),
            waive=setup.waive,
            native=tuple(sorted(setup.native)),
        ).model_dump_json(indent=1)
        + "\n",
        encoding="utf-8",
    )


def read_fabric(folder: Path, file: Path) -> Fabric:
    """The fabric of a folder by what ``write_fabric`` left; its hash is of the files as they are now.

    Raises:
        InputError: ``file`` is no such record, or as for ``make_fabric``.
    """
    found = read_json_record(file, _Manifest)
    setup = Setup(
        include=found.include,
        included=frozenset(found.included),
        defines=found.defines,
        parameters=found.parameters,
        data=found.data,
        waive=found.waive,
        native=frozenset(found.native),
    )
    return make_fabric(folder, found.sources, found.top, setup)


class _Manifest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: tuple[str, ...]
    top: str
    include: tuple[str, ...]
    included: tuple[str, ...]
    defines: dict[str, str]
    parameters: dict[str, str]
    data: dict[str, str]
    waive: tuple[str, ...]
    native: tuple[str, ...]


def make_fabric(folder: Path, sources: Iterable[str], top: str, setup: Setup | None = None) -> Fabric:
    """A fabric of the files as they are now.

    Args:
        setup: of which every file is among the sources.

    Raises:
        InputError: a source is missing, listed twice, outside the folder, or none of Verilog's; a name of the setup
            is none.
    """
    fabric = Fabric(folder.resolve(), tuple(sources), top, "", setup or Setup())
    return replace(fabric, sha256=_sha256(fabric))


def _sha256(fabric: Fabric) -> str:
    folder, names, setup = fabric.folder, fabric.sources, fabric.setup
    if not names:
        raise InputError("no sources", source=folder)
    _check(setup, names, folder)
    digest = hashlib.sha256(f"top {fabric.top}\n".encode())
    digest.update("".join(f"{line}\n" for line in setup.lines()).encode())
    for name in names:
        path = PurePosixPath(name)
        linked = path.suffix in _OF_THE_LINKER and name not in setup.native
        if path.is_absolute() or ".." in path.parts or linked:
            raise InputError(
                f"{name!r} is not a Verilog source or control file below it", source=folder, key="sources"
            )
        if names.count(name) > 1:
            raise InputError(f"{name!r} is listed twice", source=folder, key="sources")
        content = read_bytes(folder / name)
        digest.update(f"{name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def _check(setup: Setup, names: tuple[str, ...], folder: Path) -> None:
    """Refuse a setup that would say something else to Verilator than it seems to, or names files that are not there."""
    for name in (*setup.included, *setup.native, *setup.data.values()):
        if name not in names:
            raise InputError(f"{name!r} is none of the sources", source=folder, key="setup")
    _check_native(sorted(setup.native), folder)
    for key, values in (("defines", setup.defines), ("parameters", setup.parameters)):
        for name, value in values.items():
            if _NAME.fullmatch(name) is None or not value.isprintable():
                raise InputError(f"{name!r} = {value!r} cannot be said to Verilator", source=folder, key=key)
    for name in setup.waive:
        if _WARNING.fullmatch(name) is None:
            raise InputError(f"{name!r} is no warning of Verilator", source=folder, key="waive")
    for place in setup.data:
        if (problem := place_problem(place)) is not None:
            raise InputError(problem, source=folder, key="data")
    for name in (*setup.include, *setup.data):
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not name.isprintable():
            raise InputError(f"{name!r} is not below the folder", source=folder, key="setup")


def _check_native(names: Iterable[str], folder: Path) -> None:
    """Refuse what g++ does not take, or takes for another: all C++ is compiled in one folder, by name."""
    taken = set(_ENGINES_NATIVE)
    for name in names:
        path = PurePosixPath(name)
        if path.suffix not in NATIVE or re.fullmatch(r"[\w.+-]+", path.name) is None:
            raise InputError(f"{name!r} is no C++ source or header", source=folder, key="native")
        made = path.name if path.suffix in HEADERS else path.stem
        if made in taken or made.startswith(_VERILATORS):
            raise InputError(
                f"{name!r} has the name of other C++ in the simulator",
                source=folder,
                key="native",
                hint="rename it: all C++ is compiled in one folder",
            )
        taken.add(made)
