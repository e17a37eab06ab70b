"""How values were rounded and saturated, counted in bulk: sat(rs(acc, shift), bits) of docs/numerics.md section 1."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import numpy as np
import numpy.typing as npt

CASES: Final = ("up", "down", "tie_positive", "tie_negative", "saturated_high", "saturated_low")


def round_cases(into: Counter[str], kind: str, acc: npt.NDArray[Any], shift: int, bits: int) -> None:
    """Count each case of ``CASES`` under ``kind.case``."""
    half = (1 << shift) >> 1
    low = acc & ((1 << shift) - 1)
    tie = (low == half) & (shift > 0)
    top = (1 << (bits - 1)) - 1
    value = (acc + half) >> shift
    cases = {
        "up": low > half,
        "down": (low > 0) & (low < half),
        "tie_positive": tie & (acc > 0),
        "tie_negative": tie & (acc < 0),
        "saturated_high": value > top,
        "saturated_low": value < -top - 1,
    }
    into.update({f"{kind}.{case}": int(np.count_nonzero(hit)) for case, hit in cases.items()})
