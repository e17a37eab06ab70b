"""What may be wrong with the logic of SwiGLU and of the residual."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from etchproof.contract.diagnosis import Column, Hypothesis, Seen
from etchproof.contract.taps import TokenArrays
from models.chip import ChipPlan
from models.diagnosis.logic.common import RANK, Wrong
from models.diagnosis.units import Residual, Swiglu


def swiglu(unit: Swiglu, plan: ChipPlan) -> Iterator[Wrong]:
    """Sigmoid, rounding and gate taken wrongly."""
    own = unit.sigmoid
    for kind, what, other in (
        (
            "sigmoid not mirrored",
            "the sigmoid of negatives is that of positives",
            replace(own, mirrored=False),
        ),
        ("argument not limited", "the sigmoid's argument is not limited", replace(own, limited=False)),
        ("table index", "the lower entry is the next one", replace(own, first=1)),
        ("table index", "both entries are the next ones", replace(own, first=1, second=2)),
        ("not interpolated", "the sigmoid is not interpolated", replace(own, chord=0)),
        ("interpolated the other way", "the sigmoid is interpolated downwards", replace(own, chord=-1)),
    ):
        yield kind, what, replace(unit, sigmoid=other)
    for bits in (4, 8, 10, 16, 20):
        yield (
            "rounded before the second product",
            f"{bits} bits are rounded away before the second product",
            replace(unit, early=bits),
        )
    yield "gate left out", "the sigmoid alone opens, without its gate", replace(unit, linear=True)


def residual(unit: Residual, plan: ChipPlan) -> Iterator[Wrong]:
    """What is added taken twice, not at all or negated."""
    yield "residual twice", "the residual is added twice", replace(unit, times=2)
    yield "residual left out", "the residual is left out", replace(unit, times=0)
    yield "subtracted", "what should be added is subtracted", replace(unit, sign=-1)
    yield "addend left out", "what should be added is left out", replace(unit, sign=0)


def addends(unit: Residual, words: Mapping[str, int]) -> Iterator[Hypothesis]:
    """The attention's and the MLP's addends and shifts taken for each other."""
    own = unit.added[1]
    other = "down_proj" if own == "o_proj" else "o_proj"
    key = (unit.result[0], other)
    wrong = replace(unit, added=key, shift=words[f"{other}.residual_shift"])

    def late(seen: Seen) -> TokenArrays:
        column = seen.taps[key]
        values = np.asarray(column.values)
        before = np.concatenate((np.zeros_like(values[:1]), values[:-1]))
        return wrong.made(seen.having({key: Column(column.at, before)}))

    kind, at = "addends exchanged", f"{unit.module}: addends exchanged"
    yield Hypothesis(kind, "takes the other addend, with its shift", wrong.made, at, RANK)
    yield Hypothesis(kind, "takes the other addend of the token before, with its shift", late, at, RANK)
    kept = replace(unit, added=key)
    yield Hypothesis(kind, "takes the other addend, with its own shift", kept.made, at, RANK)
