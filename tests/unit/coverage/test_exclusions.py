"""Exclusions: each with a tag and a reason, each matching something."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from etchproof.coverage.exclusions import (
    Exclusion,
    Left,
    SignalExclusion,
    apply_exclusions,
    load_exclusions,
    source_lines,
)
from etchproof.coverage.toggles import control
from etchproof.coverage.verilator import Point, parse
from etchproof.errors import InputError
from tests.conftest import ROOT
from tests.unit.coverage.test_verilator import CONTENT, file, key

GOOD = """
exclusions:
  - file: ep_a.sv
    kinds: [branch]
    what: else
    text: "default: *"
    tag: unreachable
    reason: no such state in the enumeration
  - file: "ep_*.sv"
    kinds: [toggle]
    what: a_i[*
    tag: low-risk
    reason: the high bits of a position
"""
SOURCE = "module ep_a;\n\n\n\n  default: ;\nendmodule\n"


def load(folder: Path, text: str) -> Path:
    path = folder / "coverage-exclusions.yaml"
    path.write_text(text)
    return path


def test_what_is_left_out(tmp_path: Path) -> None:
    path = load(tmp_path, GOOD)
    (tmp_path / "ep_a.sv").write_text(SOURCE)
    modules = parse(CONTENT).modules
    excluded, left = apply_exclusions(modules, load_exclusions(path), (), path, source_lines(tmp_path))
    assert [(one.points, one.hit) for one in left] == [(1, 1), (2, 1)]
    left_out = [modules.points[index].what for index in excluded.nonzero()[0]]
    assert sorted(left_out) == ["a_i[0]:0->1", "a_i[0]:1->0", "else"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("what: else", "what: elsif"),
        ("file: ep_a.sv", "file: ep_b.sv"),
        ("default: *", "Idle: *"),
        ("[branch]", "[line]"),
    ],
)
def test_an_entry_that_matches_nothing(tmp_path: Path, old: str, new: str) -> None:
    path = load(tmp_path, GOOD.replace(old, new))
    (tmp_path / "ep_a.sv").write_text(SOURCE)
    with pytest.raises(InputError, match=r"exclusions\[0\]: .* matches no point"):
        apply_exclusions(parse(CONTENT).modules, load_exclusions(path), (), path, source_lines(tmp_path))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("tag: unreachable", "tag: boring", "exclusions[0].tag: is 'boring', expected"),
        ("    reason: no such state in the enumeration\n", "", "exclusions[0].reason: is missing"),
        ("reason: no such state in the enumeration", "reason: why", "exclusions[0].reason: is 'why'"),
        ("kinds: [branch]", "kinds: [expression]", "exclusions[0].kinds[0]: is 'expression'"),
        ("tag: unreachable", "tag: external", "covered_by goes with the tag external, and only with it"),
        (
            "tag: low-risk",
            "tag: low-risk\n    covered_by: [lint]",
            "covered_by goes with the tag external, and only with it",
        ),
        ("what: else", "line: 5", "exclusions[0].line: is 5, but there is no such key"),
    ],
)
def test_a_bad_file(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        load_exclusions(load(tmp_path, GOOD.replace(old, new)))


ARRAY = file(
    *(
        (key("toggle", 2, f"x_q[{row}][{lane}][{bit}]:{edge}"), int(3 * row + lane < 4 and bit < 2))
        for row in range(2)
        for lane in range(3)
        for bit in range(4)
        for edge in ("0->1", "1->0")
    ),
    *((key("toggle", 3, f"busy:{edge}"), 1) for edge in ("0->1", "1->0")),
)
"""Two rows of three elements, of which four are in use, and two of the four bits of each."""
REASON = "known from the chip's shape"


def of_signal(**more: Any) -> SignalExclusion:
    fields = {"file": "ep_a.sv", "signals": ("x_q",), "tag": "unreachable", "reason": REASON, **more}
    return SignalExclusion.model_validate(fields)


def left_of(*entries: SignalExclusion | Exclusion, source: str = "logic [3:0] x_q[2][3];") -> list[Left]:
    texts = {"ep_a.sv": [source]}
    return list(apply_exclusions(parse(ARRAY).modules, (), entries, Path("etchproof.toml"), texts)[1])


@pytest.mark.parametrize(
    ("more", "points", "hit"),
    [
        ({"filled": ((2, 4),)}, 16, 0),
        ({"bits": (2, 3)}, 24, 0),
        ({"bits": (2, 3), "edge": "fall"}, 12, 0),
        ({"elements": (4, 5)}, 16, 0),
        ({"filled": ((2, 3),)}, 24, 4),  # one element too many
        ({"bits": (1,)}, 12, 8),
        ({"filled": ((1, 2), (2, 4))}, 16, 0),  # what the larger variant uses is in use
        ({"filled": ((9, 27), (2, 4))}, 16, 0),  # of the variant of nine rows nothing was counted
        ({"bits": ()}, 0, 0),
        ({}, 48, 16),
    ],
)
def test_what_a_signal_does_not_use(more: dict[str, Any], points: int, hit: int) -> None:
    assert [(one.points, one.hit) for one in left_of(of_signal(**more))] == [(points, hit)]


def test_a_signal_that_is_nowhere() -> None:
    with pytest.raises(InputError, match=r"coverage.exclusions: ep_a.sv has no signal 'y_q'"):
        left_of(of_signal(signals=("x_q", "y_q")))
    assert left_of(of_signal(signals=("x_*",), bits=(7,)))[0].points == 0  # not counted, but there


def test_derived_lines_have_to_match() -> None:
    entry = Exclusion(file="ep_a.sv", kinds=("branch",), what="else", tag="unreachable", reason=REASON)
    with pytest.raises(InputError, match=r"coverage.exclusions: .*matches no point"):
        left_of(entry)


def test_how_an_entry_is_shown() -> None:
    assert str(of_signal(bits=(9, 31, 30, 29), edge="fall")) == "ep_a.sv x_q bits [31:29], [9], fall"
    assert str(of_signal(filled=((2, 4),))) == "ep_a.sv x_q beyond 4 elements"


def test_narrow_signals_are_control() -> None:
    names = {
        "state_q[2]": True,
        "busy": True,
        "clk[4][1]": True,  # packed flags of several layers
        "status[7]": True,
        "pos[8]": False,
        "y_q[3][1][7]": False,  # data of 8 bits
    }
    points = [
        Point("ep_a.sv", 1, 1, "toggle", "ep_a", f"{name}:{edge}", "")
        for name in names
        for edge in ("0->1", "1->0")
    ]
    assert control(points).tolist() == [narrow for narrow in names.values() for _ in range(2)]


def test_the_file_that_ships() -> None:
    found = load_exclusions(ROOT / "verif" / "signoff" / "exclusions.yaml")
    assert found and all(len(entry.reason) > 20 for entry in found)
