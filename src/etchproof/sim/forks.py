"""Simulators forked from one that has started: what a run costs before its first event is paid once.

A start takes half a second, of Python's imports most, and a short run a tenth of that. Of a campaign of a thousand
runs of the same tests on the same simulator the starts would be nearly all. A forked simulator has its own folder,
environment, output and arguments; what it simulates is what one that was started alone would.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any, Final, Protocol

from etchproof.errors import InputError
from etchproof.sim import child
from etchproof.sim.golden import GOLDEN_ENV

_START_S: Final = 120.0
_OF_THE_START: Final = "+verilator+"
"""Arguments that Verilator reads while it makes the model: a simulator with others is another one."""


class Process(Protocol):
    """A simulator that runs, as ``subprocess.Popen``."""

    pid: int

    @property
    def returncode(self) -> int | None: ...

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...


class Launcher(Protocol):
    """Starts a simulator."""

    def __call__(
        self,
        command: Sequence[str],
        folder: Path,
        env: Mapping[str, str],
        output: IO[bytes],
        fds: Sequence[int],
    ) -> Process:
        """Start it in a process group of its own.

        Args:
            command: its executable and arguments.
            folder: in which it runs.
            env: its whole environment.
            output: what it prints goes there.
            fds: of the golden model.
        """


def start(
    command: Sequence[str], folder: Path, env: Mapping[str, str], output: IO[bytes], fds: Sequence[int]
) -> Process:
    """A simulator that is started by itself; a ``Launcher``."""
    return subprocess.Popen(
        command,
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        pass_fds=fds,
    )


class _Forked:
    """One forked simulator; its parent says when it ends."""

    def __init__(self, pid: int, connection: Connection) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._connection = connection

    def poll(self) -> int | None:
        if self.returncode is None and self._connection.poll():
            self._take()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not self._connection.poll(timeout):
                raise subprocess.TimeoutExpired("a forked simulator", timeout or 0.0)
            self._take()
        assert self.returncode is not None
        return self.returncode

    def _take(self) -> None:
        try:
            self.returncode = self._connection.recv()
        except (EOFError, ConnectionResetError):  # its parent was killed, and it with it
            self.returncode = -signal.SIGKILL


class Forks:
    """A ``Launcher`` that forks: one simulator waits, of the executable and the seed that were asked for last.

    One run at a time; ``close`` has to be called.

    Args:
        cpu_s: processor seconds after which a run is ended by SIGXCPU; None for no limit.
    """

    def __init__(self, cpu_s: int | None = None) -> None:
        self.cpu_s = cpu_s
        self._key: tuple[str, ...] = ()
        self._waiting: _Waiting | None = None

    def __call__(
        self,
        command: Sequence[str],
        folder: Path,
        env: Mapping[str, str],
        output: IO[bytes],
        fds: Sequence[int],
    ) -> Process:
        made = [word for word in command if not word.startswith("+") or word.startswith(_OF_THE_START)]
        key = (*made, env[child.PYTHON_PATH_ENV], env["COCOTB_TEST_MODULES"])
        if self._waiting is None or key != self._key:
            self.close()
            self._key, self._waiting = key, _Waiting(made, folder, env)
        job = {
            "folder": str(folder),
            "env": {**env, "ETCHPROOF_PARENT": str(self._waiting.pid)},
            "arguments": [word for word in command if word not in made],
            "cpu_s": self.cpu_s,
            "fds": GOLDEN_ENV,
        }
        try:
            return self._waiting.fork(job, [output.fileno(), *fds])
        except (EOFError, OSError) as error:
            said = self._waiting.said()
            self.close()
            raise InputError(
                f"could not be forked: {said}", source=Path(command[0]), key="simulator"
            ) from error

    def close(self) -> None:
        """End the simulator that waits."""
        if self._waiting is not None:
            self._waiting.close()
        self._waiting = None


class _Waiting:
    """A simulator that has started, and waits for what to fork."""

    def __init__(self, command: Sequence[str], folder: Path, env: Mapping[str, str]) -> None:
        here, there = socket.socketpair()
        self._log = folder / "forks.log"
        with there, self._log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env={**env, child.FORKS_ENV: str(there.fileno())},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(there.fileno(),),
            )
        self.pid = self._process.pid
        self._socket = here
        self._connection = Connection(os.dup(here.fileno()))

    def fork(self, job: Mapping[str, Any], fds: Sequence[int]) -> _Forked:
        self._connection.send(job)
        socket.send_fds(self._socket, [b"\0"], fds)
        if not self._connection.poll(_START_S):
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        return _Forked(self._connection.recv(), self._connection)

    def said(self) -> str:
        """The last line that it printed."""
        text = self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""
        return (text.strip().splitlines() or ["it printed nothing"])[-1]

    def close(self) -> None:
        self._connection.close()
        self._socket.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
