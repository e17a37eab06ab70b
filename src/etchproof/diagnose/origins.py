"""Origins: the units whose output does not follow from the chip's own taps before it; whatever else differs follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import lgamma, log

import numpy as np

from etchproof.contract.diagnosis import Array, Column, Question, Rows, Seen, Unit
from etchproof.contract.taps import TapKey, TokenArrays


@dataclass(frozen=True)
class Origin:
    """A unit that did not compute what follows from its inputs.

    Attributes:
        question: its taps, and what follows from its inputs.
        wrong: of each vector that differs, the elements that do.
        elements: of all its vectors.
    """

    unit: Unit
    question: Question
    wrong: tuple[Rows, ...]
    elements: int

    @property
    def differing(self) -> int:
        """Elements that differ."""
        return sum(map(len, self.wrong))

    @property
    def bits(self) -> int:
        """How much the run says of the fault: bits of a guess that names the elements that differ, and by how much.

        A fault that has nothing to do with it explains the origin by chance, once in two to the power of it.
        """
        made, got = self.question.made, self.question.got.values
        rows = zip(self.question.differs, self.wrong, strict=True)
        off = [got[at][of].astype(np.float64) - made[at][of].astype(np.float64) for at, of in rows]
        sizes, count = np.abs(np.concatenate(off)), self.differing
        which = lgamma(self.elements + 1) - lgamma(count + 1) - lgamma(self.elements - count + 1)
        return int(which / log(2) + np.log2(1 + sizes).sum())


def innocent(unit: Unit, seen: Seen) -> bool:
    """Whether the unit's tap is what follows from its inputs."""
    column = seen.taps[unit.result]
    return not len(differing(column.values, unit.made(seen)))


def origin(unit: Unit, seen: Seen) -> Origin | None:
    """The unit as an origin; None where it is innocent."""
    got = seen.taps[unit.result]
    made = unit.made(seen)
    rows = differing(got.values, made)
    if not len(rows):
        return None
    wrong = tuple(np.flatnonzero(np.not_equal(got.values[row], made[row])) for row in rows)
    elements = sum(np.size(one) for one in got.values)
    return Origin(unit, Question(seen, got, made, rows), wrong, elements)


def differing(got: TokenArrays, made: TokenArrays) -> Rows:
    """The vectors that are not the same, ascending.

    Raises:
        ValueError: a vector was made of another length.
    """
    if isinstance(got, np.ndarray) and isinstance(made, np.ndarray):
        if got.shape != made.shape:
            raise ValueError(f"makes vectors {made.shape}, the tap has {got.shape}")
        return np.flatnonzero((got != made).any(axis=1))
    if len(got) != len(made):
        raise ValueError(f"makes {len(made)} vectors, the tap has {len(got)}")
    return np.array(
        [row for row, (one, other) in enumerate(zip(got, made, strict=True)) if not _same(one, other)],
        np.intp,
    )


def _same(one: Array, other: Array) -> bool:
    if one.shape != other.shape:
        raise ValueError(f"makes a vector of {other.shape}, the tap has {one.shape}")
    return bool((one == other).all())


def make_origins(units: Sequence[Unit], seen: Seen) -> list[Origin]:
    """Every origin, in dataflow order."""
    found = (origin(unit, seen) for unit in units if unit.result in seen.taps)
    return [one for one in found if one is not None]


def set_apart(origins: Sequence[Origin]) -> tuple[list[Origin], frozenset[TapKey]]:
    """The origins that are none of another's making, and the taps that are disputed.

    A unit that follows from what an origin's tap should be, and not from what it is, went on with the right value. It
    is no origin, and that tap is disputed: the chip had another value than was recorded, or had it later.
    """
    by_tap = {one.unit.result: one for one in origins}
    left, disputed = [], set[TapKey]()
    for one in origins:
        wrong = [by_tap[key] for key in dict.fromkeys(one.unit.sources) if key in by_tap]
        if wrong and innocent(one.unit, _corrected(one.question.seen, wrong)):
            disputed |= {other.unit.result for other in wrong}
        else:
            left.append(one)
    return left, frozenset(disputed)


def _corrected(seen: Seen, origins: Sequence[Origin]) -> Seen:
    """As if the taps of origins had been what follows from their inputs."""
    return seen.having({one.unit.result: Column(one.question.got.at, one.question.made) for one in origins})
