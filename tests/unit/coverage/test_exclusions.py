"""Exclusions: each with a tag and a reason, each matching something."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from etchproof.coverage.exclusions import apply_exclusions, load_exclusions, source_lines
from etchproof.coverage.verilator import parse
from etchproof.errors import InputError
from tests.conftest import ROOT
from tests.unit.coverage.test_verilator import CONTENT

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
    excluded, counts = apply_exclusions(modules, load_exclusions(path), path, source_lines(tmp_path))
    assert counts == (1, 2)
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
        apply_exclusions(parse(CONTENT).modules, load_exclusions(path), path, source_lines(tmp_path))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("tag: unreachable", "tag: boring", "exclusions[0].tag: is 'boring', expected"),
        ("    reason: no such state in the enumeration\n", "", "exclusions[0].reason: is missing"),
        ("reason: no such state in the enumeration", "reason: why", "exclusions[0].reason: is 'why'"),
        ("kinds: [branch]", "kinds: [expression]", "exclusions[0].kinds[0]: is 'expression'"),
        ("what: else", "line: 5", "exclusions[0].line: is 5, but there is no such key"),
    ],
)
def test_a_bad_file(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        load_exclusions(load(tmp_path, GOOD.replace(old, new)))


def test_the_file_that_ships() -> None:
    found = load_exclusions(ROOT / "verif" / "signoff" / "exclusions.yaml")
    assert found and all(len(entry.reason) > 20 for entry in found)
