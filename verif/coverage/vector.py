"""Covergroups of the gate and of the token: SwiGLU and argmax (docs/numerics.md sections 9 and 11)."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from models.chip import ChipPlan
from models.numerics import ops, tables
from verif.coverage.round_cases import ends, roundings, saturations

Array = npt.NDArray[Any]

SWIGLU: Final = (
    *("gate_positive", "gate_zero", "gate_negative", "gate_lowest"),
    *("entry", "between_entries", "last_segment", "first_clamped", "clamped"),
)
ARGMAX: Final = (
    *("unique", "tie_in_block", "tie_across_blocks", "negative", "falls"),
    *("first_block", "last_block", "first_token", "last_token"),
)
_END: Final = 1 << 20  # of the table, section 9


def swiglu_bins(plan: ChipPlan) -> tuple[str, ...]:
    """A gate of 8 bits is never between the table's last two entries: docs/coverage.md, "Clauses of the numerics"."""
    return tuple(name for name in SWIGLU if name != "last_segment" or plan.act_bits == 16)


class SwigluSampler:
    """Counts what the gates of a chip did."""

    def __init__(self, plan: ChipPlan) -> None:
        self._bits, self._bins = plan.act_bits, swiglu_bins(plan)
        self._table = np.array(tables.sigmoid_table(), dtype=np.int64)

    def __call__(
        self, gate: Array, up: Array, gate_shift: int, shift: int, found: dict[str, Counter[str]]
    ) -> Array:
        """Count a layer's, (T, F) each; returns the entries of SIGMOID that were read."""
        magnitude = np.abs(gate) << gate_shift
        a = np.minimum(magnitude, _END - 1)
        index, low = a >> 11, a & 0x7FF
        kept = magnitude < _END
        counts = {
            "gate_positive": gate > 0,
            "gate_zero": gate == 0,
            "gate_negative": gate < 0,
            "gate_lowest": gate == -(1 << (self._bits - 1)),
            "entry": kept & (low == 0) & (gate != 0),
            "between_entries": kept & (low > 0),
            "last_segment": kept & (index == len(self._table) - 2) & (low > 0),
            "first_clamped": magnitude == _END,
            "clamped": magnitude > _END,
        }
        found["swiglu"].update({name: int(counts[name].sum()) for name in self._bins})
        roundings(found["rounding"], "sigmoid_chord", (self._table[index + 1] - self._table[index]) * low, 11)
        sigma = ops.sigmoid(torch.from_numpy(gate), gate_shift).numpy()
        value = roundings(found["rounding"], "swiglu", gate * sigma * up, shift)
        saturations(found["rounding"], "swiglu", value, self._bits)
        ends(found["ends"], "swiglu", value, self._bits)
        entries: Array = index
        return entries


def sample_argmax(logits: Array, plan: ChipPlan, into: Counter[str]) -> None:
    """Count the winners of a sequence: logits (T, V)."""
    largest = logits.max(axis=1)
    winners = logits == largest[:, None]
    ties = winners.sum(axis=1)
    token = winners.argmax(axis=1)  # the lowest
    block = token // plan.tile_rows
    last = (plan.vocab_size - 1) // plan.tile_rows
    highest = plan.vocab_size - 1 - winners[:, ::-1].argmax(axis=1)
    counts = {
        "unique": ties == 1,
        "tie_in_block": (ties > 1) & (np.add.reduceat(winners, _starts(plan), axis=1).max(axis=1) > 1),
        "tie_across_blocks": (ties > 1) & (highest // plan.tile_rows > block),
        "negative": largest < 0,
        "falls": largest[1:] < largest[:-1],
        "first_block": block == 0,
        "last_block": block == last,
        "first_token": token == 0,
        "last_token": token == plan.vocab_size - 1,
    }
    into.update({name: int(hit.sum()) for name, hit in counts.items()})


def _starts(plan: ChipPlan) -> Array:
    """The first logit of each block."""
    return np.arange(0, plan.vocab_size, plan.tile_rows)
