"""RMSNorm gains as 16-bit integers (docs/numerics.md section 3)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from etchproof.errors import InputError
from etchproof.quantize.matrix import DAMAGED, choose_exponent
from etchproof.quantize.quantized_model import QuantizedGains

EXPONENT_RANGE: Final = (-16, 30)
"""Smallest and largest eg: with any frac of -8..24 beside them, norm.shift = 29 + eg - frac can be in [0, 62]."""
GAIN_MAX: Final = 2**15 - 1


def quantize_gains(
    gain: npt.NDArray[np.float32], *, name: str = "gain", source: str | Path | None = None
) -> QuantizedGains:
    """gain[k] * sqrt(hidden), (hidden,), rounded to nearest (ties to even) at the largest exponent that fits 16 bits.

    Raises:
        InputError: a gain is too large for the smallest exponent.
    """
    scaled = gain.astype(np.float64) * math.sqrt(len(gain))  # (hidden,)
    exponent = choose_exponent(float(np.abs(scaled).max()), 1, GAIN_MAX, EXPONENT_RANGE)
    if exponent is None:
        raise InputError(
            f"holds a gain of magnitude {float(np.abs(gain).max()):.9g}, expected less than {_beyond(len(gain)):.9g}, "
            f"the limit of 16-bit gains at a hidden size of {len(gain)}",
            source=source,
            key=name,
            hint=DAMAGED,
        )
    values = np.clip(np.rint(np.ldexp(scaled, exponent)), -GAIN_MAX, GAIN_MAX)
    return QuantizedGains(values.astype(np.int16), exponent)


def _beyond(hidden: int) -> float:
    """The smallest gain that rounds to 2^15 at the smallest exponent."""
    return (GAIN_MAX + 0.5) * 2.0 ** -EXPONENT_RANGE[0] / math.sqrt(hidden)
