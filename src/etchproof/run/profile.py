"""Where a run's time and memory went (``--profile``)."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from etchproof.verdict.result import ProfileRecord, SimRecord, StageRecord

_SAMPLE_S: Final = 0.05
_PROCESSES: Final = Path("/proc")


def make_profile(
    stages_s: Mapping[str, float], total_s: float, sim: SimRecord, simulator_peak_bytes: int | None
) -> ProfileRecord:
    """The record of a run's time and memory.

    The stage ``simulate`` is split into what happened in the simulator's process; ``other`` is what no stage accounts
    for. Golden model and comparison run beside the simulator: only what it waited for them counts in the total.

    Args:
        stages_s: seconds of each stage, in order.
        total_s: seconds of the whole run so far.
        simulator_peak_bytes: as ``ChildPeak`` found it.
    """
    seconds = {name: took for name, took in stages_s.items() if name != "simulate"}
    seconds |= {
        "startup": sim.startup_s,
        "simulate": sim.sim_s,
        "wait": sim.wait_s,
    }
    seconds["other"] = max(0.0, total_s - sum(seconds.values()))
    return ProfileRecord(
        total_s=round(total_s, 3),
        stages=_records(seconds),
        beside=_records({"golden": sim.golden_s, "compare": sim.compare_s}),
        peak_rss_bytes=peak_rss_bytes("self"),
        simulator_peak_rss_bytes=simulator_peak_bytes,
    )


def _records(seconds: Mapping[str, float]) -> tuple[StageRecord, ...]:
    return tuple(StageRecord(name=name, wall_s=round(took, 3)) for name, took in seconds.items())


def peak_rss_bytes(process: str) -> int | None:
    """The most memory that a process of /proc has held so far; None when it has ended or there is no /proc."""
    # Not getrusage: its figure for children counts what they inherit until exec, and compilers too.
    found = re.search(r"^VmHWM:\s*(\d+) kB$", _status(process), re.MULTILINE)
    return int(found[1]) << 10 if found else None


class ChildPeak:
    """Looks at the memory of a child process that starts while in its ``with``.

    Attributes:
        peak_bytes: the most memory that it has held so far; None when it was not seen.
    """

    def __init__(self, executable: Path) -> None:
        self.peak_bytes: int | None = None
        self._executable = os.path.realpath(executable)
        self._before = {entry.name for entry in _PROCESSES.glob("[0-9]*")}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        process = None
        while not self._over.wait(_SAMPLE_S):
            process = process or self._find()
            if process and (peak := peak_rss_bytes(process)):
                self.peak_bytes = peak

    def _find(self) -> str | None:
        """The process's number: a new child of this process that runs the executable."""
        parent = f"\nPPid:\t{os.getpid()}\n"
        for entry in _PROCESSES.glob("[0-9]*"):
            if entry.name in self._before:
                continue
            try:
                if os.readlink(entry / "exe") == self._executable and parent in _status(entry.name):
                    return entry.name
            except OSError:  # ended meanwhile, or another user's
                continue
        return None


def _status(process: str) -> str:
    try:
        return (_PROCESSES / process / "status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
