"""The reference model: the golden model behind the protocols of host port and load port.

``hw/ep_host_port.sv`` and docs/adapters.md, "On the chip", say what they are; here they are written a second time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pyuvm import ConfigDB, uvm_component

from etchproof.contract.taps import TapKey, TapPlan, TokenArrays
from etchproof.uvm import Expected, ExpectedLoad, LoadResult, LoadStart, Opened, TokenResult
from models.cycles import REFUSED_CYCLES, load_cycles, token_cycles
from verif.protocol import (
    NO_SLOT,
    LoadStatus,
    Op,
    Ranks,
    Status,
    Words,
    frame_status,
    payload,
    read_sections,
)


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

    answer: TapKey | None = (-1, "token")
    answer_bits = 32

    def build_phase(self) -> None:
        self.golden: Any = ConfigDB().get(self, "", "GOLDEN")
        frames: Sequence[Words] = ConfigDB().get(self, "", "ADAPTER_FRAMES")
        self._known: dict[bytes, int] = {}
        for index, frame in enumerate(frames):
            self._known.setdefault(payload(frame), index)
        self.taps: TapPlan = self.golden.taps
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
            opens = Opened(self._open.adapter, self.taps.due(adapted), slot)
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
        self._held_at_load = self._held if self._open is not None else None
        status, slot = frame_status(self.golden.plan, load.words)
        if slot != NO_SLOT and self._open is not None and slot == self._open_slot:
            status = LoadStatus.SLOT_BUSY
        elif slot != NO_SLOT:
            self._slots.pop(slot, None)
        self._loading = status, slot

    def end_load(self, load: LoadResult) -> ExpectedLoad:
        """A good load fills the slot."""
        assert self._loading is not None, "a load was answered that had not begun"
        status, slot = self._loading
        self._loading = None
        adapter = None
        if status is LoadStatus.OK:
            adapter = self._known.get(payload(load.words))
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
