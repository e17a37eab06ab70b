"""The golden model, computed beside the simulator: it runs in the process that started the simulator, in a thread. The
testbench asks for taps over a pair of sockets and finds them in memory that both processes share.

So a simulator starts without loading PyTorch, the model is held once, and the golden computes on one core while the
chip is simulated on another. The order of requests is the order of tokens: nothing depends on timing.
"""

from __future__ import annotations

import math
import mmap
import os
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import FileIO
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, Final

import numpy as np

from etchproof.contract.golden import GoldenSession, Items
from etchproof.contract.taps import TapKey, TapPlan, TokenArrays
from etchproof.errors import EtchproofError, InputError, machine_trouble, own_line

GOLDEN_ENV: Final = "ETCHPROOF_GOLDEN"
"""Environment variable of the simulator: the file descriptors of the socket and of the shared memory."""

_Placed = tuple[TapKey, bool, str, tuple[int, ...], int]
"""Tap, whether the array is of all tokens, dtype, shape, offset in the shared memory."""

_GONE: Final = "the process that computes the golden model is gone"


class GoldenError(EtchproofError):
    """The golden model failed; the message holds its traceback."""


@dataclass(frozen=True, slots=True)
class GoldenSource:
    """What a testbench compares with.

    Attributes:
        plan: the project's record of the chip's shape, for the testbench's own use; it is pickled.
        taps: that the chip has.
        session: makes the golden model ready; called once, beside the simulator's start.
    """

    plan: Any
    taps: TapPlan
    session: Callable[[], GoldenSession]


class GoldenServer:
    """Answers one simulator, in a thread that ends with it; ``end`` has to be called.

    Attributes:
        trouble: what the system refused to the golden model, a full disk or a limit; None while nothing.
        failed: how the golden model failed, in one line; None while it has not.
    """

    def __init__(self, source: GoldenSource) -> None:
        self.trouble: InputError | None = None
        self.failed: str | None = None
        self._source = source
        self._here, self._there = Pipe()
        self._memory = os.memfd_create("golden")
        self.fds = (self._there.fileno(), self._memory)
        self._thread = threading.Thread(target=self._serve, name="golden", daemon=True)
        self._files = (
            threading.Lock()
        )  # who takes it first, the thread or ``end``, closes the files; never given back

    def start(self) -> None:
        """To be called once the simulator holds ``fds``."""
        self._there.close()
        self._thread.start()

    def end(self) -> None:
        """To be called once the simulator is gone, or could not be started: waits for what it asked for last.

        A thread that is still inside PyTorch when Python ends would abort the process. An interruption of ``start`` may
        leave one that has yet to begin: it finds that there is nothing left to serve.
        """
        if not self._files.acquire(blocking=False):
            self._thread.join()
            return
        self._here.close()
        self._there.close()
        os.close(self._memory)

    def _serve(self) -> None:
        if not self._files.acquire(blocking=False):
            return
        try:
            with self._here as connection, open(self._memory, "r+b", buffering=0) as memory:
                connection.send((self._source.plan, self._source.taps))
                try:
                    session = self._source.session()
                    _leave_a_core()
                    connection.send(None)  # ready
                    while True:
                        request = _next(connection)
                        if request is None:
                            return
                        connection.send(_write(memory, self._declared(_predict(session, *request))))
                except BrokenPipeError:
                    raise
                except BaseException as error:  # SystemExit, too: of the thread alone nobody would hear
                    if isinstance(error, OSError):
                        self.trouble = machine_trouble(
                            error, "the golden model's memory, shared with the simulator"
                        )
                    self.failed = _one_line(error)
                    connection.send(traceback.format_exc())
        except (BrokenPipeError, ConnectionResetError):  # the simulator has ended
            pass

    def _declared(self, predicted: Mapping[TapKey, TokenArrays]) -> Mapping[TapKey, TokenArrays]:
        """What was predicted; a tap that nobody declared would be compared with nothing."""
        for key in predicted:
            if key not in self._source.taps.by_key:
                raise InputError(f"gives {key!r}, which is no declared tap", key="predict")
        return predicted


def _one_line(error: BaseException) -> str:
    if isinstance(error, EtchproofError):
        return str(error)
    return f"{type(error).__name__} at {own_line(error)}: {error}"


def _predict(
    session: GoldenSession, items: Items, first: bool, adapter: int | None
) -> Mapping[TapKey, TokenArrays]:
    """A golden model that knows no adapters need not take the argument."""
    return session.predict(items, first) if adapter is None else session.predict(items, first, adapter)


def _next(connection: Connection) -> tuple[Items, bool, int | None] | None:
    """What is asked for next; None when the simulator has ended."""
    try:
        request: tuple[Items, bool, int | None] = connection.recv()
    except (EOFError, ConnectionResetError):
        return None
    return request


def _leave_a_core() -> None:
    """One core is the simulator's: a golden model in PyTorch that takes it, too, makes both wait."""
    torch = sys.modules.get("torch")
    if torch is not None and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) - 1))


def _write(memory: FileIO, taps: Mapping[TapKey, TokenArrays]) -> list[_Placed]:
    """Lays taps out in the shared memory, which grows as needed; what it held before is gone."""
    memory.seek(0)
    placed, at = [], 0
    for key, arrays in taps.items():
        whole = isinstance(arrays, np.ndarray)
        for array in [arrays] if isinstance(arrays, np.ndarray) else arrays:
            contiguous = np.ascontiguousarray(array)
            rest = contiguous.reshape(-1).view(np.uint8).data if contiguous.nbytes else memoryview(b"")
            while rest:  # one call writes 2 GiB at most, and up to a limit without a word
                rest = rest[memory.write(rest) :]
            placed.append((key, whole, contiguous.dtype.str, contiguous.shape, at))
            at += contiguous.nbytes
    return placed


class GoldenClient:
    """The golden model as the testbench sees it.

    Attributes:
        plan: as in ``GoldenSource``; likewise ``taps``.
        asked: items, first and adapter of each prediction so far.

    Raises:
        InputError: this simulation was started without a golden model.
    """

    def __init__(self) -> None:
        numbers = os.environ.get(GOLDEN_ENV)
        if numbers is None:
            raise InputError("is not set", key=GOLDEN_ENV, hint="this run was started without a golden model")
        socket, self._memory = map(int, numbers.split(","))
        self._connection = Connection(socket)
        self.plan: Any
        self.taps: TapPlan
        self.plan, self.taps = self._connection.recv()
        self.asked: list[tuple[Items, bool, int | None]] = []

    def wait_ready(self) -> None:
        """Wait until the model is ready to compute; called once, before ``predict``.

        Raises:
            GoldenError: it could not be made, or the process that computes it has ended.
        """
        self._receive()

    def predict(self, items: Items, first: bool, adapter: int | None = None) -> Mapping[TapKey, TokenArrays]:
        """As ``GoldenSession.predict``; what it returned before is overwritten.

        Raises:
            GoldenError: it failed, or the process that computes it has ended.
        """
        given = items if isinstance(items, np.ndarray) else list(items)
        self.asked.append((given, first, adapter))
        try:
            self._connection.send((given, first, adapter))
        except OSError as error:
            raise GoldenError(_GONE) from error
        placed: list[_Placed] = self._receive()
        memory = mmap.mmap(self._memory, 0, prot=mmap.PROT_READ)
        taps: dict[TapKey, Any] = {}
        for key, whole, dtype, shape, at in placed:
            array = np.frombuffer(memory, dtype, math.prod(shape), at).reshape(shape)
            if whole:
                taps[key] = array
            else:
                taps.setdefault(key, []).append(array)
        return taps

    def close(self) -> None:
        """Let the model go."""
        self._connection.close()
        os.close(self._memory)

    def _receive(self) -> Any:
        try:
            answer = self._connection.recv()
        except (EOFError, OSError) as error:
            raise GoldenError(_GONE) from error
        if isinstance(answer, str):
            raise GoldenError(answer)
        return answer
