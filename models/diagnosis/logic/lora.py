"""What may be wrong with the logic of an adapter's products."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np

from etchproof.contract.diagnosis import BASE, Hypothesis, Question
from models.chip import ChipPlan
from models.diagnosis.logic.common import RANK, Array, Wrong
from models.diagnosis.units import LoraA, LoraB

_SHIFTS: Final = 64


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


def other_shifts(unit: LoraA, question: Question) -> Iterator[Hypothesis]:
    """Shifts of h that are others, which each adapter's own vectors say: another word of the adapter is taken."""
    seen, got = question.seen, question.got
    adapters = seen.adapters[got.at]
    found: dict[int, int] = {}
    for adapter, (a, own) in unit.matrices.items():
        rows = np.flatnonzero(adapters == adapter)
        tap = [np.asarray(got.values[row]) for row in rows]
        others = range(_SHIFTS) if any(one.any() for one in tap) else ()  # a large shift gives nothing but 0
        for shift in [own, *others] if len(rows) else ():
            made = replace(unit, matrices={**unit.matrices, adapter: (a, shift)}).compute(seen, got.at[rows])
            if all(np.array_equal(one, other) for one, other in zip(made, tap, strict=True)):
                found[adapter] = shift
                break
        else:
            if len(rows):
                return
    if any(shift != unit.matrices[adapter][1] for adapter, shift in found.items()):
        wrong = {one: (a, found.get(one, shift)) for one, (a, shift) in unit.matrices.items()}
        said = ", ".join(f"{shift} for {unit.matrices[one][1]}" for one, shift in sorted(found.items()))
        what = f"h is shifted by another word: {said}"
        yield Hypothesis("shift of h", what, replace(unit, matrices=wrong).made, "lora: shift of h", RANK + 1)


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
    depth = 1 << max(1, (plan.lora_max_rank - 1).bit_length())
    for name, step in (("next rank", 1), ("rank before", -1)):
        wrong = replace(unit, rank=partial(_rank_moved, step, depth))
        yield f"h of the {name}", f"takes h of the {name}", wrong
    yield "adapter twice", "the product is added twice", replace(unit, times=2)
    lanes = plan.tile_rows
    matrices = {one: _ranks_first(b, lanes) for one, b in unit.matrices.items()}
    yield (
        "B by rank and block",
        "words of B are read by rank and then block",
        replace(unit, matrices=matrices),
    )


def _rank_moved(step: int, depth: int, rank: Array) -> Array:
    """The rank that is read of a memory of a depth."""
    return np.asarray((rank + step) % depth)


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
