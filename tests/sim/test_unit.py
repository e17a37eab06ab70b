"""A unit alone: what goes in over pins, what taps of each kind see, and everything that is no PASS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from cocotb.triggers import FallingEdge

from etchproof.errors import InputError
from etchproof.unit import PinTap, PortTap, Stream, Unit, UnitFailedError, UnitResult
from tests.conftest import ROOT

pytestmark = pytest.mark.sim

X = np.random.default_rng(5).integers(-32768, 32768, (50, 4), np.int16)
MEMORY = PortTap(
    *("mem", "i16"), write="write", address="count[1:0]", data="element", done="write && count == 3", size=4
)
GOOD: dict[str, Any] = {
    "files": ["units/echo.v"],
    "defines": {"SIGN": ""},
    "waive": {"WIDTHTRUNC": "counts wrap", "WIDTHEXPAND": "counts wrap"},
    "top": "echo",
    "clock": "clk",
    "reset": "rst",
    "inputs": Stream({"x": X}, valid="valid", ready="ready"),
    "taps": [PinTap("y", "i16", data="y", when="done", size=4), MEMORY],
    "expected": {"y": X, "mem": X},
}


async def by_hand(dut: Any) -> None:
    """Two vectors, driven by a coroutine of the test's own."""
    await FallingEdge(dut.clk)
    for number in (0, 1):
        dut.x.value = int.from_bytes(X[number].tobytes(), "little")
        dut.valid.value = 1
        await FallingEdge(dut.clk)
        dut.valid.value = 0
        for _ in range(6):
            await FallingEdge(dut.clk)


def failed(unit: Unit, **changes: Any) -> UnitResult:
    with pytest.raises(UnitFailedError) as raised:
        unit.run(**GOOD | changes)
    assert "rerun pytest" in str(raised.value)
    return raised.value.result


def reasons(unit: Unit, **changes: Any) -> list[str]:
    return [reason.name for reason in failed(unit, **changes).reasons]


def test_pass(unit: Unit) -> None:
    result = unit.run(**GOOD)
    assert (result.verdict, result.elements, result.reasons) == ("PASS", 400, ())
    assert [(count.tap, count.vectors) for count in result.taps] == [("y", 50), ("mem", 50)]
    assert result.code is None and result.waived == GOOD["waive"]
    stored = json.loads((unit.folder / "unit0" / "run.json").read_text())
    assert UnitResult.model_validate_json(json.dumps(stored)) == result


def test_code_coverage_is_of_its_own_files(unit: Unit) -> None:
    result = unit.run(**GOOD | {"build": "coverage"})
    assert result.code is not None
    assert 0 < result.code["line"].passed <= result.code["line"].points < 20
    assert result.code["toggle"].points > 100


GUARD = {"testbench": ["units/guard.*"]}


def test_a_check_in_cpp_beside_the_module(unit: Unit) -> None:
    """C++ of a testbench is linked, finds the engine's header and its own, and can fail a run."""
    assert unit.run(**GOOD | GUARD).verdict == "PASS"
    x = X.copy()
    x[7, 0] = 0x1234
    changes = {"inputs": Stream({"x": x}, valid="valid", ready="ready"), "expected": {"y": x, "mem": x}}
    failing = failed(unit, **GUARD, **changes)
    assert "refused_element: the module gave 4660" in str(failing.reasons)


def test_another_stimulus(unit: Unit) -> None:
    expected = {"y": X[:2], "mem": X[:2]}
    assert (
        unit.run(
            **GOOD | {"inputs": None, "drive": by_hand, "expected": expected, "constants": {"valid": 0}}
        ).elements
        == 16
    )
    until = Stream({"x": X}, valid="valid", until="done")
    assert unit.run(**GOOD | {"inputs": until}).passed


def test_wide_elements_by_a_parameter(unit: Unit) -> None:
    wide = X.astype(np.int64) << 40
    taps = [PinTap("y", "i64", data="y", when="done", size=4)]
    changes = {"parameters": {"W": 64}, "inputs": Stream({"x": wide}, "valid", "ready"), "taps": taps}
    assert unit.run(**GOOD | changes | {"expected": {"y": wide}}).passed


@pytest.mark.parametrize(
    ("kind", "dtype"), [("f16", np.dtype(np.float16)), ("bf16", np.dtype(ml_dtypes.bfloat16))]
)
def test_floating_point_is_compared_by_its_bits(unit: Unit, kind: Any, dtype: np.dtype[Any]) -> None:
    x = X.view(dtype)  # NaNs and infinities are among them
    taps = [PinTap("y", kind, data="y", when="done", size=4)]
    changes = {"inputs": Stream({"x": x}, "valid", "ready"), "taps": taps}
    assert unit.run(**GOOD | changes | {"expected": {"y": x}}).passed
    other = x.copy()
    other[7, 2] = -dtype.type(0.0)
    changed = Stream({"x": other}, "valid", "ready")
    other = other.copy()
    other[7, 2] = dtype.type(0.0)
    result = failed(unit, **changes | {"inputs": changed, "expected": {"y": other}})
    first = result.first_divergence
    assert first is not None and (first.token, first.element, first.dtype) == (7, 2, kind)
    assert "expected 0 (0x0000), got -0 (0x8000), 0 ulp apart" in str(result)


def test_the_first_difference(unit: Unit) -> None:
    wrong = X.copy()
    wrong[3, 1] += 1
    wrong[9] = 0
    result = failed(unit, expected={"y": wrong, "mem": X})
    first = result.first_divergence
    assert first is not None
    assert (first.tap, first.token, first.element, first.expected) == ("y", 3, 1, wrong[3, 1])
    assert first.got == X[3, 1] and [reason.name for reason in result.reasons] == ["mismatch"]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"defines": {"SIGN": "", "LOUD": ""}}, "simulator_exit"),
        ({"defines": {"SIGN": "", "LOUD": ""}, "build": "coverage"}, "simulator_exit"),
        ({"expected": {"y": X[:-1], "mem": X}}, "extra_tap"),
        ({"expected": {"y": np.vstack([X, X]), "mem": X}, "timeout_cycles": 99}, "missing_tap"),
        ({"expected": {"y": X[:, :3], "mem": X}}, "tap_size"),
        ({"expected": {"y": X.astype(float), "mem": X}}, "golden_tap"),
        ({"inputs": Stream({"x": X.astype(np.int32) << 9}, "valid", "ready")}, "test_failed"),
        ({"taps": [PinTap("y", "i16", data="y", when="1'b0", size=4)], "expected": {"y": X},
          "timeout_cycles": 99}, "nothing_compared"),
    ],
)  # fmt: skip
def test_what_is_no_pass(unit: Unit, changes: dict[str, Any], name: str) -> None:
    assert name in reasons(unit, **changes)


def test_an_unwritten_element_is_named(unit: Unit) -> None:
    tap = PortTap("mem", "i16", "write && count != 2", "count[1:0]", "element", "write && count == 3", 4)
    result = failed(unit, taps=[tap], expected={"mem": X})
    assert any("mem of position 0: element 2 was not written" in reason.message for reason in result.reasons)


def test_negated_in_the_rtl_only(unit: Unit) -> None:
    """A fault of the RTL itself, which an expression of the tap cannot hide."""
    taps = [PortTap("mem", "i16", "write", "count[1:0]", "`SIGN element", "write && count == 3", 4)]
    good = {"defines": {"SIGN": "-"}, "taps": taps}
    assert unit.run(**GOOD | good | {"expected": {"mem": -X}}).passed
    assert reasons(unit, **good | {"expected": {"mem": X}}) == ["mismatch"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"files": ["units/no.v"]}, "names no file below"),
        ({"data": ["units/*.hex"]}, "names no file below"),
        ({"inputs": None}, "give one of them"),
        ({"drive": by_hand}, "give one of them"),
        ({"expected": {"y": X}}, "is not of the same taps as taps: mem"),
        ({"expected": {"y": X, "mem": X[:0]}}, "has no record of mem"),
        ({"waive": {"-Wno-fatal": "all"}}, "is no warning of Verilator"),
        ({"waive": {}}, "WIDTH"),
        ({"taps": [PinTap("y y", "i16", "y", "done"), MEMORY], "expected": {"y y": X, "mem": X}}, "'y y'"),
        ({"inputs": None, "drive": lambda dut: None}, "has no name in its module"),
    ],
)
def test_bad_input(unit: Unit, changes: dict[str, Any], message: str) -> None:
    with pytest.raises((InputError, ValueError), match=message):
        unit.run(**GOOD | changes)


def test_the_example(tmp_path: Path) -> None:
    """As its reader runs it; and a change of the RTL is seen."""
    folder = tmp_path / "unit"
    folder.mkdir()
    for path in (ROOT / "examples" / "unit").iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    assert len((folder / "test_rmsnorm.py").read_text().splitlines()) <= 50

    def pytest_says() -> str:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_rmsnorm.py"]
        done = subprocess.run(
            command, cwd=folder, env=os.environ, capture_output=True, text=True, timeout=300, check=False
        )
        return done.stdout

    assert "2 passed" in pytest_says()
    rtl = folder / "rmsnorm.v"
    rtl.write_text(rtl.read_text().replace("root + 16'd1", "root + 16'd2"))
    said = pytest_says()
    assert "2 failed" in said and "mismatch" in said and "first y, vector " in said
