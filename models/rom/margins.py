"""The arithmetic of one accumulator (docs/numerics.md section 1), and how far a sum is from another output.

With ``a = sum + 2**(shift-1)`` and ``y`` the output, the smallest change of the sum that changes y is

    up   = (y + 1) * 2**shift - a      upwards, none where y is the upper end of saturation
    down = a - y * 2**shift + 1        downwards, none where y is the lower end
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_EXACT_FLOAT64: Final = 1 << 53


def rounded(sums: Array, shift: int, bits: int) -> Array:
    """sat(rs(sums, shift), bits)."""
    half = (1 << shift) >> 1
    top = (1 << (bits - 1)) - 1
    clamped: Array = np.clip((sums + half) >> shift, -top - 1, top)
    return clamped


def margins(sums: Array, y: Array, shift: int, bits: int) -> tuple[Array, Array]:
    """The smallest change of ``sums`` that changes ``y``, up and down, each as 1 / change; 0 where there is none."""
    half = (1 << shift) >> 1
    a = sums + half
    up = ((y + 1) << shift) - a
    down = a - (y << shift) + 1
    top, bottom = (1 << (bits - 1)) - 1, -(1 << (bits - 1))
    return (
        np.where(y == top, 0.0, 1.0 / np.maximum(up, 1)),
        np.where(y == bottom, 0.0, 1.0 / np.maximum(down, 1)),
    )


def reaches(up: Array, down: Array, operands: Array) -> tuple[Array, Array]:
    """|operand| / margin of an element that rises, and of one that falls; the arguments broadcast."""
    above = np.maximum(operands, 0).astype(np.float64)
    below = np.maximum(-operands, 0).astype(np.float64)
    return np.maximum(up * above, down * below), np.maximum(down * above, up * below)


def dot(x: Array, w: Array) -> Array:
    """x (T, K) times w (R, K) transposed, exactly; in float64 where every partial sum fits."""
    bound = int(np.abs(x).max(initial=0)) * int(np.abs(w).max(initial=0)) * x.shape[1]
    if bound < _EXACT_FLOAT64:
        product: Array = (x.astype(np.float64) @ w.T.astype(np.float64)).astype(np.int64)
        return product
    whole: Array = x.astype(np.int64) @ w.T
    return whole


def inverted(value: int, bit: int, bits: int) -> int:
    """A two's complement value with one bit inverted."""
    raw = (value ^ (1 << bit)) & ((1 << bits) - 1)
    return raw - (1 << bits) if raw >> (bits - 1) else raw
