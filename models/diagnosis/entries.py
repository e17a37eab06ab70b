"""Bits of the constant tables that are made in logic (docs/numerics.md, section 12): one entry, found by its use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from etchproof.contract.diagnosis import Hypothesis, Place, Question
from models.diagnosis.units import AttnOut, Norm, Softmax, Swiglu
from models.rom.logic import EXP2_BITS, SEED_BITS, SIGMOID_BITS

Array = npt.NDArray[Any]

_FIELDS: Final[dict[type, tuple[str, str, str, int]]] = {
    Norm: ("RSQRT", "root", "seeds", SEED_BITS),
    AttnOut: ("RECIP", "reciprocal", "seeds", SEED_BITS),
    Softmax: ("EXP2", "exponential", "entries", EXP2_BITS),
    Swiglu: ("SIGMOID", "sigmoid", "entries", SIGMOID_BITS),
}
"""Of each unit with a table: its name, the field that reads it, the field of that, bits of an entry."""

KIND: Final = "table entry"
_LARGE: Final = 1 << 12  # inverts any entry beyond what rounding could hide


def hypotheses(unit: Any, question: Question) -> Iterator[Hypothesis]:
    """That one bit of one entry is inverted."""
    found = _FIELDS.get(type(unit))
    if found is None or not question.asks(KIND):
        return
    name, field, inner, bits = found
    owner = getattr(unit, field)
    table: Array = getattr(owner, inner)

    def wrong(changed: Array) -> Any:
        return replace(unit, **{field: replace(owner, **{inner: changed})})

    for entry in _candidates(unit, question, table, wrong):
        for bit in range(bits):
            changed = table.copy()
            changed[entry] ^= 1 << bit
            named = f"{name}[{entry}]^{bit}"
            yield Hypothesis(
                KIND,
                f"bit {bit} of {name}[{entry}] is inverted",
                wrong(changed).made,
                named,
                1,
                Place(file="ep_tables_pkg.sv", instance=unit.place.instance, bits=(bit,), what=named),
            )


def _candidates(unit: Any, question: Question, table: Array, wrong: Callable[[Array], Any]) -> Iterator[int]:
    """The entries that go into every vector that differs: found by halves, since each goes into few."""
    vectors = question.differs[:2]
    tokens = question.got.at[vectors] if not unit.memory else question.got.at[: int(vectors[-1]) + 1]
    seen = question.seen

    def moves(entries: Array) -> bool:
        changed = table.copy()
        changed[entries] ^= _LARGE
        made, right = (one.compute(seen, tokens) for one in (wrong(changed), unit))
        at = range(len(tokens)) if not unit.memory else vectors
        return all(not np.array_equal(made[row], right[row]) for row in at)

    pending = [np.arange(len(table))]
    while pending:
        entries = pending.pop()
        if not moves(entries):
            continue
        if len(entries) == 1:
            yield int(entries[0])
        else:
            pending += [entries[len(entries) // 2 :], entries[: len(entries) // 2]]
