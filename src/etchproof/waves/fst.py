"""FST files as Verilator's library writes them: which signals one has, and making one whole whose simulator was killed.

The library writes blocks of value changes as it goes, and the header, the geometry and the hierarchy in the end. So a
simulator writes a file of its signals alone before it begins, and what a run leaves unfinished gets its last blocks
from there. The format is that of GTKWave's ``fstapi``: each block is a type of one byte, a big-endian length of 8 bytes
that counts itself, and its content.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from etchproof.errors import InputError
from etchproof.files.atomic import write_atomically
from etchproof.files.regular import read_bytes

_HEADER: Final = 0
_CHANGES: Final = 8  # FST_BL_VCDATA_DYN_ALIAS2
_GEOMETRY: Final = 3
_HIERARCHY: Final = 6  # compressed by LZ4
_HEADER_BYTES: Final = 330  # with type and length
_FIRST_BLOCK: Final = _HEADER_BYTES
_COUNT_AT: Final = 9 + 8 + 8 + 8 + 8 + 8 + 8 + 8  # of the header: how many blocks of changes there are
_SCOPE, _UPSCOPE, _ATTRIBUTE, _ATTRIBUTE_END = 254, 255, 252, 253
_UNPATCHED: Final = 8  # the length of a block that is not complete
_LARGEST: Final = 1 << 30


class Signal(NamedTuple):
    """A signal of a file."""

    path: tuple[str, ...]
    """Of scopes, the outermost first; the signal's own name, with its element where it is one of an array, last."""
    bits: int
    range: str
    """Of its bits, ``[15:0]``; empty of a single bit."""

    @property
    def scope(self) -> tuple[str, ...]:
        return self.path[:-1]

    @property
    def name(self) -> str:
        return self.path[-1]


@dataclass(frozen=True)
class Waves:
    """A file of waves that is whole.

    Attributes:
        file: the file.
        signals: in the order of the file.
        begin: first time, in units of the simulation's precision; ``end`` the last.
        size_bytes: of the file.
    """

    file: Path
    signals: tuple[Signal, ...]
    begin: int
    end: int
    size_bytes: int


class _Block(NamedTuple):
    kind: int
    begin: int
    end: int


def finish(file: Path, head: Path, most_bytes: int) -> Waves:
    """Make a file of waves whole, and no larger than asked for; one that is both stays as it is.

    What was not written to its end is left out; so are the last blocks of one that is too large.

    Args:
        head: a file of the same simulator with its signals.
        most_bytes: the most that the file may hold.

    Raises:
        InputError: there is no block of changes in it, or a file is no FST file.
    """
    content, known = read_bytes(file, _LARGEST), read_bytes(head, _LARGEST)
    changes = [block for block in _blocks(content) if block.kind == _CHANGES]
    tail = b"".join(
        known[block.begin : block.end] for block in _blocks(known) if block.kind in (_GEOMETRY, _HIERARCHY)
    )
    kept = changes
    while kept and kept[-1].end + len(tail) > most_bytes:
        kept = kept[:-1]
    if not kept:
        raise InputError("holds no waves", source=file)
    begin, _ = struct.unpack_from(">QQ", content, kept[0].begin + 9)
    _, end = struct.unpack_from(">QQ", content, kept[-1].begin + 9)
    whole = content[0:1] == b"\0" and struct.unpack_from(">Q", content, 1)[0] == _HEADER_BYTES - 1
    if not whole or kept != changes:
        header = bytearray(known[:_HEADER_BYTES])
        struct.pack_into(">QQ", header, 9, begin, end)
        struct.pack_into(">Q", header, _COUNT_AT, len(kept))
        content = bytes(header) + content[_FIRST_BLOCK : kept[-1].end] + tail
        write_atomically(file, content)
    return Waves(file, _signals(content, file), begin, end, len(content))


def signals_of(file: Path) -> tuple[Signal, ...]:
    """The signals of a file, in its order.

    Raises:
        InputError: it is no FST file.
    """
    return _signals(read_bytes(file, _LARGEST), file)


def _blocks(content: bytes) -> Iterator[_Block]:
    """The blocks after the header that are there to their end."""
    at = _FIRST_BLOCK
    while at + 9 <= len(content):
        length = struct.unpack_from(">Q", content, at + 1)[0]
        if length <= _UNPATCHED or at + 1 + length > len(content):
            return  # it was being written: a block gets its length in the end
        yield _Block(content[at], at, at + 1 + length)
        at += 1 + length


def _signals(content: bytes, file: Path) -> tuple[Signal, ...]:
    hierarchy = [block for block in _blocks(content) if block.kind == _HIERARCHY]
    if len(hierarchy) != 1:
        raise InputError("is no FST file with one hierarchy", source=file)
    begin, end = hierarchy[0].begin, hierarchy[0].end
    size = struct.unpack_from(">Q", content, begin + 9)[0]
    try:
        return tuple(_parsed(_expanded(content[begin + 17 : end], size)))
    except (IndexError, ValueError) as error:
        raise InputError(f"has a hierarchy that cannot be read: {error}", source=file) from None


def _expanded(block: bytes, size: int) -> bytes:
    """A block of LZ4: sequences of literals and a match."""
    found = bytearray()
    at = 0

    def length(short: int) -> int:
        nonlocal at
        if short < 15:
            return short
        while True:
            more = block[at]
            at += 1
            short += more
            if more < 255:
                return short

    while at < len(block):
        token = block[at]
        at += 1
        count = length(token >> 4)
        found += block[at : at + count]
        at += count
        if at >= len(block):
            break
        distance = block[at] | block[at + 1] << 8
        at += 2
        count = 4 + length(token & 15)
        if not 0 < distance <= len(found) or len(found) + count > size:
            raise ValueError("a match outside of the block")
        begin = len(found) - distance
        if distance >= count:
            found += found[begin : begin + count]
        else:
            for offset in range(count):
                found.append(found[begin + offset])
    if len(found) != size:
        raise ValueError(f"{len(found)} bytes in place of {size}")
    return bytes(found)


def _parsed(hierarchy: bytes) -> Iterator[Signal]:
    at = 0
    scopes: list[str] = []

    def text() -> str:
        nonlocal at
        end = hierarchy.index(0, at)
        found, at = hierarchy[at:end].decode("utf-8", errors="replace"), end + 1
        return found

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = hierarchy[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(hierarchy):
        kind = hierarchy[at]
        at += 1
        if kind == _SCOPE:
            at += 1
            scopes.append(text())
            text()
        elif kind == _UPSCOPE:
            scopes.pop()
        elif kind == _ATTRIBUTE:
            at += 2
            text()
            number()
        elif kind != _ATTRIBUTE_END:
            at += 1
            name, bits = text(), number()
            number()
            own, _, span = name.partition(" ")
            yield Signal((*scopes, own), bits, span)
