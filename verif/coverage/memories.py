"""Functional coverage of the key/value cache as a memory: each row, and each column of each row's bits.

Toggles of a memory say little (docs/coverage.md, "Toggles"), so these bins stand in their place. What a token writes
and reads is compared: keys in its scores, values in its attention output, each a tap.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from etchproof.contract.taps import TapKey, TokenArrays
from etchproof.coverage.functional import Counts, Covergroup, RunSample
from models.chip import ChipPlan

Hits = npt.NDArray[np.int64]

CACHES: Final = ("k", "v")
WRITTEN: Final = ("k_rope", "v_proj")
"""The tap that goes into each cache."""
USES: Final = ("written", "read")
ROWS: Final = "kv_rows"
COLUMNS: Final = "kv_columns"


def memory_groups(plan: ChipPlan) -> tuple[Covergroup, ...]:
    """``kv_rows``: each row of each cache is written, and read by a later token, or by its own where none can follow.

    ``kv_columns``: each bit of a row holds both values.
    """
    layers = range(plan.n_layers)
    return (
        Covergroup(
            ROWS,
            tuple(
                f"{layer}.{cache}[{row}].{use}"
                for layer in layers
                for cache in CACHES
                for use in USES
                for row in range(plan.context)
            ),
        ),
        Covergroup(
            COLUMNS,
            tuple(
                f"{layer}.{cache}[{head}][{element}][{bit}].{value}"
                for layer in layers
                for cache in CACHES
                for value in (0, 1)
                for head in range(plan.n_kv_heads)
                for element in range(plan.head_dim)
                for bit in range(plan.kv_bits)
            ),
        ),
    )


def sample_memories(run: RunSample, plan: ChipPlan) -> Counts:
    """How many sequences of a run hit each bin of ``memory_groups``."""
    rows: Hits = np.zeros((plan.n_layers, len(CACHES), len(USES), plan.context), dtype=np.int64)
    columns: Hits = np.zeros((plan.n_layers, len(CACHES), 2, plan.kv_size, plan.kv_bits), dtype=np.int64)
    for taps in (*run.taps, *(taps for _, taps in run.adapted)):
        for layer in range(plan.n_layers):
            length = len(taps[layer, WRITTEN[0]])
            for cache, name in enumerate(WRITTEN):
                words = np.asarray(taps[layer, name]).astype(np.int64)  # (T, kv_size)
                rows[layer, cache, 0, :length] += 1
                for value, side in enumerate((~words, words)):
                    held = np.bitwise_or.reduce(side, axis=0)  # (kv_size,)
                    columns[layer, cache, value] += held[:, None] >> np.arange(plan.kv_bits) & 1
            last = plan.context - 1
            rows[layer, 0, 1, : length - 1] += 1  # every score of a later token
            rows[layer, 0, 1, last:length] += 1
            rows[layer, 1, 1] += _values_read(taps, layer, length, plan)
    return {ROWS: rows.reshape(-1), COLUMNS: columns.reshape(-1)}


def _values_read(taps: Mapping[TapKey, TokenArrays], layer: int, length: int, plan: ChipPlan) -> Hits:
    """(context,) 1 for each row of values that a later token gave a weight above zero, or the last row's own."""
    read = np.zeros(plan.context, dtype=np.int64)
    for position in range(length):
        weights = np.asarray(taps[layer, "softmax"][position]).reshape(-1, plan.n_heads)
        used = np.any(weights > 0, axis=1).astype(np.int64)
        until = position + 1 if position == plan.context - 1 else position
        read[:until] |= used[:until]
    return read
