"""Runs cases in worker processes that are kept, and ended where a case takes too long or takes the process with it."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

from tests.conftest import ROOT
from tests.fuzz.table import loaders

TABLE: Final = "tests.fuzz.loaders"
LIMIT_S: Final = 10.0
EXTRA_BYTES: Final = 1 << 30
_MAKING_S: Final = 120.0  # the first case of a loader imports what it needs


How = Literal["clean", "refused", "failed"]


@dataclass(frozen=True)
class Result:
    """What came of a case."""

    loader: str
    number: int
    how: How
    said: str

    def __str__(self) -> str:
        return (
            f"{self.loader} {self.number}: {self.said}\n    python -m tests.fuzz {self.loader} {self.number}"
        )


class Pool:
    """Worker processes, and the folder with every loader's valid input.

    Args:
        table: the module of the loaders.
        workers: how many.
        limit_s: seconds that a case may take.
        only: names of loaders; None for all of the table.
    """

    def __init__(
        self,
        table: str = TABLE,
        workers: int = 2,
        limit_s: float = LIMIT_S,
        only: Collection[str] | None = None,
    ) -> None:
        self.loaders = {name: one for name, one in loaders(table).items() if only is None or name in only}
        self._table, self._workers, self._limit_s = table, workers, limit_s
        self._folder = Path(tempfile.mkdtemp(prefix="etchproof-fuzz-"))
        self.seeds = self._folder / "seeds"
        for name, loader in self.loaders.items():
            (self.seeds / name).mkdir(parents=True)
            loader.make(self.seeds / name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(self, cases: Iterable[tuple[str, int]]) -> list[Result]:
        """Every case's result, in the order of their ends."""
        waiting: queue.SimpleQueue[tuple[str, int]] = queue.SimpleQueue()
        for case in cases:
            waiting.put(case)
        results: list[Result] = []
        errors: list[BaseException] = []

        def serve(number: int) -> None:
            work = self._folder / f"work{number}"
            worker = _Worker(self._table, self.seeds, work, self._limit_s)
            try:
                while not errors:
                    results.append(worker.result(*waiting.get_nowait()))
            except queue.Empty:
                pass
            except BaseException as error:
                errors.append(error)
            finally:
                worker.end()

        threads = [threading.Thread(target=serve, args=(number,)) for number in range(self._workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        return results


class _Worker:
    """One process; started when it is asked first, and again after it was ended."""

    def __init__(self, table: str, seeds: Path, work: Path, limit_s: float) -> None:
        self._arguments = (table, str(seeds), str(work), str(EXTRA_BYTES))
        self._work, self._limit_s = work, limit_s
        self._process: subprocess.Popen[bytes] | None = None
        self._left = b""

    def result(self, loader: str, number: int) -> Result:
        """A case's result. One that takes too long is tried once more: a busy machine is no finding."""
        found = self._once(loader, number)
        if found is None:
            found = self._once(loader, number)
        if found is None:
            return Result(loader, number, "failed", f"takes more than {self._limit_s:g} seconds")
        return Result(loader, number, *found)

    def _once(self, loader: str, number: int) -> tuple[How, str] | None:
        if self._process is None:
            self._start()
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(f"{loader} {number}\n".encode())
        self._process.stdin.flush()
        made = self._reply(_MAKING_S)
        if made is None or not made["made"]:
            raise RuntimeError(f"the input of {loader} {number} cannot be made: {made}")
        answer = self._reply(self._limit_s)
        if answer is not None:
            if answer["how"] == "failed":
                self.end()  # what it holds of the failure counts against nobody
            return answer["how"], answer["said"]
        code = self._process.poll()
        self.end()
        if code is None:
            return None
        name = signal.Signals(-code).name if code < 0 else f"status {code}"
        return "failed", f"ends the process by {name}"

    def _start(self) -> None:
        shutil.rmtree(self._work, ignore_errors=True)
        self._work.mkdir()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.worker", *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
            env=os.environ
            | {"PYTHONPATH": os.pathsep.join(entry for entry in (str(ROOT), *sys.path) if entry)}
            | {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"},
            start_new_session=True,
        )
        self._left = b""

    def _reply(self, limit_s: float) -> dict[str, Any] | None:
        """The worker's next line; None where it gives none in time, or has ended (it is awaited then)."""
        assert self._process is not None and self._process.stdout is not None
        until = time.monotonic() + limit_s
        while b"\n" not in self._left:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, until - time.monotonic()))
            block = os.read(self._process.stdout.fileno(), 1 << 16) if ready else b""
            if ready and not block:
                self._process.wait()
            if not block:
                return None
            self._left += block
        line, _, self._left = self._left.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    def end(self) -> None:
        """End the process with all that it started: it leads a group of its own."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process = None
