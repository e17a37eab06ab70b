"""The page of a diagnosis: what is on it, from whatever run, in less than a megabyte and always the same bytes."""

from __future__ import annotations

import html.parser
import re
from typing import Any

import numpy as np

from etchproof.contract.diagnosis import Column, Seen, Unit
from etchproof.contract.taps import TapPlan
from etchproof.diagnose.evidence import Evidence
from etchproof.diagnose.grids import MOST_COLUMNS, MOST_ROWS, by_place, by_token
from etchproof.diagnose.origins import origin
from etchproof.diagnose.report import DRAWN, LISTED
from etchproof.diagnose.report import html as render
from etchproof.diagnose.result import Diagnosis, ExplanationRecord, PlaceRecord
from etchproof.diagnose.run import explain
from models.chip import ChipPlan
from models.taps import taps as taps_of
from tests.unit.diagnose.conftest import planted

DOWN = "model.layers.1.mlp.down_proj"


class Balanced(html.parser.HTMLParser):
    """Fails on a tag that is not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in ("meta", "br"):
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag


def check(text: str) -> None:
    parser = Balanced()
    parser.feed(text)
    assert parser.stack == []
    assert not re.search(r"https?://|<script|<link|<img|@import|url\(", text)
    assert len(text.encode()) < 1_000_000


def wrong_element(unit: Unit, element: int) -> Any:
    """The unit with one of its elements one too large."""

    class Wrong:
        result = unit.result

        def made(self, seen: Seen) -> Any:
            made = np.array(unit.made(seen))
            made[:, element] += 1
            return made

    return Wrong()


def test_one_fault(units: dict[str, Unit], right: Seen, plan: ChipPlan) -> None:
    taps = TapPlan(tuple(taps_of(plan)))
    evidence = planted(units, right, {DOWN: wrong_element(units[DOWN], 21)})
    found = explain(evidence, tuple(units.values()), 60.0)
    text = render(found, evidence, tuple(units.values()), taps, "a <model>")
    assert text == render(found, evidence, tuple(units.values()), taps, "a <model>")
    check(text)
    assert "a &lt;model&gt;" in text and "<model>" not in text
    (record,) = found.origins
    assert record.unit == DOWN and f"<h2>{DOWN}</h2>" in text
    # The numbers of the first vector, side by side.
    got = int(evidence.chip.taps[1, "down_proj"].values[0][21])
    row = next(line for line in text.splitlines() if '<td class="n">21</td>' in line)
    lanes = units[DOWN].groups(right.taps[1, "down_proj"].values[0].size)
    assert f"block {lanes['block'][21]}, lane {lanes['lane'][21]}" in row
    assert f'<span class="fails">{got}</span>' in row
    assert row.count(f'<td class="n mono">{got - 1}</td>') == 2  # recomputed, golden
    beside = next(line for line in text.splitlines() if '<td class="n">20</td>' in line)
    assert "fails" not in beside
    # What follows: the origin in its own colour, the layer before equal, the logits in part.
    cells = {title: colour for colour, title in re.findall(r'<td class="cell (\w+)" title="([^:"]+): ', text)}
    assert cells["layer 1 down_proj"] == "bad" and cells["layer 0 down_proj"] == "s0"
    assert cells["layer 1 mlp_residual"] not in ("bad", "s0") and cells["layer 2 q_proj"] not in ("bad", "s0")
    assert "logits <b>" in text


def test_the_grids_show_exactly_the_elements_that_differ(units: dict[str, Unit], right: Seen) -> None:
    evidence = planted(units, right, {DOWN: wrong_element(units[DOWN], 21)})
    found = origin(units[DOWN], evidence.chip)
    assert found is not None
    grid = by_token(found)
    assert (grid.rows, grid.columns) == (len(right), 48)
    assert grid.paths == (("s6", "".join(f"M21 {row}h1v1h-1z" for row in range(len(right)))),)
    assert grid.row_ticks[0] == (0, "0:0") and grid.row_ticks[-1][1].startswith(("1:", "2:"))
    layout = units[DOWN].groups(48)
    place = by_place(found)
    assert place is not None and (place.across, place.down) == ("lane", "block")
    assert place.paths == (("s6", f"M{layout['lane'][21]} {layout['block'][21]}h1v1h-1z"),)


def test_vectors_of_any_length_and_more_than_fit(units: dict[str, Unit], right: Seen) -> None:
    """Cells then have several elements, and their colour is the share of those that differ."""
    softmax = next(unit for unit in units.values() if unit.result[1] == "softmax")
    column = right.taps[softmax.result]
    values = [np.array(one) for one in column.values]
    values[-1][-1] += 1
    chip = right.having({softmax.result: Column(column.at, values)})
    found = origin(softmax, chip)
    assert found is not None
    grid = by_token(found)
    assert grid.columns <= MOST_COLUMNS and grid.rows <= MOST_ROWS
    assert [(colour, path.count("M")) for colour, path in grid.paths] == [("s4", 1)]  # of two elements
    assert f" {grid.rows - 1}h" in grid.paths[0][1]
    place = by_place(found)
    assert place is not None and (place.down, place.across) == ("row", "head")
    assert [(colour, path.count("M")) for colour, path in place.paths] == [("s2", 1)]


def test_a_run_without_units(right: Seen, plan: ChipPlan, units: dict[str, Unit]) -> None:
    taps = TapPlan(tuple(taps_of(plan)))
    evidence = planted(units, right, {DOWN: wrong_element(units[DOWN], 21)})
    found = explain(evidence, (), 60.0).model_copy(update={"finding": "no_units"})
    text = render(found, evidence, (), taps, "chip")
    check(text)
    assert "nobody says what the units of this chip are" in text and "What follows downstream" in text


def test_it_stays_small_whatever_the_run(units: dict[str, Unit], right: Seen, plan: ChipPlan) -> None:
    """Every unit an origin, thousands of tokens, rivals and notes without end."""
    taps = TapPlan(tuple(taps_of(plan)))
    many = np.repeat(np.arange(len(right)), 1000)
    chip_taps, golden_taps = {}, {}
    rng = np.random.default_rng(1)
    for key, column in right.taps.items():
        values = [np.array(column.values[at]) for at in np.searchsorted(column.at, many[:300])]
        spoiled = [one + rng.integers(0, 2, one.shape, dtype=one.dtype) for one in values]
        ragged = key[1] in ("scores", "softmax")
        golden_taps[key] = Column(np.arange(300), values if ragged else np.stack(values))
        chip_taps[key] = Column(np.arange(300), spoiled if ragged else np.stack(spoiled))
    facts = {
        name: getattr(right, name)[many[:300]] for name in ("tokens", "positions", "sequences", "adapters")
    }
    evidence = Evidence(Seen(**facts, taps=chip_taps), Seen(**facts, taps=golden_taps), 1, 0)
    found = explain(evidence, tuple(units.values()), 0.0)
    assert len(found.origins) > DRAWN
    where = PlaceRecord(inject=tuple(f"rom:model.layers.0.mlp.down_proj[{at},0]^1" for at in range(5000)))
    one = ExplanationRecord(kind="bit", what="w" * 10_000, at="a", where=where)
    cause = {
        **one.model_dump(),
        "origins": [f"u{at}" for at in range(1000)],
        "explains": "1 of 1",
        "rivals": [one.model_dump()] * 8,
    }
    worst = Diagnosis.model_validate(
        {
            **found.model_dump(),
            "causes": [cause] * 500,
            "notes": ["n" * 10_000] * 500,
            "golden": ["g"] * 5000,
            "origins": [record.model_dump() for record in found.origins] * 20,
        }
    )
    text = render(worst, evidence, tuple(units.values()), taps, "chip")
    check(text)
    assert f"The first {LISTED}" in text
