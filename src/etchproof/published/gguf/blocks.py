"""Blocks of GGUF's quantized tensors, taken apart: codes, scales and minimums, exact.

A block is an fp16 scale ``d``, in some types an fp16 minimum, and codes. The k-quants have blocks of 256 values in
groups of 16 or 32; a group's scale is ``d`` times an integer of 6 or 8 bits, its minimum ``dmin`` times one of 6 bits.
The layouts are ggml's ``ggml-common.h`` (docs/published.md, "GGUF").

Every number here is exact in float64: scales and minimums are integers of at most 27 bits times 2^-24.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Float64s = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Blocks:
    """n blocks, taken apart.

    Attributes:
        codes: (n, values) int8, signed: a code without sign in the file, less half its range.
        scales: (n, groups) float64.
        minimums: (n, groups) float64, of the signed codes; None for a symmetric type.
        halves: the fp16 numbers of each block, (n, 1 or 2), which have to be finite.
    """

    codes: npt.NDArray[np.int8]
    scales: Float64s
    minimums: Float64s | None
    halves: npt.NDArray[np.float16]


def take_apart(name: str, blocks: Bytes) -> Blocks:
    """Blocks of a type.

    Args:
        name: of the type.
        blocks: (n, size_bytes), contiguous.
    """
    # An fp16 NaN times an integer warns; whoever asked for the blocks refuses it by ``halves``.
    with np.errstate(invalid="ignore"):
        return _TYPES[name](blocks)


def _halves(blocks: Bytes, *at: int) -> npt.NDArray[np.float16]:
    """fp16 numbers of each block by their first byte, (n, numbers)."""
    return np.concatenate([blocks[:, i : i + 2] for i in at], axis=1).view("<f2")


def _fields(part: Bytes, bits: int, width: int) -> Bytes:
    """Fields of ``bits``: of each ``width`` bytes the lowest field of every byte, then the next one.

    Args:
        part: (n, bytes).

    Returns:
        (n, bytes * 8 / bits).
    """
    shifts = np.arange(0, 8, bits, dtype=np.uint8)[:, None]
    split = part.reshape(len(part), -1, 1, width) >> shifts
    fields: Bytes = (split & np.uint8((1 << bits) - 1)).reshape(len(part), -1)
    return fields


def _signed(codes: Bytes, bits: int) -> npt.NDArray[np.int8]:
    return codes.view(np.int8) - np.int8(1 << (bits - 1))


def _symmetric(codes: npt.NDArray[np.int8], d: npt.NDArray[np.float16]) -> Blocks:
    """Blocks with one scale each."""
    return Blocks(codes, d.astype(np.float64), None, d)


def _with_minimum(codes: Bytes, bits: int, halves: npt.NDArray[np.float16]) -> Blocks:
    """Blocks with one scale and one minimum each, of codes without sign."""
    scales, minimums = halves[:, :1].astype(np.float64), halves[:, 1:].astype(np.float64)
    return Blocks(_signed(codes, bits), scales, minimums + scales * (1 << (bits - 1)), halves)


def _q8_0(blocks: Bytes) -> Blocks:
    return _symmetric(blocks[:, 2:].view(np.int8).copy(), _halves(blocks, 0))


def _q4_0(blocks: Bytes) -> Blocks:
    return _symmetric(_signed(_fields(blocks[:, 2:], 4, 16), 4), _halves(blocks, 0))


def _q4_1(blocks: Bytes) -> Blocks:
    return _with_minimum(_fields(blocks[:, 4:], 4, 16), 4, _halves(blocks, 0, 2))


def _five(high: Bytes, low: Bytes) -> Bytes:
    """Codes of 5 bits: the fifth bit of code i is bit i of four bytes."""
    fifth = np.unpackbits(np.ascontiguousarray(high), axis=1, bitorder="little")
    return _fields(low, 4, 16) | fifth << np.uint8(4)


def _q5_0(blocks: Bytes) -> Blocks:
    return _symmetric(_signed(_five(blocks[:, 2:6], blocks[:, 6:]), 5), _halves(blocks, 0))


def _q5_1(blocks: Bytes) -> Blocks:
    return _with_minimum(_five(blocks[:, 4:8], blocks[:, 8:]), 5, _halves(blocks, 0, 2))


def _q3_k(blocks: Bytes) -> Blocks:
    """256 codes of 3 bits: 32 bytes of third bits, 64 of low bits; 16 scales of 6 bits less 32; ``d``."""
    third, low, packed, d = blocks[:, :32], blocks[:, 32:96], blocks[:, 96:108], _halves(blocks, 108)
    codes = _fields(low, 2, 32) | _fields(third, 1, 32) << np.uint8(2)
    scales = _fields(packed[:, :8], 4, 8) | _fields(packed[:, 8:], 2, 4) << np.uint8(4)  # (n, 16)
    return Blocks(_signed(codes, 3), d.astype(np.float64) * _signed(scales, 6), None, d)


def _q6_k(blocks: Bytes) -> Blocks:
    """256 codes of 6 bits: 128 bytes of low bits, 64 of high bits; 16 scales int8; ``d``."""
    codes = _fields(blocks[:, :128], 4, 64) | _fields(blocks[:, 128:192], 2, 32) << np.uint8(4)
    d = _halves(blocks, 208)
    return Blocks(_signed(codes, 6), d.astype(np.float64) * blocks[:, 192:208].view(np.int8), None, d)


def _six_bits(packed: Bytes) -> tuple[Bytes, Bytes]:
    """Eight scales and eight minimums of 6 bits out of 12 bytes, two of (n, 8).

    The first four of each are the low bits of bytes 0 .. 3 and 4 .. 7. The last four have their low bits in the nibbles
    of bytes 8 .. 11, and their high bits in what is left of the others.
    """
    first, second, nibbles = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    low, high = np.uint8(63), np.uint8(48)
    scales = np.concatenate([first & low, nibbles & np.uint8(15) | first >> 2 & high], axis=1)
    minimums = np.concatenate([second & low, nibbles >> 4 | second >> 2 & high], axis=1)
    return scales, minimums


def _with_minimums(codes: Bytes, bits: int, blocks: Bytes) -> Blocks:
    """256 codes without sign in groups of 32; ``d``, ``dmin`` and 12 bytes of scales and minimums stand first."""
    halves = _halves(blocks, 0, 2)
    scales, minimums = _six_bits(blocks[:, 4:16])
    exact = halves[:, :1].astype(np.float64) * scales
    below = halves[:, 1:].astype(np.float64) * minimums
    return Blocks(_signed(codes, bits), exact, exact * (1 << (bits - 1)) - below, halves)


def _q4_k(blocks: Bytes) -> Blocks:
    return _with_minimums(_fields(blocks[:, 16:], 4, 32), 4, blocks)


def _q5_k(blocks: Bytes) -> Blocks:
    codes = _fields(blocks[:, 48:], 4, 32) | _fields(blocks[:, 16:48], 1, 32) << np.uint8(4)
    return _with_minimums(codes, 5, blocks)


_TYPES: Final[dict[str, Callable[[Any], Blocks]]] = {
    "Q8_0": _q8_0,
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q5_0": _q5_0,
    "Q5_1": _q5_1,
    "Q3_K": _q3_k,
    "Q4_K": _q4_k,
    "Q5_K": _q5_k,
    "Q6_K": _q6_k,
}
