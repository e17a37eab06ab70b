"""The golden model beside the simulator: what it computes arrives unchanged, and what goes wrong has a name."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from etchproof.contract.golden import GoldenSession
from etchproof.contract.taps import Tap, TapKey, TapPlan, TokenArrays
from etchproof.errors import InputError
from etchproof.sim.golden import (
    GOLDEN_ENV,
    GoldenClient,
    GoldenError,
    GoldenServer,
    GoldenSource,
)

Predict = Callable[[Sequence[int], bool, int | None], Mapping[TapKey, TokenArrays]]

PLAN = TapPlan(
    (Tap("embedding", layer=0), *(Tap(name, layer=n) for n in range(-1, 41) for name in ("scores", "token")))
)


class Session:
    def __init__(self, predict: Predict) -> None:
        self._predict = predict

    def predict(
        self, tokens: Sequence[int], first: bool, adapter: int | None = None
    ) -> Mapping[TapKey, TokenArrays]:
        return self._predict(tokens, first, adapter)


def connect(session: Callable[[], GoldenSession]) -> GoldenClient:
    """A client as the child process has one, with descriptors of its own."""
    server = GoldenServer(GoldenSource({"layers": 3}, PLAN, session))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(GOLDEN_ENV, ",".join(str(os.dup(fd)) for fd in server.fds))
        server.start()
        return GoldenClient()


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    for thread in threading.enumerate():
        if thread.name == "golden":
            thread.join(timeout=10)
    assert threading.active_count() == before


arrays = st.sampled_from(["<i1", "<i2", "<i4", "<i8"]).flatmap(
    lambda dtype: hnp.arrays(np.dtype(dtype), hnp.array_shapes(min_dims=2, max_dims=2, max_side=9))
)
taps = st.dictionaries(
    st.tuples(st.integers(-1, 40), st.sampled_from(["scores", "token"])),
    arrays | arrays.map(lambda array: [array[0, :size] for size in range(1, array.shape[1] + 1)]),
    min_size=1,
    max_size=5,
)


@given(st.lists(taps, max_size=4))
def test_taps_arrive_as_they_are(answers: list[Mapping[TapKey, TokenArrays]]) -> None:
    left = iter(answers)
    client = connect(lambda: Session(lambda tokens, first, adapter: next(left)))
    client.wait_ready()
    for answer in answers:
        got = client.predict([1, 2], True)
        assert list(got) == list(answer)
        for key, wanted in answer.items():
            assert isinstance(got[key], list) == isinstance(wanted, list)
            for mine, theirs in zip(got[key], wanted, strict=True):
                assert mine.dtype == theirs.dtype
                assert np.array_equal(mine, theirs)
                assert not mine.flags.writeable
    client.close()


def test_requests_arrive_as_they_are() -> None:
    asked = []

    def predict(tokens: Sequence[int], first: bool, adapter: int | None) -> Mapping[TapKey, TokenArrays]:
        asked.append((list(tokens), first, adapter))
        return {(-1, "token"): np.array([[len(asked)]])}

    client = connect(lambda: Session(predict))
    assert client.plan == {"layers": 3}
    client.wait_ready()
    assert int(client.predict((5, 7), True, 1)[-1, "token"][0][0]) == 1
    assert int(client.predict([9], False)[-1, "token"][0][0]) == 2
    assert asked == [([5, 7], True, 1), ([9], False, None)]
    client.close()


def test_a_model_that_cannot_be_made() -> None:
    def session() -> GoldenSession:
        raise LookupError("planted")

    client = connect(session)
    with pytest.raises(GoldenError, match="LookupError: planted"):
        client.wait_ready()
    client.close()


def test_a_model_that_fails() -> None:
    def predict(tokens: Sequence[int], first: bool, adapter: int | None) -> Mapping[TapKey, TokenArrays]:
        raise LookupError("planted")

    client = connect(lambda: Session(predict))
    client.wait_ready()
    with pytest.raises(GoldenError, match="LookupError: planted"):
        client.predict([1], True)
    with pytest.raises(GoldenError, match="is gone"):
        client.predict([1], True)
    client.close()


def test_a_run_without_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(GOLDEN_ENV, raising=False)
    with pytest.raises(InputError, match=GOLDEN_ENV):
        GoldenClient()


@pytest.mark.parametrize(("said", "threads"), [(None, 2), ("3", 3)])
def test_pytorch_leaves_a_core_to_the_simulator(
    monkeypatch: pytest.MonkeyPatch, said: str | None, threads: int
) -> None:
    """As asked of the thread that computes; what $OMP_NUM_THREADS says is left alone."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if said is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", said)
    before = torch.get_num_threads()

    def predict(
        tokens: Sequence[int], first: bool, adapter: int | None = None
    ) -> Mapping[TapKey, TokenArrays]:
        return {(0, "embedding"): np.array([[torch.get_num_threads()]])}

    try:
        torch.set_num_threads(3)
        client = connect(lambda: Session(predict))
        client.wait_ready()
        assert client.predict([1], True)[0, "embedding"] == [[threads]]
        client.close()
    finally:
        torch.set_num_threads(before)


def test_an_interruption_of_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C between the start of the thread and its first line: whichever comes first, nobody reads a closed file."""
    failed: list[object] = []
    monkeypatch.setattr(threading, "excepthook", failed.append)

    def interrupted(timeout: float | None = None) -> bool:
        raise KeyboardInterrupt

    for late in (False, True):
        server = GoldenServer(GoldenSource({}, PLAN, lambda: Session(lambda tokens, first, adapter: {})))
        if late:
            server.end()
            server._serve()
        else:
            monkeypatch.setattr(server._thread._started, "wait", interrupted)  # type: ignore[attr-defined]
            with pytest.raises(KeyboardInterrupt):
                server.start()
            monkeypatch.undo()
            monkeypatch.setattr(threading, "excepthook", failed.append)
            server.end()
            assert server._thread._started.wait(60)  # type: ignore[attr-defined]
            server._thread.join(60)
    assert not failed
