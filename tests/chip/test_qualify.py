"""A qualification as a team calls it: what is seen, what is not, what is resumed, what is excused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HERE = Path(__file__).parent / "stream"
pytestmark = pytest.mark.sim


@pytest.fixture
def team(tmp_path: Path) -> Path:
    root = tmp_path / "team"
    shutil.copytree(HERE, root, ignore=shutil.ignore_patterns("__pycache__"))
    np.save(root / "model.npy", np.array([1, 2, 3, 4, 0], np.uint8))
    return root


def qualify(team: Path, *words: str) -> tuple[int, str, dict[str, Any]]:
    line = [sys.executable, "-m", "etchproof", "qualify", "model.npy", "--out", "out", *words]
    done = subprocess.run(line, cwd=team, capture_output=True, text=True, timeout=600, check=False)
    file = team / "out" / "qualification.json"
    return done.returncode, done.stdout + done.stderr, json.loads(file.read_text()) if file.exists() else {}


def test_a_qualification(team: Path) -> None:
    words = ("--rtl-faults", "12", "--image-faults", "5", "--seed", "3")
    status, said, record = qualify(team, *words)
    states = {fault["name"]: fault["state"] for fault in record["faults"]}
    lived = [name for name, state in states.items() if state == "survived"]
    assert set(states.values()) == {"detected", "survived"}, (
        said
    )  # what plants faults for other tests is idle here
    assert len(states) == 17 and all(run["equal"] for run in record["runs"])
    assert status == 1 and len(record["open_items"]) == len(lived)
    activated = {fault["name"]: fault["activated"] for fault in record["faults"]}
    assert {activated[name] for name in lived} == {True, False}, {name: activated[name] for name in lived}
    assert not any(activated[name] for name in activated if name not in lived)
    seen = next(
        fault for fault in record["faults"] if fault["kind"] == "rtl" and fault["state"] == "detected"
    )
    assert (
        seen["seen_by"][0]["run"] in {run["name"] for run in record["runs"]} and seen["seen_by"][0]["reason"]
    )

    stored = {path: path.stat().st_mtime_ns for path in (team / "out" / "outcomes").glob("*/*.json")}
    assert len(stored) == sum(fault["runs"] for fault in record["faults"])
    next(iter(stored)).unlink()
    status, said, again = qualify(team, *words)
    assert {fault["name"]: fault["state"] for fault in again["faults"]} == states, said
    assert sum(path.stat().st_mtime_ns != time for path, time in stored.items()) == 1, (
        "the others were resumed"
    )

    listed = [{"fault": name, "equivalent": "it plants a fault of these tests"} for name in lived]
    (team / "verif" / "signoff").mkdir(parents=True)
    (team / "verif" / "signoff" / "survivors.yaml").write_text(json.dumps({"survivors": listed}))
    status, said, record = qualify(team, *words)
    assert status == 0 and not record["open_items"], said
    runs = {fault["name"]: fault["runs"] for fault in record["faults"]}
    assert all((runs[name] == 0) == (name in lived) for name in runs), "V1 takes the list at its word"

    line = [
        sys.executable,
        "-m",
        "etchproof",
        "signoff",
        "model.npy",
        "--out",
        "signed",
        "--qualified",
        "out",
    ]
    done = subprocess.run(line, cwd=team, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    planted = json.loads((team / "signed" / "signoff.json").read_text())["evidence"]["qualification"]
    assert sum(one["drawn"] for one in planted["scores"]) == 17 and len(planted["survivors"]) == len(lived)
    report = [sys.executable, "-m", "etchproof", "report", "signed"]
    assert subprocess.run(report, cwd=team, capture_output=True, timeout=600, check=False).returncode == 0
    (team / "verif" / "signoff" / "survivors.yaml").write_text(json.dumps({"survivors": listed[1:]}))
    done = subprocess.run(report, cwd=team, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 2 and "evidence.qualification: is not what" in done.stderr, done.stderr
    (team / "echo.v").write_text((team / "echo.v").read_text() + "\n")
    done = subprocess.run(line, cwd=team, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 2 and "sources_sha256: is of another one" in done.stderr, done.stderr


def test_a_chip_that_fails_without_a_fault_is_no_bench(team: Path) -> None:
    np.save(team / "model.npy", np.array([1, 2, 3, 4, 6], np.uint8))
    status, said, record = qualify(team, "--rtl-faults", "2", "--image-faults", "0")
    assert status == 2 and "is no PASS without a fault: response_token" in said and not record, said


def test_nothing_drawn_is_no_pass(team: Path) -> None:
    status, said, record = qualify(team, "--rtl-faults", "0", "--image-faults", "0")
    assert status == 1 and record["open_items"] == ["no fault was drawn"], said
