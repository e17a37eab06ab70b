"""How values were rounded and saturated, counted in bulk: sat(rs(acc, shift), bits) of docs/numerics.md section 1."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

ROUNDINGS: Final = ("up", "down", "tie_positive", "tie_negative")
SATURATIONS: Final = ("saturated_high", "saturated_low")
CASES: Final = (*ROUNDINGS, *SATURATIONS)
ENDS: Final = ("highest", "first_over", "lowest", "first_under")


def roundings(into: Counter[str], kind: str, acc: Array, shift: int | Array) -> Array:
    """Count each case of ``ROUNDINGS`` under ``kind.case``; returns rs(acc, shift).

    Args:
        shift: one for all, or an array that broadcasts.
    """
    half = (np.int64(1) << np.asarray(shift, np.int64)) >> 1
    low = acc & (2 * half - (half > 0))
    tie = (low == half) & (half > 0)
    cases = {
        "up": low > half,
        "down": (low > 0) & (low < half),
        "tie_positive": tie & (acc > 0),
        "tie_negative": tie & (acc < 0),
    }
    into.update({f"{kind}.{case}": int(np.count_nonzero(hit)) for case, hit in cases.items()})
    value: Array = (acc + half) >> shift
    return value


def saturations(into: Counter[str], kind: str, value: Array, bits: int) -> None:
    """Count each case of ``SATURATIONS``."""
    top = (1 << (bits - 1)) - 1
    into[f"{kind}.saturated_high"] += int(np.count_nonzero(value > top))
    into[f"{kind}.saturated_low"] += int(np.count_nonzero(value < -top - 1))


def end_values(bits: int) -> tuple[int, int, int, int]:
    """The value of each case of ``ENDS``."""
    top = (1 << (bits - 1)) - 1
    return top, top + 1, -top - 1, -top - 2


def ends(into: Counter[str], kind: str, value: Array, bits: int) -> None:
    """Count each case of ``ENDS``: the last value at either end that is kept, and the first that is not."""
    for case, end in zip(ENDS, end_values(bits), strict=True):
        into[f"{kind}.{case}"] += int(np.count_nonzero(value == end))


def round_cases(into: Counter[str], kind: str, acc: Array, shift: int, bits: int) -> Array:
    """Count each case of ``CASES``; returns rs(acc, shift), not saturated."""
    value = roundings(into, kind, acc, shift)
    saturations(into, kind, value, bits)
    return value
