"""Loaders with a fault each, which the fuzzer has to report, and one without."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from etchproof.errors import InputError
from tests.fuzz.table import Loader


class _UnmendedError(InputError):
    """An error that says exactly what it is given: ``InputError`` itself mends a message."""

    def __str__(self) -> str:
        return self.problem


def _make(folder: Path) -> None:
    (folder / "a.json").write_text('{"a": [1, 2, 3]}\n', encoding="utf-8")


def _untouched(folder: Path) -> bool:
    path = folder / "a.json"
    return (
        path.is_file()
        and path.stat().st_size == 17
        and path.read_text(encoding="utf-8") == '{"a": [1, 2, 3]}\n'
    )


def _good(folder: Path) -> object:
    raise InputError("is bad", source=folder / "a.json")


def _traceback(folder: Path) -> object:
    raise ValueError("not an integer")


def _hang(folder: Path) -> object:
    time.sleep(3600)
    return None


def _memory(folder: Path) -> object:
    return [bytes([1]) * (1 << 20) for _ in range(2048)]


def _two_lines(folder: Path) -> object:
    raise _UnmendedError("is bad\nvery bad")


def _unprintable(folder: Path) -> object:
    raise _UnmendedError("is bad: \x1b[2J")


def _endless(folder: Path) -> object:
    raise _UnmendedError("x" * 1001)


def _crash(folder: Path) -> object:
    os.kill(os.getpid(), signal.SIGSEGV)
    return None


def _exits(folder: Path) -> object:
    raise SystemExit(0)


def _row(name: str, fault: Callable[[Path], object]) -> Loader:
    def load(folder: Path) -> object:
        return None if _untouched(folder) else fault(folder)

    return Loader(name, _make, {"a.json": "json"}, load, ())


def _refuse_all(folder: Path) -> object:
    raise InputError("is never good")


LOADERS: Final = (
    *(_row("good", _good), _row("traceback", _traceback), _row("hang", _hang), _row("memory", _memory)),
    *(_row("two-lines", _two_lines), _row("unprintable", _unprintable), _row("endless", _endless)),
    *(_row("crash", _crash), _row("exits", _exits)),
    Loader("refuses-all", _make, {"a.json": "json"}, _refuse_all, ()),
)
