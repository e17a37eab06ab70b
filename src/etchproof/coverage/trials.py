"""Observability of units that add no products up: their bits are tried, each as if it alone were inverted.

``etchproof.contract.mask.TriedUnit`` computes the outputs; here they are held against the golden model's taps first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from etchproof.contract.mask import Bits, Fed, Outputs, TriedUnit
from etchproof.coverage.corpus import Corpus
from etchproof.coverage.proven import First, Proven, UnsoundError, of_part, union

_BLOCK: Final = 256  # tokens at a time, and as many more as end a sequence


def observe(unit: TriedUnit, corpus: Corpus) -> tuple[Proven, ...]:
    """Which bits of a unit the corpus proves; what comes after the last open bit is not looked at.

    Raises:
        UnsoundError: the corpus's taps are not what the unit computes, or a bit is proven that its project calls
            redundant.
    """
    parts = unit.parts()
    firsts: list[First] = [np.full((*part.values.shape, part.bits), -1, dtype=np.int16) for part in parts]
    dead = [
        union((*part.redundant, *part.listed), first.shape) for part, first in zip(parts, firsts, strict=True)
    ]
    for segment, start, stop in sequences(corpus):
        wanted = [first < 0 for first in firsts]
        if not any((open_ & ~gone).any() for open_, gone in zip(wanted, dead, strict=True)):
            break
        fed = corpus.fed(start, stop)
        made = unit.made(fed)
        for number, differs in differing(unit, made, fed).items():
            if differs.any() or unit.results[number] not in made:
                raise UnsoundError(f"tap {unit.results[number]} is not what {unit.site} makes of its taps")
        # A redundant bit is asked for, too: that it is seen refutes the reason.
        for first, open_, seen in zip(firsts, wanted, unit.seen(fed, wanted), strict=True):
            first[open_ & seen] = segment
    return tuple(
        of_part(part, first, len(corpus.segments)) for part, first in zip(parts, firsts, strict=True)
    )


def differing(unit: TriedUnit, outputs: Outputs, fed: Fed) -> dict[int, Bits]:
    """By the number of each result, at which tokens the outputs are not the golden model's; what is left out is."""
    found = {}
    for number, key in enumerate(unit.results):
        differs = np.zeros(len(fed.tokens), dtype=bool)
        if key in outputs:
            mine = outputs[key]
            if isinstance(mine, np.ndarray):
                differs = (mine != fed.taps[key]).any(axis=1)
            else:
                pairs = zip(mine, fed.ragged[key], strict=True)
                differs = np.array([not np.array_equal(one, other) for one, other in pairs], dtype=bool)
        found[number] = differs
    return found


def sequences(corpus: Corpus) -> Iterator[tuple[int, int, int]]:
    """(segment, start, stop): whole sequences, several short ones together, each block within one segment."""
    for number, (start, stop) in enumerate(corpus.segments):
        begins = [at for at in range(start, stop) if corpus.positions[at] == 0]
        at = start
        for end in (*begins[1:], stop):
            if end - at >= _BLOCK or (end == stop and end > at):
                yield number, at, end
                at = end
