"""What may be wrong with the logic of RoPE."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from etchproof.contract.diagnosis import Hypothesis, Question, Seen
from etchproof.contract.taps import TokenArrays
from models.chip import ChipPlan
from models.diagnosis.logic.common import RANK, Wrong, cut, moved
from models.diagnosis.units import Rope


def rope(unit: Rope, plan: ChipPlan) -> Iterator[Wrong]:
    """Pairs, turn, frequencies and position taken wrongly."""
    pairs = unit.cos.shape[1]
    yield "pairs interleaved", "turns neighbours, not halves", replace(unit, interleaved=True)
    yield "rotated the other way", "the sine has the other sign", replace(unit, turn=-1)
    yield (
        "cosine and sine exchanged",
        "cosine and sine are exchanged",
        replace(unit, cos=unit.sin, sin=unit.cos),
    )
    yield "sine of the cosines", "cosines are read for sines", replace(unit, sin=unit.cos)
    yield "cosine of the sines", "sines are read for cosines", replace(unit, cos=unit.sin)
    yield (
        "frequencies in falling order",
        "frequencies stand in falling order",
        replace(unit, pair=lambda pair: pairs - 1 - pair),
    )
    for step in (1, -1, 2):
        yield (
            "position",
            f"turns by position {'+' if step > 0 else '-'} {abs(step)}",
            replace(unit, position=moved(step)),
        )
    yield "position", "turns by position 0 always", replace(unit, position=lambda position: 0 * position)
    yield (
        "position",
        "turns by the position with its last bit inverted",
        replace(unit, position=lambda position: position ^ 1),
    )
    for bits in range(1, max(1, (plan.context - 1).bit_length())):
        yield (
            "position truncated",
            f"the position is cut to {bits} bits",
            replace(unit, position=cut(bits)),
        )


def positions(unit: Rope, question: Question) -> Iterator[Hypothesis]:
    """Positions that go on where a sequence ends."""

    def kept(seen: Seen) -> TokenArrays:
        return unit.made(replace(seen, positions=np.arange(len(seen), dtype=np.int64)))

    yield Hypothesis(
        "position kept", "positions go on over the end of a sequence", kept, "rope: position kept", RANK
    )
