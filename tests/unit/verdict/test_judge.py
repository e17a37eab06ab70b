"""The verdict trusts nobody: each thing that a run can lack is a reason with a name."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from etchproof.checkpoint.linears import LORA_PRODUCTS
from etchproof.compare.comparator import (
    Comparison,
    Divergence,
    LoadRecord,
    NamedFailure,
    RequestRecord,
    ResetRecord,
    SequenceCount,
    TapCount,
    TapKey,
    TokenRecord,
)
from etchproof.render.fabric import Fabric, make_fabric
from etchproof.sim.build import Build
from etchproof.sim.results import Failure
from etchproof.sim.run import SimOutcome
from etchproof.verdict.expect import Expectation, Generation, Load
from etchproof.verdict.judge import check_fabric, generated, judge, read_comparison
from tests.taps import declared, tap_plan

PLANNED = Expectation(texts=(Generation(prompt=(1, 5), new_tokens=3, stop_tokens=(2,)),))

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
        "sequences": (sequence(0, None, len(changes.get("tokens", tokens))),),
        "requests": requests(changes.get("tokens", tokens)),
        "loads": (),
        "first_divergence": None,
        "tokens": tokens,
        "failures": (),
        "sim_s": 0.1,
        "golden_s": 0.1,
        "compare_s": 0.1,
        "wait_s": 0.1,
    }
    return Comparison(**{**fields, **changes})


def requests(tokens: tuple[TokenRecord, ...]) -> tuple[RequestRecord, ...]:
    """The tokens as the host port saw them."""
    return tuple(
        RequestRecord(token=token.token_in, op=int(token.position == 0), slot=15, status=token.status)
        for token in tokens
    )


def sequence(number: int, adapter: int | None, tokens: int, taps: int = len(tap_plan(2))) -> SequenceCount:
    vectors = tokens * taps
    return SequenceCount(
        sequence=number,
        adapter=adapter,
        slot=adapter,
        vectors=vectors,
        elements=8 * vectors,
        mismatches=0,
    )


def counts(vectors: int) -> tuple[TapCount, ...]:
    return tuple(
        TapCount(layer=layer, tap=tap, vectors=vectors, elements=8 * vectors, mismatches=0)
        for layer, tap in tap_plan(2)
    )


def names(
    found: Comparison | None,
    outcome: SimOutcome = OUTCOME,
    planned: Expectation | None = PLANNED,
    context: int = 4,
) -> list[str]:
    reasons = judge(comparison=found, outcome=outcome, expectation=planned, taps=declared(2), context=context)
    return [reason.name for reason in reasons]


def test_clean_run_has_no_reason() -> None:
    assert names(comparison()) == []
    assert generated(comparison(), PLANNED.texts) == (7, 6, 9)


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


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found[:-1],
        lambda found: (*found, found[-1]),
        lambda found: (found[1], found[0], *found[2:]),
        lambda found: (*found, RequestRecord(token=0, op=2, slot=15, status=0)),  # closes what no load needs
        lambda found: (*found[:2], found[2].model_copy(update={"token": 9}), *found[3:]),
        lambda found: (*found[:2], found[2].model_copy(update={"status": 1}), *found[3:]),
    ],
)
def test_requests_that_are_not_the_tokens(change: Callable[[Any], Any]) -> None:
    found = comparison()
    assert names(found.model_copy(update={"requests": change(found.requests)})) == ["tokens"]


def test_a_reset_that_was_not_planned() -> None:
    reset = ResetRecord(tokens=4, requests=4, position=None, cycles=0)
    assert names(comparison(resets=(reset,))) == ["tokens"]


@pytest.mark.parametrize("nothing", [None, Expectation(), Expectation(loads=(Load(9, "77"),))])
def test_without_an_expectation_a_run_is_no_pass(nothing: Expectation | None) -> None:
    assert "no_expectation" in names(comparison(), planned=nothing)


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


ADAPTED: frozenset[TapKey] = frozenset({(0, "v_proj"), (1, "down_proj")})
LORA: tuple[TapKey, ...] = tuple(
    (layer, tap) for layer, linear in sorted(ADAPTED) for tap in LORA_PRODUCTS[linear]
)
SWAPPED = Expectation(
    texts=(
        Generation((1,), 2),
        Generation((1, 5), 1, adapter=0),
        Generation((1,), 1, adapter=1),
        Generation((3,), 2, adapter=0),
    ),
    loads=(Load(9, "77", slot=0, adapter=0), Load(9, "77", slot=1, adapter=1)),
    adapted=(ADAPTED, frozenset({(0, "v_proj")})),
)


def load(adapter: int | None, slot: int, **changes: int) -> LoadRecord:
    """Before the sequence whose number is one more than the slot's."""
    fields = {
        "sequence": slot,
        "adapter": adapter,
        "slot": slot,
        "words": 9,
        "sha256": "77",
        "status": 0,
        "cycles": 9,
        "stalled": False,
    }
    return LoadRecord.model_validate({**fields, **changes})


def swapped(**changes: Any) -> Comparison:
    """Two tokens of each sequence but the third, which has one."""
    ins = ((0, 1, 4), (0, 4, 6), (1, 1, 5), (1, 5, 6), (2, 1, 9), (3, 3, 1), (3, 1, 2))
    tokens = []
    for number, token_in, token_out in ins:
        position = sum(token.sequence == number for token in tokens)
        tokens.append(token(position, token_in, token_out, sequence=number))
    vectors = {key: 7 for key in tap_plan(2)} | {key: 4 for key in LORA} | dict.fromkeys(LORA_OF_BOTH, 5)
    base = len(tap_plan(2))
    return comparison(
        **{
            "tokens": tuple(tokens),
            "taps": tuple(
                TapCount(
                    layer=layer,
                    tap=tap,
                    vectors=vectors[layer, tap],
                    elements=8 * vectors[layer, tap],
                    mismatches=0,
                )
                for layer, tap in tap_plan(2, ADAPTED)
            ),
            "sequences": (
                sequence(0, None, 2),
                sequence(1, 0, 2, base + 4),
                sequence(2, 1, 1, base + 2),
                sequence(3, 0, 2, base + 4),
            ),
            "loads": (load(0, 0), load(1, 1)),
            **changes,
        }
    )


LORA_OF_BOTH: tuple[TapKey, ...] = tuple((0, tap) for tap in LORA_PRODUCTS["v_proj"])


class TestAdapters:
    def test_clean(self) -> None:
        assert names(swapped(), planned=SWAPPED) == []
        assert [generated(swapped(), SWAPPED.texts, number) for number in range(4)] == [
            (4, 6),
            (6,),
            (9,),
            (1, 2),
        ]

    @pytest.mark.parametrize("key", [*LORA, (0, "v_proj"), (1, "mlp_residual")])
    @pytest.mark.parametrize("by", [-1, 1])
    def test_a_tap_too_few_or_too_many(self, key: TapKey, by: int) -> None:
        """As many as the tokens of the sequences that have it: an adapter's taps are not those of the base."""
        taps = tuple(
            count.model_copy(update={"vectors": count.vectors + by * ((count.layer, count.tap) == key)})
            for count in swapped().taps
        )
        assert names(swapped(taps=taps), planned=SWAPPED) == ["taps_missing"]

    def test_the_adapters_taps_are_not_there(self) -> None:
        taps = tuple(count for count in swapped().taps if ".lora_" not in count.tap)
        assert names(swapped(taps=taps), planned=SWAPPED) == ["taps_missing"]

    def test_an_adapters_taps_where_none_runs(self) -> None:
        taps = tuple(
            TapCount(layer=layer, tap=tap, vectors=4, elements=32, mismatches=0)
            for layer, tap in tap_plan(2, ADAPTED)
        )
        assert names(comparison(taps=taps)) == ["taps_missing"]

    @pytest.mark.parametrize("number", range(4))
    @pytest.mark.parametrize("change", [{"vectors": 1}, {"vectors": 10_000}, {"sequence": 7}])
    def test_a_sequence_that_was_not_compared_in_full(self, number: int, change: dict[str, int]) -> None:
        """Even where the sum over sequences is right."""
        held = list(swapped().sequences)
        held[number] = held[number].model_copy(update=change)
        assert "taps_missing" in names(swapped(sequences=tuple(held)), planned=SWAPPED)

    @pytest.mark.parametrize(("number", "adapter"), [(0, 0), (1, None), (1, 1), (2, 0), (3, None)])
    def test_another_adapter_than_planned(self, number: int, adapter: int | None) -> None:
        held = list(swapped().sequences)
        held[number] = held[number].model_copy(update={"adapter": adapter})
        assert names(swapped(sequences=tuple(held)), planned=SWAPPED)[0] == "tokens"

    @pytest.mark.parametrize(
        "loads",
        [
            (),
            (load(0, 0),),
            (load(1, 1), load(0, 0)),
            (load(0, 0), load(1, 2)),
            (load(0, 0), load(None, 1)),
            (load(0, 0), load(1, 1, status=7)),
            (load(0, 0), load(1, 1), load(0, 0)),
        ],
    )
    def test_loads_that_are_not_those_planned(self, loads: tuple[LoadRecord, ...]) -> None:
        assert names(swapped(loads=loads), planned=SWAPPED) == ["loads"]

    @pytest.mark.parametrize("drop", [0, 2, 3, 6])
    def test_a_token_is_missing(self, drop: int) -> None:
        tokens = swapped().tokens
        found = names(swapped(tokens=(*tokens[:drop], *tokens[drop + 1 :])), planned=SWAPPED)
        assert found[0] == "tokens"

    def test_sequences_in_another_order(self) -> None:
        tokens = swapped().tokens
        assert "tokens" in names(swapped(tokens=(*tokens[5:], *tokens[:5])), planned=SWAPPED)

    def test_a_divergence_names_its_sequence(self) -> None:
        first = Divergence(sequence=2, token=0, layer=0, tap="v_proj.lora_a", element=3, expected=5, got=4)
        reasons = judge(
            comparison=swapped(first_divergence=first),
            outcome=OUTCOME,
            expectation=SWAPPED,
            taps=declared(2),
            context=4,
        )
        assert [reason.message for reason in reasons] == [
            "0 elements differ, the first at v_proj.lora_a of layer 0, token 0 of sequence 2"
        ]


def test_mismatch_and_the_testbenchs_own_verdict_are_one_reason() -> None:
    taps = counts(4)
    first = Divergence(sequence=0, token=1, layer=1, tap="k_proj", element=3, expected=5, got=4)
    wrong = comparison(
        taps=(*taps[:9], taps[9].model_copy(update={"mismatches": 2}), *taps[10:]),
        sequences=(sequence(0, None, 4).model_copy(update={"mismatches": 2}),),
        first_divergence=first,
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
        expectation=PLANNED,
        taps=declared(2),
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
        rewrites=None,
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
