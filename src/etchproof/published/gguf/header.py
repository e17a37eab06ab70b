"""The header of a GGUF file, versions 2 and 3, little-endian: metadata and the table of its tensors.

Every count, length and offset is held against the size of the file before anything is made of it, so that a header
cannot ask for memory or time that the file does not pay for. The format is ggml's ``docs/gguf.md``.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np

from etchproof.errors import InputError, shown, shown_name
from etchproof.published.gguf.metadata import ARRAY, BOOL, FLOATS, INTEGERS, STRING, Metadata, Value
from etchproof.published.gguf.types import READ, TYPES, TensorType, name_of

MAGIC: Final = b"GGUF"
VERSIONS: Final = (2, 3)
ALIGNMENT_KEY: Final = "general.alignment"

# Beyond any real file: the largest vocabularies have 262,144 tokens and 600,000 merges.
_HEADER_BYTES: Final = 128 << 20
_VALUES: Final = 1 << 16
_TENSORS: Final = 1 << 16
_KEY_BYTES: Final = (1 << 16) - 1
_NAME_BYTES: Final = 64
_STRING_BYTES: Final = 16 << 20
_ELEMENTS: Final = 1 << 21
_DIMENSIONS: Final = 4
_DEFAULT_ALIGNMENT: Final = 32
_LARGEST_ALIGNMENT: Final = 1 << 20
_TRUNCATED: Final = "it may be truncated; fetch it again"


@dataclass(frozen=True)
class GgufTensor:
    """One tensor of the table.

    Attributes:
        name: ggml's, such as "blk.0.attn_q.weight".
        type: of its blocks.
        shape: slowest dimension first, as Hugging Face has it: (outputs, inputs) of a matrix. ggml writes it reversed.
        offset: of its first byte, from the beginning of the file.
        size_bytes: of all its blocks.
    """

    name: str
    type: TensorType
    shape: tuple[int, ...]
    offset: int
    size_bytes: int


@dataclass(frozen=True)
class Header:
    """What stands before the data.

    Attributes:
        version: of the format.
        metadata: all values.
        tensors: by name, in the order of the table.
    """

    version: int
    metadata: Metadata
    tensors: dict[str, GgufTensor]


def read_header(data: mmap.mmap, source: Path) -> Header:
    """Metadata and tensors of a mapped file; no tensor's data is looked at.

    Args:
        source: the file, for messages.

    Raises:
        InputError: it is no GGUF, of another version or byte order, truncated, or anything in it contradicts itself.
    """
    cursor = _Cursor(data, source)
    version = _version(cursor)
    n_tensors = cursor.count(_TENSORS, 4 + 8 + 8 + 4 + 8, "tensors", "the number of tensors")
    n_values = cursor.count(_VALUES, 8 + 4 + 1, "values of metadata", "the number of values")
    values: dict[str, Value] = {}
    for index in range(n_values):
        key = cursor.text(_KEY_BYTES, f"key {index + 1} of {n_values}")
        if key in values:
            cursor.refuse("stands twice in the metadata", key)
        values[key] = cursor.value(key)
    metadata = Metadata(values, source)
    entries = [_entry(cursor, f"tensor {index + 1} of {n_tensors}") for index in range(n_tensors)]
    alignment = _alignment(metadata)
    first = -(-cursor.at // alignment) * alignment
    return Header(version, metadata, _placed(entries, first, alignment, len(data), source))


class _Cursor:
    """A place in the header; ``refuse`` and each step raise ``InputError``."""

    def __init__(self, data: mmap.mmap, source: Path) -> None:
        self.at, self._data, self._source = 0, data, source
        self._end = min(len(data), _HEADER_BYTES)

    def refuse(self, problem: str, key: str | None = None, hint: str | None = None) -> NoReturn:
        name = None if key is None else shown_name(key)
        raise InputError(problem, source=self._source, key=name, hint=hint)

    def need(self, size: int, what: str) -> None:
        """Refuse where the file, or the most that a header may hold, ends before ``size`` more bytes."""
        if size <= self._end - self.at:
            return
        if len(self._data) > self._end:
            self.refuse(f"has a header of more than {_HEADER_BYTES:,} bytes, which ends within {what}")
        self.refuse(
            f"ends at byte {len(self._data):,}, within {what}: {size:,} bytes were expected from byte {self.at:,} on",
            hint=_TRUNCATED,
        )

    def number(self, form: str, what: str) -> Any:
        size = struct.calcsize(form)
        self.need(size, what)
        (found,) = struct.unpack_from(form, self._data, self.at)
        self.at += size
        return found

    def take(self, size: int, what: str) -> bytes:
        self.need(size, what)
        self.at += size
        return self._data[self.at - size : self.at]

    def count(self, most: int, least_bytes: int, name: str, what: str) -> int:
        """A number of things, each of which takes at least some bytes."""
        found = int(self.number("<Q", what))
        if found > most:
            self.refuse(f"says that it has {found:,} {name}, expected at most {most:,}")
        self.need(found * least_bytes, f"the {found:,} {name} that it says it has")
        return found

    def string(self, most: int, what: str) -> bytes:
        size = int(self.number("<Q", f"the length of {what}"))
        if size > most:
            self.refuse(f"{what} is {size:,} bytes long, expected at most {most:,}")
        return self.take(size, what)

    def text(self, most: int, what: str) -> str:
        """A key or a name."""
        raw = self.string(most, what)
        try:
            found = raw.decode("utf-8")
        except UnicodeDecodeError:
            self.refuse(f"{what} is {shown(raw)}, expected UTF-8")
        if not found:
            self.refuse(f"{what} is empty")
        return found

    def value(self, key: str) -> Value:
        what = f"the value of {shown_name(key)}"
        kind = int(self.number("<I", what))
        if kind != ARRAY:
            name, value = self._scalar(kind, key, what)
            return Value(name, value)
        element = int(self.number("<I", what))
        count = int(self.number("<Q", what))
        if count > _ELEMENTS:
            self.refuse(f"is an array of {count:,} elements, expected at most {_ELEMENTS:,}", key)
        if element == STRING:
            return Value("STRING", self._strings(count, what), array=True)
        number = INTEGERS.get(element) or FLOATS.get(element)
        if element != BOOL and number is None:
            named = "arrays" if element == ARRAY else f"the unknown type {element}"
            self.refuse(f"is an array of {named}, which is not read here", key)
        name, dtype = number or ("BOOL", np.dtype("u1"))
        found = np.frombuffer(self.take(count * dtype.itemsize, what), dtype)
        if element == BOOL:
            if found.size and int(found.max()) > 1:
                self.refuse("is an array with a BOOL that is neither 0 nor 1", key)
            found = found.astype(bool)
        return Value(name, found.tolist(), array=True)

    def _scalar(self, kind: int, key: str, what: str) -> tuple[str, Any]:
        if kind == STRING:
            return "STRING", self.string(_STRING_BYTES, what)
        if kind == BOOL:
            flag = self.number("<B", what)
            if flag > 1:
                self.refuse(f"is {flag}, expected 0 or 1, as it is a BOOL", key)
            return "BOOL", bool(flag)
        number = INTEGERS.get(kind) or FLOATS.get(kind)
        if number is None:
            self.refuse(f"has the unknown type {kind}", key)
        name, dtype = number
        return name, np.frombuffer(self.take(dtype.itemsize, what), dtype)[0].item()

    def _strings(self, count: int, what: str) -> list[bytes]:
        self.need(8 * count, what)
        found, at, end, data = [], self.at, self._end, self._data
        for _ in range(count):
            self.at = at
            self.need(8, what)
            (size,) = struct.unpack_from("<Q", data, at)
            at += 8
            if size > end - at:
                self.at = at
                self.need(size, what)
            found.append(data[at : at + size])
            at += size
        self.at = at
        return found


def _version(cursor: _Cursor) -> int:
    magic = cursor.take(4, "its first four bytes")
    if magic != MAGIC:
        cursor.refuse(f"begins with {shown(magic)}, expected {shown(MAGIC)}: it is no GGUF file")
    version = int(cursor.number("<I", "its version"))
    swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
    if swapped < 1 << 16 <= version:
        cursor.refuse(
            f"is a GGUF file of version {swapped} in big-endian order, and little-endian is read here",
            hint="convert it with gguf-convert-endian of llama.cpp",
        )
    if version not in VERSIONS:
        expected = " and ".join(map(str, VERSIONS))
        cursor.refuse(f"is a GGUF file of version {version}, and versions {expected} are read here")
    return version


@dataclass(frozen=True)
class _Entry:
    name: str
    type: TensorType
    shape: tuple[int, ...]
    offset: int


def _entry(cursor: _Cursor, what: str) -> _Entry:
    """A row of the table; its offset counts from the first byte of the data."""
    name = cursor.text(_NAME_BYTES, f"the name of {what}")
    what = f"{what}, {shown_name(name)}"
    dimensions = int(cursor.number("<I", what))
    if not 1 <= dimensions <= _DIMENSIONS:
        cursor.refuse(f"has {dimensions:,} dimensions, expected 1 .. {_DIMENSIONS}", name)
    shape = tuple(int(cursor.number("<Q", what)) for _ in range(dimensions))[::-1]
    kind, offset = int(cursor.number("<I", what)), int(cursor.number("<Q", what))
    if not all(0 < size < 1 << 40 for size in shape):
        cursor.refuse(f"has shape {list(shape)}, expected sizes from 1 on", name)
    if kind not in TYPES:
        cursor.refuse(f"is of type {name_of(kind)}, which is not read here", name, hint=f"read are {READ}")
    return _Entry(name, TYPES[kind], shape, offset)


def _alignment(metadata: Metadata) -> int:
    found = metadata.whole(ALIGNMENT_KEY, default=_DEFAULT_ALIGNMENT)
    if not 0 < found <= _LARGEST_ALIGNMENT or found & (found - 1):
        metadata.refuse(f"is {found:,}, expected a power of two up to {_LARGEST_ALIGNMENT:,}", ALIGNMENT_KEY)
    return found


def _placed(
    entries: list[_Entry], first: int, alignment: int, size_bytes: int, source: Path
) -> dict[str, GgufTensor]:
    """The tensors where they lie in the file: whole, aligned, and none over another."""
    tensors: dict[str, GgufTensor] = {}
    for entry in entries:

        def refuse(problem: str, hint: str | None = None, name: str = entry.name) -> NoReturn:
            raise InputError(problem, source=source, key=shown_name(name), hint=hint)

        kind, columns = entry.type, entry.shape[-1]
        if entry.name in tensors:
            refuse("stands twice in the table of tensors")
        if columns % kind.block:
            refuse(f"has rows of {columns:,} values, and {kind.name} has blocks of {kind.block}")
        if entry.offset % alignment:
            refuse(f"begins at byte {entry.offset:,} of the data, expected a multiple of {alignment}")
        size = kind.size_bytes * (columns // kind.block)
        for rows in entry.shape[:-1]:
            size *= rows
        begin = first + entry.offset
        if begin + size > size_bytes:
            refuse(
                f"takes bytes {begin:,} to {begin + size:,} of the file, which has {size_bytes:,}",
                hint=_TRUNCATED,
            )
        tensors[entry.name] = GgufTensor(entry.name, kind, entry.shape, begin, size)
    in_order = sorted(tensors.values(), key=lambda tensor: tensor.offset)
    for before, after in pairwise(in_order):
        if before.offset + before.size_bytes > after.offset:
            raise InputError(
                f"begins at byte {after.offset:,} of the file, within {shown_name(before.name)}",
                source=source,
                key=shown_name(after.name),
            )
    return tensors
