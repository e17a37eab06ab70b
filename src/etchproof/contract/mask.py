"""The mask, as ROM bit observability asks a project for it (``[coverage]`` of ``etchproof.toml``, docs/coverage.md).

Most units of a chip read elements from ROM, add products of them up in accumulators, and make the outputs of one tap
from those sums. Each of them is a ``MaskUnit``: its project says how far each sum is from another output, and how far
an element moves each sum. What is computed otherwise, such as a shift or an entry of a table, is a ``TriedUnit``: its
project inverts the bits and computes the outputs. The engine does the rest: it feeds the units, holds their outputs
against the golden model, and decides which bits are seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from etchproof.contract.taps import TapKey, TokenArrays

Array = npt.NDArray[Any]
Bits = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]
ImageKey = tuple[int, str]
"""(layer, name) of a ROM image."""

Outputs = Mapping[TapKey, TokenArrays]
"""What a unit makes of the tokens that it is fed."""


@dataclass(frozen=True)
class MaskSite:
    """A tensor of the mask.

    Attributes:
        site: its name in ``--inject``, "blocks.0.up".
        layer: -1 outside the layers.
        name: its row in the maps of a report.
        sums: whether its unit adds products up, so that the largest sum of each run is measured.
        copies: how many units hold it, each for itself: a bit has to be seen in every copy.
    """

    site: str
    layer: int
    name: str
    sums: bool
    copies: int = 1


@dataclass(frozen=True)
class Fed:
    """Consecutive tokens, and the golden model's taps of them.

    Attributes:
        tokens: (tokens,) ids.
        taps: (tokens, elements) each.
        positions: (tokens,) in its sequence.
        ragged: of the taps whose number of elements depends on the position, an array for each token.
    """

    tokens: npt.NDArray[np.int64]
    taps: Mapping[TapKey, Array]
    positions: npt.NDArray[np.int64]
    ragged: Mapping[TapKey, list[Array]]


@dataclass(frozen=True)
class MaskPart:
    """The elements of one kind that a unit reads. Along their first axis are the unit's rows.

    Attributes:
        kind: "codes".
        site: of the tensor, "blocks.0.up", where it has elements of one kind; of others with the kind, "....scales".
        values: (*elements) integers.
        bits: of an element.
        is_signed: two's complement; else unsigned.
        redundant: bits that no stimulus whatever can show, each set with the reason; (*elements, bits), or what
            broadcasts to that.
        listed: likewise bits that need not be shown, though some stimulus could.
        image: the ROM image that holds all of them; None of a table that is made in logic.
    """

    kind: str
    site: str
    values: Array
    bits: int
    is_signed: bool = True
    redundant: tuple[tuple[str, Bits], ...] = ()
    listed: tuple[tuple[str, Bits], ...] = ()
    image: ImageKey | None = None


@dataclass(frozen=True)
class Reach:
    """How near the elements of a part come to changing an output, at the tokens where they come nearest.

    An element that changes by one unit changes a sum by an operand. Its reach is ``|operand| / margin``, with the
    margin in the direction in which the sum moves: ``up`` where it rises, ``down`` where it falls. An element that
    changes by ``n`` changes an output where ``n`` times its reach is 1 or more.

    Attributes:
        rows: of the part, those that these tokens reach.
        rise: (rows, ...) float64, the largest reach of an element that grows.
        fall: likewise of one that shrinks.
        largest: no operand is larger in magnitude. The engine needs it to compare exactly.
    """

    rows: Rows
    rise: Array
    fall: Array
    largest: int


@dataclass(frozen=True)
class Faulty:
    """Outputs of a unit with one bit of its ROM inverted, where they can differ from those without.

    Attributes:
        tokens: the indices of the tokens.
        columns: the indices of the outputs.
        outputs: (tokens, columns), or what broadcasts to that.
    """

    tokens: Rows
    columns: Rows
    outputs: Array


class Unit(Protocol):
    """What reads the mask: its outputs are a function of its sources and its ROM alone."""

    @property
    def site(self) -> str:
        """The tensor's name in ``--inject``. Units of one name hold the same parts, each a copy of its own."""
        ...

    @property
    def sources(self) -> Sequence[TapKey]:
        """The taps that it reads; none where it takes the token itself."""
        ...

    @property
    def results(self) -> Sequence[TapKey]:
        """The taps that it makes, in dataflow order."""
        ...

    @property
    def words(self) -> Mapping[str, Sequence[int]]:
        """Elements of a ROM word along each axis of a part, by kind; empty where words are not counted."""
        ...

    def parts(self) -> Sequence[MaskPart]:
        """What it reads."""
        ...


class MaskUnit(Unit, Protocol):
    """A unit that adds products up, token by token, and makes one tap of the sums."""

    @property
    def of_token(self) -> int | None:
        """How many tokens there are, where the sources depend on the token alone; else None.

        What no token of that many shows, nothing shows. The engine checks that the sources are equal for equal tokens.
        """
        ...

    def sums(self, fed: Fed) -> Array:
        """(tokens, outputs) int64: what its accumulators hold before the outputs are made from them."""
        ...

    def outputs(self, sums: Array) -> Array:
        """The outputs of sums, element by element."""
        ...

    def margins(self, sums: Array, outputs: Array) -> tuple[Array, Array]:
        """1 / the least change of each sum that changes its output, upwards and downwards; 0 where none does."""
        ...

    def reach(self, fed: Fed, up: Array, down: Array, rows: Rows) -> Sequence[Reach]:
        """The reach of each part's elements, in the order of ``parts``.

        Args:
            up: margins of all outputs; likewise ``down``.
            rows: that are still asked for.
        """
        ...

    def inverted(self, kind: str, element: Sequence[int], bit: int, fed: Fed) -> Faulty:
        """The outputs with one bit of an element inverted, computed without margins."""
        ...


@runtime_checkable
class TriedUnit(Unit, Protocol):
    """A unit whose bits are inverted and its outputs computed. It is fed whole sequences.

    A source or a result may be a tap whose number of elements depends on the position.
    """

    @property
    def positions(self) -> int | None:
        """How many positions there are, where each element is read at the one along its first axis; else None."""
        ...

    def made(self, fed: Fed) -> Outputs:
        """Every result."""
        ...

    def seen(self, fed: Fed, wanted: Sequence[Bits]) -> Sequence[Bits]:
        """Which bits of each part would change a result if they alone were inverted; exactly.

        Args:
            wanted: of each part the bits that are asked for; nothing need be said of others.
        """
        ...

    def tried(self, kind: str, element: Sequence[int], bit: int, fed: Fed) -> Outputs:
        """The results with one bit of an element inverted, those that stay as they are left out.

        It shares no short cut with ``seen``: what that calls seen is put to the test by this.
        """
        ...
