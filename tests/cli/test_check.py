"""``etchproof check``: what is declared, what is missing, what a project does without."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from etchproof import cli
from etchproof.cli.check import CAPABILITIES
from etchproof.project.declaration import load_project
from tests.conftest import ROOT


def check(project: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    status = cli.run(["check", "--project", str(project)])
    said = capsys.readouterr()
    return status, said.out, said.err


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The reference project's file, with files of no content where it names folders and code stays out."""
    for name in ("hw", "templates", "models/recipes", "models/shapes"):
        shutil.copytree(ROOT / name, tmp_path / name)
    text = (ROOT / "etchproof.toml").read_text()
    (tmp_path / "etchproof.toml").write_text(text)
    return tmp_path


def test_the_reference_project(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = check(ROOT, capsys)
    assert (status, err) == (0, "")
    lines = {line.split()[0]: line.split()[1] for line in out.splitlines() if line.strip()}
    for key in (
        "golden.factory",
        "taps.plan",
        "rom.site",
        "lora.drawn",
        "coverage.corners",
        "coverage.exclusions",
        "recipes.default",
    ):
        assert lines[key] == "ok", out
    assert {line.split()[0] for line in out.splitlines() if " absent " in line} == {"host", "cycles"}
    assert "missing" not in out


def test_what_is_missing_is_named(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(copy / "hw")
    status, out, err = check(copy, capsys)
    assert status == 2
    assert "\nrtl.hw" in out and "\nsignoff.testplan" in out
    assert out.count(" missing ") == int(
        err.partition(" of what it declares")[0].rpartition(": ")[2].split()[-1]
    )


def test_what_it_does_without(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (copy / "etchproof.toml").read_text()
    for section in ("rom", "lora", "coverage"):
        before, _, rest = text.partition(f"[{section}]\n")
        text = before + "[" + rest.partition("\n[")[2]
    text = text.replace('expect = "verif.scenarios.stimulus:expect"\n', "")
    (copy / "etchproof.toml").write_text(text)
    assert load_project(copy).rom is None
    _, out, _ = check(copy, capsys)
    for key in ("rom", "lora", "coverage", "verif.expect"):
        line = next(line for line in out.splitlines() if line.startswith(f"{key} "))
        assert "absent" in line and CAPABILITIES[key].split(":")[0] in line
    assert "lora.drawn" not in out  # without its section, the section is what is absent


@pytest.mark.parametrize(
    ("old", "new", "key", "problem"),
    [
        ('"clk"', '"clock"', "host.clock", "'clock' is no port of echo, which has clk, rst, x,"),
        ('"rst"', '"!reset_n"', "host.reset", "'reset_n' is no port of echo"),
        ("x[7:0]", "x[6:0]", "host.input.data", "'x' has 8 bits in echo"),
        ('"y_valid"', '"x_valid"', "host.output.valid", "'x_valid' is no output of echo"),
        ("{mode = 0}", "{}", "host.constants", "echo has a port 'mode', which no key of [host] names"),
        ('["busy"]', "[]", "host.unused", "echo has a port 'busy', which no key of [host] names"),
        ('top = "echo"', 'top = "ohce"', "rtl.top", "'ohce' is not a valid top-level module"),
        ('top = "echo"', 'top = "echo"\ninclude = ["headers"]', "rtl.include", "headers"),
        ('top = "echo"', 'top = "echo"\ntestbench = ["tb/*.sv"]', "rtl.testbench", "tb/*.sv"),
        ("[golden]", '[golden]\ndata = ["luts.json"]', "golden.data", "luts.json"),
    ],
)
def test_the_host_is_held_against_the_chips_ports(
    tmp_path: Path, old: str, new: str, key: str, problem: str
) -> None:
    root = tmp_path / "team"
    shutil.copytree(ROOT / "tests" / "chip" / "stream", root)
    file = root / "etchproof.toml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    line = [sys.executable, "-m", "etchproof", "check"]
    env = {**os.environ, "COLUMNS": "300"}
    done = subprocess.run(line, cwd=root, capture_output=True, text=True, timeout=60, check=False, env=env)
    said = [row for row in done.stdout.splitlines() if row.startswith(f"{key} ") and " missing " in row]
    assert done.returncode == 2 and problem in said[0], done.stdout + done.stderr
