"""Faults planted beside the tests of a unit: what all tests of a session see together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.sim

UNIT = """
module clip(input clk, input valid, input [7:0] x, output reg done, output reg [7:0] y);
  always @(posedge clk) begin
    done <= valid;
    y <= x > 8'd200 ? 8'd200 : x;
  end
endmodule
"""
TESTS = """
import numpy as np
import pytest
from etchproof.unit import PinTap, Stream

SAME = {"clip: operator: x > 8'd200 -> x >= 8'd200": "200 is 200 either way"}
SAME |= {"clip: constant: 8'd200 -> 8'd199": "200 is 200 either way"}

def held(unit, values, **more):
    x = np.array(values, np.uint8)
    unit.run(files=["clip.v"], top="clip", clock="clk", inputs=Stream({"x": x}, valid="valid"),
             taps=[PinTap("y", "u8", data="y", when="done")], expected={"y": np.minimum(x, 200)[:, None]},
             build="plain", **more)

def test_weak(unit):
    held(unit, [5, 7])

def test_strong(unit):
    held(unit, [0, 200, 201, 255, 9], equivalent=SAME)

def test_wrong(unit):
    held(unit, [0, 200, 201, 255, 9], equivalent={**SAME, "clip: constant: 8'd200 -> 8'd201 #2": "as we hoped"})
"""


@pytest.fixture
def team(tmp_path: Path) -> Path:
    (tmp_path / "clip.v").write_text(UNIT)
    (tmp_path / "test_clip.py").write_text(TESTS)
    return tmp_path


def session(team: Path, *words: str) -> tuple[int, str]:
    line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_clip.py", *words]
    done = subprocess.run(line, cwd=team, capture_output=True, text=True, timeout=600, check=False)
    return done.returncode, done.stdout + done.stderr


def test_what_no_test_sees_fails_the_session(team: Path) -> None:
    status, said = session(team, "-k", "weak", "--mutate", "50")
    assert status == 1 and "1 passed" in said, said
    assert "no test of clip sees clip: operator: x > 8'd200 -> x >= 8'd200, clip.v:5" in said, said
    assert "no test of clip sees clip: constant: 8'd200 -> 8'd201 #2, clip.v:5" in said, said
    assert "clip: operator: x > 8'd200 -> x <= 8'd200" not in said, "that one is seen"


def test_tests_count_together(team: Path) -> None:
    status, said = session(team, "-k", "weak or strong", "--mutate", "50")
    assert status == 0 and "planted faults seen, 2 change nothing" in said, said


def test_what_is_called_equivalent_and_is_seen(team: Path) -> None:
    status, said = session(team, "-k", "wrong", "--mutate", "50")
    assert (
        status == 1
        and "8'd200 -> 8'd201 #2 is called equivalent, and test_clip.py::test_wrong sees it" in said
    )


def test_in_one_process(team: Path) -> None:
    status, said = session(team, "--mutate", "50", "-n", "2")
    assert status and "leave out -n" in said, said


def test_nothing_is_planted_unless_asked(team: Path) -> None:
    status, said = session(team, "-k", "weak")
    assert status == 0 and "planted" not in said, said
