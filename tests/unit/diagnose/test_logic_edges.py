"""Registers that outlast a token, and what stands beyond an adapter's rank: as the RTL has them, by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from etchproof.contract.diagnosis import Column, Place, Question, Seen, Unit
from models.chip import ChipPlan
from models.diagnosis.logic.ends import argmax
from models.diagnosis.logic.inputs import moved_inputs
from models.diagnosis.logic.lora import lora_b, other_shifts
from models.diagnosis.units import Linear, LoraA, LoraB


def seen_of(taps: dict[Any, list[np.ndarray[Any, Any]]]) -> Seen:
    count = len(next(iter(taps.values())))
    zeros = np.zeros(count, np.int64)
    columns = {key: Column(np.arange(count), np.stack(values)) for key, values in taps.items()}
    return Seen(np.arange(count), np.arange(count), zeros, zeros, columns)


def test_the_largest_logit_that_is_kept_begins_with_zero_or_with_nothing(
    units: dict[str, Unit], plan: ChipPlan
) -> None:
    """Where all logits are negative, a register that began with 0 takes none of them."""
    logits = np.full((3, 4), -5)
    logits[0, 2], logits[1, 1], logits[2, 3] = -3, -4, -1
    found = {
        what: wrong.choose(logits).tolist()
        for kind, what, wrong in argmax(units["argmax"], plan)  # type: ignore[arg-type]
        if kind == "largest of all tokens"
    }
    assert found == {
        "the largest logit of the tokens before is kept": [2, 2, 3],
        "the largest logit of the tokens before is kept, which began with 0": [0, 0, 0],
    }


def made_of(tap: tuple[int, str]) -> tuple[Any, ...]:
    return ("unit", "module", tap, Place(), 4, lambda unit, question: iter(()))


def test_h_beyond_the_rank_is_what_a_reset_left(plan: ChipPlan) -> None:
    h, b = np.array([3, 5, 7]), np.array([[1, 10, 100], [2, 0, 0]], np.int16)
    unit = LoraB(*made_of((0, "q_proj.lora_b")), source=(0, "q_proj.lora_a"), matrices={0: b})
    seen = seen_of({(0, "q_proj.lora_a"): [h]})
    found = {kind: wrong.compute(seen, np.arange(1)).tolist() for kind, _, wrong in lora_b(unit, plan)}
    assert unit.compute(seen, np.arange(1)).tolist() == [[3 + 50 + 700, 6]]
    assert found["h of the next rank"] == [[5 + 70, 10]]
    assert found["h of the rank before"] == [[30 + 500, 0]]


def test_another_word_for_the_shift_of_h(plan: ChipPlan) -> None:
    """The shift of each adapter is found from its own vectors; where no shift gives them, nothing is said."""
    a, x = (
        np.arange(6, dtype=np.int16).reshape(2, 3) * 3,
        [np.array([5, 1000, 77]), np.array([-900, 4, 800])],
    )
    unit = LoraA(
        *made_of((0, "q_proj.lora_a")), source=(0, "attn_norm"), matrices={0: (a, 3), 1: (a[::-1], 4)}
    )
    plain = seen_of({(0, "attn_norm"): x})
    seen = Seen(plain.tokens, plain.positions, plain.sequences, np.array([0, 1]), plain.taps)
    wrong = LoraA(**{**vars(unit), "matrices": {0: (a, 1), 1: (a[::-1], 4)}})
    got = Column(np.arange(2), np.stack(wrong.compute(seen, np.arange(2))))
    made = np.stack(unit.compute(seen, np.arange(2)))
    question = Question(seen, got, made, np.arange(1))
    (one,) = other_shifts(unit, question)
    assert (one.kind, one.what) == ("shift of h", "h is shifted by another word: 1 for 3, 4 for 4")
    with_taps = seen.having({unit.result: got})
    assert np.array_equal(np.stack(list(one.made(with_taps))), got.values)
    none = Column(got.at, got.values * np.array([[0, 0], [1, 1]]))
    assert list(other_shifts(unit, Question(seen, none, made, np.arange(1)))) == []
    noise = Column(got.at, got.values + np.array([[1, 0], [0, 0]]))
    assert list(other_shifts(unit, Question(seen, noise, made, np.arange(1)))) == []


def test_blocks_of_what_an_adapter_adds(units: dict[str, Unit], plan: ChipPlan) -> None:
    """One kind in all linears, whichever it is; a linear without an adapter has none."""
    plain: Any = units["model.layers.0.mlp.down_proj"]
    assert isinstance(plain, Linear)
    assert list(moved_inputs(plain, plan)) == []
    adapted = replace(plain, added=((0, "down_proj.lora_b"), {0: 0}))
    found = {(one.kind, one.at) for one in moved_inputs(adapted, plan)}
    assert ("blocks of what the adapter adds", "linear: blocks") in found
