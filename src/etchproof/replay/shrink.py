"""Delta debugging: the fewest items, in their order, with which something still happens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

_Item = TypeVar("_Item")


def shrink(
    items: Sequence[_Item], happens: Callable[[Sequence[_Item]], bool], most_trials: int
) -> tuple[list[_Item], int, bool]:
    """Leave out as many items as can be: no single one of what is left can go.

    The algorithm is Zeller's and Hildebrandt's ``ddmin`` (IEEE TSE 28(2), 2002), by complements.

    Args:
        items: with which it happens.
        happens: whether it happens with some of them, at least one.
        most_trials: calls of it.

    Returns:
        What is left, the trials, and whether it came to its end before they were used up.
    """
    left, parts, trials = list(items), 2, 0
    while len(left) > 1:
        size = -(-len(left) // parts)
        for begin in range(0, len(left), size):
            rest = left[:begin] + left[begin + size :]
            if not rest:
                continue
            if trials == most_trials:
                return left, trials, False
            trials += 1
            if happens(rest):
                left, parts = rest, max(2, parts - 1)
                break
        else:
            if parts >= len(left):
                break
            parts = min(len(left), 2 * parts)
    return left, trials, True
