"""RMSNorm gains as 16-bit integers (docs/numerics.md section 3)."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from etchproof.errors import InputError
from etchproof.quantize.matrix import choose_exponent
from etchproof.quantized import QuantizedGains

EXPONENT_RANGE: Final = (-16, 30)
"""Smallest and largest eg: with any frac of -8..24 beside them, norm.shift = 29 + eg - frac can be in [0, 62]."""
GAIN_MAX: Final = 2**15 - 1


def quantize_gains(
    gain: npt.NDArray[np.float32], *, name: str = "gain", source: str | None = None
) -> QuantizedGains:
    """gain[k] * sqrt(hidden), (hidden,), rounded to nearest (ties to even) at the largest exponent that fits 16 bits.

    Raises:
        InputError: a gain is too large for the smallest exponent.
    """
    scaled = gain.astype(np.float64) * math.sqrt(len(gain))  # (hidden,)
    exponent = choose_exponent(float(np.abs(scaled).max()), 1, GAIN_MAX, EXPONENT_RANGE)
    if exponent is None:
        raise InputError(
            f"holds a gain of magnitude {float(np.abs(gain).max()):.6g}, too large for 16 bits",
            source=source,
            key=name,
        )
    values = np.clip(np.rint(np.ldexp(scaled, exponent)), -GAIN_MAX, GAIN_MAX)
    return QuantizedGains(values.astype(np.int16), exponent)
