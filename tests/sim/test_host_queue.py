"""The queue of the host transactor: bursts of requests, their answers, each token's taps."""

from __future__ import annotations

import pytest

from etchproof.sim.build import Build
from tests.sim.conftest import RunMini

pytestmark = pytest.mark.sim


@pytest.mark.parametrize("kind", ["fast", "strict"])
@pytest.mark.parametrize("case", ["bursts", "burst_rules", "reset_in_burst"])
def test_bursts(run_mini: RunMini, case: str, kind: str, request: pytest.FixtureRequest) -> None:
    assert run_mini(case, request.getfixturevalue(f"mini_{kind}")).failures == ()


def test_little_memory_serves(run_mini: RunMini) -> None:
    assert run_mini("burst_memory", tap_bytes=4096).failures == ()


def test_the_bench_sees_a_cycle_too_many(run_mini: RunMini) -> None:
    assert [failure.name for failure in run_mini("bursts", config={"late": 1}).failures] == ["test_failed"]


def test_a_burst_in_reset_is_caught(run_mini: RunMini, mini_strict: Build) -> None:
    assert "APlayLowInReset" in run_mini("play_in_reset", mini_strict).failures[0].message
