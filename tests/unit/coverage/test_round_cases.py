"""Cases of a rounding and of a clamp, counted, against values worked out by hand."""

from __future__ import annotations

from collections import Counter

import numpy as np

from verif.coverage.norm import Norm
from verif.coverage.round_cases import end_values, ends, round_cases, roundings


def test_roundings() -> None:
    found: Counter[str] = Counter()
    value = roundings(found, "x", np.array([9, 7, 6, -6, -7, 8, 0, -2]), 2)
    assert value.tolist() == [2, 2, 2, -1, -2, 2, 0, 0]
    assert found == {"x.up": 1, "x.down": 2, "x.tie_positive": 1, "x.tie_negative": 2}


def test_a_shift_for_each_row() -> None:
    """Nothing is rounded where the shift is 0, and the largest shift does not overflow."""
    found: Counter[str] = Counter()
    value = roundings(
        found, "x", np.array([[3, 5], [3, 2], [1 << 61, -(1 << 61)]]), np.array([[0], [2], [62]])
    )
    assert value.tolist() == [[3, 5], [1, 1], [1, 0]]
    assert found == {"x.up": 1, "x.down": 0, "x.tie_positive": 2, "x.tie_negative": 1}


def test_clamps() -> None:
    found: Counter[str] = Counter()
    value = round_cases(found, "x", np.array([127, 128, 129, -128, -129, -200, 3]), 0, 8)
    assert (found["x.saturated_high"], found["x.saturated_low"]) == (2, 2)
    ends(found, "x", value, 8)
    assert [found[f"x.{case}"] for case in ("highest", "first_over", "lowest", "first_under")] == [1, 1, 1, 1]
    assert end_values(8) == (127, 128, -128, -129)


def test_epsilon_is_shifted_by_twice_the_exponent() -> None:
    """With E = 2^40 and one element of 2^24, s is 1: E / 4 beside 2^46."""
    norm = Norm(np.array([[1 << 24, 0]]), 1 << 40)
    assert (int(norm.s), int(norm.v)) == (1, (1 << 46) + (1 << 38))
    assert not norm.unit().equal(norm.unit(1)) and not norm.unit().equal(norm.unit(None))
    plain = Norm(np.array([[(1 << 24) - 1, 0]]), 1 << 40)
    assert int(plain.s) == 0 and plain.unit().equal(plain.unit(1))
