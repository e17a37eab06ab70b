"""Blocks and lanes of a vector that come in at another place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from etchproof.contract.diagnosis import Column, Hypothesis, Seen
from etchproof.contract.taps import TapKey, TokenArrays
from models.chip import ChipPlan
from models.diagnosis.logic.common import RANK, Array
from models.diagnosis.units import AttnOut, Index, Linear, Norm, Residual, Rope, Scores, Swiglu, Unit


def moved_inputs(unit: Any, plan: ChipPlan) -> Iterator[Hypothesis]:
    """Blocks and lanes of a vector that come in at another place."""
    lanes = plan.tile_rows
    for source in _VECTORS.get(type(unit), lambda unit: ())(unit):
        is_stream = source[1] in ("embedding", "attn_residual", "mlp_residual")
        is_adapter = isinstance(unit, Linear)
        name = "the residual" if is_stream else "what the adapter adds" if is_adapter else source[1]
        for kind, what, of in _moves(lanes):
            yield Hypothesis(
                f"{kind} of {name}",
                f"of {name}, {what}",
                _with_moved(unit, source, of),
                "residual stream" if is_stream else f"{unit.module}: {kind}",
                RANK,
            )


_VECTORS: Final[dict[type, Callable[[Any], tuple[TapKey, ...]]]] = {
    Norm: lambda unit: (unit.source,),
    Linear: lambda unit: () if unit.added is None else (unit.added[0],),
    Residual: lambda unit: (unit.before, unit.added),
    Swiglu: lambda unit: (unit.gate, unit.up),
    Rope: lambda unit: (unit.source,),
    AttnOut: lambda unit: (unit.cached,),
    Scores: lambda unit: (unit.source, unit.cached),
}
"""The taps that a unit reads in blocks of lanes."""


def _moves(lanes: int) -> Iterator[tuple[str, str, Callable[[Array, int], Array]]]:
    """Kind, what is wrong, and the element that is read, of each and their number."""

    def blocks(of: Callable[[Array, int], Array]) -> Callable[[Array, int], Array]:
        return lambda element, size: of(element // lanes, -(-size // lanes)) * lanes + element % lanes

    def inside(of: Index) -> Callable[[Array, int], Array]:
        return lambda element, size: element // lanes * lanes + of(element % lanes) % lanes

    for what, of in (
        ("the first block is taken for each", lambda block, count: 0 * block),
        ("the last block is taken for each", lambda block, count: 0 * block + count - 1),
        ("blocks are exchanged in pairs", lambda block, count: np.where(block ^ 1 < count, block ^ 1, block)),
        ("blocks are exchanged in pairs, and one without another is 0", lambda block, count: block ^ 1),
        ("the block before is taken", lambda block, count: (block - 1) % count),
        ("the block after is taken", lambda block, count: (block + 1) % count),
        ("blocks stand in falling order", lambda block, count: count - 1 - block),
    ):
        yield "blocks", what, blocks(of)
    for what, lane in (
        ("lanes are exchanged in pairs", lambda lane: lane ^ 1),
        ("the next lane is taken", lambda lane: lane + 1),
        ("the lane before is taken", lambda lane: lane - 1),
        ("lanes stand in falling order", lambda lane: lanes - 1 - lane),
        ("the first lane is taken for each", lambda lane: 0 * lane),
    ):
        yield "lanes", what, inside(lane)


def _with_moved(
    unit: Unit, source: TapKey, of: Callable[[Array, int], Array]
) -> Callable[[Seen], TokenArrays]:
    def made(seen: Seen) -> TokenArrays:
        column = seen.taps.get(source)
        if column is None:  # no sequence has an adapter
            return unit.made(seen)
        values = np.asarray(column.values)
        moved = of(np.arange(values.shape[1]), values.shape[1])
        inside = moved < values.shape[1]
        taken = np.zeros_like(values)
        taken[:, inside] = values[:, moved[inside]]
        return unit.made(seen.having({source: Column(column.at, taken)}))

    return made
