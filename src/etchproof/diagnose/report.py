"""A diagnosis as people read it: ``diagnosis.html`` in the run's folder, ``triage.html`` in that of a regression.

Each is one file that fetches nothing. A diagnosis stays below a megabyte whatever the run: what is more than fits is
cut, and the page says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from etchproof.contract.diagnosis import Array, Column, Unit
from etchproof.contract.element import shown
from etchproof.contract.taps import TapKey, TapPlan, shown_tap
from etchproof.diagnose.evidence import Evidence
from etchproof.diagnose.grids import SHARE, Grid, by_place, by_token
from etchproof.diagnose.origins import Origin, differing, origin
from etchproof.diagnose.result import DIAGNOSIS_FILE, MEANINGS, PAGE_FILE, Diagnosis
from etchproof.diagnose.triage_result import TRIAGE_FILE, Triage
from etchproof.page.html import page
from etchproof.page.maps import Cell, HeatMap, heat_map
from etchproof.regress.execute import ITEMS_FOLDER

_PACKAGE: Final = "etchproof.diagnose"
DRAWN: Final = 5
"""Origins with maps and numbers."""
LISTED: Final = 100
"""Origins, causes and what else has a line each."""
_VECTORS: Final = 3
_ELEMENTS: Final = 14  # of a vector, with two before the first that differs
_LAYERS: Final = 64
_FAILURES: Final = 2000


@dataclass(frozen=True)
class Number:
    """One element, as chip and golden model have it, and as the unit's inputs have it."""

    element: int
    place: str
    chip: str
    golden: str
    follows: str
    differs: bool


@dataclass(frozen=True)
class Vector:
    """A part of a vector, around its first element that differs."""

    sequence: int
    position: int
    differing: int
    elements: int
    numbers: tuple[Number, ...]


@dataclass(frozen=True)
class Drawn:
    """An origin with maps and numbers."""

    unit: str
    grids: tuple[Grid, ...]
    vectors: tuple[Vector, ...]


def html(diagnosis: Diagnosis, evidence: Evidence, units: Sequence[Unit], taps: TapPlan, subject: str) -> str:
    """The page; the same run gives the same bytes.

    Args:
        units: of the chip; none where nobody says what they are.
        subject: what ran.
    """
    by_name = {unit.name: unit for unit in units}
    found = [
        one
        for record in diagnosis.origins[:DRAWN]
        if (one := origin(by_name[record.unit], evidence.chip)) is not None
    ]
    values = {
        "diagnosis": diagnosis,
        "meaning": MEANINGS[diagnosis.finding],
        "subject": subject,
        "record": DIAGNOSIS_FILE,
        "drawn": [_drawn(one, evidence, taps) for one in found],
        "downstream": _downstream(diagnosis, evidence),
        "layers_cut": _LAYERS,
        "listed": LISTED,
    }
    return page(_PACKAGE, "diagnosis.html.j2", values, {})


def triage_html(triage: Triage, runs: int, subject: str) -> str:
    """The page of a regression that failed: its causes, and each failure with a link to its own page.

    Args:
        runs: how many there were.
        subject: the regression's name.
    """
    values = {
        "triage": triage,
        "runs": runs,
        "subject": subject,
        "items": ITEMS_FOLDER,
        "page": PAGE_FILE,
        "record": TRIAGE_FILE,
        "listed": _FAILURES,
    }
    return page(_PACKAGE, "triage.html.j2", values, {})


def _drawn(one: Origin, evidence: Evidence, taps: TapPlan) -> Drawn:
    grids = (by_token(one), by_place(one))
    return Drawn(
        unit=one.unit.name,
        grids=tuple(grid for grid in grids if grid is not None),
        vectors=tuple(_vectors(one, evidence, taps)),
    )


def _vectors(one: Origin, evidence: Evidence, taps: TapPlan) -> Iterator[Vector]:
    question, key = one.question, one.unit.result
    kind = taps.by_key[key].dtype
    golden = evidence.golden.taps.get(key)
    for row, wrong in list(zip(question.differs.tolist(), one.wrong, strict=True))[:_VECTORS]:
        token = int(question.got.at[row])
        chip, follows = np.asarray(question.got.values[row]), np.asarray(question.made[row])
        right = _of(golden, token)
        layout = one.unit.groups(len(chip))
        begin = max(0, int(wrong[0]) - 2)
        yield Vector(
            sequence=int(question.seen.sequences[token]),
            position=int(question.seen.positions[token]),
            differing=len(wrong),
            elements=len(chip),
            numbers=tuple(
                Number(
                    element=at,
                    place=", ".join(
                        f"{name} {int(of[at])}" for name, of in layout.items() if name != "element"
                    ),
                    chip=shown(kind, int(chip[at])),
                    golden="none" if right is None or at >= len(right) else shown(kind, int(right[at])),
                    follows=shown(kind, int(follows[at])),
                    differs=bool(chip[at] != follows[at]),
                )
                for at in range(begin, min(begin + _ELEMENTS, len(chip)))
            ),
        )


def _of(column: Column | None, token: int) -> Array | None:
    """The vector of a token; None where it has none."""
    if column is None:
        return None
    at = int(np.searchsorted(column.at, token))
    if at == len(column.at) or column.at[at] != token:
        return None
    return np.asarray(column.values[at])


def _downstream(diagnosis: Diagnosis, evidence: Evidence) -> HeatMap | None:
    """Per cent of the elements of each tap that are not the golden model's; origins in a colour of their own.

    Of a chip with more layers than there is room for, those from the first on in which something differs.
    """
    shares = _shares(evidence)
    last = max((layer for layer, _ in shares), default=-1)
    first = min((layer for (layer, _), (wrong, _) in shares.items() if wrong and layer >= 0), default=0)
    first = max(0, min(first, last + 1 - _LAYERS))
    origins = {(one.layer, one.tap) for one in diagnosis.origins}
    cells: dict[TapKey, Cell | None] = {}
    for key, (wrong, elements) in shares.items():
        if key[0] >= 0 and not first <= key[0] < first + _LAYERS:
            continue
        share = 100 * wrong / elements
        text = "." if not wrong else "100" if wrong == elements else f"{min(share, 99.9):.2g}"
        colour = "bad" if key in origins else SHARE.colour(share) if wrong else "s0"
        title = f"{shown_tap(key)}: {wrong:,} of {elements:,} elements"
        cells[key] = Cell(text, colour, f"{title}{', an origin' if key in origins else ''}")
    legend = (("bad", "an origin"), ("s0", "equal"), *SHARE.legend)
    return heat_map("What differs from the golden model", "% of elements", cells, legend) if cells else None


def _shares(evidence: Evidence) -> Mapping[TapKey, tuple[int, int]]:
    """Of each tap, the elements that are not the golden model's, and how many there are."""
    found = {}
    for key, column in evidence.chip.taps.items():
        golden = evidence.golden.taps[key].values
        elements = sum(np.size(one) for one in column.values)
        if elements:
            rows = differing(column.values, golden)
            wrong = sum(int(np.count_nonzero(column.values[row] != golden[row])) for row in rows)
            found[key] = (wrong, elements)
    return found
