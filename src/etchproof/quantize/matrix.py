"""Rounding a weight matrix to ROM codes and scales (docs/numerics.md section 12), to nearest.

Everything that decides a byte is an elementwise float64 operation that IEEE 754 rounds correctly, so every machine
makes the same codes. For weights given as float32 the result is even that of exact real arithmetic: a quotient of a
24-bit and a 16-bit integer is never within float64's error of a rounding border without lying on it.

Work goes by blocks of rows, several at a time: beside the float32 matrix, memory holds its codes, its scales and a few
blocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from etchproof.errors import InputError
from etchproof.quantize.quantized_model import RESIDUAL_FRAC, QuantizedMatrix

EXPONENT_RANGE: Final = (-16, 46)
"""Smallest and largest e (docs/numerics.md section 12)."""
EMBEDDING_RANGE: Final = (RESIDUAL_FRAC, EXPONENT_RANGE[1])
"""Those of the embedding, whose shift e - 16 must not be negative."""
SCALE_MAX: Final = 2**16 - 1
DAMAGED: Final = "trained weights are far smaller: is the tensor damaged, or scaled by a conversion?"
"""What to do about a magnitude that no recipe can hold."""

_MOST_BITS: Final = 8  # of a code
_BLOCK: Final = 1 << 20  # weights in float64 at once
_CACHED: Final = 1 << 16  # weights of a block that stays in a core's own cache from one operation to the next

Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]


def quantize_matrix(
    weight: Float32s,
    bits: int,
    group_size: int,
    *,
    span: tuple[int, int] = EXPONENT_RANGE,
    name: str = "weight",
    source: str | Path | None = None,
) -> QuantizedMatrix:
    """Round a matrix to nearest: scales, exponent and codes of docs/numerics.md section 12.

    Args:
        weight: (rows, cols), finite.
        bits: of a code, 3, 4, 6 or 8.
        group_size: consecutive inputs of a row that share a scale; the last group may be short.
        span: smallest and largest e.
        name: the tensor, for messages.
        source: the file that holds it, for messages.

    Raises:
        InputError: the largest weight needs a scale of more than 65535 at the smallest e.
    """
    scales, exponent = choose_scales(weight, bits, group_size, span=span, name=name, source=source)
    codes = np.empty(weight.shape, dtype=np.int8)  # (rows, cols)

    def round_rows(rows: slice) -> None:
        step = step_sizes(scales[rows], exponent)  # (block, groups)
        step[step == 0] = 1  # of a group that is all zero
        for cols, groups, size in _group_spans(weight.shape[1], group_size):
            quotient = weight[rows, cols].astype(np.float64)  # (block, cols of these groups)
            split = quotient.reshape(len(quotient), -1, size)
            split /= step[:, groups, None]
            codes[rows, cols] = _nearest(quotient, bits)

    _for_blocks(codes, round_rows)
    return QuantizedMatrix(bits, group_size, codes, scales, exponent)


def choose_scales(
    weight: Float32s,
    bits: int,
    group_size: int,
    *,
    reach: Float32s | None = None,
    span: tuple[int, int] = EXPONENT_RANGE,
    name: str = "weight",
    source: str | Path | None = None,
) -> tuple[npt.NDArray[np.uint16], int]:
    """Scales (rows, groups) and exponent of a matrix; arguments and errors as for ``quantize_matrix``.

    ``reach`` (rows, groups) is the magnitude that each group's largest code stands for; by default, the group's
    largest weight.
    """
    largest = _largest(weight, group_size) if reach is None else reach
    top = 2 ** (bits - 1) - 1
    exponent = choose_exponent(float(largest.max(initial=0)), top, SCALE_MAX, span)
    if exponent is None:
        raise InputError(
            f"holds a weight of magnitude {float(np.abs(weight).max()):.9g}, expected less than "
            f"{_beyond(bits, span):.9g}, the limit of {bits}-bit codes here",
            source=source,
            key=name,
            hint=DAMAGED
            if bits == _MOST_BITS
            else f"with {_MOST_BITS} bits it is {_beyond(_MOST_BITS, span):.9g}",
        )
    scales = np.empty(largest.shape, dtype=np.uint16)
    unit = math.ldexp(1, exponent)

    def choose_rows(rows: slice) -> None:
        ideal = largest[rows].astype(np.float64)  # (block, groups)
        empty = ideal == 0
        ideal /= top
        ideal *= unit
        ideal += 0.5
        np.floor(ideal, out=ideal)
        np.maximum(ideal, 1, out=ideal)
        ideal[empty] = 0
        scales[rows] = ideal

    _for_blocks(largest, choose_rows)
    return scales, exponent


def _beyond(bits: int, span: tuple[int, int]) -> float:
    """The smallest magnitude that codes cannot stand for: its scale at the smallest e rounds to 65536."""
    return math.ldexp((SCALE_MAX + 0.5) * (2 ** (bits - 1) - 1), -span[0])


def _largest(weight: Float32s, group_size: int) -> Float32s:
    """The largest magnitude of each group, (rows, groups)."""
    rows, cols = weight.shape
    largest = np.empty((rows, -(-cols // group_size)), dtype=np.float32)  # (rows, groups) of |weight|

    def measure_rows(block: slice) -> None:
        magnitude = np.abs(weight[block])  # (block, cols)
        for some, groups, size in _group_spans(cols, group_size):
            split = magnitude[:, some].reshape(len(magnitude), -1, size)
            split.max(axis=2, out=largest[block, groups])

    _for_blocks(weight, measure_rows)
    return largest


def _group_spans(cols: int, group_size: int) -> Iterator[tuple[slice, slice, int]]:
    """Columns, groups and columns of each group: of the whole groups, then of the short one at the end, if any."""
    whole, rest = divmod(cols, group_size)
    if whole:
        yield slice(0, whole * group_size), slice(0, whole), group_size
    if rest:
        yield slice(whole * group_size, cols), slice(whole, whole + 1), rest


def choose_exponent(largest: float, divisor: int, limit: int, span: tuple[int, int]) -> int | None:
    """The largest e in ``span`` for which largest / divisor * 2^e rounds to at most ``limit``; None if none does."""
    low, high = span
    for exponent in range(high, low - 1, -1):
        if np.ldexp(np.float64(largest) / divisor, exponent) < limit + 0.5:
            return exponent
    return None


def step_sizes(scales: npt.NDArray[np.uint16], exponent: int) -> Float64s:
    """What one code is worth, scale * 2^-exponent: float64, exact, of the scales' shape."""
    return scales.astype(np.float64) * math.ldexp(1, -exponent)


def expand(per_group: Float64s, group_size: int, cols: int) -> Float64s:
    """(rows, groups) to (rows, cols)."""
    return np.repeat(per_group, group_size, axis=1)[:, :cols]


def round_codes(weight: Float64s, step: Float64s, bits: int) -> npt.NDArray[np.int8]:
    """Codes nearest to weight / step, ties to even, in the symmetric range; 0 where the step is 0."""
    return _nearest(np.divide(weight, step, out=np.zeros_like(weight), where=step != 0), bits).astype(np.int8)


def _nearest(quotient: Float64s, bits: int) -> Float64s:
    """``quotient`` itself, rounded to codes."""
    top = 2 ** (bits - 1) - 1
    np.rint(quotient, out=quotient)
    np.minimum(quotient, top, out=quotient)
    np.maximum(quotient, -top, out=quotient)
    return quotient


def dequantize(matrix: QuantizedMatrix, dtype: npt.DTypeLike = np.float32) -> npt.NDArray[np.floating]:
    """The weights that the ROM stands for, (rows, cols): exact in float64 and in float32 (at most 23 bits)."""
    weight = np.empty(matrix.codes.shape, dtype=dtype)
    for rows in row_blocks(*matrix.codes.shape):
        step = expand(step_sizes(matrix.scales[rows], matrix.exponent), matrix.group_size, matrix.cols)
        weight[rows] = matrix.codes[rows] * step
    return weight


def row_blocks(rows: int, cols: int, block: int | None = None) -> Iterator[slice]:
    """Slices of rows that hold about ``block`` elements."""
    height = max(1, (block or _BLOCK) // max(1, cols))
    for first in range(0, rows, height):
        yield slice(first, min(first + height, rows))


def _for_blocks(matrix: npt.NDArray[Any], work: Callable[[slice], None]) -> None:
    """Do some work on each block of rows of a matrix, on every core: numpy computes without Python's lock."""
    rows, cols = matrix.shape
    blocks = list(row_blocks(rows, cols, min(_CACHED, _BLOCK)))
    if len(blocks) == 1:
        work(blocks[0])
        return
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for _ in pool.map(work, blocks):  # raises what a block raised
            pass
