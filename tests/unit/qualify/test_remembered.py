"""A golden model that is asked once for what many faulty chips are held against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from etchproof.contract.taps import TapKey
from etchproof.qualify.remembered import Remembered


class Counting:
    """Sums what it was fed since the last first item; counts the items that it computes."""

    computed = 0

    def __init__(self) -> None:
        self._sum = 0
        self._row = np.zeros((1, 1), np.int64)

    def predict(self, items: Sequence[int], first: bool, adapter: int | None = None) -> Mapping[TapKey, Any]:
        Counting.computed += len(items)
        self._sum = sum(items) + (adapter or 0) + (0 if first else self._sum)
        self._row[0, 0] = self._sum  # as a model that uses its memory again
        return {(-1, "sum"): self._row}


def ask(session: Any, *asked: tuple[Any, ...]) -> list[int]:
    return [int(session.predict(*one)[-1, "sum"][0, 0]) for one in asked]


def test_what_was_computed_is_looked_up() -> None:
    Counting.computed = 0
    remembered = Remembered(Counting)
    script = (([1, 2], True), ([3], False), ([4], False), ([9], True), ([1], False))
    for _ in range(3):
        assert ask(remembered.session(), *script) == [3, 6, 10, 9, 10]
    assert Counting.computed == 2 + 1 + 1 + 1 + 1  # each stretch once: a session goes on where it is


def test_another_way_from_the_same_beginning() -> None:
    remembered = Remembered(Counting)
    assert ask(remembered.session(), ([1, 2], True), ([3], False)) == [3, 6]
    assert ask(remembered.session(), ([1, 2], True), ([5], False), ([1], False)) == [3, 8, 9]
    assert ask(remembered.session(), ([1, 2], True, 100), ([5], False, 100)) == [103, 208]
