"""The host transactor against a chip that obeys, and one that breaks the protocol."""

from __future__ import annotations

import pytest

from etchproof.sim.build import Build
from tests.sim.conftest import RunMini

pytestmark = pytest.mark.sim


@pytest.mark.parametrize("kind", ["fast", "strict"])
@pytest.mark.parametrize("case", ["stalls", "fields", "reset_in_flight", "passed_on"])
def test_host(run_mini: RunMini, case: str, kind: str, request: pytest.FixtureRequest) -> None:
    assert run_mini(case, request.getfixturevalue(f"mini_{kind}")).failures == ()


def test_the_bench_sees_a_cycle_too_many(run_mini: RunMini) -> None:
    assert [failure.name for failure in run_mini("stalls", config={"late": 1}).failures] == ["test_failed"]


@pytest.mark.parametrize(("op", "assertion"), [("withdraw", "ARspValidHeld"), ("change", "ARspPayloadHeld")])
def test_a_chip_that_breaks_the_protocol_is_caught(
    run_mini: RunMini, mini_strict: Build, op: str, assertion: str
) -> None:
    outcome = run_mini("misbehaves", mini_strict, config={"op": op})
    assert outcome.status == "failed"
    assert assertion in outcome.failures[0].message


def test_a_chip_that_obeys_is_not(run_mini: RunMini, mini_strict: Build) -> None:
    assert run_mini("misbehaves", mini_strict, config={"op": "echo"}).failures == ()


def test_a_request_in_reset_is_caught(run_mini: RunMini, mini_strict: Build) -> None:
    assert "AReqLowInReset" in run_mini("request_in_reset", mini_strict).failures[0].message


@pytest.mark.parametrize("kind", ["fast", "strict"])
@pytest.mark.parametrize("case", ["loads", "load_checked", "load_stalls", "load_cut", "reset_in_load"])
def test_loads(run_mini: RunMini, case: str, kind: str, request: pytest.FixtureRequest) -> None:
    assert run_mini(case, request.getfixturevalue(f"mini_{kind}")).failures == ()


def test_the_bench_sees_a_cycle_too_many_in_a_load(run_mini: RunMini) -> None:
    assert [failure.name for failure in run_mini("loads", config={"late": 1}).failures] == ["test_failed"]


def test_a_word_beyond_the_frame_is_an_error(run_mini: RunMini) -> None:
    outcome = run_mini("load_cut", config={"beyond": True})
    assert outcome.status == "failed"
    assert any("word 20 of 20" in failure.message for failure in outcome.failures)


@pytest.mark.parametrize(("op", "assertion"), [("withdraw", "ALdrValidHeld"), ("change", "ALdrPayloadHeld")])
def test_a_load_port_that_breaks_the_protocol_is_caught(
    run_mini: RunMini, mini_strict: Build, op: str, assertion: str
) -> None:
    outcome = run_mini("load_misbehaves", mini_strict, config={"op": op})
    assert outcome.status == "failed"
    assert assertion in outcome.failures[0].message


def test_a_load_port_that_obeys_is_not(run_mini: RunMini, mini_strict: Build) -> None:
    assert run_mini("load_misbehaves", mini_strict, config={"op": "obey"}).failures == ()


def test_a_load_in_reset_is_caught(run_mini: RunMini, mini_strict: Build) -> None:
    assert "ALoadLowInReset" in run_mini("load_in_reset", mini_strict).failures[0].message
