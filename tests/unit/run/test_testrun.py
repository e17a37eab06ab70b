"""What a run has to do is stated before it, and a project that states it wrongly fails its runs by name."""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import Any, cast

import pytest

from etchproof.errors import InputError
from etchproof.project.declaration import load_project
from etchproof.run import testrun
from etchproof.run.design import Design, Quantized
from etchproof.run.testrun import Chip
from etchproof.verdict.expect import Expectation, Request
from models.chip import plan
from tests.conftest import ROOT
from tests.unit.models.conftest import drawn_model

DIRECTED = [[1, 5, 9], [7]]


@pytest.fixture(scope="module")
def chip() -> Chip:
    """Up to its plan: no more is asked for."""
    model = drawn_model()
    planned = plan(model.config, model.recipe)
    design = Design(load_project(ROOT), Quantized(cast(Any, None), model.recipe), planned)
    return Chip(design, model, cast(Any, None), cast(Any, None), cast(Any, None))


def with_hook(chip: Chip, hook: str | None) -> Chip:
    project = chip.design.project
    verif = project.verif.model_copy(update={"expect": hook})
    return replace(chip, design=replace(chip.design, project=project.model_copy(update={"verif": verif})))


def stated(chip: Chip, test: str, config: Any) -> tuple[Expectation | None, list[str]]:
    found, reasons = testrun.state(chip, test, config, (), 1)
    return found, [f"{reason.name}: {reason.message}" for reason in reasons]


def test_a_good_one(chip: Chip) -> None:
    for test, config in (("RandomTokens", {}), ("DirectedTokens", {"directed": DIRECTED})):
        found, reasons = stated(chip, test, config)
        assert found is not None and found.steps and reasons == []


def test_none(chip: Chip) -> None:
    assert stated(with_hook(chip, None), "RandomTokens", {}) == (None, [])
    assert stated(chip, "SomebodyElses", {}) == (None, [])


@pytest.mark.parametrize(
    "hook", ["verif.scenarios.stimulus:nothing", "verif.nothing:expect", "verif.protocol:NO_SLOT"]
)
def test_a_hook_that_is_none(chip: Chip, hook: str) -> None:
    found, (reason,) = stated(with_hook(chip, hook), "RandomTokens", {})
    assert found is None and reason.startswith("expectation_broken: RandomTokens: ")


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("boom"), KeyError("boom"), InputError("boom"), SyntaxError("boom")]
)
def test_a_hook_that_fails(chip: Chip, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def failing(*_: Any) -> Any:
        raise error

    monkeypatch.setattr("verif.scenarios.stimulus.expect", failing)
    found, (reason,) = stated(chip, "RandomTokens", {})
    assert found is None and reason.startswith("expectation_broken: RandomTokens: ") and "boom" in reason


def test_a_configuration_that_is_none(chip: Chip) -> None:
    """Of the test that generates, too, whose expectation is the engine's own."""
    found, (reason,) = stated(chip, "GreedyGeneration", {"sequences": [{"prompt": [1]}]})
    assert found is None and "new_tokens" in reason


def test_a_hook_that_forgets_what_was_asked_for(chip: Chip, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though testbench and hook may agree: the tokens to be fed are the engine's word."""
    good, _ = stated(chip, "DirectedTokens", {"directed": DIRECTED})
    assert good is not None
    first = good.steps[0]
    assert isinstance(first, Request)
    others = (
        good.steps[1:],
        good.steps[:-1],
        (*good.steps, good.steps[-1]),
        (replace(first, token=2), *good.steps[1:]),
        (replace(first, statuses=frozenset({0, 1})), *good.steps[1:]),
        (replace(first, closes=True), *good.steps[1:]),
        (*good.steps[:1], first, *good.steps[1:]),
        (),
    )
    for steps in others:
        other = replace(good, steps=steps)
        monkeypatch.setattr("verif.scenarios.stimulus.expect", lambda *_, other=other: other)
        _, reasons = stated(chip, "DirectedTokens", {"directed": DIRECTED})
        assert [reason.partition(":")[0] for reason in reasons] == ["expectation_broken"], steps


def test_one_way_to_a_verdict() -> None:
    """Whoever runs a test of the testbench goes through ``testrun``: the benchmarks and the chips' tests too.

    A stored record is judged again where a regression goes on; a recorded run, where another golden model stands beside
    it, and where it is played to the checker with something wrong. A unit alone has neither chip nor testbench, and a
    way of its own.
    """
    simulating, judging = set(), set()
    folders = (ROOT / "src" / "etchproof", ROOT / "bench", ROOT / "verif", ROOT / "tests" / "chip")
    for path in (path for folder in folders for path in folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                names = {alias.name for alias in node.names}
                if node.module == "etchproof.sim.run" and "simulate" in names:
                    simulating.add("/".join(path.parts[-2:]))
                if node.module == "etchproof.verdict.judge" and "judge" in names:
                    judging.add("/".join(path.parts[-2:]))
    assert simulating == {"run/testrun.py", "unit/run.py"}
    judged_again = {"regress/execute.py", "regress/recorded.py", "signoff/known_bad.py"}
    assert judging == {"run/testrun.py", *judged_again}
