"""``etchproof check``: what is declared, what is missing, what a project does without."""

from __future__ import annotations

import shutil
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
