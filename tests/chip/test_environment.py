"""The testbench's own tests on the shipped checkpoint with a short context, on the strict build.

The strict build has assertions on and gives every register a random value at the start, drawn anew for each seed: a
tap that depended on one would differ from the golden model.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from etchproof.run.testrun import Chip
from models.cycles import token_steps
from tests.chip.harness import assert_clean, make_chip, run
from verif.coverage.host import active_step

pytestmark = pytest.mark.sim

SHORT = """
context: 18
matrices:
  - {match: model.embed_tokens, bits: 8, group_size: 16}
  - {match: "*", bits: 6, group_size: 16}
"""


@pytest.fixture(scope="module")
def short_chip(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Chip:
    folder = tmp_path_factory.mktemp("short")
    (folder / "short.yaml").write_text(SHORT)
    return make_chip(tiny_checkpoint, folder / "short.yaml", folder / "chip", "strict")


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    "test",
    [
        *("RandomTokens", "BackToBack", "ResetMidSequence", "ContextLimit", "HostErrors"),
        *("RomReadback", "RomTestPort"),
    ],
)
def test_environment(short_chip: Chip, test: str, seed: int) -> None:
    assert_clean(run(short_chip, test, seed=seed))


def test_resets_and_stalls_are_recorded(short_chip: Chip) -> None:
    """One run of the test resets in every step of a token's way, and the record says in which."""
    done = run(short_chip, "ResetMidSequence", seed=3)
    comparison = done.comparison
    assert comparison is not None
    plan = short_chip.plan
    steps = {step for _, step, _ in token_steps(plan, 0)}
    found = {
        None if reset.position is None else active_step(plan, reset.position, reset.cycles)
        for reset in comparison.resets
    }
    assert found == {None, *steps}
    assert not any(token.request_stall or token.response_stall for token in comparison.tokens)
    done = run(short_chip, "RandomTokens", seed=3)
    comparison = done.comparison
    assert comparison is not None and comparison.resets == ()
    assert any(token.request_stall for token in comparison.tokens)
    assert any(token.response_stall for token in comparison.tokens)


OVERRIDE = """
import pyuvm
from pyuvm import uvm_factory
from verif.host_port.agent import TokenDriver
from verif.tests import RandomTokens


class CountingDriver(TokenDriver):
    driven = 0

    async def _drive(self, item):
        CountingDriver.driven += len(item.requests)
        await super()._drive(item)


@pyuvm.test()
class Overridden(RandomTokens):
    def build_phase(self):
        uvm_factory().set_type_override_by_type(TokenDriver, CountingDriver)
        super().build_phase()

    async def stimulus(self):
        await super().stimulus()
        self.expect(CountingDriver.driven == 18, f"the overriding driver drove {CountingDriver.driven} tokens")
"""


IGNORING = """
import pyuvm
from verif.scenarios.acts import Stream
from verif.scenarios.player import Player
from verif.tests import ChipTest


@pyuvm.test()
class Ignoring(ChipTest):
    async def stimulus(self):
        for tokens in TOKENS:
            await Player(self.env, self.expect).play(Stream(tuple(tokens)))
"""


@pytest.mark.parametrize(
    "fed",
    [
        [[1, 5, 9], [7]],
        [[1, 5, 9]],  # a sequence left out
        [[1, 5, 9], [7], [7]],  # one more
        [[1, 5, 8], [7]],  # other tokens
        [[1, 5], [9], [7]],  # other sequences
        [[7], [1, 5, 9]],
    ],
)
def test_a_directed_run_that_ignores_its_tokens(
    short_chip: Chip, tmp_path: Path, fed: list[list[int]]
) -> None:
    """Whatever it compares is equal: only who knows the plan can tell."""
    planned = [[1, 5, 9], [7]]
    (tmp_path / "ignoring.py").write_text(IGNORING.replace("TOKENS", repr(fed)))
    done = run(
        short_chip,
        "Ignoring",
        module="ignoring",
        stands_for="DirectedTokens",
        config={"directed": planned},
        python_path=[tmp_path],
    )
    assert done.outcome.status == "passed"
    assert {reason.name for reason in done.reasons} == (set() if fed == planned else {"tokens"})


def test_a_run_of_which_nobody_knows_what_it_has_to_do(short_chip: Chip, tmp_path: Path) -> None:
    (tmp_path / "ignoring.py").write_text(IGNORING.replace("TOKENS", "[[1, 5, 9]]"))
    done = run(short_chip, "Ignoring", module="ignoring", python_path=[tmp_path])
    assert done.outcome.status == "passed"
    assert [reason.name for reason in done.reasons] == ["no_expectation"]


def test_factory_override(short_chip: Chip, tmp_path: Path) -> None:
    """A team's own driver takes the place of ours, as docs/testbench.md says."""
    (tmp_path / "overriding.py").write_text(OVERRIDE)
    outcome = run(
        short_chip,
        "Overridden",
        module="overriding",
        stands_for="RandomTokens",
        python_path=[tmp_path],
    )
    assert_clean(outcome)
