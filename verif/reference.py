"""The reference model: the golden model behind the host port's protocol (hw/ep_host_port.sv)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any

import torch
from pyuvm import ConfigDB, uvm_component

from etchproof.compare import Array, TapKey, tap_plan
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
        self._cache: Any = None
        self.reset()

    def reset(self) -> None:
        self._open = False
        self._held = 0  # tokens of the open sequence

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

    def predict(self, tokens: Sequence[int], first: bool) -> Mapping[TapKey, Sequence[Array]]:
        if first:
            self._cache = self.golden.new_cache()
        start = self._cache.length
        expected: dict[TapKey, Sequence[Array]] = {}

        def observe(layer: int, tap: str, value: torch.Tensor) -> None:
            if tap in ("scores", "softmax"):  # (T, N, S): the chip has rows 0 .. position, heads side by side
                rows = value.transpose(1, 2).contiguous().numpy()
                expected[layer, tap] = [rows[i, : start + i + 1].reshape(-1) for i in range(len(tokens))]
            else:
                expected[layer, tap] = value.numpy()

        self.golden.forward(torch.tensor(tokens, dtype=torch.int64), self._cache, observe)
        return expected
