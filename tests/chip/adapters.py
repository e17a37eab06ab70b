"""Adapters for a chip, of integers that no quantizer would choose: every 16-bit value, every shift, every rank."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from etchproof.quantized import AdapterMatrix, QuantizedAdapter, QuantizedModel
from etchproof.taps import LINEARS
from models.chip import ChipPlan

Ranks = Mapping[tuple[int, str], int]


def drawn(model: QuantizedModel, plan: ChipPlan, name: str, ranks: Ranks, seed: int) -> QuantizedAdapter:
    """Random elements; shifts from those that saturate h and the output to those that leave nearly nothing."""
    rng = np.random.default_rng([seed, len(ranks)])
    linears = {}
    for (layer, linear), rank in ranks.items():
        base = model.layers[layer].linears[linear]
        linears[layer, linear] = AdapterMatrix(
            a=rng.integers(-(2**15), 2**15, (rank, base.cols)).astype(np.int16),
            b=rng.integers(-(2**15), 2**15, (base.rows, rank)).astype(np.int16),
            a_shift=int(rng.choice([0, 12, 16, 18, 20, 30, 62], p=[0.05, 0.1, 0.25, 0.25, 0.25, 0.05, 0.05])),
            b_shift=int(rng.choice([0, 3, 6, plan.max_b_shift])),
            a_exponent=0,
            b_exponent=0,
            h_frac=0,
        )
    return QuantizedAdapter(name, f"{seed:064x}", linears)


def everywhere(plan: ChipPlan, rank: int) -> dict[tuple[int, str], int]:
    """One rank for all linears of all layers."""
    return {(layer, name): rank for layer in range(plan.n_layers) for name in LINEARS}


def with_b(adapter: QuantizedAdapter, name: str, factor: int) -> QuantizedAdapter:
    """The same A, B times 0 or -1; -2^15 has no opposite in 16 bits and becomes 2^15 - 1."""
    linears = {
        key: dataclasses.replace(
            matrix, b=np.clip(matrix.b.astype(np.int32) * factor, -(2**15), 2**15 - 1).astype(np.int16)
        )
        for key, matrix in adapter.linears.items()
    }
    return dataclasses.replace(adapter, name=name, linears=linears)


def tame(adapter: QuantizedAdapter) -> QuantizedAdapter:
    """Without -2^15 in B, so that its opposite is one."""
    linears = {
        key: dataclasses.replace(matrix, b=np.maximum(matrix.b, -(2**15) + 1))
        for key, matrix in adapter.linears.items()
    }
    return dataclasses.replace(adapter, linears=linears)


def beside(one: QuantizedAdapter, other: QuantizedAdapter, name: str) -> QuantizedAdapter:
    """Both in one, of the sum of their ranks."""
    linears = {
        key: dataclasses.replace(
            matrix,
            a=np.concatenate([matrix.a, other.linears[key].a]),
            b=np.concatenate([matrix.b, other.linears[key].b], axis=1),
        )
        for key, matrix in one.linears.items()
    }
    return dataclasses.replace(one, name=name, linears=linears)


def collection(model: QuantizedModel, plan: ChipPlan, seed: int = 1) -> list[QuantizedAdapter]:
    """One linear alone, ranks 1, 2, odd and largest, a rank of its own for each linear, none and cancelling effect."""
    most, last = plan.lora_max_rank, plan.n_layers - 1
    own = {key: 1 + (5 * index) % most for index, key in enumerate(everywhere(plan, 1))}
    half = tame(drawn(model, plan, "plus", everywhere(plan, max(1, most // 2)), seed + 5))
    found = [
        drawn(model, plan, "own-ranks", own, seed),
        drawn(model, plan, "one-linear", {(last, "v_proj"): 1}, seed + 1),
        drawn(model, plan, "two", {(layer, "q_proj"): min(2, most) for layer in range(last + 1)}, seed + 2),
        drawn(model, plan, "odd", everywhere(plan, most - 1 + most % 2), seed + 3),
        drawn(model, plan, "largest", everywhere(plan, most), seed + 4),
        half,
        with_b(half, "minus", -1),
        with_b(half, "zero", 0),
    ]
    if most > 1:
        found.append(beside(half, with_b(half, "minus", -1), "cancelling"))
    return found
