"""Heat maps of the report: a row for each tap or tensor, a column for each layer, in classes of colour."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from etchproof.contract.mask import MaskSite
from etchproof.contract.taps import TapKey, rows
from etchproof.quantize.quality_report import TapQuality
from etchproof.signoff.evidence import AccumulatorEvidence, RomEvidence

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


OBSERVED: Final = Scale(
    (90, 99, 99.9, 100),
    ("bad", "s1", "s2", "s4", "s6"),
    ("below 90", "90", "99", "99.9", "100: every bit"),
)
SPARE: Final = Scale(
    (0, 2, 4, 6, 8, 12),
    ("bad", "s6", "s5", "s3", "s2", "s1", "s0"),
    ("beyond it", "0", "2", "4", "6", "8", "12 and more"),
)
NOISE: Final = Scale(
    (12, 24, 36, 48, 60, 72),
    ("s0", "s1", "s2", "s3", "s4", "s5", "s6"),
    ("below 12", "12", "24", "36", "48", "60", "72 and more"),
)
BIAS: Final = Scale(
    (-50, -25, -10, 10, 25, 50),
    ("n3", "n2", "n1", "zero", "p1", "p2", "p3"),
    ("below -50", "-50", "-25", "within 10", "10", "25", "50 and more"),
)
RANGE: Final = Scale(
    (6.25, 12.5, 25, 50, 100),
    ("s0", "s1", "s2", "s4", "s6", "bad"),
    ("below 6.25", "6.25", "12.5", "25", "50", "100: saturates"),
)

Values = Mapping[TapKey, float | None]


def observability_map(rom: RomEvidence, sites: Sequence[MaskSite]) -> HeatMap:
    """Per cent of the bits of each tensor that have to be proven, and are.

    Args:
        sites: the tensors of the mask, in the order of the rows; one that is not among them stands beside the layers.
    """
    places = _places(sites)
    sums: dict[TapKey, tuple[int, int]] = {}
    for part in rom.parts:
        key = places.get(part.tensor, (-1, part.tensor))
        proven, visible = sums.get(key, (0, 0))
        sums[key] = proven + part.proven, visible + part.due

    def say(key: TapKey) -> str:
        proven, visible = sums[key]
        return f"{proven:,} of {visible:,} bits proven"

    values = {key: 100 * proven / visible if visible else None for key, (proven, visible) in sums.items()}
    title, names = "ROM bit observability", _names(places)
    return _map(title, "% of bits proven", names, values, OBSERVED, _exact, say)


def accumulator_map(accumulators: Sequence[AccumulatorEvidence], sites: Sequence[MaskSite]) -> HeatMap:
    """Bits between the largest sum seen of each tensor's unit and what its formats allow; ``sites`` as above."""
    places = _places(sites)
    found: dict[TapKey, float | None] = {}
    sums: dict[TapKey, str] = {}
    for one in accumulators:
        key = places.get(one.site, (-1, one.site))
        found[key] = math.log2(one.bound / one.largest) if one.largest else None
        sums[key] = f"{one.largest:,} of {one.bound:,}"
    title, names = "Accumulators", _names(places)
    return _map(title, "bits below the bound", names, found, SPARE, _tenths, sums.__getitem__)


def _places(sites: Sequence[MaskSite]) -> dict[str, TapKey]:
    """Layer and row of each tensor."""
    return {one.site: (one.layer, one.name) for one in sites}


def _names(places: Mapping[str, TapKey]) -> list[str]:
    """The rows."""
    return [name for in_layer, name in rows(places.values()) if in_layer]


def noise_map(taps: Sequence[TapQuality]) -> HeatMap:
    """Signal to noise of each tap, in dB."""
    found = {(tap.layer, tap.tap): tap.sqnr_db for tap in taps}
    return _map("Signal to noise", "dB", None, found, NOISE, _tenths)


def bias_map(taps: Sequence[TapQuality]) -> HeatMap:
    """The part of each tap's error that is constant."""
    found = {
        (tap.layer, tap.tap): 100 * tap.mean_error / tap.rms_error if tap.rms_error else None for tap in taps
    }
    return _map("Bias", "mean error, % of rms error", None, found, BIAS, _signed)


def range_map(taps: Sequence[TapQuality]) -> HeatMap:
    """How much of its integer range each tap uses."""
    found = {(tap.layer, tap.tap): None if tap.range_used is None else 100 * tap.range_used for tap in taps}
    return _map("Range use", "% of the integer range", None, found, RANGE, _short)


def _map(
    title: str,
    unit: str,
    names: Sequence[str] | None,
    values: Values,
    scale: Scale,
    text: Callable[[float], str],
    say: Callable[[TapKey], str] | None = None,
) -> HeatMap:
    """Rows in the order of ``names``, or of the values; what stands outside the layers in the order of the values."""
    if names is None:
        names = [name for in_layer, name in rows(values) if in_layer]

    def cell(key: TapKey) -> Cell | None:
        value = values.get(key)
        if value is None:
            return None
        where = f"layer {key[0]} {key[1]}" if key[0] >= 0 else key[1]
        return Cell(text(value), scale.colour(value), f"{where}: {say(key) if say else text(value)}")

    layers = sorted({layer for layer, _ in values if layer >= 0})
    lines = ((name, tuple(cell((layer, name)) for layer in layers)) for name in names)
    beside = ((name, cell((layer, name))) for layer, name in values if layer < 0)
    return HeatMap(
        title=title,
        unit=unit,
        layers=tuple(map(str, layers)),
        rows=tuple((name, cells) for name, cells in lines if any(cells)),
        beside=tuple((name, found) for name, found in beside if found is not None),
        legend=tuple(zip(scale.colours, scale.labels, strict=True)),
        numbered=len(layers) <= _NUMBERED,
        wide=len(layers) > _WIDE,
    )


def _exact(value: float) -> str:
    """100 only where it is all."""
    return "100" if value == 100 else f"{min(value, 99.99):.2f}"


def _tenths(value: float) -> str:
    return f"{value:.1f}"


def _signed(value: float) -> str:
    return f"{value:+.0f}" if abs(value) >= 0.5 else "0"


def _short(value: float) -> str:
    if 0 < value < 0.1:
        return "<0.1"
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"
