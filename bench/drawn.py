"""Pictures of docs/debug.md as SVG: cells that differ, and waves. The same data gives the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

_INK, _DIM, _LINE, _BAD, _GOOD, _WASH = "#17212b", "#5a6876", "#c4ced8", "#b3261e", "#1f6f8b", "#f6f8fa"
_FONT: Final = "font-family='ui-monospace, Menlo, Consolas, monospace' font-size='11'"
_CELL: Final = 12  # pixels
_ROW: Final = 26
_NAMES: Final = 250  # pixels for the names of signals
_WIDE: Final = 560  # pixels for their values
_SIGN: Final = 6.7  # pixels of a character


@dataclass(frozen=True)
class Cells:
    """A map of integers.

    Attributes:
        across: what a column is; ``down`` what a row is.
        values: rows of integers; 0 is a cell that is right.
    """

    title: str
    across: str
    down: str
    values: Sequence[Sequence[int]]


@dataclass(frozen=True)
class Wave:
    """A signal in a window.

    Attributes:
        bits: 1 is drawn as two levels, more as a bus.
        changes: (time, value), ascending; the first at the beginning of the window.
        wrong: whether it is the one that is wrong.
    """

    name: str
    bits: int
    changes: tuple[tuple[int, int], ...]
    wrong: bool = False


def draw_cells(cells: Cells) -> str:
    """A square for each value, filled where it is not 0."""
    left, top = 70, 44
    columns, rows = max(map(len, cells.values)), len(cells.values)
    width, height = left + columns * _CELL + 16, top + rows * _CELL + 42
    parts = [_text(left, 18, cells.title)]
    parts.append(_box(left, top, columns * _CELL, rows * _CELL, _WASH, _LINE))
    for y, row in enumerate(cells.values):
        for x, value in enumerate(row):
            if value:
                tip = f"{cells.down} {y}, {cells.across} {x}: {value:+d}"
                fill = _BAD if value > 0 else _GOOD
                box = _box(left + x * _CELL, top + y * _CELL, _CELL, _CELL, fill, _WASH, tip)
                parts.append(box)
    for x in range(0, columns, 8):
        parts.append(_text(left + x * _CELL, top - 6, f"{x}", _DIM))
    for y in range(0, rows, 4):
        parts.append(_text(left - 8, top + y * _CELL + 10, f"{y}", _DIM, anchor="end"))
    parts.append(_text(4, top - 6, cells.down, _DIM))
    key = top + rows * _CELL + 18
    parts.append(_text(left, key + 10, f"{cells.across}s across"))
    for at, (fill, what) in enumerate(((_BAD, "too large"), (_GOOD, "too small"))):
        parts.append(_box(left + 180 + 110 * at, key, _CELL, _CELL, fill, _WASH))
        parts.append(_text(left + 198 + 110 * at, key + 10, what, _DIM))
    return _svg(width, height, parts)


def draw_waves(rows: Sequence[Wave], begin: int, end: int, marker: int, says: str) -> str:
    """A line for each signal, and a marker through all of them; times are picoseconds."""
    top, height = 40, 40 + len(rows) * _ROW + 16

    def x(time: int) -> float:
        return round(_NAMES + (time - begin) * _WIDE / (end - begin), 1)

    parts = []
    for time in range(-(-begin // 4000) * 4000, end + 1, 4000):
        parts.append(f"<path d='M{x(time)} {top - 8}V{height - 8}' stroke='{_LINE}' stroke-width='0.5'/>")
        parts.append(_text(x(time), top - 14, f"{time / 1000:,.0f} ns", _DIM, anchor="middle"))
    for number, row in enumerate(rows):
        low = top + number * _ROW + 20
        colour = _BAD if row.wrong else _INK
        parts.append(_text(_NAMES - 10, low - 4, _clipped(row.name), colour, anchor="end"))
        spans = [
            (time, later, value)
            for (time, value), later in zip(
                row.changes, [*(time for time, _ in row.changes[1:]), end], strict=True
            )
        ]
        parts += _levels(spans, low, x) if row.bits == 1 else _bus(spans, low, x, colour)
    parts.append(f"<path d='M{x(marker)} {top - 8}V{height - 8}' stroke='{_BAD}' stroke-dasharray='4 2'/>")
    parts.append(_text(x(marker) + 4, height - 2, says, _BAD))
    return _svg(_NAMES + _WIDE + 12, height + 6, parts)


def _levels(spans: Sequence[tuple[int, int, int]], low: int, x: object) -> list[str]:
    assert callable(x)
    path = ""
    for time, later, value in spans:
        y = low - 14 * value
        path += f"{'L' if path else 'M'}{x(time)} {y}H{x(later)}"
    return [f"<path d='{path}' fill='none' stroke='{_GOOD}'/>"]


def _bus(spans: Sequence[tuple[int, int, int]], low: int, x: object, colour: str) -> list[str]:
    assert callable(x)
    parts = []
    for time, later, value in spans:
        left, right = x(time), x(later)
        parts.append(
            f"<path d='M{left} {low - 7}l3 -7H{right - 3}l3 7l-3 7H{left + 3}z' fill='none' stroke='{colour}'/>"
        )
        if right - left > 10 + _SIGN * len(f"{value}"):
            parts.append(_text(left + 6, low - 3, f"{value}", colour))
    return parts


def _clipped(name: str) -> str:
    most = int((_NAMES - 14) / _SIGN)
    return name if len(name) <= most else f"…{name[1 - most :]}"


def _text(x: float, y: float, text: str, colour: str = _INK, anchor: str = "start") -> str:
    return f"<text x='{x}' y='{y}' fill='{colour}' text-anchor='{anchor}'>{escape(text)}</text>"


def _box(x: float, y: float, width: float, height: float, fill: str, stroke: str, tip: str = "") -> str:
    inside = f"<title>{escape(tip)}</title>" if tip else ""
    size = f"x='{x}' y='{y}' width='{width}' height='{height}'"
    return f"<rect {size} fill='{fill}' stroke='{stroke}' stroke-width='0.5'>{inside}</rect>"


def _svg(width: float, height: float, parts: Sequence[str]) -> str:
    head = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' {_FONT}>"
    return "\n".join([head, f"<rect width='{width}' height='{height}' fill='#ffffff'/>", *parts, "</svg>\n"])
