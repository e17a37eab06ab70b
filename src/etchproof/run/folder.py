"""The folder of one run: claimed once, kept whatever happens; ``run.json`` comes last and only with a verdict."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import time
from pathlib import Path
from typing import Final

from etchproof.errors import InputError
from etchproof.files.atomic import write_atomically
from etchproof.verdict.result import RESULT_FILE, RunResult

LOG_FILE: Final = "etchproof.log"
RERUN_FILE: Final = "rerun.sh"
RUNS_FOLDER: Final = "runs"

log: Final = logging.getLogger("etchproof")


class _Log(logging.FileHandler):
    """A log that cannot be written ends the run: ``logging`` by itself would print a traceback and go on."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        if (error := sys.exception()) is not None:
            raise error

    def close(self) -> None:
        """Close the file; what a full disk does not take is lost, and the run has said so before."""
        with contextlib.suppress(OSError):
            super().close()


class RunFolder:
    """A claimed folder. Closing it closes the log.

    Args:
        path: exists and is this run's own (``claim``).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handler = _Log(path / LOG_FILE, encoding="utf-8", errors="backslashreplace")
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
        log.addHandler(self._handler)
        log.setLevel(logging.DEBUG)
        log.propagate = False

    def subfolder(self, name: str) -> Path:
        """A new folder in it."""
        folder = self.path / name
        folder.mkdir()
        return folder

    def write_rerun(self, command: str) -> None:
        """``rerun.sh``: the command, which takes further options."""
        script = self.path / RERUN_FILE
        script.write_text(f'#!/bin/sh\nexec {command} "$@"\n', encoding="utf-8")
        script.chmod(0o755)

    def write_result(self, result: RunResult) -> Path:
        """``run.json``, complete or not at all."""
        file = self.path / RESULT_FILE
        write_atomically(file, result.to_json())
        return file

    def close(self) -> None:
        """Close the log."""
        log.removeHandler(self._handler)
        self._handler.close()


def claim(out: Path | None, label: str) -> RunFolder:
    """A folder for a run, this run's alone also when others start at the same moment.

    Args:
        out: must be new or empty; None for a new one below ``runs/``, named after the time and ``label``.

    Raises:
        InputError: ``out`` holds something, or the folder cannot be made.
    """
    try:
        return _claim(out) if out is not None else _claim_new(label)
    except OSError as error:
        raise InputError(
            f"cannot be made: {error.strerror}", source=error.filename or out or RUNS_FOLDER, key="--out"
        ) from error


def check_out(out: Path, key: str = "--out") -> None:
    """``claim``'s first question, to be asked before the work begins.

    Args:
        key: the option that names the folder.

    Raises:
        InputError: there is something.
    """
    try:
        nearest = next(parent for parent in out.absolute().parents if os.path.lexists(parent))
        if not nearest.is_dir():
            raise InputError("is no folder", source=nearest, key=key)
        taken = any(out.iterdir()) if out.is_dir() else os.path.lexists(out)
    except OSError as error:
        raise InputError(f"cannot be used: {error.strerror}", source=out, key=key) from error
    if taken:
        raise _taken(out, key)


def _claim(out: Path) -> RunFolder:
    check_out(out)
    out.mkdir(parents=True, exist_ok=True)
    try:
        (out / LOG_FILE).touch(exist_ok=False)  # of two that found it empty, one gets it
    except FileExistsError:
        raise _taken(out) from None
    return RunFolder(out.absolute())


def _claim_new(label: str) -> RunFolder:
    parent = Path(RUNS_FOLDER)
    parent.mkdir(exist_ok=True)
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{re.sub(r'[^A-Za-z0-9._-]+', '_', label)}"
    for count in range(1, 10_000):
        folder = parent / (name if count == 1 else f"{name}-{count}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return RunFolder(folder.absolute())
    raise InputError("10000 runs of one second", source=parent, key="--out")


def _taken(out: Path, key: str = "--out") -> InputError:
    return InputError("is not an empty folder", source=out, key=key, hint="name a new or an empty one")
