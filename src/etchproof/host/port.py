"""What a running simulation's stream host is asked, and what it answered. Inside the simulator only."""

from __future__ import annotations

import ctypes
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

import numpy as np

from etchproof.sim.sink import CFunctions, c_array, c_functions

_FUNCTIONS: Final[CFunctions] = {
    "ep_stream_ask": (
        None,
        [
            *(ctypes.c_void_p, ctypes.c_uint64),
            *(ctypes.c_void_p, ctypes.c_uint64),
            *(ctypes.c_void_p, ctypes.c_uint64),
            ctypes.c_uint32,
        ],
    ),
    "ep_stream_answers": (ctypes.c_void_p, [ctypes.POINTER(ctypes.c_uint64)]),
    "ep_stream_taken": (None, []),
    "ep_stream_paused": (ctypes.c_int, []),
}
_FIELDS: Final = 7
"""Of an answer, ahead of its words."""


class Item(NamedTuple):
    """One vector or token for the chip."""

    words: tuple[int, ...] | None
    """As the pins have them; None for the word that was answered last, where the item is not the first of its burst."""
    first: bool
    """Whether it opens a sequence."""
    request_stall: int = 0
    """Cycles before its first word is offered; where it is not 0, the other words are stalled at random, too."""
    response_stall: int = 0
    """Likewise, before the words of its answer are taken."""


class Answer(NamedTuple):
    """An item and its answer, as seen on the pins."""

    first: bool
    status: int
    cycles: int
    """From the edge that took the item's first word to the one that took the last word of the answer."""
    request_stall: int
    response_stall: int
    fed: tuple[int, ...]
    """The item's words."""
    words: tuple[int, ...]
    """Those of the answer."""


class StreamPort:
    """The C++ side (``ep_stream.cpp``) of bursts of items.

    Raises:
        SinkError: ``not_a_simulation`` outside a simulator that ``etchproof.sim.build`` made.
    """

    def __init__(self) -> None:
        self._c = c_functions(_FUNCTIONS, "stream host")

    def ask(self, items: Sequence[Item], *, stop: Collection[int] = (), limit: int) -> None:
        """The burst that the host plays when it is next told to; an answer with a status other than 0 ends it.

        Args:
            items: at least one.
            stop: an item without words that would be fed one of these ends the burst.
            limit: cycles that an item and its answer may take.
        """
        rows = [
            (len(words) if words is not None else 1, first, words is None, before, after)
            for words, first, before, after in items
        ]
        heads = np.array(rows, np.uint32)
        fed = np.array([word for item in items for word in item.words or (0,)], np.uint64)
        ends = np.array(sorted(stop), np.uint64)
        self._c.ep_stream_ask(
            *(heads.ctypes.data, len(heads), fed.ctypes.data, len(fed), ends.ctypes.data, len(ends), limit)
        )

    def answers(self) -> list[Answer]:
        """What was answered since the last call."""
        count = ctypes.c_uint64()
        address = self._c.ep_stream_answers(ctypes.byref(count))
        words: list[int] = c_array(address, count.value, np.uint64).tolist()
        self._c.ep_stream_taken()
        found, at = [], 0
        while at < len(words):
            first, status, cycles, before, after, fed, answered = words[at : at + _FIELDS]
            at += _FIELDS
            middle, end = at + fed, at + fed + answered
            found.append(
                Answer(
                    bool(first),
                    *(status, cycles, before, after),
                    fed=tuple(words[at:middle]),
                    words=tuple(words[middle:end]),
                )
            )
            at = end
        return found

    @property
    def paused(self) -> bool:
        """Whether the burst stopped where it may go on: for want of memory for taps."""
        return bool(self._c.ep_stream_paused())
