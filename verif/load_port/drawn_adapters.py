"""Adapters of integers that no quantizer would choose: every 16-bit value, every shift, every rank.

What a trained adapter leaves of the slots' hardware, these show. ``etchproof.toml`` names ``drawn``; a regression's
list asks for a kind as ``@kind``.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Final

import numpy as np

from etchproof.checkpoint.linears import LINEARS
from etchproof.errors import InputError
from etchproof.quantize.quantized_model import AdapterMatrix, QuantizedAdapter, QuantizedModel
from models.chip import ChipPlan
from models.numerics.params import MAX_SHIFT

Ranks = Mapping[tuple[int, str], int]
Linears = Mapping[tuple[int, str], AdapterMatrix]

ANY: Final = {0: 0.05, 12: 0.1, 16: 0.25, 17: 0.25, 20: 0.25, 30: 0.05, 62: 0.05}
TIES: Final = {4: 0.2, 8: 0.2, 12: 0.2, 16: 0.2, 20: 0.2}
"""How often each ``a_shift`` is drawn."""


def drawn(kind: str, model: QuantizedModel, plan: ChipPlan, seed: int) -> list[QuantizedAdapter]:
    """The adapters of a kind.

    Raises:
        InputError: there is no such kind.
    """
    kinds = {"corners": corners, "ranks": every_rank}
    if kind not in kinds:
        known = ", ".join(f"@{name}" for name in kinds)
        raise InputError(f"'@{kind}' is no kind of drawn adapters", key="adapters", hint=f"known are {known}")
    return kinds[kind](model, plan, seed)


def every_rank(model: QuantizedModel, plan: ChipPlan, seed: int = 1) -> list[QuantizedAdapter]:
    """As many as the largest rank: each linear of each layer has each rank in one of them; ties of ``h`` are many."""
    most = plan.lora_max_rank
    return [
        random_adapter(model, plan, f"rotation-{turn}", rotated(plan, turn), seed + turn, TIES)
        for turn in range(most)
    ]


def corners(model: QuantizedModel, plan: ChipPlan, seed: int = 1) -> list[QuantizedAdapter]:
    """No linear, one alone, ranks 1, 2, odd and largest, extremes, a rank of its own for each linear, no effect."""
    most, last = plan.lora_max_rank, plan.n_layers - 1
    half = tame(random_adapter(model, plan, "plus", everywhere(plan, max(1, most // 2)), seed + 5))
    found = [
        random_adapter(model, plan, "own-ranks", rotated(plan, 0), seed),
        random_adapter(model, plan, "one-linear", {(last, "v_proj"): 1}, seed + 1),
        random_adapter(
            model, plan, "two", {(layer, "q_proj"): min(2, most) for layer in range(last + 1)}, seed + 2
        ),
        random_adapter(model, plan, "odd", everywhere(plan, most - 1 + most % 2), seed + 3),
        extreme(random_adapter(model, plan, "largest", everywhere(plan, most), seed + 4), plan),
        half,
        with_b(half, "minus", -1),
        with_b(half, "zero", 0),
        made("empty", {}),
    ]
    if most > 1:
        found.append(beside(half, with_b(half, "minus", -1), "cancelling"))
    return found


def random_adapter(
    model: QuantizedModel,
    plan: ChipPlan,
    name: str,
    ranks: Ranks,
    seed: int,
    a_shifts: Mapping[int, float] = ANY,
) -> QuantizedAdapter:
    """Random elements; shifts from those that saturate h and the output to those that leave nearly nothing."""
    rng = np.random.default_rng([seed, len(ranks)])
    linears = {}
    for (layer, linear), rank in ranks.items():
        base = model.layers[layer].linears[linear]
        linears[layer, linear] = AdapterMatrix(
            a=rng.integers(-(2**15), 2**15, (rank, base.cols)).astype(np.int16),
            b=rng.integers(-(2**15), 2**15, (base.rows, rank)).astype(np.int16),
            a_shift=int(rng.choice(list(a_shifts), p=list(a_shifts.values()))),
            b_shift=int(rng.choice([0, 3, 6, plan.max_b_shift])),
            a_exponent=0,
            b_exponent=0,
            h_frac=0,
        )
    return made(name, linears)


def made(name: str, linears: Linears) -> QuantizedAdapter:
    """An adapter of these integers; its hash is over them."""
    digest = hashlib.sha256()
    for (layer, linear), matrix in linears.items():
        digest.update(f"{layer} {linear} {matrix.rank} {matrix.a_shift} {matrix.b_shift}\n".encode())
        digest.update(matrix.a.astype("<i2").tobytes() + matrix.b.astype("<i2").tobytes())
    return QuantizedAdapter(name, digest.hexdigest(), linears)


def rotated(plan: ChipPlan, turn: int) -> dict[tuple[int, str], int]:
    """A rank of its own for each linear; after as many turns as there are ranks it has had each."""
    keys = everywhere(plan, 1)
    return {key: 1 + (5 * index + turn) % plan.lora_max_rank for index, key in enumerate(keys)}


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
    return made(name, linears)


def extreme(adapter: QuantizedAdapter, plan: ChipPlan) -> QuantizedAdapter:
    """With both ends of 16 bits in each matrix, and both ends of the shifts in the first two linears."""
    linears = {}
    for index, (key, matrix) in enumerate(adapter.linears.items()):
        a, b = matrix.a.copy(), matrix.b.copy()
        for array in (a, b):
            array[0, 0], array[-1, -1] = -(2**15), 2**15 - 1
        shifts = {0: {"a_shift": 0, "b_shift": 0}, 1: {"a_shift": MAX_SHIFT, "b_shift": plan.max_b_shift}}
        linears[key] = dataclasses.replace(matrix, a=a, b=b, **shifts.get(index, {}))
    return made(adapter.name, linears)


def tame(adapter: QuantizedAdapter) -> QuantizedAdapter:
    """Without -2^15 in B, so that its opposite is one."""
    linears = {
        key: dataclasses.replace(matrix, b=np.maximum(matrix.b, -(2**15) + 1))
        for key, matrix in adapter.linears.items()
    }
    return made(adapter.name, linears)


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
    return made(name, linears)
