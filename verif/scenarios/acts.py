"""What a test does, as data: acts, one after the other.

The testbench plays them (``player``), and before it runs they say what it has to do (``script``); both take them from
``stimulus``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from etchproof.compare.comparator import frame_sha256
from verif.protocol import NO_SLOT, LoadStatus, Op, Status, Words
from verif.rom_port.port import RomRange
from verif.rom_port.units import RomStatus


@dataclass(frozen=True)
class Stream:
    """Tokens as one sequence, whatever the chip answers.

    Attributes:
        slot: of the adapter; none by default.
        stall_seed: of random stalls on both handshakes; 0 for none.
        wanted: the answer to each token; all accepted by default.
        sure: whether these are the answers; not where nobody knows what the slot holds.
    """

    tokens: tuple[int, ...]
    slot: int = NO_SLOT
    stall_seed: int = 0
    wanted: tuple[Status, ...] = ()
    sure: bool = True

    @property
    def answers(self) -> tuple[Status, ...]:
        """The answer to each token."""
        return self.wanted or (Status.OK,) * len(self.tokens)

    @property
    def stalls(self) -> tuple[tuple[int, int], ...]:
        """Cycles for which each token is held back, and its answer off: mostly none, some a few, seldom many."""
        if not self.stall_seed:
            return ((0, 0),) * len(self.tokens)
        draws = np.random.default_rng(self.stall_seed).choice(
            [0, 0, 0, 1, 2, 3, 7, 40], size=(len(self.tokens), 2)
        )
        return tuple((int(before), int(after)) for before, after in draws)

    @property
    def requests(self) -> tuple[tuple[int, int, int], ...]:
        """(token, operation, slot) of each token."""
        return tuple(
            (token, Op.NEXT if index else Op.FIRST, self.slot) for index, token in enumerate(self.tokens)
        )


@dataclass(frozen=True)
class Ask:
    """Requests (token, operation, slot) as they are, and the answer to each."""

    requests: tuple[tuple[int, int, int], ...]
    wanted: tuple[Status, ...]


@dataclass(frozen=True, eq=False)
class LoadFrame:
    """A frame on the load port.

    Attributes:
        words: that the host sends, ``last`` with the last of them.
        wanted: the answer.
        stall_seed: of random stalls between words; 0 for none.
        response_stall: cycles for which the answer is held off.
    """

    words: Words
    wanted: LoadStatus = LoadStatus.OK
    stall_seed: int = 0
    response_stall: int = 0

    @property
    def sha256(self) -> str:
        """Of the words."""
        return frame_sha256(self.words)


@dataclass(frozen=True)
class ReadRom:
    """A range of the ROM test port, and its answer."""

    asked: RomRange
    wanted: RomStatus = RomStatus.OK


@dataclass(frozen=True)
class ReadWhole:
    """Every word of a ROM, then its signature.

    Attributes:
        unit: its number at the test port.
        ranges: what is asked.
        slices: of all its words, of 32 bits.
    """

    unit: int
    ranges: tuple[RomRange, ...]
    slices: int


@dataclass(frozen=True)
class Beside:
    """An act, and others that begin some cycles after it did.

    Attributes:
        outlasts: whether the first has to be running still when the others have ended.
    """

    first: Stream | LoadFrame | ReadRom
    cycles: int
    then: tuple[Ask | Stream | LoadFrame | ReadRom, ...]
    outlasts: bool = False


@dataclass(frozen=True)
class LoadsDuring:
    """A sequence, and loads while it runs, each after a further token of it was answered.

    Attributes:
        busy: a load for the sequence's own slot, before the others; None for none.
    """

    stream: Stream
    busy: LoadFrame | None
    loads: tuple[LoadFrame, ...]


@dataclass(frozen=True)
class ResetToken:
    """A reset while the chip computes a token of a sequence.

    Attributes:
        position: of the token.
        cycles: from its acceptance to the reset.
    """

    stream: Stream
    position: int
    cycles: int


@dataclass(frozen=True)
class ResetLoad:
    """A reset while a frame is on its way, and perhaps a sequence.

    Attributes:
        cycles: from the beginning of both to the reset.
    """

    load: LoadFrame
    stream: Stream | None
    cycles: int


@dataclass(frozen=True)
class ResetRom:
    """A reset while the chip reads a range of a ROM."""

    asked: RomRange
    cycles: int


@dataclass(frozen=True)
class ResetIdle:
    """A reset while the chip does nothing."""


@dataclass(frozen=True)
class Traffic:
    """Tokens and loads beside each other: sequences follow each other for as long as there are loads.

    Attributes:
        loads: each with the cycles before the next one. Their answers and those to the sequences depend on what meets.
        tokens: an endless stream of sequences and closes; a new iterator each time that it is iterated.
    """

    loads: tuple[tuple[LoadFrame, int], ...]
    tokens: Iterable[Stream | Ask] = field(repr=False)


Act = (
    Stream
    | Ask
    | LoadFrame
    | ReadRom
    | ReadWhole
    | Beside
    | LoadsDuring
    | ResetToken
    | ResetLoad
    | ResetRom
    | ResetIdle
    | Traffic
)
Acts = Sequence[Act]
