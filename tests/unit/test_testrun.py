"""The judgement of any test: what was not compared is no PASS, nor is what an adapter added."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from etchproof.compare import Comparison, SequenceCount, TapCount, TokenRecord, tap_plan
from etchproof.sim.results import Failure
from etchproof.sim.run import SimOutcome
from etchproof.verdict import judge_test

OUTCOME = SimOutcome("passed", 0, ("verif.tests.Any",), (), 1.0, Path("results.xml"), Path("sim.log"))
PLAN = tap_plan(2)
LENGTHS = (3, 1)  # of the sequences


def comparison(**changes: Any) -> Comparison:
    """Two sequences, and a refused token in each."""
    tokens = [
        TokenRecord(
            sequence=number,
            position=position,
            token_in=1,
            token_out=1,
            status=int(position == length),
            cycles=9,
        )
        for number, length in enumerate(LENGTHS)
        for position in range(length + 1)
    ]
    fields = {
        "taps": taps(*[sum(LENGTHS)] * len(PLAN)),
        "sequences": tuple(sequence(number, length) for number, length in enumerate(LENGTHS)),
        "loads": (),
        "first_divergence": None,
        "tokens": tuple(tokens),
        "failures": (),
        "sim_s": 0.1,
        "golden_s": 0.1,
        "compare_s": 0.1,
        "wait_s": 0.1,
    }
    return Comparison(**{**fields, **changes})


def taps(*vectors: int) -> tuple[TapCount, ...]:
    return tuple(
        TapCount(layer=layer, tap=tap, vectors=count, elements=8 * count, mismatches=0)
        for (layer, tap), count in zip(PLAN, vectors, strict=False)
    )


def sequence(number: int, tokens: int, missing: int = 0) -> SequenceCount:
    vectors = tokens * len(PLAN) - missing
    return SequenceCount(sequence=number, adapter=None, vectors=vectors, elements=8 * vectors, mismatches=0)


def names(found: Comparison | None, outcome: SimOutcome = OUTCOME) -> list[str]:
    return [reason.name for reason in judge_test(found, outcome, 2)]


def test_clean_run() -> None:
    assert names(comparison()) == []


FOREIGN = TapCount(layer=0, tap="q_proj.lora_a", vectors=4, elements=4, mismatches=0)


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"taps": taps(*[0] * len(PLAN))}, "nothing_compared"),
        ({"taps": ()}, "nothing_compared"),
        ({"taps": taps(*[4] * (len(PLAN) - 1))}, "taps_missing"),
        ({"taps": taps(3, *[4] * (len(PLAN) - 1))}, "taps_missing"),
        ({"taps": (*taps(*[4] * len(PLAN)), FOREIGN)}, "taps_missing"),
        ({"sequences": (sequence(0, 3), sequence(1, 1, missing=1))}, "taps_missing"),
        ({"sequences": (sequence(0, 3),)}, "taps_missing"),
        ({"sequences": (sequence(0, 3), sequence(1, 1), sequence(2, 1))}, "taps_missing"),
    ],
)
def test_what_was_not_compared(changes: dict[str, Any], wanted: str) -> None:
    assert names(comparison(**changes)) == [wanted]


def with_adapter(vectors: int = 1, taps_of: int = 1, **changes: Any) -> Comparison:
    """The second sequence, of one token, runs under the run's adapter, which adapts layer 0's q_proj."""
    order = tap_plan(2, {(0, "q_proj")})
    counted = tuple(
        TapCount(
            layer=layer,
            tap=tap,
            vectors=vectors if ".lora_" in tap else sum(LENGTHS),
            elements=99,
            mismatches=0,
        )
        for layer, tap in order
    )
    held = len(PLAN) + 2 * taps_of
    second = SequenceCount(sequence=1, adapter=0, slot=2, vectors=held, elements=99, mismatches=0)
    return comparison(**{"taps": counted, "sequences": (sequence(0, 3), second), **changes})


def test_taps_of_adapters() -> None:
    adapted = [frozenset({(0, "q_proj")})]

    def found(run: Comparison, adapted: Any = adapted) -> list[str]:
        return [reason.name for reason in judge_test(run, OUTCOME, 2, adapted)]

    assert found(with_adapter()) == []
    assert found(with_adapter(vectors=0)) == ["taps_missing"]
    assert found(with_adapter(vectors=4)) == ["taps_missing"]
    assert found(with_adapter(taps_of=0)) == ["taps_missing"]
    assert found(comparison()) == []
    assert found(with_adapter(), ()) == ["taps_missing"]  # none of the run's
    assert found(with_adapter(), [frozenset({(1, "v_proj")})]) == ["taps_missing"]


def test_the_simulator_has_the_last_word() -> None:
    failed = replace(OUTCOME, status="failed", failures=(Failure("test_failed", "Any", "boom"),))
    assert names(comparison(), failed) == ["test_failed"]
    assert names(None, replace(OUTCOME, passed=())) == ["no_test_run"]
