"""Toggle points by signal: which bit of which element each is, and which of them a signal never uses.

Verilator names a toggle point by signal, indices and direction, ``x_i[2][15][7]:0->1``: the last index is the bit of a
vector, those before it say which element of an array. A signal of one bit has no index.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from etchproof.coverage.verilator import Point

Edge = Literal["rise", "fall"]
Indices = npt.NDArray[np.int64]

CONTROL_BITS: Final = 8
"""Of a vector: states, counters, statuses and flags have no more; data have more, or stand in arrays of vectors."""

_TOGGLE: Final = re.compile(r"([^\[\]:]+)((?:\[\d{1,9}\])*):(0->1|1->0)")
_INDEX: Final = re.compile(r"\d+")


@dataclass(frozen=True, eq=False)
class Signal:
    """The toggle points of a signal of a module.

    Attributes:
        file: of the source.
        name: as declared; a member of a struct is ``load_o.rank``.
        places: (points,) which points of the coverage these are.
        indices: (points, dimensions) of the element and, last, of the bit.
        rises: (points,) which are from 0 to 1; the others are from 1 to 0.
    """

    file: str
    name: str
    places: npt.NDArray[np.intp]
    indices: Indices
    rises: npt.NDArray[np.bool_]

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each dimension, the bits last; of several variants of a module, the longest."""
        return tuple((self.indices.max(axis=0) + 1).tolist())

    @property
    def is_control(self) -> bool:
        """Whether it is too narrow for data: at most an array of vectors of ``CONTROL_BITS`` bits."""
        shape = self.shape
        return len(shape) <= 2 and (not shape or shape[-1] <= CONTROL_BITS)

    @property
    def elements(self) -> Indices:
        """(points,) which element of an array each is of, counted row by row; 0 of a plain vector."""
        element = np.zeros(len(self.places), dtype=np.int64)
        for column, length in enumerate(self.shape[:-1]):
            element = element * length + self.indices[:, column]
        return element

    def at_bits(self, bits: Sequence[int]) -> npt.NDArray[np.bool_]:
        """(points,) those of these bits of a vector; a signal of one bit has bit 0."""
        last = self.indices[:, -1] if self.indices.shape[1] else np.zeros(len(self.places), dtype=np.int64)
        return np.isin(last, bits)

    def beyond(self, filled: Sequence[tuple[int, int]]) -> npt.NDArray[np.bool_]:
        """(points,) those of elements that no variant of the module uses.

        Args:
            filled: of each variant of the array, its length in the first dimension and how many of its elements are
                used, counted row by row from the first on. A variant longer than the signal is here has no points: the
                simulator leaves out what is wide.
        """
        rows, element = self.shape[0], self.elements
        used = np.zeros(len(self.places), dtype=bool)
        for length, count in filled:
            if length <= rows:
                used |= (self.indices[:, 0] < length) & (element < count)
        return ~used


def signals(points: Sequence[Point]) -> tuple[Signal, ...]:
    """The signals of all toggle points, by file and name; a point of another form is of none."""
    found: dict[tuple[str, str, int], list[tuple[int, list[int], bool]]] = defaultdict(list)
    for place, point in enumerate(points):
        named = _TOGGLE.fullmatch(point.what) if point.kind == "toggle" else None
        if named is not None:
            name, inside, edge = named.groups()
            indices = [int(number) for number in _INDEX.findall(inside)]
            found[point.file, name, len(indices)].append((place, indices, edge == "0->1"))
    return tuple(
        Signal(
            file,
            name,
            np.array([place for place, _, _ in rows], dtype=np.intp),
            np.array([indices for _, indices, _ in rows], dtype=np.int64).reshape(len(rows), dimensions),
            np.array([rises for _, _, rises in rows], dtype=bool),
        )
        for (file, name, dimensions), rows in sorted(found.items())
    )


def control(points: Sequence[Point]) -> npt.NDArray[np.bool_]:
    """(points,) the toggles of signals that are too narrow for data."""
    found = np.zeros(len(points), dtype=bool)
    for signal in signals(points):
        found[signal.places] = signal.is_control
    return found
