"""A thread beside the simulator: what checks a token runs there while the chip computes the next ones.

The simulator holds Python's lock only inside callbacks, so both make progress. One thread and one queue: tasks run in
the order in which they were given, and results do not depend on timing.
"""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable
from typing import Final

_SWITCH_S: Final = 0.0001
"""How long a callback of the simulator waits for the interpreter at most while a task holds it."""


class Worker:
    """Runs tasks one after the other.

    A task that raises ends the work: what was given later is dropped, and the exception is raised in the caller's
    thread by the next ``submit`` or ``join``.
    """

    def __init__(self, name: str) -> None:
        sys.setswitchinterval(_SWITCH_S)
        self._tasks: queue.SimpleQueue[Callable[[], None] | threading.Event | None] = queue.SimpleQueue()
        self._error: BaseException | None = None
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def submit(self, task: Callable[[], None]) -> None:
        """Run a task after those given before."""
        self._check()
        self._tasks.put(task)

    def join(self) -> None:
        """Wait until everything given so far has run."""
        done = threading.Event()
        self._tasks.put(done)
        done.wait()
        self._check()

    def end(self) -> None:
        """Let the thread end after what was given; nothing can be given after it."""
        self._tasks.put(None)

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        while True:
            task = self._tasks.get()
            if task is None:
                return
            if isinstance(task, threading.Event):
                task.set()
            elif self._error is None:
                try:
                    task()
                except BaseException as error:  # raised in the caller's thread
                    self._error = error
