"""Which bits of a ROM are proven to be seen, and by which run first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from etchproof.contract.mask import Bits, ImageKey, MaskPart
from etchproof.errors import EtchproofError

First = npt.NDArray[np.int16]
"""(*elements, bits): the segment that proved each bit first, -1 where none did."""


class UnsoundError(EtchproofError):
    """What a project says of a unit is not what the golden model computes, or contradicts itself: nothing is proven."""


@dataclass(frozen=True)
class Proven:
    """Which bits of one part of a ROM are proven.

    Attributes:
        site: the tensor's name in ``--inject``: "blocks.0.up", "blocks.0.up.scales".
        kind: of the part, "codes".
        first: bit 0 of an element first.
        reasons: (reason, bits) why no stimulus whatever can show these; disjoint from the proven ones.
        listed: (reason, bits) why these need not be shown; disjoint from both.
        segments: of the corpus.
        image: the ROM image that holds them; None of a table in logic.
        copies: how many units hold them, each for itself.
    """

    site: str
    kind: str
    first: First
    reasons: tuple[tuple[str, Bits], ...]
    segments: int
    image: ImageKey | None = None
    copies: int = 1
    listed: tuple[tuple[str, Bits], ...] = ()

    @cached_property
    def bits(self) -> Bits:
        """(*elements, bits): those that are proven, bit 0 first."""
        return self.first >= 0

    @property
    def by_segment(self) -> tuple[int, ...]:
        """Of the corpus, how many bits each proved first."""
        return tuple(np.bincount(self.first[self.bits], minlength=self.segments).tolist())

    @property
    def redundant(self) -> Bits:
        """Those that no stimulus can show."""
        return union(self.reasons, self.bits.shape)

    @property
    def open(self) -> Bits:
        """Those that were not proven, and for which there is no reason."""
        return ~self.bits & ~self.redundant & ~union(self.listed, self.bits.shape)

    @property
    def total(self) -> int:
        return int(self.first.size)

    @property
    def count(self) -> int:
        return int(self.bits.sum())

    def name(self, index: Sequence[int]) -> str:
        """A bit as ``--inject`` names it; ``index`` as in ``bits``."""
        element = ",".join(str(int(part)) for part in index[:-1])
        return f"rom:{self.site}[{element}]^{int(index[-1])}"


def union(reasons: Sequence[tuple[str, Bits]], shape: Sequence[int]) -> Bits:
    """The bits of any reason."""
    found: Bits = np.zeros(shape, dtype=bool)
    for _, bits in reasons:
        found |= bits
    return found


def of_part(
    part: MaskPart, first: First, segments: int, exhausted: Sequence[tuple[str, Bits]] = ()
) -> Proven:
    """Each unproven bit under the first reason that holds.

    Raises:
        UnsoundError: the project calls a bit redundant that is proven.
    """
    bits = first >= 0
    for reason, which in part.redundant:
        if (bits & which).any():
            raise UnsoundError(f"a bit of {part.site} is proven, and the project says of it: {reason}")
    kept, left = _first_reasons((*part.redundant, *exhausted), ~bits)
    listed, _ = _first_reasons(part.listed, left)
    return Proven(part.site, part.kind, first, kept, segments, part.image, listed=listed)


def _first_reasons(
    reasons: Sequence[tuple[str, Bits]], left: Bits
) -> tuple[tuple[tuple[str, Bits], ...], Bits]:
    """Each bit that is left under the first reason that holds, and what is left then."""
    kept: dict[str, Bits] = {}
    for reason, which in reasons:
        here = left & which
        left = left & ~here
        if here.any():
            kept[reason] = kept[reason] | here if reason in kept else here
    return tuple(kept.items()), left


def in_any(found: Sequence[Proven], segments: int) -> Proven:
    """A part whose content several sets of weights share: a bit is proven where it is proven under one of them.

    Args:
        found: of each set, its segments numbered through all of them; the first set comes first.
        segments: of all sets.

    Raises:
        UnsoundError: the sets do not hold one part, or a bit is proven under one which is redundant under another.
    """
    first, one = found[0].first, found[0]
    for other in found[1:]:
        if (other.site, other.kind, other.image, other.first.shape) != (
            *(one.site, one.kind, one.image),
            first.shape,
        ):
            raise UnsoundError(f"{one.site} is not the same part under all weights")
        first = np.where(first >= 0, first, other.first)
    bits = first >= 0
    if (bits & one.redundant).any():
        raise UnsoundError(f"a bit of {one.site} is proven under other weights, and is called redundant")
    listed, _ = _first_reasons(one.listed, ~bits)
    return Proven(one.site, one.kind, first, one.reasons, segments, one.image, listed=listed)


def in_every(copies: Sequence[Proven]) -> Proven:
    """A part of which several units hold a copy: a bit is proven where it is proven in each of them.

    A bit that is proven in some copies, and that nothing can show in the others, stands under the reason of those.

    Raises:
        UnsoundError: the copies are not of one part.
    """
    one = copies[0]
    if len(copies) == 1:
        return one
    if any((other.image, other.first.shape) != (one.image, one.first.shape) for other in copies):
        raise UnsoundError(f"copies of {one.site} are not of one ROM image, or have other elements")
    firsts = np.stack([copy.first for copy in copies])
    bits = (firsts >= 0).all(axis=0)
    settled = np.logical_and.reduce([~copy.open for copy in copies]) & ~bits
    listed, settled = _first_reasons([pair for copy in copies for pair in copy.listed], settled)
    kept, _ = _first_reasons([pair for copy in copies for pair in copy.reasons], settled)
    first = np.where(bits, firsts.max(axis=0), np.int16(-1)).astype(np.int16)
    return Proven(one.site, one.kind, first, kept, one.segments, one.image, len(copies), listed)
