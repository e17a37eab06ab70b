"""Heat maps of a page: a row for each tap or tensor, a column for each layer, in classes of colour."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from etchproof.contract.taps import TapKey, rows

_NUMBERED: Final = 40  # columns that leave room for a number in each cell
_WIDE: Final = 12  # columns that leave room for several maps side by side


@dataclass(frozen=True)
class Scale:
    """Classes of colour.

    Attributes:
        edges: ascending; a value belongs to the class of the edges that are not above it.
        colours: a class of the style sheet for each class of values, one more than edges.
        labels: for the legend, as many.
    """

    edges: tuple[float, ...]
    colours: tuple[str, ...]
    labels: tuple[str, ...]

    def colour(self, value: float) -> str:
        """The class that a value belongs to."""
        return self.colours[bisect_right(self.edges, value)]

    @property
    def legend(self) -> tuple[tuple[str, str], ...]:
        """Colour and label of each class."""
        return tuple(zip(self.colours, self.labels, strict=True))


@dataclass(frozen=True)
class Cell:
    """A coloured cell: its number, and what it says when pointed at."""

    text: str
    colour: str
    title: str


@dataclass(frozen=True)
class HeatMap:
    """A table of cells.

    Attributes:
        unit: of the numbers.
        layers: heading of each column.
        rows: a name and a cell for each layer, None where the layer has no such thing.
        beside: what stands outside the layers, by name.
        legend: colour and label of each class.
        numbered: whether the cells have room for their numbers.
        wide: whether the map takes the page's whole width.
    """

    title: str
    unit: str
    layers: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell | None, ...]], ...]
    beside: tuple[tuple[str, Cell], ...]
    legend: tuple[tuple[str, str], ...]
    numbered: bool
    wide: bool


def heat_map(
    title: str,
    unit: str,
    cells: Mapping[TapKey, Cell | None],
    legend: tuple[tuple[str, str], ...],
    names: Sequence[str] | None = None,
) -> HeatMap:
    """Rows in the order of ``names``, or of the cells; what stands outside the layers in the order of the cells."""
    if names is None:
        names = [name for in_layer, name in rows(cells) if in_layer]
    layers = sorted({layer for layer, _ in cells if layer >= 0})
    lines = ((name, tuple(cells.get((layer, name)) for layer in layers)) for name in names)
    beside = ((name, cell) for (layer, name), cell in cells.items() if layer < 0)
    return HeatMap(
        title=title,
        unit=unit,
        layers=tuple(map(str, layers)),
        rows=tuple((name, line) for name, line in lines if any(line)),
        beside=tuple((name, cell) for name, cell in beside if cell is not None),
        legend=legend,
        numbered=len(layers) <= _NUMBERED,
        wide=len(layers) > _WIDE,
    )
