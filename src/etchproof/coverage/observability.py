"""ROM bit observability: which bits of the mask are proven to be seen, were they wrong (proof: docs/coverage.md).

A bit of a ROM unit is *proven* by a token when, with the golden model's own input to that unit, the unit's output tap
would be another value with the bit inverted. Because every tap of every token is compared bit for bit, a chip with that
bit inverted cannot pass the run.

The project says what a unit computes, and how far each of its sums is from another output
(``etchproof.contract.mask``). Here its outputs are held against the golden model's taps, and the largest reach of each
element over all tokens decides all bits of the element at once. Everything is exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from etchproof.contract.mask import Array, Bits, MaskPart, MaskUnit, Reach
from etchproof.coverage.corpus import Corpus
from etchproof.errors import EtchproofError

_BLOCK: Final = 256  # tokens at a time
_EXACT: Final = 48  # changes below 2**48 are compared exactly in float64

EXHAUSTED: Final = "the unit's input depends on the token alone, and no token of the vocabulary shows it"


class UnsoundError(EtchproofError):
    """What a project says of a unit is not what the golden model computes, or contradicts itself: nothing is proven."""


@dataclass(frozen=True)
class Proven:
    """Which bits of one part of a ROM are proven.

    Attributes:
        site: the tensor's name in ``--inject``: "blocks.0.up", "blocks.0.up.scales".
        kind: of the part, "codes".
        bits: (*elements, bits of an element), bit 0 first.
        reasons: (reason, bits of the same shape) why no stimulus whatever can show these; disjoint from ``bits``.
        by_segment: of the corpus, how many bits each proved first.
    """

    site: str
    kind: str
    bits: Bits
    reasons: tuple[tuple[str, Bits], ...]
    by_segment: tuple[int, ...]

    @property
    def redundant(self) -> Bits:
        """Those that no stimulus can show."""
        found = np.zeros_like(self.bits)
        for _, bits in self.reasons:
            found |= bits
        return found

    @property
    def open(self) -> Bits:
        """Those that were not proven, and for which there is no reason."""
        return ~self.bits & ~self.redundant

    @property
    def total(self) -> int:
        return int(self.bits.size)

    @property
    def count(self) -> int:
        return int(self.bits.sum())

    def name(self, index: Sequence[int]) -> str:
        """A bit as ``--inject`` names it; ``index`` as in ``bits``."""
        element = ",".join(str(int(part)) for part in index[:-1])
        return f"rom:{self.site}[{element}]^{int(index[-1])}"


def observe(unit: MaskUnit, corpus: Corpus) -> tuple[Proven, ...]:
    """Which bits of a ROM unit the corpus proves.

    Raises:
        UnsoundError: the corpus's taps are not what the unit computes, or a bit is proven that its project calls
            redundant.
    """
    counts = [_Count(part, len(corpus.segments)) for part in unit.parts()]
    for segment, start, stop in _segments(corpus):
        fed = corpus.fed(start, stop)
        sums, golden = unit.sums(fed), fed.taps[unit.result].astype(np.int64)
        if not np.array_equal(unit.outputs(sums), golden):
            made_of = f"tap {unit.sources[0]}" if unit.sources else "its token"
            raise UnsoundError(f"tap {unit.result} is not what {unit.site} makes of {made_of}")
        rows = np.flatnonzero(np.logical_or.reduce([count.open_rows for count in counts]))
        if len(rows):
            up, down = unit.margins(sums, golden)
            for count, reach in zip(counts, unit.reach(fed, up, down, rows), strict=True):
                count.add(reach, segment)
    exhausted = _exhausted(unit, corpus)
    return tuple(count.proven(exhausted) for count in counts)


def witnesses(unit: MaskUnit, kind: str, index: Sequence[int], corpus: Corpus) -> Bits:
    """(tokens,): which tokens prove a bit, by computing the output with the bit inverted.

    Independent of the bulk criterion: it inverts the bit and computes, in integers.
    """
    *element, bit = (int(part) for part in index)
    found = unit.inverted(kind, element, bit, corpus.fed(0, len(corpus.tokens)))
    golden = corpus.taps[unit.result][np.ix_(found.tokens, found.columns)]
    seen: Bits = np.zeros(len(corpus.tokens), dtype=bool)
    seen[found.tokens] = (found.outputs != golden).any(axis=1)
    return seen


class _Count:
    """The bits of a part that are proven so far.

    Args:
        part: of a unit.
        segments: of the corpus.
    """

    def __init__(self, part: MaskPart, segments: int) -> None:
        shape = part.values.shape
        self._part = part
        self._bits: Bits = np.zeros((*shape, part.bits), dtype=bool)
        self._rise, self._fall = np.zeros(shape), np.zeros(shape)
        self._largest = 0
        self._gained = [0] * segments
        self.open_rows: Bits = np.ones(shape[0], dtype=bool)
        """Those with a bit that is not proven."""

    def add(self, reach: Reach, segment: int) -> None:
        """What further tokens reach, in the rows that they reach."""
        rows, part = reach.rows, self._part
        self._largest = max(self._largest, reach.largest)
        self._rise[rows] = np.maximum(self._rise[rows], reach.rise)
        self._fall[rows] = np.maximum(self._fall[rows], reach.fall)
        before = self._bits[rows]
        limit = _threshold(self._largest << (part.bits - 1))
        now = before | _reached(part, part.values[rows], self._rise[rows], self._fall[rows], limit)
        self._gained[segment] += int(now.sum()) - int(before.sum())
        self._bits[rows] = now
        self.open_rows[rows] = ~now.reshape(len(rows), -1).all(axis=1)

    def proven(self, exhausted: Sequence[tuple[str, Bits]]) -> Proven:
        """Each unproven bit under the first reason that holds.

        Raises:
            UnsoundError: the project calls a bit redundant that is proven.
        """
        part, kept = self._part, []
        for reason, which in part.redundant:
            if (self._bits & which).any():
                raise UnsoundError(f"a bit of {part.site} is proven, and the project says of it: {reason}")
        left = ~self._bits
        for reason, which in (*part.redundant, *exhausted):
            here = left & which
            if here.any():
                kept.append((reason, here))
                left = left & ~here
        return Proven(part.site, part.kind, self._bits, tuple(kept), tuple(self._gained))


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
