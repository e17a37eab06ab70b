"""A folder given as ``--out`` is data: no Python of a regression imports anything from it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.hostile import fill

LIMIT_S = 120
PLANTED = """
def renderings(plan):
    raise MemoryError("planted \\x1b[31m \\x00 \\ufffe ]]> & <b>")
"""


@pytest.fixture
def project(tmp_path: Path, repo_root: Path) -> Path:
    """The reference project with a rendering that fails, so that an item ends in its worker, and early."""
    root = tmp_path / "project"
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("hw", "templates", "models", "verif"):
        shutil.copytree(repo_root / name, root / name, ignore=ignored)
    text = (repo_root / "etchproof.toml").read_text()
    changed = re.sub(r'(?m)^renderings = ".*"', 'renderings = "planted:renderings"', text)
    assert changed != text
    (root / "etchproof.toml").write_text(changed)
    (root / "planted.py").write_text(PLANTED)
    (root / "ci").mkdir()
    (root / "ci" / "one.yaml").write_text(
        "entries: [{tests: [RandomTokens], models: [models/tiny], recipes: [w6a16], contexts: [18]}]"
    )
    return root


def regress(project: Path, out: Path, *words: str) -> subprocess.CompletedProcess[str]:
    here = "from etchproof.cli import main; main()"
    env = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    env["PYTHONPATH"] = os.pathsep.join(
        os.path.abspath(part) for part in env.get("PYTHONPATH", "").split(os.pathsep) if part
    )
    return subprocess.run(
        [sys.executable, "-P", "-c", here, "regress", "one", "-j", "1", "--out", str(out), *words],
        cwd=project,
        env=env,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def test_no_module_is_imported_from_the_folder(project: Path, tmp_path: Path) -> None:
    out, marks = tmp_path / "out", tmp_path / "marks"
    marks.mkdir()
    first = regress(project, out)
    assert first.returncode == 1 and "planted" in first.stdout, first.stdout + first.stderr
    fill(out, marks)
    again = regress(project, out)
    assert sorted(path.name for path in marks.iterdir()) == []
    assert again.returncode == 1 and "planted" in again.stdout, again.stdout + again.stderr
    assert "resumed in" in again.stdout


def test_the_modules_would_be_noticed(tmp_path: Path) -> None:
    """The test above can fail: Python as it comes imports from the folder in which it runs."""
    out, marks = tmp_path / "out", tmp_path / "marks"
    out.mkdir()
    marks.mkdir()
    fill(out, marks)
    env = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    subprocess.run([sys.executable, "-c", "import pytest, colorsys"], cwd=out, env=env, check=True)
    assert {"pytest", "colorsys"} <= {path.name for path in marks.iterdir()}


def test_what_xml_cannot_hold_is_escaped(project: Path, tmp_path: Path) -> None:
    """``junit.xml`` is read by CI servers: a control character in a message or a name must not break it."""
    strange = project / "models" / "odd:: é"
    shutil.copytree(project / "models" / "tiny", strange)
    listed = project / "ci" / "one.yaml"
    listed.write_text(listed.read_text().replace("models/tiny", '"models/odd:: é"'))
    done = regress(project, tmp_path / "out")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "\x1b" not in done.stdout and "\x00" not in done.stdout
    (case,) = ET.parse(tmp_path / "out" / "junit.xml").iter("testcase")
    assert case.get("name") == "RandomTokens-odd__ é-w6a16-c18-s1"
    (failure,) = case.iter("failure")
    assert "planted #x1B[31m #x00 #xFFFE ]]> & <b>" in (failure.get("message") or "") + (failure.text or "")
