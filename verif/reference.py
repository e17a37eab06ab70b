"""The reference model: the golden model behind the protocols of host port and load port.

``hw/ep_host_port.sv`` and docs/adapters.md, "On the chip", say what they are; here they are written a second time.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pyuvm import ConfigDB, uvm_component

from etchproof.compare import tap_plan
from etchproof.taps import LINEARS, TapKey, TokenArrays
from etchproof.uvm import Expected, ExpectedLoad, LoadResult, LoadStart, Opened, TokenResult
from models.cycles import REFUSED_CYCLES, load_cycles, token_cycles

MAGIC: Final = 0x41524F4C
HEADER_WORDS: Final = 3  # magic, slot, length
MAX_A_SHIFT: Final = 62
NO_SLOT: Final = 15
"""The slot of a sequence without an adapter."""


class Op(IntEnum):
    """ep_pkg::op_e: what a request on the host port asks for."""

    NEXT = 0
    FIRST = 1
    CLOSE = 2


class Status(IntEnum):
    """ep_pkg::status_e."""

    OK = 0
    BAD_TOKEN = 1
    CONTEXT_FULL = 2
    NO_SEQUENCE = 3
    BAD_SLOT = 4
    EMPTY_SLOT = 5
    BAD_OP = 6


class LoadStatus(IntEnum):
    """ep_pkg::load_status_e."""

    OK = 0
    BAD_HEADER = 1
    BAD_SLOT = 2
    SLOT_BUSY = 3
    PARTIAL = 4
    OVERLONG = 5
    BAD_SECTION = 6
    CHECKSUM = 7


Ranks = Mapping[tuple[int, str], int]
Words = NDArray[np.uint32]


@dataclass(frozen=True)
class Loaded:
    """What a slot holds.

    Attributes:
        adapter: index of the run's adapters; None for none of those.
        ranks: of each linear that it adapts.
    """

    adapter: int | None
    ranks: Ranks


BASE: Final = Loaded(None, {})
"""A sequence without an adapter."""


class ReferenceModel(uvm_component):  # type: ignore[misc]  # pyuvm is untyped
    """Predicts every response and every tap; an ``etchproof.uvm.Reference``."""

    def build_phase(self) -> None:
        self.golden: Any = ConfigDB().get(self, "", "GOLDEN")
        frames: Sequence[Words] = ConfigDB().get(self, "", "ADAPTER_FRAMES")
        chip = self.golden.plan
        self._known: dict[bytes, int] = {}
        adapted: set[TapKey] = set()
        for index, frame in enumerate(frames):
            self._known.setdefault(_payload(frame), index)
            adapted |= read_sections(chip, frame)[1].keys()
        self.plan: Sequence[TapKey] = tap_plan(chip.n_layers, adapted)
        self.reset()

    def reset(self) -> None:
        self._slots: dict[int, Loaded] = {}
        self._open: Loaded | None = None
        self._open_slot = NO_SLOT
        self._held = 0  # tokens of the open sequence
        self._loading: tuple[LoadStatus, int] | None = None  # of the load in progress: status, slot
        self._held_at_load: int | None = None

    def wait_ready(self) -> None:
        self.golden.wait_ready()

    # Host port

    def respond(self, request: TokenResult) -> Expected:
        status = self._status(request)
        if status is not Status.OK:
            return Expected(status, self._held, REFUSED_CYCLES, computes=False)
        if request.op == Op.CLOSE:
            held, self._held = self._held, 0
            self._open, self._open_slot = None, NO_SLOT
            return Expected(status, held, REFUSED_CYCLES, computes=False, token=False)
        opens = None
        if request.op == Op.FIRST:
            self._held, self._open_slot = 0, request.slot
            self._open = self._slots[request.slot] if request.slot != NO_SLOT else BASE
            # Of what the golden model does not know, no tap can be predicted: whatever comes is a failure.
            adapted = self._open.ranks.keys() if self._open.adapter is not None else frozenset[TapKey]()
            slot = request.slot if request.slot != NO_SLOT else None
            opens = Opened(self._open.adapter, tap_plan(self.golden.plan.n_layers, adapted), slot)
        assert self._open is not None
        position = self._held
        self._held += 1
        cycles = token_cycles(self.golden.plan, position, self._open.ranks)
        return Expected(status, position, cycles, computes=True, opens=opens)

    def _status(self, request: TokenResult) -> Status:
        plan, op, slot = self.golden.plan, request.op, request.slot
        if op not in tuple(Op):
            return Status.BAD_OP
        if op != Op.FIRST and self._open is None:
            return Status.NO_SEQUENCE
        if op == Op.CLOSE:
            return Status.OK
        if request.token_in >= plan.vocab_size:
            return Status.BAD_TOKEN
        if op == Op.NEXT:
            return Status.CONTEXT_FULL if self._held >= plan.context else Status.OK
        if slot == NO_SLOT:
            return Status.OK
        if slot >= plan.lora_slots:
            return Status.BAD_SLOT
        return Status.OK if slot in self._slots else Status.EMPTY_SLOT

    # Load port

    def start_load(self, load: LoadStart) -> None:
        """The slot is checked, and emptied where the load may go on."""
        words, plan = load.words, self.golden.plan
        self._held_at_load = self._held if self._open is not None else None
        slot = int(words[1]) if len(words) > 1 else NO_SLOT
        shown = slot if slot < plan.lora_slots else NO_SLOT
        if words[0] != MAGIC:
            self._loading = LoadStatus.BAD_HEADER, NO_SLOT
        elif len(words) == 1:
            self._loading = LoadStatus.PARTIAL, NO_SLOT
        elif slot >= plan.lora_slots:
            self._loading = LoadStatus.BAD_SLOT, NO_SLOT
        elif self._open is not None and slot == self._open_slot:
            self._loading = LoadStatus.SLOT_BUSY, shown
        else:
            self._slots.pop(slot, None)
            self._loading = read_sections(plan, words)[0], shown

    def end_load(self, load: LoadResult) -> ExpectedLoad:
        """A good load fills the slot."""
        assert self._loading is not None, "a load was answered that had not begun"
        status, slot = self._loading
        self._loading = None
        adapter = None
        if status is LoadStatus.OK:
            adapter = self._known.get(_payload(load.words))
            self._slots[slot] = Loaded(adapter, read_sections(self.golden.plan, load.words)[1])
        cycles = load_cycles(self.golden.plan, load.words)
        loaded = status is LoadStatus.OK
        return ExpectedLoad(status, slot, cycles, loaded=loaded, adapter=adapter, held=self._held_at_load)

    # Golden model

    def predict(
        self, tokens: Sequence[int], first: bool, adapter: int | None
    ) -> Mapping[TapKey, TokenArrays]:
        expected: Mapping[TapKey, TokenArrays] = self.golden.predict(tokens, first, adapter)
        return expected


def _payload(words: Words) -> bytes:
    """What a frame says of an adapter, whatever its slot."""
    return words[HEADER_WORDS:-1].astype("<u4").tobytes()


def read_sections(plan: Any, words: Words) -> tuple[LoadStatus, dict[tuple[int, str], int]]:
    """What becomes of a frame for a free slot, and the rank of each linear that it has.

    Words are judged in the order in which they come, each for what it says before whether it is the last.
    """
    ranks: dict[tuple[int, str], int] = {}
    last = len(words) - 1

    def ended(at: int) -> bool:
        return at >= last

    if ended(1) or ended(2):
        return LoadStatus.PARTIAL, ranks
    at, end = HEADER_WORDS, HEADER_WORDS + int(words[2])  # the checksum's place
    while at < end:
        head = int(words[at])
        linear, rank, layer = head >> 24, head >> 16 & 0xFF, head & 0xFFFF
        if (
            linear >= len(LINEARS)
            or layer >= plan.n_layers
            or (layer, LINEARS[linear]) in ranks
            or not 1 <= rank <= plan.lora_max_rank
        ):
            return LoadStatus.BAD_SECTION, ranks
        shape = plan.linears(layer)[LINEARS[linear]]
        blocks = -(-shape.cols // plan.tile_rows) + -(-shape.rows // plan.tile_rows)
        after = at + 2 + rank * blocks * plan.tile_rows // 2
        if after > end:
            return LoadStatus.BAD_SECTION, ranks
        if ended(at):
            return LoadStatus.PARTIAL, ranks
        shifts = int(words[at + 1])
        if shifts >> 16 or shifts & 0xFF > MAX_A_SHIFT or shifts >> 8 > plan.max_b_shift:
            return LoadStatus.BAD_SECTION, ranks
        if ended(after - 1):
            return LoadStatus.PARTIAL, ranks
        ranks[layer, LINEARS[linear]] = rank
        at = after
    if last < end:
        return LoadStatus.PARTIAL, ranks
    if last > end:
        return LoadStatus.OVERLONG, ranks
    if zlib.crc32(words[:end].astype("<u4").tobytes()) != int(words[end]):
        return LoadStatus.CHECKSUM, ranks
    return LoadStatus.OK, ranks
