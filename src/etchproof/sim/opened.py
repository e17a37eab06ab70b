"""The files that the RTL read while it ran, as the sink listed them (``native/ep_sink.cpp``)."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
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
    arrays = set[tuple[str, int, int]]()
    for line in lines:
        kind, _, rest = line.partition(" ")
        if kind == "file":
            read[place(rest)] = rest
        else:
            rows, width, name = rest.split(" ", 2)
            arrays.add((place(name), int(rows), int(width)))
    known = {place(name): name for name in (*memories, *data)}
    unread = sorted(name for name in memories if place(name) not in read)
    strange = sorted(name for where, name in read.items() if where not in known)
    found = []
    if unread:
        found.append(Failure("memory_unread", "", f"the RTL did not read {_some(unread)}"))
    if strange:
        message = f"the RTL read {_some(strange)}, which neither [rtl] data nor [rom] memories names"
        found.append(Failure("undeclared_file", "", message))
    for where, depth, bits in sorted(arrays):
        words, word_bits = memories.get(known.get(where, ""), (depth, bits))
        if words != depth or word_bits > bits:
            message = (
                f"{known[where]} has {words:,} words of {word_bits} bits, "
                f"the RTL's array takes {depth:,} of {bits} bits"
            )
            found.append(Failure("memory_shape", "", message))
    return tuple(found)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
