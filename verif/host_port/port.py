"""What a running simulation's host port is asked, and what it answered. Inside the simulator only."""

from __future__ import annotations

import ctypes
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

import numpy as np

from etchproof.sim.sink import CFunctions, c_array, c_functions
from etchproof.uvm import TokenResult

_FUNCTIONS: Final[CFunctions] = {
    "ep_host_ask": (
        None,
        [
            ctypes.c_void_p,
            ctypes.c_uint64,
            ctypes.c_void_p,
            ctypes.c_uint64,
            ctypes.c_int,
            ctypes.c_uint64,
        ],
    ),
    "ep_host_answers": (ctypes.c_void_p, [ctypes.POINTER(ctypes.c_uint64)]),
    "ep_host_taken": (None, []),
    "ep_host_paused": (ctypes.c_int, []),
}


class HostRequest(NamedTuple):
    """One request; codes are the chip's own."""

    token: int | None
    """None for the token that was answered last, where the request is not the first of its burst."""
    op: int
    slot: int
    request_stall: int = 0
    """Clock cycles before it is offered."""
    response_stall: int = 0
    """Clock cycles for which its answer is held off."""


_RESULT_WORDS: Final = 9  # that C++ gives of a ``TokenResult``


class HostPort:
    """The C++ side (``ep_host.cpp``) of bursts of requests.

    Raises:
        SinkError: ``not_a_simulation`` outside a simulator that ``etchproof.sim.build`` made.
    """

    def __init__(self) -> None:
        self._c = c_functions(_FUNCTIONS, "host port")

    def ask(
        self,
        requests: Sequence[HostRequest],
        *,
        stop_tokens: Collection[int] = (),
        ends_at_refusal: bool = False,
        pause_cycles: int,
    ) -> None:
        """The burst that the transactor plays when it is next told to.

        Args:
            requests: at least one.
            stop_tokens: a request without a token that would be fed one of these ends the burst.
            ends_at_refusal: so does an answer with a status other than 0.
            pause_cycles: the burst pauses after the answer with which its answers have taken so many cycles.
        """
        words = np.array(
            [
                (token or 0, op, slot, before, after, token is None)
                for token, op, slot, before, after in requests
            ],
            np.uint32,
        )
        stop = np.array(sorted(stop_tokens), np.uint32)
        self._c.ep_host_ask(
            words.ctypes.data, len(words), stop.ctypes.data, len(stop), ends_at_refusal, pause_cycles
        )

    def results(self) -> list[TokenResult]:
        """What was answered since the last call."""
        count = ctypes.c_uint64()
        address = self._c.ep_host_answers(ctypes.byref(count))
        words = c_array(address, count.value * _RESULT_WORDS, np.uint32)
        results = [TokenResult(*row) for row in words.reshape(-1, _RESULT_WORDS).tolist()]
        self._c.ep_host_taken()
        return results

    @property
    def paused(self) -> bool:
        """Whether the burst stopped where it may go on: for its length, or for want of memory for taps."""
        return bool(self._c.ep_host_paused())
