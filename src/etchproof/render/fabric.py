"""A fabric: the rendered and hand-written sources of one chip shape, as the simulator is built from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from etchproof.errors import InputError
from etchproof.files.regular import read_bytes

_COMPILED = (".sv", ".v", ".vlt")
_INCLUDED = (".svh", ".vh")


@dataclass(frozen=True, slots=True)
class Fabric:
    """The sources of a simulation; ``make_fabric`` makes one.

    Attributes:
        folder: where the sources are, absolute.
        sources: their names relative to ``folder``, in the order of compilation; ``.vlt`` files are Verilator's
            control files, ``.svh`` and ``.vh`` are found by include.
        top: name of the top module.
        sha256: hash over the top's name and every source's name and content; nothing else counts.
    """

    folder: Path
    sources: tuple[str, ...]
    top: str
    sha256: str

    @property
    def compiled(self) -> tuple[str, ...]:
        """The sources named on Verilator's command line."""
        return tuple(name for name in self.sources if name.endswith(_COMPILED))


def make_fabric(folder: Path, sources: Iterable[str], top: str) -> Fabric:
    """A fabric of the files as they are now.

    Raises:
        InputError: a source is missing, listed twice, outside the folder, or of no known kind.
    """
    names = tuple(sources)
    folder = folder.resolve()
    return Fabric(folder=folder, sources=names, top=top, sha256=fabric_sha256(folder, names, top))


def fabric_sha256(folder: Path, sources: tuple[str, ...], top: str) -> str:
    """The hash of a fabric; errors as for ``make_fabric``."""
    if not sources:
        raise InputError("no sources", source=folder)
    digest = hashlib.sha256(f"top {top}\n".encode())
    for name in sources:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or path.suffix not in _COMPILED + _INCLUDED:
            raise InputError(
                f"{name!r} is not a SystemVerilog source or control file below it",
                source=folder,
                key="sources",
            )
        if sources.count(name) > 1:
            raise InputError(f"{name!r} is listed twice", source=folder, key="sources")
        content = read_bytes(folder / name)
        digest.update(f"{name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()
