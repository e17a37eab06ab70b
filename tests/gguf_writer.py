"""GGUF files written by the format's description, part by part, so that any part can be wrong; shares nothing with the
reader. What is valid is also written by the library ``gguf`` in the tests that compare with it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

KINDS: Final = {
    **{"UINT8": (0, "B"), "INT8": (1, "b"), "UINT16": (2, "H"), "INT16": (3, "h"), "UINT32": (4, "I")},
    **{"INT32": (5, "i"), "FLOAT32": (6, "f"), "BOOL": (7, "?"), "UINT64": (10, "Q"), "INT64": (11, "q")},
    **{"FLOAT64": (12, "d")},
}
"""ggml's number of each type of a value, and ``struct``'s letter."""

STRING, ARRAY = 8, 9


@dataclass(frozen=True)
class Typed:
    """A value of a stated type; of an array, ``value`` is a sequence."""

    kind: str
    value: Any


@dataclass(frozen=True)
class Tensor:
    """A tensor: ggml's number of its type, its shape with the slowest dimension first, and its bytes."""

    kind: int
    shape: tuple[int, ...]
    data: bytes


def string(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw)) + raw


def value(found: Any) -> bytes:
    """A value with its type before it: an int is UINT32, a float FLOAT32, unless ``Typed`` says otherwise."""
    if isinstance(found, bool):
        return struct.pack("<I?", 7, found)
    if isinstance(found, int):
        return struct.pack("<II", 4, found)
    if isinstance(found, float):
        return struct.pack("<If", 6, found)
    if isinstance(found, str | bytes):
        return struct.pack("<I", STRING) + string(found)
    if isinstance(found, Typed):
        number, letter = KINDS[found.kind]
        if isinstance(found.value, list | tuple):
            values = struct.pack(f"<{len(found.value)}{letter}", *found.value)
            return struct.pack("<IIQ", ARRAY, number, len(found.value)) + values
        return struct.pack(f"<I{letter}", number, found.value)
    return struct.pack("<IIQ", ARRAY, STRING, len(found)) + b"".join(map(string, found))


def entry(name: str | bytes, tensor: Tensor, offset: int) -> bytes:
    """A row of the table of tensors."""
    sizes = struct.pack(f"<{len(tensor.shape)}Q", *reversed(tensor.shape))
    return (
        string(name) + struct.pack("<I", len(tensor.shape)) + sizes + struct.pack("<IQ", tensor.kind, offset)
    )


def assemble(
    values: Sequence[bytes], entries: Sequence[bytes], data: bytes, *, version: int = 3, alignment: int = 32
) -> bytes:
    """A file of its parts."""
    head = b"GGUF" + struct.pack("<IQQ", version, len(entries), len(values)) + b"".join((*values, *entries))
    return head + bytes(-len(head) % alignment) + data


def gguf_bytes(
    metadata: Mapping[str, Any], tensors: Mapping[str, Tensor], *, version: int = 3, alignment: int = 32
) -> bytes:
    """A whole file, valid where its parts are."""
    values = [string(key) + value(found) for key, found in metadata.items()]
    entries, data = [], b""
    for name, tensor in tensors.items():
        entries.append(entry(name, tensor, len(data)))
        data += tensor.data + bytes(-len(tensor.data) % alignment)
    return assemble(values, entries, data, version=version, alignment=alignment)
