"""Rounding a weight matrix to a block format (docs/published.md, "Block formats"): MXFP4, MXFP6, MXINT8, NVFP4.

No recipe reaches it yet: a chip's ROM holds integer codes. Every decision is an elementwise float64 operation that
IEEE 754 rounds correctly, and for float32 weights the result is even that of exact real arithmetic: a weight times a
float32 has at most 48 bits, and a scale times a border between two patterns at most nine, so that their quotient is
never within float64's error of the border without lying on it.

Sources: OCP Microscaling Formats (MX) Specification v1.0, section 6.3; for NVFP4, which no standard describes, the two
levels of scales of compressed-tensors (release 0.20).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from etchproof.errors import InputError
from etchproof.published.block_scaled import BlockFormat, BlockScaled
from etchproof.published.minifloat import E4M3, E8M0, Element, Float64s, Patterns
from etchproof.quantize.matrix import Float32s, row_blocks

_CACHED: Final = 1 << 18  # weights in float64 at once


def quantize_blocks(
    weight: Float32s, form: BlockFormat, *, name: str = "weight", source: str | Path | None = None
) -> BlockScaled:
    """Round a matrix to nearest, ties to even.

    The scale of an MX block is ``2**(floor(log2(max)) - emax)``, at least ``2**-127``, with the largest magnitude of
    the block and the exponent of the element's largest power of two; weights beyond the largest element become that
    one. NVFP4's divisor is the float32 nearest to ``448 * 6 / max``, with the largest magnitude of the matrix, and the
    scale of a block is the E4M3 nearest to its largest magnitude times the divisor over 6. Of a block whose scale is 0
    every element is 0. Every element keeps its weight's sign.

    Args:
        weight: (rows, cols), finite.
        form: the block format; a short last block is one of fewer inputs.
        name: the tensor, for messages.
        source: the file that holds it, for messages.

    Raises:
        InputError: a weight is NaN or infinite.
    """
    rows, cols = weight.shape
    finite = np.isfinite(weight)
    if not finite.all():
        row, col = np.argwhere(~finite)[0].tolist()
        raise InputError(
            f"is {weight[row, col]} at [{row}, {col}], expected a finite number", source=source, key=name
        )
    groups = -(-cols // form.size)
    divisor = _divisor(weight, form.element) if form.divided else 1.0
    patterns = np.empty((rows, cols), dtype=np.uint8)
    scales = np.empty((rows, groups), dtype=np.uint8)
    for block in row_blocks(rows, cols, _CACHED):
        held = np.zeros((block.stop - block.start, groups * form.size))
        held[:, :cols] = weight[block]
        held *= divisor
        split = held.reshape(len(held), groups, form.size)
        largest = np.abs(split).max(axis=2, initial=0)  # (block, groups)
        scales[block] = _scales(largest, form)
        step = form.scale.values(scales[block])
        split /= np.where(step == 0, np.inf, step)[:, :, None]
        patterns[block] = form.element.nearest(held[:, :cols])
    return BlockScaled(form, patterns, scales, divisor)


def _divisor(weight: Float32s, element: Element) -> float:
    """NVFP4's float32: what takes the largest magnitude to the largest element times the largest scale."""
    largest = float(np.abs(weight).max(initial=0))
    if largest == 0:
        return 1.0
    wanted = np.float64(E4M3.largest * element.largest) / largest
    return float(np.float32(min(wanted, float(np.finfo(np.float32).max))))


def _scales(largest: Float64s, form: BlockFormat) -> Patterns:
    """Patterns of the scales, by the largest magnitude of each block, of the same shape."""
    element = form.element
    if form.scale is E8M0:
        exponent = np.where(largest == 0, -E8M0.bias, np.frexp(largest)[1] - 1 - element.emax)
        return E8M0.at_most(exponent)
    return E4M3.nearest(largest / element.largest)
