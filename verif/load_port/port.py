"""What a running simulation's load port sends, and a back door into the chip's SRAMs. Inside the simulator only."""

from __future__ import annotations

import ctypes
from typing import Final

import numpy as np
from numpy.typing import NDArray

from etchproof.sim.sink import CFunctions, SinkError, c_array, c_functions

_FUNCTIONS: Final[CFunctions] = {
    "ep_load_set": (None, [ctypes.c_void_p, ctypes.c_uint64]),
    "ep_load_get": (ctypes.c_void_p, [ctypes.POINTER(ctypes.c_uint64)]),
    "ep_sram_find": (
        ctypes.c_void_p,
        [ctypes.c_int, ctypes.c_char_p, ctypes.POINTER(ctypes.c_uint64), ctypes.POINTER(ctypes.c_uint64)],
    ),
}


class LoadPort:
    """The C++ side (``ep_load.cpp``) of a load and of a fault.

    Raises:
        SinkError: ``not_a_simulation`` outside a simulator that ``etchproof.sim.build`` made.
    """

    def __init__(self) -> None:
        self._c = c_functions(_FUNCTIONS, "load port")

    def offer(self, words: NDArray[np.uint32]) -> None:
        """The words that the transactor sends when it is next told to; they are copied."""
        held = np.ascontiguousarray(words, dtype=np.uint32)
        self._c.ep_load_set(held.ctypes.data, len(held))

    def offered(self) -> NDArray[np.uint32]:
        """A copy of the words offered last; empty before the first."""
        count = ctypes.c_uint64()
        address = self._c.ep_load_get(ctypes.byref(count))
        return c_array(address, count.value, np.uint32)

    def sram(self, layer: int, name: str) -> NDArray[np.int16]:
        """A memory of the chip, (words, lanes): a view of what the chip reads, to look at or to flip bits in.

        Raises:
            SinkError: ``sram_unknown``: the chip has none of that name.
        """
        words, lanes = ctypes.c_uint64(), ctypes.c_uint64()
        address = self._c.ep_sram_find(layer, name.encode(), ctypes.byref(words), ctypes.byref(lanes))
        if address is None:
            raise SinkError("sram_unknown", f"layer {layer} {name}: the chip has no such SRAM")
        held: NDArray[np.int16] = np.ctypeslib.as_array(
            (ctypes.c_int16 * lanes.value * words.value).from_address(address)
        )
        return held
