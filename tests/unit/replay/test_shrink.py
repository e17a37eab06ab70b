"""Delta debugging: what is left fails, and no single item of it can go."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from etchproof.replay.shrink import shrink


@given(st.integers(1, 40), st.sets(st.integers(0, 39), min_size=1))
def test_exactly_what_is_needed_is_left(count: int, needed: set[int]) -> None:
    needed = {one % count for one in needed}

    def happens(items: Sequence[int]) -> bool:
        assert list(items) == sorted(set(items)), "in order, none twice"
        return needed <= set(items)

    left, _, minimal = shrink(range(count), happens, 10_000)
    assert (set(left), minimal) == (needed, True)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.integers(0, 60))
def test_a_sum_that_has_to_be_reached(items: list[int], least: int) -> None:
    """Items are not needed one by one: what is left depends on the rest."""
    least = min(least, sum(items))
    left, trials, minimal = shrink(items, lambda some: sum(some) >= least, 10_000)
    assert minimal
    assert sum(left) >= least
    assert len(left) == 1 or all(sum(left) - one < least for one in left)
    assert trials <= len(items) ** 2 + 3 * len(items)


def test_the_limit_of_trials() -> None:
    left, trials, minimal = shrink(range(64), lambda some: {0, 63} <= set(some), 3)
    assert (trials, minimal) == (3, False)
    assert {0, 63} <= set(left)
