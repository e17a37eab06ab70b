"""The list of faults that may stand: what it excuses, and what of it is not true."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from etchproof.errors import InputError
from etchproof.signoff import derive
from etchproof.signoff.qualification import Detection, FaultResult, Qualification, RunRecord, State
from etchproof.signoff.survivors import load_survivors, still_open
from tests.conftest import ROOT

TODAY = datetime.date(2026, 11, 28)
WHY = "the counter never has that value"


def result(name: str, state: State) -> FaultResult:
    by = Detection(run="r", test="t", reason="mismatch", message="m", tap=None, layer=None, token=None)
    seen = (by,) if state != "survived" else ()
    return FaultResult(
        name=name,
        kind="rtl",
        where="m",
        place="m.sv:3",
        operator="o",
        was="a",
        becomes="b",
        state=state,
        seen_by=seen,
        runs=1,
    )


RESULTS = (result("seen", "detected"), result("lives", "survived"), result("broke", "broken"))
RUN = RunRecord(name="r", test="t", elements=9, cycles=9, equal=True, wall_s=1.0)


def record(**changes: Any) -> Qualification:
    sha256 = "a" * 64
    fields: dict[str, Any] = {
        **{"stage": "V1", "project": "p", "model": "m", "recipe": None, "adapters": (), "seed": 1},
        **dict.fromkeys(("model_sha256", "sources_sha256", "fabric_sha256", "rom_sha256"), sha256),
        **{
            "schemata_sha256": sha256,
            "refused": 0,
            "opinions": 2,
            "runs": (RUN,),
            "faults": RESULTS,
            "wall_s": 1.0,
        },
    }
    return Qualification.model_validate(fields | changes)


def opened(tmp_path: Path, text: str, **changes: Any) -> list[str]:
    file = tmp_path / "survivors.yaml"
    file.write_text(f"survivors:\n{text}" if text else "survivors: []\n")
    return list(still_open(record(**changes), load_survivors(file), TODAY))


BROKE = "the bench broke at broke: mismatch: m"


def test_what_is_not_on_the_list_is_open(tmp_path: Path) -> None:
    assert opened(tmp_path, "") == ["no run sees lives, m.sv:3", BROKE]


@pytest.mark.parametrize(
    ("activated", "said"),
    [
        (True, ": it is activated, and nothing that is compared follows from it"),
        (False, ": it is not activated"),
    ],
)
def test_of_a_survivor_it_is_said_whether_it_was_activated(
    tmp_path: Path, activated: bool, said: str
) -> None:
    lives = result("lives", "survived").model_copy(update={"activated": activated})
    assert opened(tmp_path, "", faults=(lives,)) == [f"no run sees lives, m.sv:3{said}"]


def test_what_is_seen_is_not_asked_whether_it_was_activated() -> None:
    fields = result("seen", "detected").model_dump() | {"activated": True}
    with pytest.raises(ValueError, match="seen: detected, and activated"):
        FaultResult.model_validate(fields)


@pytest.mark.parametrize(
    "text",
    [f"- {{fault: lives, equivalent: {WHY}}}\n", f"- {{fault: lives, waived: {WHY}, until: 2026-11-28}}\n"],
)
def test_what_is_on_the_list_may_stand(tmp_path: Path, text: str) -> None:
    assert opened(tmp_path, text) == [BROKE]


def test_what_is_not_true_today_is_open(tmp_path: Path) -> None:
    expired = f"- {{fault: lives, waived: {WHY}, until: 2026-11-27}}\n- {{fault: seen, equivalent: {WHY}}}\n"
    assert opened(tmp_path, expired) == [
        BROKE,
        "lives is waived until 2026-11-27",
        "seen is on the list of survivors, and is seen",
    ]


def test_a_fault_that_was_not_drawn_is_neither(tmp_path: Path) -> None:
    assert opened(tmp_path, f"- {{fault: elsewhere, equivalent: {WHY}}}\n") == [
        "no run sees lives, m.sv:3",
        BROKE,
    ]


def test_what_a_later_stage_sees(tmp_path: Path) -> None:
    """It may stand before; from there on the entry excuses nothing, and is not in the way."""
    text = f"- {{fault: lives, later: {WHY}, seen_at: V2}}\n- {{fault: seen, later: {WHY}, seen_at: V2}}\n"
    assert opened(tmp_path, text) == [BROKE, "seen is on the list of survivors, and is seen"]
    assert opened(tmp_path, text, stage="V2") == ["no run sees lives, m.sv:3", BROKE]


def test_what_is_said_of_some_models(tmp_path: Path) -> None:
    text = f"- {{fault: lives, equivalent: {WHY}, models: [m]}}\n- {{fault: seen, equivalent: {WHY}, models: [n]}}\n"
    assert opened(tmp_path, text) == [BROKE]
    assert opened(tmp_path, text, model="n") == [
        "no run sees lives, m.sv:3",
        BROKE,
        "seen is on the list of survivors, and is seen",
    ]


def test_what_is_no_qualification(tmp_path: Path) -> None:
    unequal = RUN.model_copy(update={"equal": False})
    seen = (RESULTS[0],)
    assert opened(tmp_path, "", faults=seen) == []
    assert opened(tmp_path, "", faults=()) == ["no fault was drawn"]
    assert opened(tmp_path, "", faults=seen, runs=(unequal,)) == ["unequal: r differs with every fault off"]
    with pytest.raises(ValueError, match="stands twice"):
        record(faults=(*seen, *seen))
    with pytest.raises(ValueError, match="survived, and seen_by"):
        FaultResult.model_validate(RESULTS[0].model_dump() | {"state": "survived"})


def test_the_evidence(tmp_path: Path) -> None:
    file = tmp_path / "survivors.yaml"
    file.write_text(f"survivors:\n- {{fault: lives, waived: {WHY}, until: 2026-12-01}}\n")
    found = derive.qualification(record(), load_survivors(file), TODAY)
    (score,) = found.scores
    assert (score.drawn, score.seen, score.equivalent, score.excused) == (3, 1, 0, 1)
    assert [(one.test, one.first, one.alone) for one in found.killers] == [("t", 1, 1)]
    assert [(one.name, one.excuse, one.until) for one in found.survivors] == [
        ("lives", "waived", "2026-12-01")
    ]
    assert found.open_items == (BROKE,) and found.open_count == 1
    quick = derive.qualification(record(opinions=0), load_survivors(file), TODAY)
    assert [one.alone for one in quick.killers] == [None]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- {fault: a}\n", "says one of: why it is equivalent"),
        (f"- {{fault: a, equivalent: {WHY}, waived: {WHY}}}\n", "says one of: why it is equivalent"),
        (f"- {{fault: a, waived: {WHY}}}\n", "until goes with waived"),
        (f"- {{fault: a, equivalent: {WHY}, until: 2027-01-01}}\n", "until goes with waived"),
        (f"- {{fault: a, later: {WHY}}}\n", "seen_at goes with later"),
        ("- {fault: a, equivalent: short}\n", "equivalent: is 'short', expected 20 or more characters"),
        (f"- {{fault: a, waived: {WHY}, until: soon}}\n", "until"),
        ("- {fault: a, because: x}\n", "because"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        opened(tmp_path, text)


def test_the_list_of_the_reference_project() -> None:
    """It can be read, names no fault twice, and lets few pass for a while."""
    listed = load_survivors(ROOT / "verif" / "signoff" / "survivors.yaml")
    assert len({one.fault for one in listed}) == len(listed)
    assert sum(one.waived is not None for one in listed) <= 9, "one in a hundred of those that are drawn"
