"""pytest's plugin: the fixture ``unit``. It is loaded with every pytest, so it imports nothing until it is used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from etchproof.unit import Unit
    from etchproof.unit.mutate import Mutants

_MUTANTS: pytest.StashKey[Mutants] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("etchproof")
    group.addoption(
        "--mutate",
        metavar="N",
        type=int,
        default=0,
        help="plant N faults in the RTL of each unit; one that no test sees fails the session",
    )
    group.addoption("--mutate-seed", metavar="SEED", type=int, default=1, help="which faults those are (1)")


@pytest.fixture
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Unit:
    """Runs one module against arrays (docs/unit.md)."""
    from etchproof.unit.run import Unit, rerun_command

    test = request.node.nodeid
    return Unit(
        base=request.path.parent,
        folder=tmp_path,
        test=test,
        rerun=rerun_command(test),
        mutants=_mutants(request.config),
    )


def _mutants(config: pytest.Config) -> Mutants | None:
    """The faults of this session; None where it plants none."""
    count = config.getoption("--mutate")
    if count <= 0:
        return None
    if hasattr(config, "workerinput"):
        raise pytest.UsageError("--mutate asks what all tests together see: leave out -n")
    if _MUTANTS not in config.stash:
        from etchproof.unit.mutate import Mutants

        config.stash[_MUTANTS] = Mutants(count, config.getoption("--mutate-seed"))
    return config.stash[_MUTANTS]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    mutants = session.config.stash.get(_MUTANTS, None)
    if mutants is not None and any(mutants.open_items()) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    mutants = config.stash.get(_MUTANTS, None)
    if mutants is None:
        return
    terminalreporter.section("planted faults")
    for line in (*mutants.lines(), *mutants.open_items()):
        terminalreporter.line(line)
