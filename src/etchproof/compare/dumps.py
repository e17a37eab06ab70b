"""Two dumps against each other: the taps of two runs, equal, or where not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from etchproof.compare.comparator import TapCount
from etchproof.compare.dump import Selection
from etchproof.compare.kept import KeptToken, TapDump
from etchproof.contract.element import ElementType
from etchproof.contract.taps import Array, TapKey

Side = Literal["chip", "golden"]

_MAX_SHOWN: Final = 8


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TapDifference(_Record):
    """A tap in both runs, over all tokens."""

    layer: int
    tap: str
    vectors: int  # that both have, of one size
    elements: int  # of those
    mismatches: int  # elements that differ
    sizes: int = 0  # vectors that both have, of different sizes
    only_a: int = 0  # vectors that only A has
    only_b: int = 0
    types: int = 0  # vectors that both have, of different types: no value is compared

    @property
    def equal(self) -> bool:
        """Whether A and B have the same vectors of it."""
        return not (self.mismatches or self.sizes or self.only_a or self.only_b or self.types)

    @property
    def count(self) -> TapCount:
        """As a table of a run has it."""
        return TapCount(
            layer=self.layer,
            tap=self.tap,
            vectors=self.vectors,
            elements=self.elements,
            mismatches=self.mismatches,
        )


class FirstDifference(_Record):
    """The earliest token that differs, then dataflow order, then index."""

    sequence: int
    token: int  # position in the sequence
    layer: int
    tap: str
    element: int | None  # None where a vector, or one of its size, is in one alone
    a: int | None  # of floating point, its bits
    b: int | None
    dtype: ElementType
    what: Literal["value", "size", "only_a", "only_b", "type"]


class TokenPlace(_Record):
    """A token of a run."""

    sequence: int
    token: int


class FedDifference(_Record):
    """The first token that was fed differently: whatever follows cannot be equal."""

    sequence: int
    token: int
    a: int
    b: int


class DumpsCompared(_Record):
    """What ``etchproof compare`` found; ``--json`` prints it.

    Attributes:
        equal: both have the same taps of the same tokens, fed alike, with the same values; at least one element.
        a: the first dump; ``b`` the second.
        side: whose taps: the chip's, or the golden model's.
        tokens: that both have.
        only_a: the first tokens that only A has, ``tokens_only_a`` all of them counted; likewise B.
        fed: the first token that was fed differently.
        first: the first difference of a tap.
        taps: every tap that a dump has, in dataflow order.
    """

    schema_version: Literal[1] = 1
    equal: bool
    a: str
    b: str
    side: Side
    tokens: int
    tokens_only_a: int
    tokens_only_b: int
    only_a: tuple[TokenPlace, ...]
    only_b: tuple[TokenPlace, ...]
    fed: FedDifference | None
    first: FirstDifference | None
    taps: tuple[TapDifference, ...]

    @property
    def vectors(self) -> int:
        return sum(tap.vectors for tap in self.taps)

    @property
    def elements(self) -> int:
        return sum(tap.elements for tap in self.taps)

    @property
    def mismatches(self) -> int:
        return sum(tap.mismatches for tap in self.taps)


class _Counts:
    """Of one tap."""

    def __init__(self) -> None:
        self.vectors = self.elements = self.mismatches = self.sizes = self.types = 0
        self.only_a = self.only_b = 0


def compare_dumps(a: TapDump, b: TapDump, selection: Selection, side: Side) -> DumpsCompared:
    """Hold two dumps against each other, token by token.

    Args:
        selection: which taps of which tokens.
        side: whose taps.

    Raises:
        InputError: a dump is not as it was written.
    """
    kinds: tuple[dict[TapKey, ElementType], ...] = tuple(
        {tap.key: tap.dtype for tap in dump.index.taps if selection.takes(tap.key)} for dump in (a, b)
    )
    keys = _merged(list(kinds[0]), list(kinds[1]))
    counts = {key: _Counts() for key in keys}
    alone: tuple[list[TokenPlace], list[TokenPlace]] = ([], [])
    alone_count = [0, 0]
    first: FirstDifference | None = None
    fed: FedDifference | None = None
    tokens = 0
    for one, other in _pairs(a.read(selection), b.read(selection)):
        token = one or other
        assert token is not None
        if one is None or other is None:
            which = 1 if one is None else 0
            alone_count[which] += 1
            if len(alone[which]) < _MAX_SHOWN:
                alone[which].append(TokenPlace(sequence=token.sequence, token=token.position))
        else:
            tokens += 1
            if fed is None and one.fed != other.fed:
                fed = FedDifference(sequence=one.sequence, token=one.position, a=one.fed, b=other.fed)
        vectors = tuple({} if each is None else getattr(each, side) for each in (one, other))
        for key in keys:
            found = _compare(
                counts[key], token, key, vectors[0].get(key), vectors[1].get(key), (kinds[0], kinds[1])
            )
            if first is None and found is not None and one is not None and other is not None:
                first = found
    taps = tuple(
        TapDifference(layer=key[0], tap=key[1], **vars(count))
        for key, count in counts.items()
        if any(vars(count).values())
    )
    compared = sum(tap.elements for tap in taps)
    equal = compared > 0 and not any(alone_count) and fed is None and all(tap.equal for tap in taps)
    return DumpsCompared(
        equal=equal,
        a=str(a.path),
        b=str(b.path),
        side=side,
        tokens=tokens,
        tokens_only_a=alone_count[0],
        tokens_only_b=alone_count[1],
        only_a=tuple(alone[0]),
        only_b=tuple(alone[1]),
        fed=fed,
        first=first,
        taps=taps,
    )


def _compare(
    counts: _Counts,
    token: KeptToken,
    key: TapKey,
    one: Array | None,
    other: Array | None,
    kinds: tuple[dict[TapKey, ElementType], dict[TapKey, ElementType]],
) -> FirstDifference | None:
    """Count a tap of a token; what differs first in it, if anything."""
    if one is None and other is None:
        return None

    def differs(
        what: Literal["value", "size", "only_a", "only_b", "type"], at: int | None = None
    ) -> FirstDifference:
        kind = kinds[0].get(key) or kinds[1][key]
        a, b = (None if at is None or array is None else int(array[at]) for array in (one, other))
        return FirstDifference(
            sequence=token.sequence,
            token=token.position,
            layer=key[0],
            tap=key[1],
            element=at,
            a=a,
            b=b,
            dtype=kind,
            what=what,
        )

    if one is None or other is None:
        if one is None:
            counts.only_b += 1
            return differs("only_b")
        counts.only_a += 1
        return differs("only_a")
    if kinds[0][key] != kinds[1][key]:
        counts.types += 1
        return differs("type")
    if one.size != other.size:
        counts.sizes += 1
        return differs("size")
    counts.vectors += 1
    counts.elements += one.size
    if np.array_equal(one, other):
        return None
    wrong = np.flatnonzero(one != other)
    counts.mismatches += len(wrong)
    return differs("value", int(wrong[0]))


def _pairs(
    a: Iterator[KeptToken], b: Iterator[KeptToken]
) -> Iterator[tuple[KeptToken | None, KeptToken | None]]:
    """Tokens of one place side by side; None for one that is in the other dump alone."""
    one, other = next(a, None), next(b, None)
    while one is not None or other is not None:
        places = [(each.sequence, each.position) if each is not None else None for each in (one, other)]
        first = min(place for place in places if place is not None)
        mine, its = (one if places[0] == first else None), (other if places[1] == first else None)
        yield mine, its
        if mine is not None:
            one = next(a, None)
        if its is not None:
            other = next(b, None)


def _merged(one: list[TapKey], other: list[TapKey]) -> list[TapKey]:
    """The taps of both in dataflow order: what only the second has stands after what precedes it there."""
    merged = list(one)
    at = 0
    known = set(one)
    for key in other:
        if key in known:
            at = merged.index(key) + 1
        else:
            merged.insert(at, key)
            at += 1
    return merged
