"""The verdict trusts nobody: each thing that a run can lack is a reason with a name."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from etchproof.compare import Comparison, Divergence, NamedFailure, TapCount, TokenRecord, tap_plan
from etchproof.sim.build import Build
from etchproof.sim.fabric import Fabric, make_fabric
from etchproof.sim.results import Failure
from etchproof.sim.run import SimOutcome
from etchproof.verdict import Generation, check_fabric, generated, judge, read_comparison

PLANNED = Generation(prompt=(1, 5), new_tokens=3, stop_tokens=(2,))
OUTCOME = SimOutcome("passed", 0, ("verif.tests.Generation",), (), 1.0, Path("results.xml"), Path("sim.log"))


def token(position: int, token_in: int, token_out: int, **changes: int) -> TokenRecord:
    fields = {
        "sequence": 0,
        "position": position,
        "token_in": token_in,
        "token_out": token_out,
        "status": 0,
        "cycles": 9,
    }
    return TokenRecord(**{**fields, **changes})


def comparison(**changes: Any) -> Comparison:
    tokens = (token(0, 1, 8), token(1, 5, 7), token(2, 7, 6), token(3, 6, 9))
    fields = {
        "taps": counts(4),
        "first_divergence": None,
        "tokens": tokens,
        "failures": (),
        "sim_s": 0.1,
        "golden_s": 0.1,
        "compare_s": 0.1,
        "wait_s": 0.1,
    }
    return Comparison(**{**fields, **changes})


def counts(vectors: int) -> tuple[TapCount, ...]:
    return tuple(
        TapCount(layer=layer, tap=tap, vectors=vectors, elements=8 * vectors, mismatches=0)
        for layer, tap in tap_plan(2)
    )


def names(
    found: Comparison | None, outcome: SimOutcome = OUTCOME, planned: Generation = PLANNED, context: int = 4
) -> list[str]:
    reasons = judge(comparison=found, outcome=outcome, planned=planned, n_layers=2, context=context)
    return [reason.name for reason in reasons]


def test_clean_run_has_no_reason() -> None:
    assert names(comparison()) == []
    assert generated(comparison(), PLANNED) == (7, 6, 9)


def test_stop_token_ends_a_run_early() -> None:
    tokens = (token(0, 1, 2), token(1, 5, 7), token(2, 7, 2))
    assert names(comparison(tokens=tokens, taps=counts(3))) == []


@pytest.mark.parametrize(
    "tokens",
    [
        (),
        (token(0, 1, 8), token(1, 5, 7), token(2, 7, 6)),  # one too few
        (token(0, 1, 8), token(1, 5, 7), token(2, 7, 6), token(3, 6, 9), token(4, 9, 1)),  # one too many
        (token(0, 1, 8), token(1, 4, 7), token(2, 7, 6), token(3, 6, 9)),  # another prompt
        (token(0, 1, 8), token(1, 5, 7), token(2, 8, 6), token(3, 6, 9)),  # not the chip's choice
        (token(0, 1, 8), token(1, 5, 7), token(3, 7, 6), token(3, 6, 9)),  # a position left out
        (token(0, 1, 8), token(1, 5, 7), token(2, 7, 6, sequence=1), token(3, 6, 9)),
        (token(0, 1, 8), token(1, 5, 7), token(2, 7, 6, status=2), token(3, 6, 9)),
        (token(0, 1, 8), token(1, 5, 2), token(2, 2, 6), token(3, 6, 9)),  # went on after a stop token
    ],
)
def test_tokens_that_are_not_the_planned_text(tokens: tuple[TokenRecord, ...]) -> None:
    assert "tokens" in names(comparison(tokens=tokens, taps=counts(max(1, len(tokens)))))


def test_more_tokens_than_the_context() -> None:
    assert "tokens" in names(comparison(), context=3)


@pytest.mark.parametrize(
    "change",
    [
        lambda taps: taps[:-1],
        lambda taps: (taps[1], taps[0], *taps[2:]),
        lambda taps: (*taps, taps[-1]),
        lambda taps: (*taps[:5], taps[5].model_copy(update={"vectors": 3}), *taps[6:]),
        lambda taps: (*taps[:5], taps[5].model_copy(update={"elements": 0}), *taps[6:]),
        lambda taps: (*taps[:5], taps[5].model_copy(update={"layer": 7}), *taps[6:]),
    ],
)
def test_taps_that_were_not_all_compared(
    change: Callable[[tuple[TapCount, ...]], tuple[TapCount, ...]],
) -> None:
    assert names(comparison(taps=change(counts(4)))) == ["taps_missing"]


def test_nothing_compared() -> None:
    assert names(comparison(taps=())) == ["nothing_compared"]
    assert "nothing_compared" in names(comparison(taps=counts(0)))


def test_mismatch_and_the_testbenchs_own_verdict_are_one_reason() -> None:
    taps = counts(4)
    first = Divergence(sequence=0, token=1, layer=1, tap="k_proj", element=3, expected=5, got=4)
    wrong = comparison(
        taps=(*taps[:9], taps[9].model_copy(update={"mismatches": 2}), *taps[10:]), first_divergence=first
    )
    own = Failure(
        "test_failed", "verif.tests.Generation", "mismatch: layer 1 k_proj\nTraceback (most recent call last)"
    )
    assert names(wrong, replace(OUTCOME, status="failed", passed=(), failures=(own,))) == ["mismatch"]
    assert names(wrong) == ["mismatch"]
    assert names(comparison(first_divergence=first)) == ["mismatch"]
    other = replace(own, message="\nKeyError: 'x'\n  File ...")
    reasons = judge(
        comparison=wrong,
        outcome=replace(OUTCOME, status="failed", passed=(), failures=(other,)),
        planned=PLANNED,
        n_layers=2,
        context=4,
    )
    assert [(reason.name, reason.message) for reason in reasons][1:] == [
        ("test_failed", "verif.tests.Generation: KeyError: 'x'")
    ]


def test_failures_of_testbench_and_simulator() -> None:
    failures = (NamedFailure(name="missing_tap", message="layer 0 q_proj"),)
    assert names(comparison(failures=failures)) == ["missing_tap"]
    killed = replace(
        OUTCOME, status="crashed", passed=(), failures=(Failure("simulator_killed", "", "SIGSEGV"),)
    )
    assert names(comparison(), killed) == ["simulator_killed"]
    assert names(None, killed) == ["simulator_killed"]


def test_a_simulation_without_a_test_is_no_pass() -> None:
    assert names(comparison(), replace(OUTCOME, passed=())) == ["no_test_run"]
    assert names(comparison(), replace(OUTCOME, status="interrupted")) == ["no_test_run"]
    assert names(None, replace(OUTCOME, passed=())) == ["no_test_run"]


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (None, "comparison_missing"),
        ("", "comparison_broken"),
        ("{}", "comparison_broken"),
        (json.dumps({**json.loads(comparison().model_dump_json()), "failures": None}), "comparison_broken"),
        (json.dumps({**json.loads(comparison().model_dump_json()), "more": 1}), "comparison_broken"),
        (comparison().model_dump_json()[:-9], "comparison_broken"),
    ],
)
def test_comparison_that_does_not_count(tmp_path: Path, content: str | None, name: str) -> None:
    if content is not None:
        (tmp_path / "comparison.json").write_text(content, encoding="utf-8")
    found, reasons = read_comparison(tmp_path)
    assert found is None
    assert [reason.name for reason in reasons] == [name]


def test_comparison_that_counts(tmp_path: Path) -> None:
    (tmp_path / "comparison.json").write_text(comparison().model_dump_json(), encoding="utf-8")
    assert read_comparison(tmp_path) == (comparison(), [])


@pytest.fixture
def built(tmp_path: Path) -> tuple[Fabric, Build]:
    """A fabric and the cache entry of its simulator."""
    (tmp_path / "top.sv").write_text("module top; endmodule\n", encoding="utf-8")
    fabric = make_fabric(tmp_path, ["top.sv"], "top")
    record = {"inputs": {"fabric": fabric.sha256}}
    (tmp_path / "build.json").write_text(json.dumps(record), encoding="utf-8")
    build = Build(
        executable=tmp_path / "top",
        top="top",
        kind="fast",
        key="k",
        cached=True,
        build_s=1.0,
        log=tmp_path / "log",
    )
    return fabric, build


def test_fabric_is_the_simulators(built: tuple[Fabric, Build]) -> None:
    assert check_fabric(*built) == []


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("top.sv", "module top; wire x; endmodule\n", "fabric_changed"),
        ("top.sv", None, "fabric_changed"),
        ("build.json", '{"inputs": {"fabric": "00"}}', "fabric_changed"),
        ("build.json", "{}", "fabric_unknown"),
        ("build.json", None, "fabric_unknown"),
    ],
)
def test_fabric_that_is_not_the_simulators(
    built: tuple[Fabric, Build], tmp_path: Path, name: str, content: str | None, reason: str
) -> None:
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_text(content, encoding="utf-8")
    assert [found.name for found in check_fabric(*built)] == [reason]
