"""The taps of the running simulation, read where C++ put them (``ep_sink.cpp``). For use inside the simulator only."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from struct import Struct
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from etchproof.errors import EtchproofError
from etchproof.taps import TAP_NAMES

_HEADER: Final = Struct("<IiIIIIQ")
"""id, layer, pos, count, element_bytes, sequence, time: ``Header`` of ``ep_sink.cpp``."""

_SKIP: Final = 0xFFFFFFFF
_SEQUENCE_MASK: Final = 0xFFFFFFFF
_DTYPES: Final[dict[int, np.dtype[Any]]] = {
    1: np.dtype("<i1"),
    2: np.dtype("<i2"),
    4: np.dtype("<i4"),
    8: np.dtype("<i8"),
}

_FUNCTIONS: Final[dict[str, tuple[Any, list[Any]]]] = {
    "ep_sink_configure": (ctypes.c_int, [ctypes.c_uint64]),
    "ep_sink_base": (ctypes.c_void_p, []),
    "ep_sink_capacity": (ctypes.c_uint64, []),
    "ep_sink_head": (ctypes.c_uint64, []),
    "ep_sink_tail": (ctypes.c_uint64, []),
    "ep_sink_records": (ctypes.c_uint64, []),
    "ep_sink_error": (ctypes.c_char_p, []),
    "ep_sink_enable": (None, [ctypes.c_int]),
    "ep_sink_release": (ctypes.c_int, [ctypes.c_uint64]),
    "ep_sink_reset": (None, []),
    "ep_sink_index_count": (ctypes.c_uint64, []),
    "ep_sink_loaded_count": (ctypes.c_uint64, []),
    "ep_sink_unloaded": (ctypes.c_char_p, []),
}


class SinkError(EtchproofError):
    """A tap or a ROM image went wrong: the run is no evidence.

    Attributes:
        name: which check, one word: ``ring_overflow``, ``unknown_tap``, ``lost_record``, ``image_missing`` and so on.
    """

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name


class TapRecord(NamedTuple):
    """One operation result of one token.

    ``data`` is a read-only view of the simulator's memory, valid until ``TapSink.release``: copy what is to be kept.
    """

    layer: int
    """-1 outside the decoder layers."""
    name: str
    """The tap's name, one of the sink's table."""
    pos: int
    """Position of the token in its sequence."""
    time: int
    """Simulation time, in units of the time precision (1 ps)."""
    data: NDArray[Any]
    """(count,) int8, int16, int32 or int64."""


class TapSink:
    """The ring of tap records of this process.

    Args:
        names: the name of each tap id, by index; a team's own chip has its own table.
        ring_bytes: capacity, when the sink is created before the first tap; None leaves it to
            ``ETCHPROOF_RING_BYTES``, 64 MiB by default.

    Raises:
        SinkError: ``not_a_simulation`` outside a simulator that ``etchproof.sim.build`` made; ``ring_bytes`` when the
            capacity cannot be set any more.
    """

    def __init__(self, names: Sequence[str] = TAP_NAMES, *, ring_bytes: int | None = None) -> None:
        self._names = tuple(names)
        library: Any = ctypes.CDLL(None)
        try:
            for function, (result, arguments) in _FUNCTIONS.items():
                entry = getattr(library, function)
                entry.restype, entry.argtypes = result, arguments
        except AttributeError as error:
            raise SinkError("not_a_simulation", f"this process has no tap sink: {error}") from error
        self._c = library
        if ring_bytes is not None and not library.ep_sink_configure(ring_bytes):
            raise SinkError("ring_bytes", f"the ring cannot be set to {ring_bytes} bytes, or not any more")
        base = library.ep_sink_base()
        if base is None:
            self._check()
            raise SinkError("ring_unavailable", "the simulator has no ring")
        self._capacity: int = library.ep_sink_capacity()
        raw = (ctypes.c_char * self._capacity).from_address(base)
        self._memory = memoryview(raw).cast("B").toreadonly()
        self._read: int = library.ep_sink_tail()
        self._sequence: int = library.ep_sink_records() if self._read == library.ep_sink_head() else 0

    @property
    def capacity(self) -> int:
        """Bytes of the ring."""
        return self._capacity

    @property
    def records_written(self) -> int:
        """Records that the chip's taps have written since the start or the last ``reset``."""
        return int(self._c.ep_sink_records())

    @property
    def error(self) -> str | None:
        """The first error of the C++ side, ``name: message``; None while there is none."""
        text: bytes = self._c.ep_sink_error()
        return text.decode(errors="replace") if text else None

    def drain(self) -> list[TapRecord]:
        """All records written since the last call, in the order of writing.

        Raises:
            SinkError: an error of the C++ side, an id without a name, or a record that was lost or overwritten.
        """
        self._check()
        memory, names, capacity = self._memory, self._names, self._capacity
        unpack, frombuffer, dtypes, name_count = _HEADER.unpack_from, np.frombuffer, _DTYPES, len(self._names)
        at, sequence, head = self._read, self._sequence, int(self._c.ep_sink_head())
        records = []
        while at < head:
            offset = at % capacity
            if capacity - offset < 32:
                at += capacity - offset
                continue
            tap_id, layer, pos, count, element_bytes, found, time = unpack(memory, offset)
            if tap_id == _SKIP:
                at += capacity - offset
                continue
            if found != sequence & _SEQUENCE_MASK:
                raise SinkError("lost_record", f"record {sequence} expected, {found} found")
            if tap_id >= name_count:
                raise SinkError("unknown_tap", f"layer {layer} id {tap_id}: the table has {name_count} names")
            data = frombuffer(memory, dtypes[element_bytes], count, offset + 32)
            records.append(TapRecord(layer, names[tap_id], pos, time, data))
            at += 32 + (count * element_bytes + 7 & ~7)
            sequence += 1
        self._read, self._sequence = at, sequence
        return records

    def release(self) -> None:
        """Frees every record drained so far; their ``data`` is invalid from here on.

        Raises:
            SinkError: somebody else released records of this ring.
        """
        if not self._c.ep_sink_release(self._read):
            raise SinkError("ring_release", f"cannot release up to byte {self._read}")
        if self._c.ep_sink_head() == 0:
            self._read = 0

    def enable(self, enabled: bool = True) -> None:
        """Switches recording on or off, for benchmarks; a run with taps off proves nothing."""
        self._c.ep_sink_enable(int(enabled))

    def reset(self) -> None:
        """Forgets all records, as after a reset of the chip. An error stays."""
        self._c.ep_sink_reset()
        self._read = self._sequence = 0

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
