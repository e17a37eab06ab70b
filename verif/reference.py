"""The reference model: the golden model behind the host port's protocol (hw/ep_host_port.sv)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any

from pyuvm import ConfigDB, uvm_component

from etchproof.compare import tap_plan
from etchproof.taps import TapKey, TokenArrays
from models.cycles import REFUSED_CYCLES, token_cycles


class Status(IntEnum):
    """ep_pkg::status_e."""

    OK = 0
    BAD_TOKEN = 1
    CONTEXT_FULL = 2
    NO_SEQUENCE = 3


class ReferenceModel(uvm_component):  # type: ignore[misc]  # pyuvm is untyped
    """Predicts every response and every tap; an ``etchproof.uvm.Reference``."""

    def build_phase(self) -> None:
        self.golden: Any = ConfigDB().get(self, "", "GOLDEN")
        self.plan: Sequence[TapKey] = tap_plan(self.golden.plan.n_layers)
        self.reset()

    def reset(self) -> None:
        self._open = False
        self._held = 0  # tokens of the open sequence

    def wait_ready(self) -> None:
        self.golden.wait_ready()

    def respond(self, token: int, first: bool) -> tuple[int, int]:
        plan = self.golden.plan
        position = 0 if first else self._held
        status = Status.OK
        if not first and not self._open:
            status = Status.NO_SEQUENCE
        elif token >= plan.vocab_size:
            status = Status.BAD_TOKEN
        elif position >= plan.context:
            status = Status.CONTEXT_FULL
        if status is not Status.OK:
            return status, self._held
        self._open, self._held = True, position + 1
        return status, position

    def cycles(self, status: int, position: int) -> int:
        return token_cycles(self.golden.plan, position) if status == Status.OK else REFUSED_CYCLES

    def predict(self, tokens: Sequence[int], first: bool) -> Mapping[TapKey, TokenArrays]:
        expected: Mapping[TapKey, TokenArrays] = self.golden.predict(tokens, first)
        return expected
