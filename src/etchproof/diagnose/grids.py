"""Where the elements of an origin differ, drawn: by token and element, and by place in the unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from etchproof.diagnose.origins import Origin
from etchproof.page.maps import Scale

SHARE: Final = Scale(
    (25, 50, 75, 100),
    ("s2", "s3", "s4", "s5", "s6"),
    ("below 25", "25", "50", "75", "100: all of them"),
)
"""Per cent of the elements of a cell that differ; a cell in which none does is left out."""

MOST_ROWS: Final = 48
MOST_COLUMNS: Final = 64
_TICKS: Final = 5

_Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Grid:
    """A heat map in units of its cells.

    Attributes:
        across: what a column is; ``down`` what a row is.
        paths: for each class of colour, the outline of its cells.
        columns: and their ticks, at which column which label; likewise ``rows``.
    """

    title: str
    across: str
    down: str
    columns: int
    rows: int
    column_ticks: tuple[tuple[int, str], ...]
    row_ticks: tuple[tuple[int, str], ...]
    paths: tuple[tuple[str, str], ...]

    @property
    def legend(self) -> tuple[tuple[str, str], ...]:
        """Colour and label of each class."""
        return SHARE.legend


def by_token(origin: Origin) -> Grid:
    """Tokens down, elements across; where there are more than fit, a cell has several."""
    question = origin.question
    sizes = _sizes(origin)
    rows, columns = _bins(len(sizes), MOST_ROWS), _bins(int(sizes.max()), MOST_COLUMNS)
    wrong = np.zeros((len(rows) - 1, len(columns) - 1), np.int64)
    for row, elements in zip(question.differs.tolist(), origin.wrong, strict=True):
        np.add.at(wrong[_bin_of(rows, row)], _bin_of(columns, elements), 1)
    widths = np.clip(sizes[:, None] - columns[None, :-1], 0, np.diff(columns)[None])
    there = np.add.reduceat(widths, rows[:-1], axis=0)
    seen = question.seen
    tokens = question.got.at[rows[:-1]]
    labels = [
        f"{sequence}:{position}"
        for sequence, position in zip(seen.sequences[tokens], seen.positions[tokens], strict=True)
    ]
    return _grid(
        "By token and element", "element", "sequence:position", wrong, there, columns[:-1].tolist(), labels
    )


def by_place(origin: Origin) -> Grid | None:
    """The first two names of the unit's layout, such as block and lane, over all tokens; None where it has no two."""
    question, sizes = origin.question, _sizes(origin)
    names = list(origin.unit.groups(int(sizes.max())))
    if len(names) < 2:
        return None
    down, across = names[:2]
    layouts = {size: origin.unit.groups(size) for size in sorted(set(sizes.tolist()))}
    largest = layouts[max(layouts)]
    rows = _bins(int(largest[down].max()) + 1, MOST_ROWS)
    columns = _bins(int(largest[across].max()) + 1, MOST_COLUMNS)
    wrong, there = np.zeros((2, len(rows) - 1, len(columns) - 1), np.int64)
    for size, count in zip(*np.unique(sizes, return_counts=True), strict=True):
        at = layouts[int(size)]
        np.add.at(there, (_bin_of(rows, at[down]), _bin_of(columns, at[across])), int(count))
    for row, elements in zip(question.differs.tolist(), origin.wrong, strict=True):
        at = layouts[int(sizes[row])]
        np.add.at(wrong, (_bin_of(rows, at[down][elements]), _bin_of(columns, at[across][elements])), 1)
    labels = [str(row) for row in rows[:-1].tolist()]
    return _grid(f"By {down} and {across}", across, down, wrong, there, columns[:-1].tolist(), labels)


def _sizes(origin: Origin) -> _Counts:
    """(vectors,) elements of each."""
    values = origin.question.got.values
    return np.array([np.size(one) for one in values], np.int64)


def _bins(count: int, most: int) -> _Counts:
    """Edges of as many bins as there is room for, all but the last of one width."""
    width = max(1, -(-count // most))
    return np.append(np.arange(0, max(count, 1), width), max(count, 1))


def _bin_of(edges: _Counts, numbers: Any) -> Any:
    return np.searchsorted(edges, numbers, side="right") - 1


def _grid(
    title: str,
    across: str,
    down: str,
    wrong: _Counts,
    there: _Counts,
    columns: Sequence[int],
    labels: Sequence[str],
) -> Grid:
    """
    Args:
        wrong: (rows, columns) elements that differ; ``there`` those that there are.
        columns: the first element of each column; ``labels`` what stands beside each row.
    """
    outlines: dict[str, list[str]] = {colour: [] for colour in SHARE.colours}
    for y, x in np.argwhere(wrong).tolist():
        share = 100 * int(wrong[y, x]) / int(there[y, x])
        outlines[SHARE.colour(share)].append(f"M{x} {y}h1v1h-1z")
    return Grid(
        title=title,
        across=across,
        down=down,
        columns=wrong.shape[1],
        rows=wrong.shape[0],
        column_ticks=_ticks([str(column) for column in columns]),
        row_ticks=_ticks(labels),
        paths=tuple((colour, "".join(cells)) for colour, cells in outlines.items() if cells),
    )


def _ticks(labels: Sequence[str]) -> tuple[tuple[int, str], ...]:
    every = max(1, -(-len(labels) // _TICKS))
    return tuple((at, labels[at]) for at in range(0, len(labels), every))
