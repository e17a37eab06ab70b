"""The heat maps of the report."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from etchproof.contract.mask import MaskSite
from etchproof.contract.taps import TapKey, rows, shown_tap
from etchproof.page.maps import Cell, HeatMap, Scale, heat_map
from etchproof.quantize.quality_report import TapQuality
from etchproof.signoff.evidence import AccumulatorEvidence, RomEvidence

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
    def cell(key: TapKey) -> Cell | None:
        value = values.get(key)
        if value is None:
            return None
        return Cell(text(value), scale.colour(value), f"{shown_tap(key)}: {say(key) if say else text(value)}")

    return heat_map(title, unit, {key: cell(key) for key in values}, scale.legend, names)


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
