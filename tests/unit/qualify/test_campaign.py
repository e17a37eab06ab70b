"""What an outcome says of a fault: that the chip was seen to be wrong, or that the bench failed."""

from __future__ import annotations

import pytest

from etchproof.qualify.campaign import is_of_the_bench
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
