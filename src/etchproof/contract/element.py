"""The types of a tap's elements: how their bits are compared, and how they are shown.

Integers are compared by value, floating point by its bits: two NaNs of one payload are equal, 0.0 and -0.0 are not.
"""

from __future__ import annotations

import math
import struct
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

ElementType = Literal["i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "f16", "bf16", "f32", "f64"]
"""``i``: two's complement, ``u``: unsigned, ``f``: IEEE 754 binary, ``bf16``: the upper half of an ``f32``."""

_STORED: Final[dict[ElementType, np.dtype[Any]]] = {
    "i8": np.dtype("<i1"),
    "i16": np.dtype("<i2"),
    "i32": np.dtype("<i4"),
    "i64": np.dtype("<i8"),
    "u8": np.dtype("<u1"),
    "u16": np.dtype("<u2"),
    "u32": np.dtype("<u4"),
    "u64": np.dtype("<u8"),
    "f16": np.dtype("<u2"),
    "bf16": np.dtype("<u2"),
    "f32": np.dtype("<u4"),
    "f64": np.dtype("<u8"),
}
_FLOATS: Final[dict[ElementType, str]] = {"f16": "<e", "bf16": "<f", "f32": "<f", "f64": "<d"}


def stored(kind: ElementType) -> np.dtype[Any]:
    """The integers as which elements of a type are compared: floating point as unsigned bits of its width."""
    return _STORED[kind]


def bits_of(kind: ElementType, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """An array of a golden model in the form in which it is compared; integers keep their own width.

    Raises:
        ValueError: the array is not of the type. Floating point may be given as itself or as its bits, in integers of
            the same width; nothing is rounded here.
    """
    if kind not in _FLOATS:
        if array.dtype.kind not in "iu":
            raise ValueError(f"holds {array.dtype}, expected integers")
        return array
    own = array.dtype.name == {"f16": "float16", "bf16": "bfloat16", "f32": "float32", "f64": "float64"}[kind]
    is_raw = array.dtype.kind in "iu" or array.dtype.name.startswith("void")
    is_bits = is_raw and array.dtype.itemsize == _STORED[kind].itemsize
    if not (own or is_bits):
        raise ValueError(f"holds {array.dtype}, expected {kind} or its bits")
    return np.ascontiguousarray(array).view(_STORED[kind])


def shown(kind: ElementType, bits: int) -> str:
    """An element for a reader: an integer, or a float and its bits in hexadecimal.

    Args:
        bits: as compared (``stored``).
    """
    if kind not in _FLOATS:
        return str(bits)
    return f"{_value(kind, bits):.9g} (0x{bits:0{2 * _STORED[kind].itemsize}x})"


def ulps(kind: ElementType, one: int, other: int) -> int | None:
    """How many representable numbers lie between two floats, the last one counted; None of integers and NaNs.

    Args:
        one: bits as compared; likewise ``other``.
    """
    if kind not in _FLOATS:
        return None
    values = _value(kind, one), _value(kind, other)
    if any(map(math.isnan, values)):
        return None
    top = 1 << (8 * _STORED[kind].itemsize - 1)
    first, second = (top - bits if bits & top else bits for bits in (one, other))
    return abs(first - second)


def _value(kind: ElementType, bits: int) -> float:
    size = 4 if kind == "bf16" else _STORED[kind].itemsize
    raw = bits << 16 if kind == "bf16" else bits
    value: float = struct.unpack(_FLOATS[kind], raw.to_bytes(size, "little"))[0]
    return value
