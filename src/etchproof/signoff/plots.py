"""Line plots of the report as SVG: everything over the depth of the chip, or over the runs in their order."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from etchproof.quantize.quality_report import TapQuality
from etchproof.signoff.evidence import RomEvidence

WIDTH: Final = 330
HEIGHT: Final = 170
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 10, 26  # room for the axes' labels
_TICKS: Final = 4
_MOST_MARKS: Final = 9  # labels along x

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """A line through points, by its class of the style sheet."""

    name: str
    colour: str
    path: str
    dots: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Plot:
    """A plot, in the units of its picture.

    Attributes:
        band: a filled path behind the lines; empty for none.
        y_ticks: place and label of each line of the grid.
        x_ticks: likewise along the bottom.
    """

    title: str
    x_label: str
    lines: tuple[Line, ...]
    band: str
    band_name: str
    y_ticks: tuple[tuple[str, str], ...]
    x_ticks: tuple[tuple[str, str], ...]


def noise_plot(taps: Sequence[TapQuality]) -> Plot | None:
    """Signal to noise over depth: the last tap of each layer, and between which bounds all taps lie."""
    noise = [(tap.layer, tap.tap, tap.sqnr_db) for tap in taps if tap.sqnr_db is not None]
    return _depth("Signal to noise, dB", noise, "last tap of a layer")


def bias_plot(taps: Sequence[TapQuality]) -> Plot | None:
    """Mean over rms error over depth."""
    bias = [(tap.layer, tap.tap, 100 * tap.mean_error / tap.rms_error) for tap in taps if tap.rms_error]
    return _depth("Bias: mean error, % of rms error", bias, "last tap of a layer")


def range_plot(taps: Sequence[TapQuality]) -> Plot | None:
    """Use of the integer range over depth."""
    used = [(tap.layer, tap.tap, 100 * tap.range_used) for tap in taps if tap.range_used is not None]
    return _depth("Range use, %", used, "largest")


def proof_plot(rom: RomEvidence) -> Plot | None:
    """Bits that are not proven yet, run after run."""
    left = rom.due
    points = [(0.0, float(left))]
    for number, count in enumerate(rom.by_run.values(), 1):
        left -= count
        points.append((float(number), float(left)))
    if len(points) < 2:
        return None
    # A logarithm shows both the bulk and the last bits; none is shown as half a bit.
    shown = [(x, math.log10(max(y, 0.5))) for x, y in points]
    top = math.ceil(max(y for _, y in shown))
    step = max(1, math.ceil(top / _TICKS))
    y_ticks = [
        (math.log10(0.5), "0"),
        *((float(power), f"{10**power:,}") for power in range(step, top + 1, step)),
    ]
    return _plot(
        "Bits not proven yet",
        "runs, in their order",
        [("bits", "c1", shown)],
        [],
        "",
        (math.log10(0.5), float(top)),
        y_ticks,
    )


def _depth(title: str, values: Sequence[tuple[int, str, float]], line: str) -> Plot | None:
    """Over the layers: between which bounds all taps lie; the line is the last tap of each, or the upper bound."""
    layers = sorted({layer for layer, _, _ in values if layer >= 0})
    if not layers:
        return None
    by_layer = {layer: [value for at, _, value in values if at == layer] for layer in layers}
    band = [(float(layer), min(found), max(found)) for layer, found in by_layer.items()]
    last = [(float(layer), found[-1]) for layer, found in by_layer.items()]
    largest = [(layer, high) for layer, _, high in band]
    low, high = min(low for _, low, _ in band), max(high for _, _, high in band)
    low, step = _round_range(min(low, 0.0), high)
    count = math.ceil((high - low) / step - 1e-9)
    y_ticks = [(low + step * tick, f"{low + step * tick:g}") for tick in range(count + 1)]
    return _plot(
        title,
        "layer",
        [(line, "c1", largest if line == "largest" else last)],
        band,
        "all taps",
        (low, low + step * count),
        y_ticks,
    )


def _round_range(low: float, high: float) -> tuple[float, float]:
    """A round lower end, and a round step with which few of them reach the upper."""
    rough = max(high - low, 1e-9) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    return math.floor(low / step) * step, step


def _plot(
    title: str,
    x_label: str,
    lines: Sequence[tuple[str, str, Sequence[Point]]],
    band: Sequence[tuple[float, float, float]],
    band_name: str,
    y_range: tuple[float, float],
    y_ticks: Iterable[tuple[float, str]],
) -> Plot:
    marks = sorted({x for _, _, points in lines for x, _ in points} | {x for x, _, _ in band})
    first, last = (marks[0], marks[-1]) if marks else (0.0, 0.0)
    spread, rise = max(last - first, 1.0), max(y_range[1] - y_range[0], 1e-9)

    def across(x: float) -> float:
        middle = 0.5 if last == first else (x - first) / spread
        return _LEFT + middle * (WIDTH - _LEFT - _RIGHT)

    def up(y: float) -> float:
        return HEIGHT - _BOTTOM - (y - y_range[0]) / rise * (HEIGHT - _TOP - _BOTTOM)

    def place(x: float, y: float) -> str:
        return f"{across(x):.1f} {up(y):.1f}"

    outline = [place(x, high) for x, _, high in band] + [place(x, low) for x, low, _ in reversed(band)]
    every = max(1, math.ceil(len(marks) / _MOST_MARKS))
    return Plot(
        title=title,
        x_label=x_label,
        lines=tuple(
            Line(
                name,
                colour,
                "M" + " L".join(place(x, y) for x, y in points) if points else "",
                tuple((f"{across(x):.1f}", f"{up(y):.1f}") for x, y in points),
            )
            for name, colour, points in lines
        ),
        band="M" + " L".join(outline) + " Z" if outline else "",
        band_name=band_name,
        y_ticks=tuple((f"{up(y):.1f}", label) for y, label in y_ticks),
        x_ticks=tuple((f"{across(x):.1f}", f"{x:g}") for x in marks[::every]),
    )
