"""The thread beside the simulator: order, waiting, and errors that come back to who gave the task."""

from __future__ import annotations

import threading
import time

import pytest

from etchproof.uvm.worker import Worker


def test_tasks_run_in_order_in_one_other_thread() -> None:
    worker, done = Worker("test"), []
    for number in range(1000):
        worker.submit(lambda number=number: done.append((number, threading.get_ident())))  # type: ignore[misc]
    worker.join()
    assert [number for number, _ in done] == list(range(1000))
    threads = {thread for _, thread in done}
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_join_waits_for_what_was_given() -> None:
    worker, done = Worker("test"), []

    def slow() -> None:
        time.sleep(0.05)
        done.append(1)

    worker.submit(slow)
    assert done == []
    worker.join()
    assert done == [1]


def test_an_error_ends_the_work_and_comes_back() -> None:
    worker, done = Worker("test"), []

    def fails() -> None:
        raise LookupError("planted")

    worker.submit(lambda: done.append(1))
    worker.submit(fails)
    worker.submit(lambda: done.append(2))  # given before anybody could know
    for _ in range(2):
        with pytest.raises(LookupError, match="planted"):
            worker.join()
        with pytest.raises(LookupError, match="planted"):
            worker.submit(lambda: done.append(3))
    assert done == [1]
