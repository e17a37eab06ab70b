"""Seeded mutations of a file: of its bytes, of its structure, and of what lies at its path.

The same loader and seed give the same input on any machine.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tests.fuzz import formats

Kind = str
"""How a file is written: a key of ``formats.MUTATORS``, or "text", which has no structure."""

_HUGE: Final = (b" ", b"a", b"[", b"9", b"\n", b"\0", b'{"a":', b"[],", b"\xff", b"- ", b"&a [*a],")
_NUMBERS: Final = (b"0", b"-1", b"9" * 5000, b"1e999", b"18446744073709551616", b"0x10", b"NaN", b"1_0", b"")
_INSERTED: Final = (
    *(b"\0", b"\xef\xbb\xbf", b"\xff\xfe", b"\xed\xa0\x80", b"\xc0\xaf", b"\x80", b"\\ud800", b"\r", b"\x1a"),
    *(
        b"\x1b[2J",
        b"\xe2\x80\xa8",
        b"\xc2\x85",
        b'"',
        b"'",
        b"}",
        b"]",
        b"{",
        b"[",
        b",",
        b":",
        b"#",
        b"\t",
        b"%",
    ),
)


def mutate(rng: random.Random, folder: Path, files: Mapping[str, Kind]) -> None:
    """Change one file of a folder, or several where chance has it so.

    Args:
        files: those that may be changed, with their kinds.
    """
    names = sorted(files)
    for name in rng.sample(names, min(len(names), rng.choice((1, 1, 1, 1, 2)))):
        path = folder / name
        if rng.random() < 0.06:
            _put_something_else(rng, path)
        else:
            path.write_bytes(content(rng, files[name], path.read_bytes()))


def content(rng: random.Random, kind: Kind, data: bytes) -> bytes:
    """Other bytes in place of ``data``."""
    structured = formats.MUTATORS.get(kind)
    if structured is not None and rng.random() < 0.7:
        data = structured(rng, data)
        if rng.random() < 0.75:
            return data
    for _ in range(rng.choice((1, 1, 2, 4))):
        data = rng.choice(_BYTES)(rng, data)
    return data


def _put_something_else(rng: random.Random, path: Path) -> None:
    """A folder, a FIFO, a device, a dangling link, or nothing, where a file is expected."""
    path.unlink()
    match rng.randrange(8):
        case 0:
            path.mkdir()
        case 1:
            os.mkfifo(path)
        case 2:
            path.symlink_to("nowhere")
        case 3:
            path.symlink_to("/dev/zero")
        case 4:
            path.symlink_to("/dev/null")
        case 5:
            path.symlink_to(path.name)
        case 6:
            path.symlink_to(path.parent)
        case _:
            pass


def _spot(rng: random.Random, data: bytes) -> int:
    """A place, near the beginning as often as anywhere: headers are there."""
    return rng.randint(0, min(len(data), 64) if rng.random() < 0.3 else len(data))


def _flip(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data or b"\0")
    for _ in range(rng.choice((1, 1, 3, 10))):
        changed[min(_spot(rng, data), len(changed) - 1)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _truncate(rng: random.Random, data: bytes) -> bytes:
    return data[: _spot(rng, data)] if rng.random() < 0.8 else b""


def _insert(rng: random.Random, data: bytes) -> bytes:
    at, what = _spot(rng, data), rng.choice(_INSERTED)
    at = rng.choice((at, at, 0, len(data)))
    return data[:at] + what + data[at:]


def _noise(rng: random.Random, data: bytes) -> bytes:
    at = _spot(rng, data)
    return data[:at] + rng.randbytes(rng.choice((1, 4, 100))) + data[at:]


def _delete(rng: random.Random, data: bytes) -> bytes:
    at = _spot(rng, data)
    return data[:at] + data[at + rng.choice((1, 2, 8, 100)) :]


def _duplicate(rng: random.Random, data: bytes) -> bytes:
    first, last = sorted((_spot(rng, data), _spot(rng, data)))
    return data[:last] + data[first:last] * rng.choice((1, 2, 30)) + data[last:]


def _line_ends(rng: random.Random, data: bytes) -> bytes:
    return data.replace(b"\n", rng.choice((b"\r\n", b"\r", b"", b"\n\n", b"\x0b")))


def _other_encoding(rng: random.Random, data: bytes) -> bytes:
    return data.decode("latin-1").encode(rng.choice(("utf-16", "utf-16-le", "utf-32", "utf-8-sig")))


def _number(rng: random.Random, data: bytes) -> bytes:
    """A number in the text becomes another, or none."""
    found = list(re.finditer(rb"-?\d+", data[:200_000]))
    if not found:
        return data + b"9" * 30
    at = rng.choice(found)
    return data[: at.start()] + rng.choice(_NUMBERS) + data[at.end() :]


def _huge(rng: random.Random, data: bytes) -> bytes:
    """A few thousand, or a few million, of one sign; at times more than any such file may hold."""
    what = rng.choice(_HUGE)
    size = rng.choice((5_000, 200_000, 3_000_000, 3_000_000, 70_000_000 if rng.random() < 0.2 else 100_000))
    at = rng.choice((0, len(data), _spot(rng, data)))
    return data[:at] + what * (size // len(what)) + data[at:]


_BYTES: Final[tuple[Callable[[random.Random, bytes], bytes], ...]] = (
    *(_flip, _flip, _truncate, _truncate, _insert, _insert, _insert, _noise, _delete, _delete),
    *(_duplicate, _line_ends, _other_encoding, _number, _number, _number, _huge),
)
