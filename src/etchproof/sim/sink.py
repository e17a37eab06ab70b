"""The taps of the running simulation, read where C++ put them (``ep_sink.cpp``). For use inside the simulator only."""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Iterable, Sequence
from struct import Struct
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from etchproof.errors import EtchproofError

_HEADER: Final = Struct("<IiIIIIQ")
"""id, layer, pos, count, element_bytes, sequence, time: ``Header`` of ``ep_sink.cpp``."""

_HEADER_BYTES: Final = _HEADER.size
_SEQUENCE_MASK: Final = 0xFFFFFFFF
_DTYPES: Final[dict[int, np.dtype[Any]]] = {
    1: np.dtype("<i1"),
    2: np.dtype("<i2"),
    4: np.dtype("<i4"),
    8: np.dtype("<i8"),
}

CFunctions = dict[str, tuple[Any, list[Any]]]
"""By name: the type of the result, the types of the arguments."""

_FUNCTIONS: Final[CFunctions] = {
    "ep_sink_configure": (ctypes.c_int, [ctypes.c_uint64]),
    "ep_sink_base": (ctypes.c_void_p, []),
    "ep_sink_capacity": (ctypes.c_uint64, []),
    "ep_sink_used": (ctypes.c_uint64, []),
    "ep_sink_records": (ctypes.c_uint64, []),
    "ep_sink_names": (ctypes.c_char_p, []),
    "ep_sink_error": (ctypes.c_char_p, []),
    "ep_sink_enable": (None, [ctypes.c_int]),
    "ep_sink_taken": (None, [ctypes.c_uint64]),
    "ep_sink_marks": (ctypes.c_void_p, [ctypes.POINTER(ctypes.c_uint64)]),
    "ep_sink_index_count": (ctypes.c_uint64, []),
    "ep_sink_loaded_count": (ctypes.c_uint64, []),
    "ep_sink_unloaded": (ctypes.c_char_p, []),
}


class SinkError(EtchproofError):
    """A tap or a ROM image went wrong: the run is no evidence.

    Attributes:
        name: which check, one word: ``tap_overflow``, ``unknown_tap``, ``lost_record``, ``image_missing`` and so on.
    """

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name


def c_functions(functions: CFunctions, what: str) -> Any:
    """Functions of the simulator that this process is; a call of them keeps Python's lock.

    Raises:
        SinkError: ``not_a_simulation``: one of them is not there, so that this process has no ``what``.
    """
    library: Any = ctypes.PyDLL(None)
    try:
        for function, (result, arguments) in functions.items():
            entry = getattr(library, function)
            entry.restype, entry.argtypes = result, arguments
    except AttributeError as error:
        raise SinkError("not_a_simulation", f"this process has no {what}: {error}") from error
    return library


def c_array(address: int | None, count: int, dtype: DTypeLike) -> NDArray[Any]:
    """A copy of ``count`` elements that C++ holds at an address; where there are none, the address does not matter."""
    if not count:
        return np.zeros(0, dtype)
    assert address is not None
    held: Any = (ctypes.c_char * (count * np.dtype(dtype).itemsize)).from_address(address)
    return np.frombuffer(held, dtype).copy()


class TapRecord(NamedTuple):
    """One operation result of one token.

    ``data`` is read-only.
    """

    layer: int
    """-1 outside the decoder layers."""
    name: str
    """The tap's name, as its ``ep_tap`` gave it."""
    pos: int
    """Position of the token in its sequence."""
    time: int
    """Simulation time, in units of the time precision (1 ps)."""
    data: NDArray[Any]
    """(count,) int8, int16, int32 or int64."""


class TapBatch:
    """Records copied out of the tap memory, in the order of writing; parsed when they are asked for, in any thread.

    Args:
        names: the name of each tap id, by index.
        sequence: number of the first record.
        memory: what holds them, from ``start`` to ``end``.

    Attributes:
        nbytes: memory that they take.
    """

    def __init__(
        self, names: Sequence[str], sequence: int, memory: NDArray[np.uint8], start: int, end: int
    ) -> None:
        self._names, self._sequence, self._memory = names, sequence, memory
        self._start, self._end, self.nbytes = start, end, end - start

    def records(self) -> list[TapRecord]:
        """The records; their ``data`` is read-only.

        Raises:
            SinkError: an id without a name, or a record that was lost or overwritten.
        """
        unpack, frombuffer, dtypes, names = _HEADER.unpack_from, np.frombuffer, _DTYPES, self._names
        memory, at, sequence, found = self._memory.data, self._start, self._sequence, []
        while at < self._end:
            tap_id, layer, pos, count, element_bytes, number, time = unpack(memory, at)
            if number != sequence & _SEQUENCE_MASK:
                raise SinkError("lost_record", f"record {sequence} expected, {number} found")
            if tap_id >= len(names):
                raise SinkError("unknown_tap", f"layer {layer} id {tap_id}: the table has {len(names)} names")
            data = frombuffer(memory, dtypes[element_bytes], count, at + _HEADER_BYTES)
            found.append(TapRecord(layer, names[tap_id], pos, time, data))
            at += _HEADER_BYTES + (count * element_bytes + 7 & ~7)
            sequence += 1
        return found


class TapSink:
    """The tap records of this process.

    Args:
        declared: the names that taps of the chip may have.
        tap_bytes: capacity, when the sink is created before the first tap; None leaves it to
            ``ETCHPROOF_TAP_BYTES``, 64 MiB by default.

    Raises:
        SinkError: ``not_a_simulation`` outside a simulator that ``etchproof.sim.build`` made; ``tap_bytes`` when the
            capacity cannot be set any more.
    """

    def __init__(self, declared: Iterable[str], *, tap_bytes: int | None = None) -> None:
        self._declared = frozenset(declared)
        self._names: tuple[str, ...] = ()  # of each tap id, by index
        self._c = library = c_functions(_FUNCTIONS, "tap sink")
        if tap_bytes is not None and not library.ep_sink_configure(tap_bytes):
            raise SinkError("tap_bytes", f"the capacity cannot be set to {tap_bytes} bytes, or not any more")
        base = library.ep_sink_base()
        if base is None:
            self._check()
            raise SinkError("tap_memory", "the simulator has none")
        self._capacity: int = library.ep_sink_capacity()
        raw = (ctypes.c_char * self._capacity).from_address(base)
        self._memory = memoryview(raw).cast("B").toreadonly()
        self._sequence: int = library.ep_sink_records() if library.ep_sink_used() == 0 else 0
        self._tokens: deque[TapBatch] = deque()

    @property
    def capacity(self) -> int:
        """Bytes that records may take."""
        return self._capacity

    @property
    def records_written(self) -> int:
        """Records that the chip's taps have written."""
        return int(self._c.ep_sink_records())

    @property
    def error(self) -> str | None:
        """The first error of the C++ side, ``name: message``; None while there is none."""
        text: bytes = self._c.ep_sink_error()
        return text.decode(errors="replace") if text else None

    def take(self) -> TapBatch:
        """All records that were not taken yet, copied; their memory is free for the next ones.

        Raises:
            SinkError: an error of the C++ side.
        """
        self._check()
        used = self._c.ep_sink_used()
        return self._taken([(used, self.records_written)])[0]

    def take_token(self) -> TapBatch:
        """As ``take``, of the next token that was answered on the host port; all that wait are copied at once.

        Raises:
            SinkError: an error of the C++ side; ``no_token`` when no answer waits.
        """
        if not self._tokens:
            self._check()
            count = ctypes.c_uint64()
            address = self._c.ep_sink_marks(ctypes.byref(count))
            if not count.value:
                raise SinkError("no_token", "no token was answered whose taps were not taken")
            self._tokens += self._taken(c_array(address, 2 * count.value, np.uint64).reshape(-1, 2).tolist())
        return self._tokens.popleft()

    def _taken(self, marks: Sequence[Sequence[int]]) -> list[TapBatch]:
        """Batches up to each mark: its end in the tap memory, records written until there."""
        self._read_names()
        end = marks[-1][0]
        # Of few sizes, so that memory of batches that are gone is used again, and not cleared by the kernel.
        memory = np.empty(1 << end.bit_length(), np.uint8)
        memory[:end] = self._memory[:end]
        memory.flags.writeable = False
        start, batches = 0, []
        for used, records in marks:
            batches.append(TapBatch(self._names, self._sequence, memory, start, used))
            start, self._sequence = used, records
        self._c.ep_sink_taken(end)
        return batches

    def _read_names(self) -> None:
        """Reads the names that the chip's taps gave themselves at the start, whether they wrote or not.

        Raises:
            SinkError: ``unknown_tap``: a name that is not declared.
        """
        found = tuple(self._c.ep_sink_names().decode(errors="replace").split("\n")[:-1])
        if len(found) == len(self._names):
            return
        if unknown := sorted(set(found) - self._declared):
            raise SinkError(
                "unknown_tap", f"{unknown[0]!r} is the name of a tap in the RTL and is not declared"
            )
        self._names = found

    def enable(self, enabled: bool = True) -> None:
        """Switches recording on or off, for benchmarks; a run with taps off proves nothing."""
        self._c.ep_sink_enable(int(enabled))

    def images_loaded(self) -> int:
        """Distinct ROM images that the chip has loaded."""
        return int(self._c.ep_sink_loaded_count())

    def check_images(self) -> int:
        """Checks that the chip loaded every image of the index; returns their number.

        Raises:
            SinkError: ``image_unloaded`` with the names of images that no ROM asked for, or the loader's own error.
        """
        self._check()
        unloaded: list[str] = self._c.ep_sink_unloaded().decode(errors="replace").splitlines()
        self._check()
        if unloaded:
            shown = ", ".join(f"layer {line}" for line in unloaded[:8])
            more = f" and {len(unloaded) - 8} more" if len(unloaded) > 8 else ""
            raise SinkError("image_unloaded", f"no ROM loaded {shown}{more}")
        count = int(self._c.ep_sink_index_count())
        if count == 0:
            raise SinkError("image_index", "the index of images is empty")
        return count

    def _check(self) -> None:
        if error := self.error:
            name, _, message = error.partition(": ")
            raise SinkError(name, message)
