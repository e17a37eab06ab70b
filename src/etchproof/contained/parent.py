"""Work on what others wrote, in a child process that a panic, a hang or a memory bomb cannot leave.

The child is one script that answers requests, one JSON object a line. Processor time is limited for each request,
memory for all; it ends with its parent, at the latest when the request at hand is answered or out of time.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path
from typing import Any, Final

CPU_S: Final = 5
WALL_S: Final = 30.0  # a busy machine gives the processor late; a hang burns it, and ends by ``CPU_S``
MEMORY_BYTES: Final = 1 << 30
ANSWER_BYTES: Final = 16 << 20
"""The most that one answer may hold."""

_DEATHS: Final = {
    signal.SIGKILL: "was killed, perhaps for want of memory",
    signal.SIGABRT: f"was aborted: more than {MEMORY_BYTES >> 30} GiB of memory, or a fault within the library",
    signal.SIGSEGV: "crashed within the library",
    signal.SIGBUS: "crashed within the library",
}


class ContainedError(Exception):
    """The child refused a request, or ended; the text completes "the file ..."."""


class Child:
    """A running child process.

    Args:
        script: a file beside its user that calls ``etchproof.contained.child.serve``.
        cpu_s: seconds of processor time that a request may take.
    """

    def __init__(self, script: Path, cpu_s: int = CPU_S) -> None:
        path = os.pathsep.join(entry for entry in sys.path if entry)  # never the folder that we stand in
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-B", str(script), str(cpu_s), str(MEMORY_BYTES), str(ANSWER_BYTES)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ
            | {"PYTHONPATH": path, "TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1"},
        )
        self._end = weakref.finalize(self, _end, self._process, os.getpid())
        self._dead, self._cpu_s = "", cpu_s

    def ask(self, **request: Any) -> Any:
        """The answer to one request.

        Raises:
            ContainedError: the child refuses it, or has ended.
        """
        if self._dead:
            raise ContainedError(self._dead)
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        deadline = time.monotonic() + WALL_S
        with contextlib.suppress(BrokenPipeError):  # it ended: reading says how
            stdin.write(json.dumps(request).encode() + b"\n")
            stdin.flush()
        answer = b""
        while not answer.endswith(b"\n"):
            ready, _, _ = select.select([stdout], [], [], max(0.0, deadline - time.monotonic()))
            block = os.read(stdout.fileno(), 1 << 20) if ready else b""
            answer += block
            if not block or len(answer) > ANSWER_BYTES + 1024:
                raise self._ended(late=not ready)
        reply = json.loads(answer)
        if "refused" in reply:
            raise ContainedError(reply["refused"])
        return reply["answer"]

    def close(self) -> None:
        """End the child."""
        self._dead = self._dead or "was closed"
        self._end()

    def _ended(self, late: bool) -> ContainedError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            if not late:
                self._process.wait(timeout=5)
        code = self._process.poll()
        self._end()
        if late or code is None:
            self._dead = f"gave no answer within {WALL_S:g} seconds"
        elif code == -signal.SIGXCPU:
            self._dead = f"took more than {self._cpu_s} seconds of processor time"
        else:
            name = _DEATHS.get(signal.Signals(-code)) if code < 0 else None
            self._dead = name or f"ended the process that read it ({code})"
        return ContainedError(self._dead)


def _end(process: subprocess.Popen[bytes], parent: int) -> None:
    if os.getpid() != parent:
        return  # forked: the child is not ours
    process.kill()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    process.wait()
