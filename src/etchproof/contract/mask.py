"""The mask, as ROM bit observability asks a project for it (``[coverage]`` of ``etchproof.toml``, docs/coverage.md).

A unit of a chip reads elements from ROM, adds products of them up in accumulators, and makes the outputs of one tap
from those sums. Its project says how far each sum is from another output, and how far an element moves each sum. The
engine does the rest: it feeds the units, holds their outputs against the golden model, and decides which bits are seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from etchproof.contract.taps import TapKey

Array = npt.NDArray[Any]
Bits = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]


@dataclass(frozen=True)
class MaskSite:
    """A tensor of the mask.

    Attributes:
        site: its name in ``--inject``, "blocks.0.up".
        layer: -1 outside the layers.
        name: its row in the maps of a report.
        sums: whether its unit adds products up, so that the largest sum of each run is measured.
    """

    site: str
    layer: int
    name: str
    sums: bool


@dataclass(frozen=True)
class Fed:
    """Consecutive tokens, and the golden model's taps of them.

    Attributes:
        tokens: (tokens,) ids.
        taps: (tokens, elements) each.
    """

    tokens: npt.NDArray[np.int64]
    taps: Mapping[TapKey, Array]


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
    """

    kind: str
    site: str
    values: Array
    bits: int
    is_signed: bool = True
    redundant: tuple[tuple[str, Bits], ...] = ()


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


class MaskUnit(Protocol):
    """A unit that reads the mask: its outputs are a function of its input and its ROM alone, token by token."""

    @property
    def site(self) -> str:
        """The tensor's name in ``--inject``."""
        ...

    @property
    def sources(self) -> Sequence[TapKey]:
        """The taps that it reads; none where it takes the token itself."""
        ...

    @property
    def result(self) -> TapKey:
        """The tap that it makes."""
        ...

    @property
    def of_token(self) -> int | None:
        """How many tokens there are, where the sources depend on the token alone; else None.

        What no token of that many shows, nothing shows. The engine checks that the sources are equal for equal tokens.
        """
        ...

    @property
    def words(self) -> Mapping[str, Sequence[int]]:
        """Elements of a ROM word along each axis of a part, by kind; empty where words are not counted."""
        ...

    def parts(self) -> Sequence[MaskPart]:
        """What it reads."""
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
