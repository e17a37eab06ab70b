"""Where time and memory went: every second is in one row, and a child's memory is seen from outside."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from etchproof.checkpoint import Tokenizer
from etchproof.run import profile
from etchproof.run.profile import ChildPeak, make_profile, peak_rss_bytes
from etchproof.run.watcher import StageClock
from etchproof.verdict.result import SimRecord

SIM = SimRecord(
    kind="fast",
    rewrites=None,
    cycles=1,
    cycles_per_token=1,
    wall_s=10,
    tokens_per_s=1,
    startup_s=1,
    sim_s=6,
    wait_s=0.5,
    golden_s=2,
    compare_s=1,
    build_s=30,
    build_cached=True,
)


class Silent:
    """A watcher that only remembers."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[str], None]]:
        self.heard.append(name)
        yield self.heard.append

    def busy(self, line: str) -> None:
        self.heard.append(line)

    @contextmanager
    def text(
        self, tokenizer: Tokenizer | None, prompt: Sequence[int], label: str | None = None
    ) -> Iterator[Callable[[int], None]]:
        if label is not None:
            self.heard.append(label)
        yield lambda token: self.heard.append(f"{token}")


def test_the_clock_hands_everything_on() -> None:
    watcher = Silent()
    clock = StageClock(watcher)
    with clock.stage("import") as say:
        say("done")
    clock.busy("working")
    with clock.text(None, [1], "base") as push:
        push(7)
    with pytest.raises(ZeroDivisionError), clock.stage("build"):
        _ = 1 / 0
    assert watcher.heard == ["import", "done", "working", "base", "7", "build"]
    assert list(clock.stages_s) == ["import"]


def test_every_second_is_in_one_row() -> None:
    found = make_profile({"start": 1.0, "import": 2.0, "simulate": 10.5}, 14.0, SIM, 123)
    rows = {stage.name: stage.wall_s for stage in found.stages}
    assert rows == {
        "start": 1,
        "import": 2,
        "startup": 1,
        "simulate": 6,
        "wait": 0.5,
        "other": 3.5,
    }
    assert {stage.name: stage.wall_s for stage in found.beside} == {"golden": 2, "compare": 1}
    assert sum(rows.values()) == found.total_s == 14
    assert found.simulator_peak_rss_bytes == 123
    assert (found.peak_rss_bytes or 0) > 10 << 20


def test_no_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "_PROCESSES", tmp_path / "nowhere")
    assert make_profile({}, 0.0, SIM, None).peak_rss_bytes is None
    with ChildPeak(Path(sys.executable)) as peak:
        subprocess.run([sys.executable, "-c", ""], check=True)
    assert peak.peak_bytes is None


def test_a_childs_memory() -> None:
    """Of the one that starts meanwhile; memory that it has given back counts."""
    script = "import time; held = bytearray(200 << 20); del held; time.sleep(1)"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as older:
        with ChildPeak(Path(sys.executable)) as peak:
            subprocess.run([sys.executable, "-c", script], check=True)
        older.communicate(b"\n")
    assert peak.peak_bytes is not None
    assert 200 << 20 < peak.peak_bytes < 400 << 20


def test_another_program_is_not_looked_at() -> None:
    sleep = shutil.which("sleep")
    assert sleep
    with ChildPeak(Path(sys.executable)) as peak:
        subprocess.run([sleep, "0.3"], check=True)
    assert peak.peak_bytes is None


def test_a_process_that_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    assert peak_rss_bytes(f"{process.pid}") is None
