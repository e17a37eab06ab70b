"""Rounding a weight matrix to ROM codes and scales (docs/numerics.md section 12), to nearest.

Everything that decides a byte is an elementwise float64 operation that IEEE 754 rounds correctly, so every machine
makes the same codes. For weights given as float32 the result is even that of exact real arithmetic: a quotient of a
24-bit and a 16-bit integer is never within float64's error of a rounding border without lying on it.

Work goes by blocks of rows: beside the float32 matrix, memory holds its codes, its scales and one block.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from etchproof.errors import InputError
from etchproof.quantized import QuantizedMatrix

EXPONENT_RANGE: Final = (-16, 46)
"""Smallest and largest e (docs/numerics.md section 12)."""
SCALE_MAX: Final = 2**16 - 1

_BLOCK: Final = 1 << 20  # weights in float64 at once

Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]


def quantize_matrix(
    weight: Float32s, bits: int, group_size: int, *, name: str = "weight", source: str | None = None
) -> QuantizedMatrix:
    """Round a matrix to nearest: scales, exponent and codes of docs/numerics.md section 12.

    Args:
        weight: (rows, cols), finite.
        bits: of a code, 3, 4, 6 or 8.
        group_size: consecutive inputs of a row that share a scale; the last group may be short.
        name: the tensor, for messages.
        source: the checkpoint, for messages.

    Raises:
        InputError: the largest weight needs a scale beyond 65535 * 2^16.
    """
    scales, exponent = choose_scales(weight, bits, group_size, name=name, source=source)
    codes = np.empty(weight.shape, dtype=np.int8)  # (rows, cols)
    for rows in row_blocks(*weight.shape):
        step = expand(step_sizes(scales[rows], exponent), group_size, weight.shape[1])
        codes[rows] = round_codes(weight[rows].astype(np.float64), step, bits)
    return QuantizedMatrix(bits, group_size, codes, scales, exponent)


def choose_scales(
    weight: Float32s,
    bits: int,
    group_size: int,
    *,
    reach: Float32s | None = None,
    name: str = "weight",
    source: str | None = None,
) -> tuple[npt.NDArray[np.uint16], int]:
    """Scales (rows, groups) and exponent of a matrix; arguments and errors as for ``quantize_matrix``.

    ``reach`` (rows, groups) is the magnitude that each group's largest code stands for; by default, the group's
    largest weight.
    """
    largest = _largest(weight, group_size) if reach is None else reach
    top = 2 ** (bits - 1) - 1
    exponent = choose_exponent(float(largest.max(initial=0)), top, SCALE_MAX, EXPONENT_RANGE)
    if exponent is None:
        raise InputError(
            f"holds {float(np.abs(weight).max()):.6g}, more than the {float(SCALE_MAX * 2**16 * top):.6g} "
            f"that {bits}-bit codes can stand for",
            source=source,
            key=name,
        )
    scales = np.empty(largest.shape, dtype=np.uint16)
    for block in row_blocks(*largest.shape):
        ideal = np.ldexp(largest[block].astype(np.float64) / top, exponent)
        scales[block] = np.where(largest[block] == 0, 0, np.maximum(1, np.floor(ideal + 0.5)))
    return scales, exponent


def _largest(weight: Float32s, group_size: int) -> Float32s:
    """The largest magnitude of each group, (rows, groups)."""
    rows, cols = weight.shape
    groups = -(-cols // group_size)
    largest = np.empty((rows, groups), dtype=np.float32)  # (rows, groups) of |weight|
    whole = cols // group_size  # groups that are not short
    for block in row_blocks(rows, cols):
        magnitude = np.abs(weight[block])
        split = magnitude[:, : whole * group_size].reshape(len(magnitude), whole, group_size)
        split.max(axis=2, out=largest[block, :whole], initial=0)
        if whole < groups:
            largest[block, whole] = magnitude[:, whole * group_size :].max(axis=1)
    return largest


def choose_exponent(largest: float, divisor: int, limit: int, span: tuple[int, int]) -> int | None:
    """The largest e in ``span`` for which largest / divisor * 2^e rounds to at most ``limit``; None if none does."""
    low, high = span
    for exponent in range(high, low - 1, -1):
        if np.ldexp(np.float64(largest) / divisor, exponent) < limit + 0.5:
            return exponent
    return None


def step_sizes(scales: npt.NDArray[np.uint16], exponent: int) -> Float64s:
    """What one code is worth, scale * 2^-exponent: float64, exact, of the scales' shape."""
    return np.ldexp(scales.astype(np.float64), -exponent)


def expand(per_group: Float64s, group_size: int, cols: int) -> Float64s:
    """(rows, groups) to (rows, cols)."""
    return np.repeat(per_group, group_size, axis=1)[:, :cols]


def round_codes(weight: Float64s, step: Float64s, bits: int) -> npt.NDArray[np.int8]:
    """Codes nearest to weight / step, ties to even, in the symmetric range; 0 where the step is 0."""
    top = 2 ** (bits - 1) - 1
    quotient = np.divide(weight, step, out=np.zeros_like(weight), where=step != 0)
    return np.clip(np.rint(quotient), -top, top).astype(np.int8)


def dequantize(matrix: QuantizedMatrix, dtype: npt.DTypeLike = np.float32) -> npt.NDArray[np.floating]:
    """The weights that the ROM stands for, (rows, cols): exact in float64 and in float32 (at most 23 bits)."""
    weight = np.empty(matrix.codes.shape, dtype=dtype)
    for rows in row_blocks(*matrix.codes.shape):
        step = expand(step_sizes(matrix.scales[rows], matrix.exponent), matrix.group_size, matrix.cols)
        weight[rows] = matrix.codes[rows] * step
    return weight


def row_blocks(rows: int, cols: int) -> Iterator[slice]:
    """Slices of rows that hold about ``_BLOCK`` elements."""
    height = max(1, _BLOCK // max(1, cols))
    for first in range(0, rows, height):
        yield slice(first, min(first + height, rows))
