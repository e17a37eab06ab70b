"""Codes out of the 32-bit words and the bytes that quantized safetensors pack them into."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

WORD_BITS: Final = 32

Words = npt.NDArray[np.int32]
Unsigned = npt.NDArray[np.uint8]


def period(bits: int, unit: int = WORD_BITS) -> tuple[int, int]:
    """After how many codes a unit of so many bits begins with a code again, and how many units those are."""
    codes = math.lcm(bits, unit) // bits
    return codes, codes * bits // unit


def unpack(packed: Words | Unsigned, bits: int) -> Unsigned:
    """The codes of each row, densely packed: code i is bits i * bits .. i * bits + bits - 1 of the row, the lowest bit
    of the first unit first, a word or a byte. A code of 3 bits may begin in one word and end in the next, one of 6 bits
    in one byte and the next.

    Args:
        packed: (rows, units), whole periods.
        bits: of a code, 1 to 8.

    Returns:
        (rows, codes) without sign, as many as the units hold.
    """
    unsigned = packed.view(np.dtype(f"u{packed.itemsize}"))
    width, kind = 8 * packed.itemsize, unsigned.dtype.type
    codes, span = period(bits, width)
    rows, count = unsigned.shape
    found = np.empty((rows, count // span, codes), dtype=np.uint8)
    for i in range(codes):
        unit, shift = divmod(i * bits, width)
        values = unsigned[:, unit::span] >> kind(shift)
        if shift + bits > width:
            values = values | unsigned[:, unit + 1 :: span] << kind(width - shift)
        found[:, :, i] = values & kind((1 << bits) - 1)
    return found.reshape(rows, -1)


def bytes_of(codes: int, bits: int) -> int:
    """How many bytes hold ``codes`` codes of ``bits`` bits, which fill the last byte."""
    return codes * bits // 8


def signed(codes: Unsigned, bits: int) -> npt.NDArray[np.int8]:
    """Codes without sign less 2^(bits - 1)."""
    return (codes.astype(np.int16) - (1 << (bits - 1))).astype(np.int8)
