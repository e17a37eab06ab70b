"""The command line ``etchproof`` (docs/cli.md): parse, run, and one line on stderr when the answer is no."""

from __future__ import annotations

import codecs
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import Final, NoReturn

from etchproof.errors import EtchproofError, InputError, machine_trouble

EXIT_FAIL: Final = 1
EXIT_INPUT: Final = 2
EXIT_INTERNAL: Final = 3
EXIT_INTERRUPTED: Final = 128 + signal.SIGINT

__all__ = ["EXIT_FAIL", "EXIT_INPUT", "EXIT_INTERNAL", "EXIT_INTERRUPTED", "main", "run"]


def main() -> NoReturn:
    """The console script."""
    _in_utf8()
    _prepare_process()
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status; every way to end is one of docs/cli.md's."""
    from etchproof.cli.app import UsageError, parse

    debug = False
    try:
        action, debug = parse(arguments)
        return action()
    except UsageError as error:
        _complain(str(error))
        return EXIT_INPUT
    except KeyboardInterrupt:
        if debug:
            traceback.print_exc()
        _complain("interrupted")
        return EXIT_INTERRUPTED
    except _Terminated as end:
        _complain("terminated")
        return end.code if isinstance(end.code, int) else EXIT_INTERNAL
    except InputError as error:
        if debug:
            traceback.print_exc()
        _complain(str(error))
        return EXIT_INPUT
    except EtchproofError as error:
        if debug:
            traceback.print_exc()
        _complain(f"internal error: {error}")
        return EXIT_INTERNAL
    except Exception as error:
        trouble = machine_trouble(error)
        if debug or trouble is None:
            traceback.print_exc()
        _complain(str(trouble or "internal error: please report the lines above"))
        return EXIT_INTERNAL if trouble is None else EXIT_INPUT


def _complain(line: str) -> None:
    """One line, whatever it holds."""
    shown = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in line)
    print(f"etchproof: {shown}", file=sys.stderr)


def _in_utf8() -> None:
    """Begin again in UTF-8 where the locale is of another encoding, in which arguments would be read wrongly."""
    if codecs.lookup(sys.getfilesystemencoding()).name == "utf-8" or os.environ.get("PYTHONUTF8") == "1":
        return
    os.environ["PYTHONUTF8"] = "1"  # for the processes that this one starts
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def _prepare_process() -> None:
    """Signals end a command the orderly way, so that no child is left; output never fails on a character.

    No Python that the command starts imports from the folder in which it runs: what lies there is data. Threads of
    PyTorch that wait for each other give their core away: on a machine that others use, too, they took six times as
    long by spinning.
    """
    os.environ["PYTHONSAFEPATH"] = "1"
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _terminate)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


class _Terminated(SystemExit):
    """A signal asks for the end."""


def _terminate(number: int, frame: FrameType | None) -> None:
    raise _Terminated(128 + number)
