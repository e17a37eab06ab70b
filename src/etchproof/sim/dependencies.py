"""What a build read: sources that were not copied into it are in no hash, so nothing may read them."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from etchproof.tools import Verilator

_SOURCE: Final = re.compile(r'S\s.*"(?P<path>[^"]+)"')
_WORD: Final = re.compile(r"(?:\\.|[^\s\\])+")


def foreign(work: Path, built: Path, native: Sequence[Path], verilator: Verilator) -> list[Path]:
    """Files that a build read from outside of its own folder, the tools' and the system's.

    Args:
        work: the build's folder, with everything that was copied into it.
        built: where Verilator and make wrote.
        native: the project's C++.
    """
    tools = [Path(sys.prefix), Path(sys.base_prefix), Path("/usr")]
    tools += [] if verilator.root is None else [verilator.root]
    if (compiler := shutil.which("g++")) is not None:
        tools.append(Path(compiler).resolve().parents[1])
    own = [os.path.realpath(folder) for folder in (work, *tools)]
    found = {*_verilated(built), *(path for file in native for path in _compiled(built / f"{file.stem}.d"))}
    places = {os.path.realpath(built / path) for path in found}
    return [
        Path(place) for place in sorted(places) if not any(Path(place).is_relative_to(one) for one in own)
    ]


def _verilated(built: Path) -> Iterator[str]:
    """What Verilator read, as it lists it; relative paths start from the folder of the sources."""
    for file in built.glob("*__verFiles.dat"):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            if (match := _SOURCE.match(line)) is not None and os.path.isabs(match["path"]):
                yield match["path"]


def _compiled(file: Path) -> Iterator[str]:
    """What the compiler read, of its list in the words of make."""
    if file.is_file():
        text = file.read_text(encoding="utf-8", errors="replace").replace("\\\n", " ")
        for word in _WORD.findall(text.partition(":")[2]):
            yield word.replace("\\", "").rstrip(":")
