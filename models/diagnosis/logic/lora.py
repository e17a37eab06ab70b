"""What may be wrong with the logic of an adapter's products."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from etchproof.contract.diagnosis import BASE
from models.chip import ChipPlan
from models.diagnosis.logic.common import Array, Wrong
from models.diagnosis.units import LoraA, LoraB


def _always(adapter: int) -> Callable[[int], int]:
    return lambda _: adapter


def _other(of: Mapping[int, int]) -> Callable[[int], int]:
    return lambda adapter: of.get(adapter, BASE)


def lora_a(unit: LoraA, plan: ChipPlan) -> Iterator[Wrong]:
    """Adapter, shift and inputs of A taken wrongly."""
    yield from _adapters(unit)
    for what, step in (("more", 1), ("less", -1)):
        matrices = {one: (a, max(0, shift + step)) for one, (a, shift) in unit.matrices.items()}
        yield f"shift one {what}", f"h is shifted by one {what}", replace(unit, matrices=matrices)
    lanes = plan.tile_rows
    for what, moved in (("of the next lane", 1), ("of the lane before", -1)):
        matrices = {one: (np.roll(a, moved, axis=1), shift) for one, (a, shift) in unit.matrices.items()}
        yield "inputs moved", f"takes the inputs {what}", replace(unit, matrices=matrices)
    matrices = {one: (_blocks_exchanged(a, lanes), shift) for one, (a, shift) in unit.matrices.items()}
    yield "inputs moved", "takes the inputs of the neighbour block", replace(unit, matrices=matrices)


def _blocks_exchanged(a: Array, lanes: int) -> Array:
    """With the columns of each two blocks exchanged, as far as there are two."""
    block = np.arange(a.shape[1]) // lanes
    columns = (block ^ 1) * lanes + np.arange(a.shape[1]) % lanes
    found = np.zeros_like(a)
    inside = columns < a.shape[1]
    found[:, columns[inside]] = a[:, inside]
    return found


def lora_b(unit: LoraB, plan: ChipPlan) -> Iterator[Wrong]:
    """Adapter, ranks and words of B taken wrongly."""
    yield from _adapters(unit)
    yield "h of the next rank", "takes h of the next rank", replace(unit, rank=lambda rank: rank + 1)
    yield "h of the rank before", "takes h of the rank before", replace(unit, rank=lambda rank: rank - 1)
    yield "adapter twice", "the product is added twice", replace(unit, times=2)
    lanes = plan.tile_rows
    matrices = {one: _ranks_first(b, lanes) for one, b in unit.matrices.items()}
    yield (
        "B by rank and block",
        "words of B are read by rank and then block",
        replace(unit, matrices=matrices),
    )


def _ranks_first(b: Array, lanes: int) -> Array:
    """B whose words, by block and rank, are read by rank and block."""
    rows, rank = b.shape
    blocks = -(-rows // lanes)
    padded = np.zeros((blocks * lanes, rank), b.dtype)
    padded[:rows] = b
    words = padded.reshape(blocks, lanes, rank).swapaxes(1, 2).reshape(-1, lanes)  # (blocks * rank, lanes)
    turned = words.reshape(rank, blocks, lanes)
    return turned.transpose(1, 2, 0).reshape(-1, rank)[:rows]


def _adapters(unit: Any) -> Iterator[Wrong]:
    known = sorted(unit.matrices)
    yield "adapter absent", "the adapter's matrix is 0", replace(unit, of=lambda adapter: BASE)
    for other in known if len(known) > 1 else ():
        yield (
            "adapter of another slot",
            f"adapter {other} is used for each",
            replace(unit, of=_always(other)),
        )
    if len(known) > 1:
        for step in (1, -1):
            after = dict(zip(known, [*known[step:], *known[:step]], strict=True))
            yield (
                "adapter of another slot",
                f"the adapter {'after' if step > 0 else 'before'} is used",
                replace(unit, of=_other(after)),
            )
