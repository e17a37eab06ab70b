"""Many failures: which are diagnosed within the budget, and which are one cause."""

from __future__ import annotations

import re
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from etchproof.contract.taps import TapKey
from etchproof.diagnose import triage as triage_module
from etchproof.diagnose.junit import tell_junit
from etchproof.diagnose.limit import TimeUp
from etchproof.diagnose.report import triage_html
from etchproof.diagnose.result import (
    CauseRecord,
    Diagnosis,
    ExplanationRecord,
    Finding,
    FirstRecord,
    OriginRecord,
    PlaceRecord,
    UnexplainedRecord,
)
from etchproof.diagnose.triage import NOTHING_DIFFERS, TIME_WAS_UP, Failed, looker, triage
from etchproof.diagnose.triage_result import Triage, json_schema
from etchproof.errors import InputError

DOWN = "model.layers.2.mlp.down_proj"
ROPE = "model.layers.0.self_attn.q_rope"


def failed(name: str, first: TapKey | None = (2, "down_proj"), **changes: Any) -> Failed:
    return Failed(
        name, Path(name), **{"reason": "mismatch", "chip": ("m", "f", "r"), "first": first, **changes}
    )


def origin(unit: str, module: str, tap: str) -> OriginRecord:
    return OriginRecord(
        unit=unit,
        module=module,
        layer=2,
        tap=tap,
        vectors=1,
        of_vectors=2,
        elements=1,
        of_elements=2,
        sequences="0",
        positions="0",
        bits=99,
        places={},
        first=FirstRecord(sequence=0, position=0, element=0, follows=1, got=2),
    )


ORIGINS = {DOWN: origin(DOWN, "linear", "down_proj"), ROPE: origin(ROPE, "rope", "q_rope")}
BIT = ExplanationRecord(
    kind="bit", what="a bit is inverted", at="rom:d[1,2]^3", where=PlaceRecord(inject=("rom:d[1,2]^3",))
)
ROUND = ExplanationRecord(
    kind="round.down",
    what="is rounded down",
    at="rounding",
    where=PlaceRecord(instances=("u_a",), files=("ep_linear.sv",)),
)
TURN = ExplanationRecord(
    kind="rope sign", what="turns back", at="rope: sign", where=PlaceRecord(files=("ep_rope.sv",))
)


def cause(*explanations: ExplanationRecord, unit: str = DOWN) -> CauseRecord:
    best, *rivals = explanations
    return CauseRecord(
        kind=best.kind,
        what=best.what,
        at=best.at,
        where=best.where,
        origins=(unit,),
        explains="2 of 2",
        rivals=tuple(rivals),
    )


def diagnosis(*causes: CauseRecord, unexplained: Sequence[str] = (), **changes: Any) -> Diagnosis:
    units = [*(unit for one in causes for unit in one.origins), *unexplained]
    finding: Finding = "rivals" if any(one.rivals for one in causes) else "explained"
    fields: dict[str, Any] = {
        "finding": "unexplained" if unexplained else finding,
        "differing": 1,
        "items": 2,
        "left_out": 0,
        "origins": tuple(ORIGINS[unit] for unit in units),
        "causes": causes,
        "unexplained": tuple(UnexplainedRecord(unit=unit, excluded={}) for unit in unexplained),
        "golden": (),
        "notes": (),
        "tried": 1,
        "complete": True,
        "certain": not unexplained and finding == "explained",
        "wall_s": 0.0,
    }
    return Diagnosis(**fields | changes)


def looking(found: dict[str, Diagnosis | BaseException]) -> Callable[[Path, float], Diagnosis]:
    def look(folder: Path, limit_s: float) -> Diagnosis:
        one = found[folder.name]
        if isinstance(one, BaseException):
            raise one
        return one

    return look


def lines(found: Triage) -> dict[str, str]:
    return {one.name: one.line for one in found.failures}


def test_failures_of_one_cause_are_one_group_whatever_their_messages() -> None:
    """Rounding that is wrong in another layer, seed and element is the same cause; so is one with rivals."""
    elsewhere = ROUND.model_copy(update={"where": PlaceRecord(instances=("u_b",), files=("ep_linear.sv",))})
    runs = [failed("a"), failed("b", (0, "q_proj")), failed("c", (1, "up_proj")), failed("d", (0, "q_rope"))]
    found = triage(
        runs,
        looking(
            {
                "a": diagnosis(cause(ROUND)),
                "b": diagnosis(cause(elsewhere)),
                "c": diagnosis(cause(BIT, ROUND)),
                "d": diagnosis(cause(TURN, unit=ROPE)),
            }
        ),
    )
    first, second = found.groups
    assert (first.title, first.failures, first.certain) == (
        "round.down of linear, rounding",
        ("a", "b", "c"),
        2,
    )
    assert (second.title, second.failures, second.certain) == ("rope sign of rope, rope: sign", ("d",), 1)
    assert lines(found)["a"] == "round.down of linear: is rounded down (rounding)"
    assert lines(found)["c"] == "bit of linear: a bit is inverted (rom:d[1,2]^3), or 1 other"
    assert [one.certain for one in found.failures] == [True, True, False, True]
    assert found.diagnosed == 4


def test_bits_of_different_places_are_different_causes() -> None:
    other = BIT.model_copy(update={"at": "rom:d[1,2]^4", "where": PlaceRecord(inject=("rom:d[1,2]^4",))})
    found = triage(
        [failed("a"), failed("b")], looking({"a": diagnosis(cause(BIT)), "b": diagnosis(cause(other))})
    )
    assert [one.place for one in found.groups] == ["rom:d[1,2]^3", "rom:d[1,2]^4"]


def test_two_causes_are_two_groups() -> None:
    both = diagnosis(cause(BIT), cause(TURN, unit=ROPE))
    found = triage([failed("a"), failed("b")], looking({"a": both, "b": diagnosis(cause(BIT))}))
    assert [(one.kind, one.failures) for one in found.groups] == [("bit", ("a", "b")), ("rope sign", ("a",))]


def test_what_nothing_explains_is_grouped_by_unit_and_tap() -> None:
    runs = [failed("a"), failed("b")]
    found = triage(runs, looking({name: diagnosis(unexplained=(DOWN,)) for name in "ab"}))
    (group,) = found.groups
    assert (group.title, group.certain) == ("unexplained of linear, down_proj", 0)
    assert lines(found)["a"] == f"unexplained: {DOWN}"
    golden = triage([failed("a")], looking({"a": diagnosis(finding="golden", golden=("lm_head",))}))
    assert golden.groups[0].kind == "golden" and "golden model's do not" in lines(golden)["a"]


def test_time_that_was_up_within_a_diagnosis_is_not_certain() -> None:
    found = triage([failed("a")], looking({"a": diagnosis(cause(BIT), complete=False, certain=False)}))
    assert (found.groups[0].certain, found.failures[0].certain) == (0, False)
    assert lines(found)["a"].endswith("; time was up before everything was tried")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (InputError("is another model", source="x", key="k"), "not diagnosed: x: k: is another model"),
        (TimeUp(), "not diagnosed: given up after 15 s; `etchproof diagnose` of its folder takes longer"),
        (ZeroDivisionError("by zero"), "not diagnosed: ZeroDivisionError: by zero"),
    ],
)
def test_what_cannot_be_diagnosed_is_a_group_of_its_reason(error: BaseException, said: str) -> None:
    runs = [
        failed("a"),
        failed("b", (0, "q_proj")),
        failed("late", None, reason="timeout"),
        failed("gone", None, reason="no_result", chip=()),
    ]
    found = triage(runs, looking({"a": error, "b": diagnosis(cause(ROUND))}))
    assert {one.title: one.failures for one in found.groups} == {
        "round.down of linear, rounding": ("b",),
        "not diagnosed: mismatch": ("a",),
        "not diagnosed: no_result": ("gone",),
        "not diagnosed: timeout": ("late",),
    }
    assert lines(found)["a"] == said
    assert lines(found)["late"] == f"not diagnosed: {NOTHING_DIFFERS}"
    assert [one.finding for one in found.failures] == [None, "explained", None, None]


def test_hundreds_of_failures_take_no_more_than_the_budget() -> None:
    """One of each kind comes first, however many there are of the others; the rest gets no cause."""
    runs = [failed(f"many{number:03}") for number in range(500)]
    runs += [failed("other", (0, "q_rope")), failed("chip", chip=("m", "f", "another"))]
    asked = []

    def look(folder: Path, limit_s: float) -> Diagnosis:
        asked.append(folder.name)
        assert limit_s <= 0.2
        time.sleep(0.02)
        return diagnosis(cause(TURN, unit=ROPE) if folder.name == "other" else cause(ROUND))

    found = triage(runs, look, budget_s=0.2)
    assert asked[:4] == ["many000", "other", "chip", "many001"]
    assert len(asked) < 15 and found.wall_s < 2
    left = next(one for one in found.failures if one.name == "many499")
    assert (left.finding, left.certain, left.like) == (None, False, "many000")
    assert left.line == "not diagnosed, same first difference as many000"
    group = next(one for one in found.groups if one.kind == "round.down")
    assert "many499" in group.alike and "many499" not in group.failures
    assert group.certain == len(group.failures) == len(asked) - 1


def test_no_time_at_all() -> None:
    found = triage([failed("a"), failed("b")], looking({}), budget_s=0)
    assert lines(found) == dict.fromkeys("ab", f"not diagnosed: {TIME_WAS_UP}")
    assert [one.title for one in found.groups] == ["not diagnosed: mismatch"]


def test_a_failure_that_could_not_be_diagnosed_stands_for_no_other() -> None:
    runs = [failed("a"), failed("b"), failed("c")]
    broken = InputError("no")

    def look(folder: Path, limit_s: float) -> Diagnosis:
        time.sleep(0.06)
        raise broken

    found = triage(runs, look, budget_s=0.05)
    assert [one.like for one in found.failures] == [None] * 3
    assert lines(found)["c"] == f"not diagnosed: {TIME_WAS_UP}"


def test_no_import_is_broken_off(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Half a module would be left of it, in which every later diagnosis fails."""
    again = SimpleNamespace(design=None, model=None, adapters=())
    monkeypatch.setattr(triage_module, "make_again", lambda *_: again)
    monkeypatch.setattr(triage_module, "import_all", lambda _: time.sleep(0.3))
    right = diagnosis(cause(BIT))
    monkeypatch.setattr(triage_module, "diagnose", lambda *_: right)
    look = looker(None)  # type: ignore[arg-type]
    assert look(tmp_path, 0.1) is right
    monkeypatch.setattr(triage_module, "diagnose", lambda *_: time.sleep(5))
    with pytest.raises(TimeUp):
        look(tmp_path, 0.1)


def test_junit_begins_with_the_diagnosis(tmp_path: Path) -> None:
    file = tmp_path / "junit.xml"
    file.write_text(
        '<testsuites><testsuite><testcase name="a"><failure message="mismatch: 3">mismatch: 3\nreproduce: x'
        '</failure></testcase><testcase name="b"><failure message="other">other</failure></testcase>'
        '<testcase name="c"/></testsuite></testsuites>'
    )
    tell_junit(file, triage([failed("a")], looking({"a": diagnosis(cause(BIT))})))
    cases = {case.get("name"): case.find("failure") for case in ET.parse(file).iter("testcase")}
    assert cases["a"] is not None and cases["b"] is not None and cases["c"] is None
    line = "bit of linear: a bit is inverted (rom:d[1,2]^3)"
    assert cases["a"].get("message") == f"{line}; mismatch: 3"
    assert cases["a"].text == f"diagnosis: {line}\nmismatch: 3\nreproduce: x"
    assert (cases["b"].get("message"), cases["b"].text) == ("other", "other")


def test_the_page_of_a_regression() -> None:
    """Causes first, then each failure with a link to its own page, where it has one."""
    found = triage([failed("a <b>"), failed("late", None)], looking({"a <b>": diagnosis(cause(BIT))}))
    text = triage_html(found, 3, "nightly")
    assert text == triage_html(found, 3, "nightly") and "2 of 3 runs failed" in text
    assert '<a href="items/a%20%3Cb%3E/diagnosis.html">a &lt;b&gt;</a>' in text
    assert '<td class="mono">late</td>' in text and "bit of linear, rom:d[1,2]^3" in text
    assert not re.search(r"https?://|<script|<link|<img|@import|url\(", text)


def test_schema(repo_root: Path) -> None:
    """docs/triage.schema.json is what the record says; to renew it, write json_schema() there."""
    assert (repo_root / "docs" / "triage.schema.json").read_text() == json_schema()
