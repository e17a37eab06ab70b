"""What a running simulation's ROM test port is asked, and what it answered. Inside the simulator only."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from etchproof.sim.sink import CFunctions, SinkError, c_array, c_functions

_FUNCTIONS: Final[CFunctions] = {
    "ep_rom_read_ask": (None, [ctypes.c_void_p]),
    "ep_rom_read_answer": (
        ctypes.c_void_p,
        [ctypes.POINTER(ctypes.c_uint64), ctypes.POINTER(ctypes.c_uint32), ctypes.POINTER(ctypes.c_uint32)],
    ),
}


@dataclass(frozen=True, slots=True)
class RomRange:
    """A request: words ``word`` .. ``word + words - 1`` of a unit, or its signature.

    Attributes:
        op: the chip's code of the operation.
        stall_seed: of random stalls before answers are taken; 0 for none.
    """

    op: int
    unit: int
    word: int
    words: int
    stall_seed: int


@dataclass(frozen=True, slots=True)
class RomAnswer:
    """What came of a request.

    Attributes:
        slices: (n,), all words one after the other; up to a refusal.
        status: the chip's code.
        cycles: of all requests of the range, each from the edge that took it to its last answer.
    """

    slices: NDArray[np.uint32]
    status: int
    cycles: int


class RomPort:
    """The C++ side (``ep_rom_test.cpp``) of a read-back.

    Raises:
        SinkError: ``not_a_simulation`` outside a simulator that ``etchproof.sim.build`` made.
    """

    def __init__(self) -> None:
        self._c = c_functions(_FUNCTIONS, "ROM test port")

    def ask(self, asked: RomRange) -> None:
        """The request that the transactor makes when it is next told to."""
        fields = (ctypes.c_uint32 * 5)(asked.op, asked.unit, asked.word, asked.words, asked.stall_seed)
        self._c.ep_rom_read_ask(fields)

    def answer(self) -> RomAnswer:
        """A copy of what was answered.

        Raises:
            SinkError: ``rom_test_open``: the request has not ended.
        """
        count, status, cycles = ctypes.c_uint64(), ctypes.c_uint32(), ctypes.c_uint32()
        address = self._c.ep_rom_read_answer(ctypes.byref(count), ctypes.byref(status), ctypes.byref(cycles))
        if address is None:
            raise SinkError("rom_test_open", "the request to the ROM test port has not ended")
        return RomAnswer(c_array(address, count.value, np.uint32), status.value, cycles.value)
