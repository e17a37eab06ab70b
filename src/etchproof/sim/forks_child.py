"""Inside the simulator that others are forked from: it has started, and simulates nothing itself."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import resource
import signal
import socket
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any, Final

_PRELOADED: Final = ("cocotb.logging", "cocotb._init", "cocotb.regression", "numpy")
"""What every run imports, beside its tests."""

_PR_SET_PDEATHSIG: Final = 1  # of linux/prctl.h
FDS: Final = 8
"""The most file descriptors that a run may be given."""


def serve(number: int) -> None:
    """Fork for each run that is asked for over a socket; returns in the forked processes, ready to go on as one.

    This process ends when the other end of the socket is closed.
    """
    for name in (*_PRELOADED, *os.environ["COCOTB_TEST_MODULES"].split(",")):
        with contextlib.suppress(Exception):  # the run will say it
            importlib.import_module(name)
    program = ctypes.CDLL(None)
    connection = Connection(number)
    asked = socket.socket(fileno=os.dup(number))
    while True:
        try:
            job: dict[str, Any] = connection.recv()
            _, fds, _, _ = socket.recv_fds(asked, 1, FDS)
        except (EOFError, ConnectionResetError):
            os._exit(0)
        program.fflush(None)
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            connection.close()
            asked.close()
            _become(job, fds, server, program)
            return
        with contextlib.suppress(OSError):  # it did so itself, and is gone
            os.setpgid(pid, pid)
        for fd in fds:
            os.close(fd)
        try:
            connection.send(pid)
            _, status = os.waitpid(pid, 0)
            connection.send(os.waitstatus_to_exitcode(status))
        except (BrokenPipeError, ConnectionResetError):
            os._exit(0)


def _become(job: Mapping[str, Any], fds: Sequence[int], server: int, program: ctypes.CDLL) -> None:
    """Take a run's folder, environment, output and arguments."""
    os.setpgid(0, 0)
    program.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:
        os._exit(1)
    program.ep_forked()
    output, *shared = fds
    for stream in (1, 2):
        os.dup2(output, stream)
    os.close(output)
    os.chdir(job["folder"])
    os.environ.clear()
    os.environ.update(job["env"])
    if shared:
        os.environ[job["fds"]] = ",".join(map(str, shared))
    if job["cpu_s"] is not None:
        resource.setrlimit(resource.RLIMIT_CPU, (job["cpu_s"], job["cpu_s"] + 1))
    for argument in job["arguments"]:
        program.ep_argument(os.fsencode(argument))
