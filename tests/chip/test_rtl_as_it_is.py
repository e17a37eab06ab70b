"""A team's own RTL (``[rtl] files``): compiled as it is, whatever its suffix, with what it includes and reads."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from etchproof.checkpoint import write_synthetic
from etchproof.errors import InputError
from etchproof.render.templates import LIBRARY
from etchproof.run import flow
from etchproof.run.design import Design
from tests.chip.harness import PROJECT
from tests.chip.test_shapes import W6, config
from tests.conftest import ROOT

READER = """
`include "words.inc"
  reg [`BITS-1:0] words [0:3];
  initial begin
    $readmemh("luts/words.hex", words);
    if (words[2] != `WORD) $fatal(1, "words[2] is %h", words[2]);
  end
"""
RTL = """
[rtl]
top = "ep_sim_top"
files = ["rtl/*_pkg.sv", "rtl/*.sv", "rtl/*.vlog", "rtl/build.vlt"]
testbench = ["verif/*/*.sv", "verif/*/*.cpp"]
include = ["rtl/include"]
defines = {WORD = "16'hbeef"}
data = {"luts/words.hex" = "tables/words.hex"}
waive = {WIDTHEXPAND = "the chip that this is a copy of has none"}

[rom]"""


@pytest.fixture
def design(tmp_path: Path) -> Design:
    write_synthetic(tmp_path / "checkpoint", config(hidden_size=16, intermediate_size=20), seed=3)
    (tmp_path / "recipe.yaml").write_text(W6)
    recipe = flow.read_recipe(PROJECT, str(tmp_path / "recipe.yaml"))
    return flow.plan_design(PROJECT, tmp_path / "checkpoint", recipe)


@pytest.fixture
def team(design: Design, tmp_path: Path) -> Path:
    """The reference chip as a team's files: none is rendered, and some have unusual names."""
    made, root = tmp_path / "made", tmp_path / "team"
    rtl = root / "rtl"
    made.mkdir()
    for name in ("models", "verif"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    (rtl / "include").mkdir(parents=True)
    (root / "tables").mkdir()
    (root / "tables" / "words.hex").write_text("0 1 beef 3\n")
    (rtl / "include" / "words.inc").write_text("`define BITS 16\n")
    engine = {path.name for path in LIBRARY.iterdir()}
    for name in flow.render_fabric(design, made).sources:
        if name not in engine and not name.startswith("verif/"):
            (rtl / name).write_bytes((made / name).read_bytes())
    top = (rtl / "ep_sim_top.sv").read_text()
    (rtl / "ep_sim_top.sv").unlink()
    (rtl / "soc.vlog").write_text(top.replace("endmodule", f"{READER}endmodule"))
    text = (ROOT / "etchproof.toml").read_text()
    before, _, rest = text.partition("\n[rtl]")
    (root / "etchproof.toml").write_text(before + RTL + rest.partition("[rom]")[2])
    return root


def cosim(team: Path, tmp_path: Path, out: str) -> tuple[int, str, Path]:
    command = [
        sys.executable,
        "-m",
        "etchproof",
        "cosim",
        str(tmp_path / "checkpoint"),
        "--project",
        str(team),
    ]
    command += ["--recipe", str(tmp_path / "recipe.yaml"), "--prompt-ids", "1,5,9", "--tokens", "2"]
    command += ["--build", "plain", "--out", str(tmp_path / out)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout + done.stderr, tmp_path / out


@pytest.mark.sim
def test_it_runs_as_it_is(team: Path, tmp_path: Path) -> None:
    status, said, out = cosim(team, tmp_path, "good")
    assert status == 0, said
    soc = out / "fabric" / "soc.vlog"
    assert not soc.exists()
    assert (out / "fabric" / "rtl" / "soc.vlog").read_bytes() == (team / "rtl" / "soc.vlog").read_bytes()
    good = json.loads((out / "run.json").read_text())
    assert good["elements_compared"] > 0
    (team / "tables" / "words.hex").write_text("0 1 2 3\n")  # what the RTL reads is part of the fabric
    status, said, out = cosim(team, tmp_path, "bad")
    assert status == 1 and "words[2] is 0002" in said, said
    assert json.loads((out / "run.json").read_text())["fabric_sha256"] != good["fabric_sha256"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"files": ("no/*.sv",)}, "names no file"),
        ({"data": {"words.hex": "no.hex"}}, "names no file"),
        ({"defines": {"A B": "1"}}, "cannot be said"),
        ({"waive": {"no-such": "?"}}, "is no warning"),
        ({"data": {"../words.hex": "etchproof.toml"}}, "below the folder of a run"),
    ],
)
def test_bad_files_are_refused(
    design: Design, tmp_path: Path, change: dict[str, object], problem: str
) -> None:
    rtl = PROJECT.rtl.model_copy(update={"files": ("README.md",), **change})
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match=problem):
        flow.render_plan(PROJECT.model_copy(update={"rtl": rtl}), design.plan, tmp_path / "out")
