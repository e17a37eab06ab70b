"""Biases as 32-bit integers beside the accumulator's scale (docs/numerics.md section 4)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from etchproof.errors import InputError
from etchproof.quantize.matrix import DAMAGED
from etchproof.quantize.quantized_model import QuantizedMatrix

SHIFT_MAX: Final = 15
_LIMIT: Final = 2**31 - 1


def with_bias(
    matrix: QuantizedMatrix,
    bias: npt.NDArray[np.float32],
    input_frac: int,
    *,
    name: str = "bias",
    source: str | Path | None = None,
) -> QuantizedMatrix:
    """The matrix with B[o] = bias[o] * 2^(e + frac(x) - bias_shift), nearest (ties to even), the smallest shift.

    Args:
        matrix: without a bias.
        bias: (rows,), finite.
        input_frac: fractional bits of the linear's input.

    Raises:
        InputError: the bias is too large beside the weights for a shift of 15.
    """
    wide, unit = bias.astype(np.float64), matrix.exponent + input_frac
    for shift in range(SHIFT_MAX + 1):
        values = np.rint(np.ldexp(wide, unit - shift))  # (rows,)
        if np.abs(values).max() <= _LIMIT:
            return replace(matrix, bias=values.astype(np.int32), bias_shift=shift)
    raise InputError(
        f"holds a bias of magnitude {float(np.abs(bias).max()):.9g}, expected less than {_beyond(unit):.9g}, the limit "
        f"beside weights of exponent {matrix.exponent} and inputs of {input_frac} fractional bits",
        source=source,
        key=name,
        hint=DAMAGED,
    )


def _beyond(unit: int) -> float:
    """The smallest bias that rounds to 2^31 at the largest shift, in units of 2^-unit."""
    return (_LIMIT + 0.5) * 2.0 ** (SHIFT_MAX - unit)
