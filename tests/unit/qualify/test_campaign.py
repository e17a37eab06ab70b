"""What an outcome says of a fault: that the chip was seen to be wrong, or that the bench failed."""

from __future__ import annotations

import pytest

from etchproof.qualify.campaign import is_of_the_bench, needs
from etchproof.signoff.qualification import Detection, Outcome
from etchproof.verdict.result import Reason


@pytest.mark.parametrize(
    ("name", "message", "broken"),
    [
        ("mismatch", "layer 0 q_proj", False),
        ("simulator_killed", "the simulator was ended by SIGXCPU: ", False),
        ("simulator_killed", "ended by SIGABRT: a.sv:1: Assertion failed | %Error: a.sv:1: Verilog $stop", False),
        ("simulator_killed", "the simulator was ended by SIGKILL: ", True),
        ("simulator_killed", "the simulator was ended by SIGABRT: terminate called", True),
        ("golden_failed", "KeyError", True),
        ("timeout", "not finished after 1800 s", True),
    ],
)  # fmt: skip
def test_what_says_nothing_of_the_chip(name: str, message: str, broken: bool) -> None:
    assert is_of_the_bench(Reason(name=name, message=message)) == broken


def outcomes(states: str) -> list[Outcome]:
    """S seen, p passed, b broken."""
    seen = Detection(run="a", test="A", reason="mismatch", message="m", tap=None, layer=None, token=None)
    return [Outcome(name="one", seen=None if state == "p" else seen, broken=state == "b") for state in states]


@pytest.mark.parametrize(
    ("states", "opinions", "more"),
    [
        ("", 0, True),
        ("ppp", 0, True),
        ("S", 0, False),
        ("S", 2, True),
        ("pS", 2, True),
        ("Sp", 2, True),
        ("Spp", 2, False),
        ("SS", 2, False),
        ("ppSpp", 2, False),
        ("b", 2, False),
        ("ppb", 0, False),
    ],
)
def test_a_fault_meets_as_many_runs_as_tell_something(states: str, opinions: int, more: bool) -> None:
    assert needs(outcomes(states), True, opinions) == more
    assert needs(outcomes(states), False, opinions) == (more and "S" not in states)
