"""What may be wrong with the logic of the units: each is the unit with another field."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from etchproof.contract.diagnosis import Hypothesis, Question
from models.chip import ChipPlan
from models.diagnosis.arithmetic import CLAMPINGS, ROUNDINGS
from models.diagnosis.logic.attention import attn_out, cached, last_row, softmax
from models.diagnosis.logic.common import RANK, Wrong
from models.diagnosis.logic.ends import argmax, embedding
from models.diagnosis.logic.inputs import moved_inputs
from models.diagnosis.logic.linear import linear
from models.diagnosis.logic.lora import lora_a, lora_b, other_shifts
from models.diagnosis.logic.mlp import addends, residual, swiglu
from models.diagnosis.logic.norm import norm
from models.diagnosis.logic.rope import positions, rope
from models.diagnosis.units import (
    Argmax,
    AttnOut,
    Embedding,
    Linear,
    LoraA,
    LoraB,
    Norm,
    Residual,
    Rope,
    Scores,
    Softmax,
    Swiglu,
    Unit,
)

_STAGES: Final[dict[type, tuple[str, ...]]] = {
    Norm: ("q", "u"),
    Softmax: ("z", "chord", "weight"),
    AttnOut: ("reduce",),
    Swiglu: ("chord",),
}
"""Roundings of a unit before its last one."""


def hypotheses(
    unit: Any, question: Question, plan: ChipPlan, words: Mapping[str, int]
) -> Iterator[Hypothesis]:
    """What may be wrong with a unit's logic; ``words`` are those of its ``params``."""
    family = _FAMILIES.get(type(unit))
    if family is not None:
        for kind, what, wrong in family(unit, plan):
            yield Hypothesis(kind, what, wrong.made, f"{unit.module}: {what}", RANK)
    yield from _primitives(unit)
    if isinstance(unit, Rope):
        yield from positions(unit, question)
    if isinstance(unit, Residual):
        yield from addends(unit, words)
    if isinstance(unit, LoraA):
        yield from other_shifts(unit, question)
    yield from moved_inputs(unit, plan)
    if isinstance(unit, Scores | Softmax):
        yield Hypothesis(
            "last row not written",
            "the last row keeps what it held",
            last_row(unit),
            "attention: last row",
            RANK,
        )


def _primitives(unit: Unit) -> Iterator[Hypothesis]:
    """Another rounding or saturation, of all stages or of one; every module has it where its package is wrong."""
    if isinstance(unit, Argmax | Scores | LoraB):
        return
    prims = unit.prims
    for kind, (what, rounding) in ROUNDINGS.items():
        wrong = replace(unit, prims=replace(prims, rs=rounding))
        yield Hypothesis(f"rounding: {kind}", f"what is shifted {what}", wrong.made, "rounding", RANK)
    for stage in _STAGES.get(type(unit), ()):
        for kind, (what, rounding) in ROUNDINGS.items():
            wrong = replace(unit, prims=replace(prims, stages={stage: rounding}))
            named = f"rounding of {stage}: {kind}"
            yield Hypothesis(named, f"{stage} {what}", wrong.made, f"{unit.module}: {stage}", RANK + 1)
    for kind, (what, clamping) in CLAMPINGS.items():
        wrong = replace(unit, prims=replace(prims, sat=clamping))
        yield Hypothesis(f"saturation: {kind}", f"the output {what}", wrong.made, "saturation", RANK)


_FAMILIES: Final[dict[type, Callable[[Any, ChipPlan], Iterator[Wrong]]]] = {
    Embedding: embedding,
    Norm: norm,
    Linear: linear,
    LoraA: lora_a,
    LoraB: lora_b,
    Rope: rope,
    Scores: cached,
    Softmax: softmax,
    AttnOut: attn_out,
    Swiglu: swiglu,
    Residual: residual,
    Argmax: argmax,
}
