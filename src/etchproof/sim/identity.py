"""What makes a simulator out of its sources, by content: Verilator, the compiler, and this package's own part in it.

Versions do not tell two builds of one release apart, nor a compiler that was exchanged for another of its version.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Final

from etchproof.errors import InputError
from etchproof.project.sources import file_sha256, together
from etchproof.tools import Verilator, tool_output

ENGINE_SOURCES: Final = (
    *("build.py", "environment.py", "identity.py", "runner.py"),
    *(f"rewrite/{name}.py" for name in ("bitwise", "merge", "rewrites", "triggers")),
)
"""The modules of this package that decide what is compiled, and how."""

_COMPILER_PARTS: Final = ("cc1plus", "collect2", "as", "ld")
_VERILATOR_PROGRAMS: Final = ("verilator", "verilator_bin", "verilator_includer")


def own_source(name: str) -> Path:
    """A source of this package."""
    return Path(str(files("etchproof.sim") / name))


def engine_sha256() -> str:
    """Hash of ``ENGINE_SOURCES``."""
    return together((name, file_sha256(own_source(name))) for name in ENGINE_SOURCES)


def verilator_sha256(verilator: Verilator, env: Mapping[str, str]) -> str:
    """Hash of Verilator's programs and of what it brings for the compiler, its ``include`` folder.

    Raises:
        InputError: it does not say where that is, or a file cannot be read.
    """
    root = verilator.root or Path(
        tool_output([str(verilator.path), "--getenv", "VERILATOR_ROOT"], env) or "nowhere"
    )
    include = root / "include"
    if not include.is_dir():
        raise InputError("has no include folder", source=root, key="verilator", hint="install it whole")
    programs = {verilator.path, *(
        folder / name
        for folder in (verilator.path.parent, root / "bin")
        for name in _VERILATOR_PROGRAMS
        if (folder / name).is_file()
    )}  # fmt: skip
    headers = (path for path in include.rglob("*") if path.is_file())
    return together(
        [
            *sorted((path.name, file_sha256(path)) for path in programs),
            *sorted((str(path.relative_to(include)), file_sha256(path)) for path in headers),
        ]
    )


def compiler_sha256(env: Mapping[str, str]) -> str:
    """Hash of the ``g++``, ``make`` and ``ar`` that are found first, of the programs that g++ runs, and of what it says
    of its configuration.

    Raises:
        InputError: one is missing.
    """
    found = {name: _found(name, env) for name in ("g++", "make", "ar")}
    compiler = str(found["g++"])
    for part in _COMPILER_PARTS:
        named = tool_output([compiler, f"-print-prog-name={part}"], env)
        if path := shutil.which(named, path=env.get("PATH")):
            found[part] = Path(path)
    return together(
        [
            ("configuration", tool_output([compiler, "-v"], env)),
            *((name, file_sha256(path)) for name, path in found.items()),
        ]
    )


def _found(name: str, env: Mapping[str, str]) -> Path:
    path = shutil.which(name, path=env.get("PATH"))
    if path is None:
        raise InputError(
            "not found", key=name, hint=f"apt-get install {'binutils' if name == 'ar' else name}"
        )
    return Path(path)
