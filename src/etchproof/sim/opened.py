"""The files that the RTL read while it ran, as the sink listed them (``native/ep_sink.cpp``)."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from etchproof.sim.results import Failure


def check_reading(
    opened: Path, memories: Mapping[str, tuple[int, int]], data: Collection[str]
) -> tuple[Failure, ...]:
    """What is wrong with the files that the simulator opened, by any of their names, and with what they went into.

    Args:
        opened: the list, in the run's folder; it is removed.
        memories: words, and bits of each, of the files that the RTL has to read.
        data: files that it may read.
    """
    lines = opened.read_text(encoding="utf-8", errors="replace").splitlines() if opened.exists() else []
    opened.unlink(missing_ok=True)

    def place(name: str) -> str:
        return os.path.realpath(opened.parent / name)

    read = dict[str, str]()
    filled: dict[str, list[_Filled]] = defaultdict(list)  # by array
    for line in lines:
        kind, _, rest = line.partition(" ")
        if kind == "file":
            read[place(rest)] = rest
        else:
            array, depth, first, last, bits, name = rest.split(" ", 5)
            filled[array].append(_Filled(place(name), int(depth), int(first), int(last), int(bits)))
    known = {place(name): name for name in (*memories, *data)}
    unread = sorted(name for name in memories if place(name) not in read)
    strange = sorted(name for where, name in read.items() if where not in known)
    found = []
    if unread:
        found.append(Failure("memory_unread", "", f"the RTL did not read {_some(unread)}"))
    if strange:
        message = f"the RTL read {_some(strange)}, which neither [rtl] data nor [rom] memories names"
        found.append(Failure("undeclared_file", "", message))
    shapes = {place(name): (name, *shape) for name, shape in memories.items()}
    in_arrays = {one.where for arrays in filled.values() for one in arrays}
    apart = sorted(name for where, (name, *_) in shapes.items() if where in read and where not in in_arrays)
    wrong = {problem for arrays in filled.values() if (problem := _misshapen(arrays, shapes))}
    if apart:
        wrong.add(f"{_some(apart)} is not read by $readmemh into an array of a size")
    return (*found, *(Failure("memory_shape", "", problem) for problem in sorted(wrong)))


@dataclass(frozen=True)
class _Filled:
    """Rows of an array that a file fills."""

    where: str
    depth: int
    first: int
    last: int
    bits: int


def _misshapen(arrays: Sequence[_Filled], shapes: Mapping[str, tuple[str, int, int]]) -> str | None:
    """What is wrong with how memories fill an array; None where nothing is, or no memory does."""
    names = []
    for one in arrays:
        if one.where not in shapes:
            continue
        name, words, bits = shapes[one.where]
        rows = one.last - one.first + 1
        if words != rows or bits > one.bits:
            has = f"{name} has {words:,} words of {bits} bits"
            return f"{has}, the RTL's array takes {rows:,} of {one.bits} bits"
        names.append(name)
    filled, end = 0, 0
    for one in sorted(arrays, key=lambda one: one.first):
        filled += max(0, one.last + 1 - max(one.first, end))
        end = max(end, one.last + 1)
    if names and filled != arrays[0].depth:
        return f"{_some(names)} fills {filled:,} of the {arrays[0].depth:,} rows of the RTL's array"
    return None


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
