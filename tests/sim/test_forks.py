"""A forked simulator does what one that was started alone does, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from etchproof.errors import InputError
from etchproof.sim.build import Build
from etchproof.sim.forks import Forks
from tests.sim.conftest import RunMini

pytestmark = pytest.mark.sim


@pytest.fixture
def forks() -> Iterator[Forks]:
    made = Forks()
    yield made
    made.close()


def waiting(forks: Forks) -> int:
    assert forks._waiting is not None
    return forks._waiting.pid


def test_what_the_parent_passes_down_arrives(run_mini: RunMini, forks: Forks, tmp_path: Path) -> None:
    """Folder, environment, configuration, arguments, output: of each run its own, from one simulator."""
    seen = set()
    for number in range(3):
        config = {"text": "é", "numbers": [1, 2.5]}
        folder = tmp_path / f"run {number}"
        given: dict[str, Any] = {"run_dir": folder, "launcher": forks, "config": config}
        outcome = run_mini("environment", plusargs=["+mini=yes"], **given)
        assert (outcome.status, outcome.exit_code, outcome.failures) == ("passed", 0, ())
        seen.add(waiting(forks))
    assert len(seen) == 1
    refused = run_mini("environment", config=config, launcher=forks)
    assert refused.status == "failed", "an argument of the run before is no argument of this one"


def test_it_simulates_the_same(run_mini: RunMini, forks: Forks) -> None:
    for name in ("taps", "roms", "several_tokens", "loads", "fails"):
        alone, forked = run_mini(name), run_mini(name, launcher=forks)
        assert (alone.status, alone.exit_code, alone.passed) == (
            forked.status,
            forked.exit_code,
            forked.passed,
        )
        assert [failure.name for failure in alone.failures] == [failure.name for failure in forked.failures]


def test_another_build_and_another_seed_of_its_unknown_values_are_another(
    run_mini: RunMini, mini_strict: Build, forks: Forks
) -> None:
    seen = []
    for build, seed in ((None, 1), (None, 2), (mini_strict, 1), (mini_strict, 2)):
        given = {} if build is None else {"build": build}
        assert run_mini("taps", seed=seed, launcher=forks, **given).status == "passed"
        seen.append(waiting(forks))
    assert seen[0] == seen[1] and len(set(seen)) == 3


def test_a_chip_that_waits_forever_meets_a_limit_of_simulated_time(run_mini: RunMini, forks: Forks) -> None:
    for launcher in ({}, {"launcher": forks}):
        assert run_mini("taps", plusargs=["+ep_until=100000000"], **launcher).status == "passed"
        outcome = run_mini("taps", plusargs=["+ep_until=50000"], **launcher)
        assert (outcome.status, outcome.exit_code) == ("failed", 1)
        assert "has not ended at its limit of time, 50000" in outcome.failures[0].message


def test_what_was_still_to_come_is_not_waited_for(run_mini: RunMini) -> None:
    assert run_mini("early", plusargs=["+ep_until=500000"]).status == "passed"


def test_a_run_meets_its_limit_of_processor_time(run_mini: RunMini) -> None:
    forks = Forks(cpu_s=1)
    try:
        outcome = run_mini("hang", launcher=forks)
        assert outcome.status == "crashed" and "SIGXCPU" in outcome.failures[0].message
        assert run_mini("taps", launcher=forks).status == "passed"
    finally:
        forks.close()


def test_a_timeout_ends_the_run_alone(run_mini: RunMini, forks: Forks) -> None:
    assert run_mini("taps", launcher=forks).status == "passed"
    events: list[dict[str, Any]] = []
    outcome = run_mini("hang", timeout_s=1, on_progress=events.append, launcher=forks)
    assert outcome.status == "timeout"
    with pytest.raises(ProcessLookupError):
        os.kill(events[0]["pid"], 0)
    assert run_mini("taps", launcher=forks).status == "passed"


def test_a_simulator_that_waits_and_is_killed_is_said(
    run_mini: RunMini, forks: Forks, tmp_path: Path
) -> None:
    assert run_mini("taps", launcher=forks).status == "passed"
    os.kill(waiting(forks), signal.SIGKILL)
    with pytest.raises(InputError, match="could not be forked"):
        run_mini("taps", launcher=forks)
    assert run_mini("taps", launcher=forks).status == "passed", "the next one starts another"


def test_a_simulator_that_cannot_start_is_said(run_mini: RunMini, forks: Forks, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="could not be forked"):
        run_mini("taps", launcher=forks, test_modules=["mini_bench"], build=_broken(tmp_path))


def _broken(folder: Path) -> Any:
    program = folder / "broken"
    program.write_text("#!/bin/sh\necho it is broken\nexit 3\n")
    program.chmod(0o755)
    return Build(
        executable=program, top="x", kind="fast", key="", cached=True, build_s=0.0, log=folder / "none"
    )
