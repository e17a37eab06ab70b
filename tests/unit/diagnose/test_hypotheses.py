"""Each kind of hypothesis, planted into a unit and found there; what holds beside it gives the very same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from etchproof.contract.diagnosis import Column, Hypothesis, Question, Seen, Unit
from etchproof.diagnose.evidence import Evidence
from etchproof.diagnose.origins import Origin, origin
from etchproof.diagnose.run import explain
from etchproof.diagnose.search import Deadline, try_origins
from etchproof.quantize.quantized_model import QuantizedModel
from models.chip import ChipPlan
from models.diagnosis import entries, images, logic, shifts
from models.diagnosis.content import contents
from models.numerics.params import layer_params, top_params
from tests.unit.diagnose.conftest import planted

UNITS = (
    "model.embed_tokens",
    "model.layers.1.input_layernorm",
    "model.layers.1.self_attn.q_proj",
    "model.layers.1.mlp.down_proj",
    "model.layers.1.self_attn.k_rope",
    "model.layers.1.self_attn.scores",
    "model.layers.1.self_attn.softmax",
    "model.layers.1.self_attn.attn_out",
    "model.layers.1.mlp.swiglu",
    "model.layers.1.attn_residual",
    "argmax",
)


def spoiled(unit: Unit, right: Seen, hypothesis: Hypothesis) -> Origin | None:
    """The unit with the hypothesis planted; None where it changes nothing in this run."""
    column = right.taps[unit.result]
    return origin(unit, right.having({unit.result: Column(column.at, hypothesis.made(right))}))


def of_logic(unit: Any, right: Seen, model: QuantizedModel, plan: ChipPlan) -> Iterator[Hypothesis]:
    """What the families propose that solve for nothing."""
    column = right.taps[unit.result]
    question = Question(right, column, unit.made(right), np.arange(len(column.at)))
    layer = unit.result[0]
    words = top_params(model) if layer < 0 else layer_params(model, layer)
    for found in (
        logic.hypotheses(unit, question, plan, words),
        shifts.hypotheses(unit, question, plan, words),
        shifts.of_others(unit, words),
    ):
        yield from found


def same(one: Any, other: Any) -> bool:
    return all(np.array_equal(mine, its) for mine, its in zip(one, other, strict=True))


@pytest.mark.parametrize("name", UNITS)
def test_each_kind_is_found(
    name: str, units: dict[str, Unit], right: Seen, model: QuantizedModel, plan: ChipPlan
) -> None:
    unit = units[name]
    found: dict[str, bool] = {}
    for hypothesis in of_logic(unit, right, model, plan):
        if found.get(hypothesis.kind):
            continue
        planted_ = spoiled(unit, right, hypothesis)
        found.setdefault(hypothesis.kind, False)
        if planted_ is None:
            continue  # this run does not show it
        question = planted_.question
        asked = [
            one
            for one in unit.hypotheses(
                Question(
                    question.seen, question.got, question.made, question.differs, frozenset({hypothesis.kind})
                )
            )
            if isinstance(one, Hypothesis) and one.kind == hypothesis.kind
        ]
        holding = [one for one in asked if same(one.made(question.seen), question.got.values)]
        assert any(one.what == hypothesis.what for one in holding), hypothesis
        found[hypothesis.kind] = True
    assert sum(found.values()) >= 3, found
    assert sum(found.values()) >= 0.4 * len(found), found


@pytest.mark.parametrize("name", [name for name in UNITS if name not in ("argmax",)])
def test_a_whole_search_finds_what_was_planted(
    name: str, units: dict[str, Unit], right: Seen, model: QuantizedModel, plan: ChipPlan
) -> None:
    """Of a unit's first kinds: that one is among what holds, nothing is broken, and all that holds gives the same."""
    unit = units[name]
    count = 0
    for hypothesis in of_logic(unit, right, model, plan):
        planted_ = spoiled(unit, right, hypothesis)
        if planted_ is None:
            continue
        (tried,) = try_origins([planted_], Deadline(60.0))
        assert tried.broken == [] and not tried.stopped
        assert hypothesis.kind in {one.kind for one in tried.holding}, hypothesis
        for one in tried.holding:
            assert same(one.made(planted_.question.seen), planted_.question.got.values), one
        count += 1
        if count == 2:
            break
    assert count


@pytest.mark.parametrize(
    "name",
    ["model.embed_tokens", "model.layers.0.self_attn.o_proj", "model.layers.2.mlp.down_proj", "model.norm"],
)
def test_each_kind_of_image_is_found(name: str, units: dict[str, Unit], right: Seen, plan: ChipPlan) -> None:
    unit = units[name]
    found: dict[str, bool] = {}
    for content in contents(unit, plan):  # type: ignore[arg-type]
        for kind, what, image in images.variants(content.stored, content.bits, content.axes):
            if found.get(kind) or np.array_equal(image, content.stored):
                continue
            found.setdefault(kind, False)
            planted_ = spoiled(unit, right, Hypothesis(kind, what, content.unit(image).made))
            if planted_ is None:
                continue
            question = planted_.question
            asked = unit.hypotheses(
                Question(question.seen, question.got, question.made, question.differs, frozenset({kind}))
            )
            holding = [
                one
                for one in asked
                if isinstance(one, Hypothesis)
                and one.kind == kind
                and same(one.made(question.seen), question.got.values)
            ]
            assert holding, (content.key, kind, what)
            found[kind] = True
    assert sum(found.values()) >= 12, found


@pytest.mark.parametrize(
    ("name", "kind", "field"),
    [
        ("model.layers.1.input_layernorm", "RSQRT", "root"),
        ("model.layers.1.self_attn.attn_out", "RECIP", "reciprocal"),
        ("model.layers.1.self_attn.softmax", "EXP2", "exponential"),
        ("model.layers.1.mlp.swiglu", "SIGMOID", "sigmoid"),
    ],
)
def test_a_bit_of_a_table_in_logic(
    name: str, kind: str, field: str, units: dict[str, Unit], right: Seen
) -> None:
    unit: Any = units[name]
    owner = getattr(unit, field)
    inner = "seeds" if hasattr(owner, "seeds") else "entries"
    for entry in range(len(getattr(owner, inner))):
        table = getattr(owner, inner).copy()
        table[entry] ^= 1 << 11
        wrong = replace(unit, **{field: replace(owner, **{inner: table})})
        planted_ = spoiled(unit, right, Hypothesis("", "", wrong.made))
        if planted_ is None:
            continue
        holding = [
            one.place.what
            for one in entries.hypotheses(unit, planted_.question)
            if same(one.made(right), planted_.question.got.values)
        ]
        assert f"{kind}[{entry}]^11" in holding
        return
    raise AssertionError("no entry is used")


def test_one_fault_of_a_module_is_one_cause(units: dict[str, Unit], right: Seen) -> None:
    """The same slip in every linear, and another in the argmax: two causes, of 22 units and of one."""
    wrong: dict[str, Any] = {
        name: replace(unit, scales=unit.scales.astype(np.int16))
        for name, unit in units.items()
        if unit.module == "linear" and hasattr(unit, "scales")
    }
    wrong["argmax"] = replace(units["argmax"], choose=lambda logits: logits.argmin(axis=1))  # type: ignore[type-var]
    diagnosis = explain(planted(units, right, wrong), tuple(units.values()), 60.0)
    assert diagnosis.finding == "explained"
    assert [(cause.kind, len(cause.origins)) for cause in diagnosis.causes] == [
        ("scale with a sign", 22),
        ("least logit", 1),
    ]
    assert diagnosis.causes[0].where.files == ("ep_linear.sv",)
    assert diagnosis.causes[0].where.image is None


def test_two_explanations_are_rivals(units: dict[str, Unit], right: Seen, plan: ChipPlan) -> None:
    """A single word of a ROM of one word: which address bit it is, nothing tells."""
    unit: Any = units["model.layers.0.self_attn.k_proj"]
    (codes, _) = contents(unit, plan)
    wrong = codes.unit(np.zeros_like(codes.stored))
    diagnosis = explain(planted(units, right, {unit.name: wrong}), tuple(units.values()), 60.0)
    assert diagnosis.finding == "rivals"
    (cause,) = diagnosis.causes
    assert cause.kind == "image blank"
    assert {"neighbour word", "address bit inverted (word)"} <= {rival.kind for rival in cause.rivals}


def test_evidence_of_a_planted_run_is_a_chips(units: dict[str, Unit], right: Seen) -> None:
    """What follows from a planted unit follows: it alone is an origin."""
    wrong: Any = units["model.layers.0.self_attn.v_proj"]
    evidence: Evidence = planted(units, right, {wrong.name: replace(wrong, shift=wrong.shift + 1)})
    assert [one.unit.name for one in _origins(units, evidence)] == [wrong.name]


def _origins(units: dict[str, Unit], evidence: Evidence) -> list[Origin]:
    return [one for unit in units.values() if (one := origin(unit, evidence.chip)) is not None]
