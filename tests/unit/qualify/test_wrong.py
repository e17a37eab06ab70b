"""The order in which faults of the flow are drawn."""

from __future__ import annotations

import pytest

from etchproof.qualify.edits import Edit
from etchproof.qualify.wrong import FlowFault, Side, ordered


def fault(operator: str, place: str, side: Side = "both") -> FlowFault:
    return FlowFault(operator, place, "wrong", side)


def test_a_beginning_has_some_of_each() -> None:
    faults = [fault("rare", "here"), *(fault("often", f"layer {i}") for i in range(40))]
    faults += [fault("often", f"layer {i}", "golden") for i in range(3)]
    drawn = list(ordered(faults, 1))
    assert len(drawn) == len(faults) and set(drawn) == set(faults)
    assert {(one.operator, one.side) for one in drawn[:3]} == {
        ("rare", "both"),
        ("often", "both"),
        ("often", "golden"),
    }
    assert drawn == list(ordered(faults, 1)) and drawn != list(ordered(faults, 2))


def test_a_name_is_of_one_fault() -> None:
    with pytest.raises(ValueError, match="stands twice"):
        list(ordered([fault("a", "here"), fault("a", "here")], 1))


def test_what_a_fault_says_of_itself() -> None:
    edit = Edit("models.golden", "a", "b")
    assert FlowFault("a", "p", "b", "both", making=(edit,)).kind == "flow"
    golden = FlowFault("a", "p", "b", "golden", computing=(edit,))
    assert (golden.kind, golden.edits, golden.name) == ("golden", (edit,), "p: a: b (golden)")
