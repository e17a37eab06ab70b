"""ROM bit observability: which bits of the mask are proven to be seen, were they wrong (proof: docs/coverage.md).

A bit of a ROM unit is *proven* by a token when, with the golden model's own input to that unit, the unit's output tap
would be another value with the bit inverted. Because every tap of every token is compared bit for bit, a chip with that
bit inverted cannot pass the run.

The project says what a unit computes, and how far each of its sums is from another output
(``etchproof.contract.mask``). Here its outputs are held against the golden model's taps, and the largest reach of each
element over all tokens decides all bits of the element at once. Units that add no products up are tried bit by bit
(``etchproof.coverage.trials``). Everything is exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from etchproof.contract.mask import Array, Bits, MaskPart, MaskUnit, Reach, TriedUnit
from etchproof.coverage import trials
from etchproof.coverage.corpus import Corpus
from etchproof.coverage.proven import First, Proven, UnsoundError, of_part

_BLOCK: Final = 256  # tokens at a time
_EXACT: Final = 48  # changes below 2**48 are compared exactly in float64

EXHAUSTED: Final = "the unit's input depends on the token alone, and no token of the vocabulary shows it"
NOT_SEEN: Final = -1

AnyUnit = MaskUnit | TriedUnit


def observe(unit: AnyUnit, corpus: Corpus) -> tuple[Proven, ...]:
    """Which bits of a ROM unit the corpus proves.

    Raises:
        UnsoundError: the corpus's taps are not what the unit computes, or a bit is proven that its project calls
            redundant.
    """
    if isinstance(unit, TriedUnit):
        return trials.observe(unit, corpus)
    (result,) = unit.results
    counts = [_Count(part, len(corpus.segments)) for part in unit.parts()]
    for segment, start, stop in _segments(corpus):
        fed = corpus.fed(start, stop)
        sums, golden = unit.sums(fed), fed.taps[result].astype(np.int64)
        if not np.array_equal(unit.outputs(sums), golden):
            made_of = f"tap {unit.sources[0]}" if unit.sources else "its token"
            raise UnsoundError(f"tap {result} is not what {unit.site} makes of {made_of}")
        rows = np.flatnonzero(np.logical_or.reduce([count.open_rows for count in counts]))
        if len(rows):
            up, down = unit.margins(sums, golden)
            for count, reach in zip(counts, unit.reach(fed, up, down, rows), strict=True):
                count.add(reach, segment)
    exhausted = _exhausted(unit, corpus)
    return tuple(count.proven(exhausted) for count in counts)


def sightings(unit: AnyUnit, kind: str, index: Sequence[int], corpus: Corpus) -> npt.NDArray[np.int64]:
    """(tokens,): the number of the unit's first result that differs with a bit inverted, ``NOT_SEEN`` where none does.

    Independent of the bulk criterion: it inverts the bit and computes, in integers.
    """
    *element, bit = (int(part) for part in index)
    found = np.full(len(corpus.tokens), NOT_SEEN, dtype=np.int64)
    whole = corpus.fed(0, len(corpus.tokens))
    if isinstance(unit, TriedUnit):
        differing = trials.differing(unit, unit.tried(kind, element, bit, whole), whole)
        for number in reversed(range(len(unit.results))):
            found[differing[number]] = number
        return found
    faulty = unit.inverted(kind, element, bit, whole)
    golden = corpus.taps[unit.results[0]][np.ix_(faulty.tokens, faulty.columns)]
    found[faulty.tokens] = np.where((faulty.outputs != golden).any(axis=1), 0, NOT_SEEN)
    return found


def witnesses(unit: AnyUnit, kind: str, index: Sequence[int], corpus: Corpus) -> Bits:
    """(tokens,): which tokens prove a bit, as ``sightings`` finds it."""
    shows: Bits = sightings(unit, kind, index, corpus) != NOT_SEEN
    return shows


class _Count:
    """The bits of a part that are proven so far.

    Args:
        part: of a unit.
        segments: of the corpus.
    """

    def __init__(self, part: MaskPart, segments: int) -> None:
        shape = part.values.shape
        self._part = part
        self._first: First = np.full((*shape, part.bits), NOT_SEEN, dtype=np.int16)
        self._rise, self._fall = np.zeros(shape), np.zeros(shape)
        self._largest = 0
        self._segments = segments
        self.open_rows: Bits = np.ones(shape[0], dtype=bool)
        """Those with a bit that is not proven."""

    def add(self, reach: Reach, segment: int) -> None:
        """What further tokens reach, in the rows that they reach."""
        rows, part = reach.rows, self._part
        self._largest = max(self._largest, reach.largest)
        self._rise[rows] = np.maximum(self._rise[rows], reach.rise)
        self._fall[rows] = np.maximum(self._fall[rows], reach.fall)
        first = self._first[rows]
        limit = _threshold(self._largest << (part.bits - 1))
        reached = _reached(part, part.values[rows], self._rise[rows], self._fall[rows], limit)
        first[reached & (first == NOT_SEEN)] = segment
        self._first[rows] = first
        self.open_rows[rows] = (first == NOT_SEEN).reshape(len(rows), -1).any(axis=1)

    def proven(self, exhausted: Sequence[tuple[str, Bits]]) -> Proven:
        """Each unproven bit under the first reason that holds; raises as ``of_part``."""
        return of_part(self._part, self._first, self._segments, exhausted)


def _threshold(largest: int) -> float:
    """Above it, ``2**bit * (operand / change)`` in float64 says 2**bit * operand >= change.

    Four roundings err by less than 2**-50. Below 2**48 the quotient of two different integers is off 1 by more than
    2**-48, so the comparison is exact; beyond, it is strict: what is called proven is.
    """
    return 1 - 2.0**-49 if largest < 1 << _EXACT else 1 + 2.0**-49


def _reached(part: MaskPart, values: Array, rise: Array, fall: Array, limit: float) -> Bits:
    """(*elements, bits): whether inverting each bit changes some output; the arguments are of the same rows."""
    result = np.empty((*values.shape, part.bits), dtype=bool)
    for bit in range(part.bits):
        is_set = (values.astype(np.int64) >> bit) & 1 == 1
        is_negative = part.is_signed and bit == part.bits - 1  # what the bit counts
        rises = is_set if is_negative else ~is_set
        result[..., bit] = np.where(rises, rise, fall) * float(1 << bit) >= limit
    return result


def _segments(corpus: Corpus) -> Iterator[tuple[int, int, int]]:
    """(segment, start, stop): blocks of tokens, each within one segment."""
    for number, (start, stop) in enumerate(corpus.segments):
        for at in range(start, stop, _BLOCK):
            yield number, at, min(at + _BLOCK, stop)


def _exhausted(unit: MaskUnit, corpus: Corpus) -> list[tuple[str, Bits]]:
    """Where a unit's input depends on the token alone and every token was fed, there is no other stimulus.

    Raises:
        UnsoundError: the input depends on something else.
    """
    if unit.of_token is None:
        return []
    tokens, first = np.unique(corpus.tokens, return_index=True)
    place = np.searchsorted(tokens, corpus.tokens)
    for key in unit.sources:
        source = corpus.taps[key]
        if not np.array_equal(source, source[first][place]):
            raise UnsoundError(f"tap {key} of one token differs from run to run")
    return [(EXHAUSTED, np.array(True))] if len(tokens) == unit.of_token else []
