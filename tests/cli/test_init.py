"""``etchproof init``: the reference chip as a project of one's own, and stubs around RTL of any team."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from etchproof.cli import run
from etchproof.project.declaration import load_project
from tests.conftest import ROOT

SERIAL = ROOT / "examples" / "serial"


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    status = run(words)
    found = capsys.readouterr()
    return status, found.out + found.err


def test_a_copy_is_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "mine"
    status, out = said(capsys, "init", str(folder))
    assert status == 0 and "cosim models/tiny" in out
    for name in (
        "etchproof.toml",
        "models/golden.py",
        "hw/ep_pkg.sv",
        "hw/lint/verilator.vlt",
        "verif/tests.py",
    ):
        assert (folder / name).read_bytes() == (ROOT / name).read_bytes()
    assert not list(folder.rglob("__pycache__")) and not list(tmp_path.glob(".etchproof-*"))
    assert load_project(folder).name == "reference"
    status, out = said(capsys, "init", str(folder))
    assert status == 2 and "is not a new or empty folder" in out


@pytest.mark.sim
def test_a_copy_runs_at_once(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "etchproof"]
    assert subprocess.run([*line, "init", "mine"], cwd=tmp_path, check=False).returncode == 0
    words = ("cosim", "models/tiny", "--prompt", "Once", "--tokens", "2", "--out", "run")
    done = subprocess.run(
        [*line, *words], cwd=tmp_path / "mine", capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "project reference" in done.stdout


def test_stubs_around_rtl(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "mine"
    status, out = said(capsys, "init", str(folder), "--from", str(SERIAL / "rtl"), "--top", "serial")
    assert status == 0, out
    project, real = load_project(folder), load_project(SERIAL)
    assert project.host is not None and real.host is not None
    assert project.host.model_copy(update={"answer": "token"}) == real.host
    assert project.rtl.files == ("rtl/*.v", "taps.sv")
    assert (folder / "rtl" / "serial.v").read_bytes() == (SERIAL / "rtl" / "serial.v").read_bytes()
    assert "serial.u_datapath.rounded[15:0]" in (folder / "taps.sv").read_text()
    assert "datapath: in clk" in (folder / "test_units.py").read_text()
    status, out = said(capsys, "check", "--project", str(folder))
    assert status == 0, out
    status, out = said(capsys, "init", str(folder), "--from", str(folder / "rtl"), "--top", "serial")
    assert status == 2 and "no file is overwritten" in out


def rtl_of(folder: Path, name: str) -> Path:
    """The RTL of a chip of the tests, without its taps."""
    (folder / "src").mkdir()
    shutil.copy(next((ROOT / "tests" / "chip").glob(f"*/{name}.v")), folder / "src")
    return folder / "src"


def checked(folder: Path) -> tuple[int, str]:
    """What ``etchproof check`` says in a process of its own: one process serves one project."""
    line = [sys.executable, "-m", "etchproof", "check"]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def test_pins_that_are_no_axi(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rtl = rtl_of(tmp_path, "echo")
    status, out = said(capsys, "init", str(tmp_path), "--from", str(rtl), "--top", "echo")
    assert status == 0 and "filled in" not in out, out
    host = load_project(ROOT / "tests" / "chip" / "stream").host
    assert host is not None
    own = {"answer": "answer", "timeout_cycles": 20_000_000}
    assert load_project(tmp_path).host == host.model_copy(update=own)
    assert load_project(tmp_path).rtl.files == ("src/*.v", "taps.sv")
    status, out = checked(tmp_path)
    assert status == 0, out


def test_a_start_and_a_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rtl = rtl_of(tmp_path, "counter")
    status, out = said(capsys, "init", str(tmp_path), "--from", str(rtl), "--top", "counter")
    assert status == 0 and "filled in" not in out, out
    host = load_project(ROOT / "tests" / "chip" / "pulses").host
    assert host is not None
    assert load_project(tmp_path).host == host.model_copy(update={"answer": "answer"})
    assert "counter.done && !was_valid" in (tmp_path / "taps.sv").read_text()
    status, out = checked(tmp_path)
    assert status == 0, out


def test_a_port_called_first_opens_a_sequence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rtl = rtl_of(tmp_path, "counter")
    file = rtl / "counter.v"
    file.write_text(file.read_text().replace("input            go,", "input            go,\n  input first,"))
    status, out = said(capsys, "init", str(tmp_path), "--from", str(rtl), "--top", "counter")
    host = load_project(tmp_path).host
    assert status == 0 and host is not None and host.first == "first" and not host.constants, out


def test_ports_of_which_no_name_tells_are_to_be_filled_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rtl = rtl_of(tmp_path, "counter")
    file = rtl / "counter.v"
    text = file.read_text()
    file.write_text(text.replace("go", "kick").replace("token", "word").replace("done", "there"))
    status, out = said(capsys, "init", str(tmp_path), "--from", str(rtl), "--top", "counter")
    assert status == 0, out
    assert "FILL_IN_input_valid, FILL_IN_output_valid (docs/host.md)" in out
    toml = (tmp_path / "etchproof.toml").read_text()
    assert "#   in kick\n" in toml and "#   out next[7:0]\n" in toml
    status, out = checked(tmp_path)
    assert status == 2 and "'FILL_IN_input_valid' is no port of counter" in " ".join(out.split()), out
    filled = toml.replace("FILL_IN_input_valid", "kick").replace("FILL_IN_output_valid", "there")
    drop = [line for line in filled.splitlines() if not line.startswith(("constants", "unused"))]
    (tmp_path / "etchproof.toml").write_text("\n".join(drop))
    status, out = checked(tmp_path)
    assert status == 0, out


@pytest.mark.parametrize(
    ("ports", "said"),
    [
        (
            "input clk, input n_reset, input start, input [7:0] a, output done, output [7:0] y",
            ('reset = "!n_reset"',),
        ),
        ("input clk, ref_clk, rst, start, input [7:0] a, output done, output [7:0] y", ("FILL_IN_clock",)),
        ("input clk, rst_n, soft_rst, start, input [7:0] a, output done, output [7:0] y", ("FILL_IN_reset",)),
        (
            "input clk, rst, start, input [7:0] a, b, output done, output [7:0] y",
            ("FILL_IN_input_data", 'a = "FILL_IN_"'),
        ),
        ("input clk, rst, start, input [7:0] a, output done, output [7:0] q, r", ("FILL_IN_output_data",)),
        ("input clk, rst, start, input [127:0] a, output done, output [7:0] y", ("FILL_IN_input_data",)),
        (
            "input clk, rst, start, input [7:0] a, input [3:0] k [2], output done, output [7:0] y",
            ("FILL_IN_",),
        ),
        (
            "input clk_i, rst_ni, valid_i, input [7:0] data_i, output ready_o,"
            "output valid_o, output [7:0] data_o, input ready_i",
            (
                '"valid_i", ready = "ready_o", data = "data_i[7:0]"',
                '"valid_o", ready = "ready_i", data = "data_o[7:0]"',
            ),
        ),
        (
            "input clk, rst, cfg_valid, input [7:0] cfg_data, input x_valid, input [7:0] x_data,"
            "output y_valid, output [7:0] y",
            ("FILL_IN_input_valid",),
        ),
    ],
)
def test_where_two_could_be_meant_none_is_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], ports: str, said: tuple[str, ...]
) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a_chip.sv").write_text(f"module chip import z_pkg::*; ({ports}); endmodule\n")
    (tmp_path / "src" / "z_pkg.sv").write_text("package z_pkg; localparam int N = 1; endpackage\n")
    status = run(["init", str(tmp_path), "--from", str(tmp_path / "src"), "--top", "chip"])
    found = capsys.readouterr()
    assert status == 0, found
    toml = (tmp_path / "etchproof.toml").read_text()
    assert all(text in toml for text in said), toml
    assert ("filled in" in found.out) == ("FILL_IN" in toml)
    assert 'files = ["src/z_pkg.sv", "src/*.sv", "taps.sv"]' in toml


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--from", "src"), "--top"),
        (("--top", "echo"), "--from"),
        (("--from", "nowhere", "--top", "echo"), "is no folder"),
        (("--from", "empty", "--top", "echo"), "holds no .v and no .sv"),
        (("--from", "src", "--top", "ohce"), "cannot be elaborated"),
        (("--from", "broken", "--top", "echo"), "broken"),
    ],
)
def test_what_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    problem: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("src", "empty", "broken"):
        (tmp_path / name).mkdir()
    shutil.copy(ROOT / "tests" / "chip" / "stream" / "echo.v", tmp_path / "src")
    (tmp_path / "broken" / "echo.v").write_text("module echo (input clk;\n")
    status, out = said(capsys, "init", "mine", *words)
    assert status == 2 and problem in out and "Traceback" not in out, out
    assert not (tmp_path / "mine").exists()


@pytest.mark.sim
def test_build_fills_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETCHPROOF_CACHE", str(tmp_path / "cache"))
    line = [sys.executable, "-m", "etchproof", "build", "model", "--build", "plain"]
    for what in ("compiled", "cached"):
        done = subprocess.run(line, cwd=SERIAL, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0 and f"{what}, plain" in done.stdout, done.stdout + done.stderr
    built = list((tmp_path / "cache" / "builds").glob("*/build.json"))
    assert len(built) == 1 and json.loads(built[0].read_text())["inputs"]["fabric"]
