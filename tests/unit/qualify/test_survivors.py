"""The list of faults that may stand: what it excuses, and what of it is not true."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from etchproof.errors import InputError
from etchproof.qualify.record import Detection, FaultResult, State
from etchproof.qualify.survivors import load_survivors, still_open

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


def opened(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "survivors.yaml"
    file.write_text(f"survivors:\n{text}" if text else "survivors: []\n")
    return list(still_open(RESULTS, load_survivors(file), TODAY))


BROKE = "the bench broke at broke: mismatch: m"


def test_what_is_not_on_the_list_is_open(tmp_path: Path) -> None:
    assert opened(tmp_path, "") == ["no run sees lives, m.sv:3", BROKE]


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


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- {fault: a}\n", "says either why it is equivalent"),
        (f"- {{fault: a, equivalent: {WHY}, waived: {WHY}}}\n", "says either why it is equivalent"),
        (f"- {{fault: a, waived: {WHY}}}\n", "until goes with waived"),
        (f"- {{fault: a, equivalent: {WHY}, until: 2027-01-01}}\n", "until goes with waived"),
        ("- {fault: a, equivalent: short}\n", "equivalent"),
        (f"- {{fault: a, waived: {WHY}, until: soon}}\n", "until"),
        ("- {fault: a, because: x}\n", "because"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        opened(tmp_path, text)
