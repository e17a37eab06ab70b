"""What hypotheses on several units have in common."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.diagnosis.arithmetic import wrap
from models.diagnosis.units import Index

Array = npt.NDArray[Any]
Wrong = tuple[str, str, Any]
"""Kind, what is wrong, and the unit that has it."""


RANK: Final = 3
"""Of hypotheses on logic: after those on what is held."""


def cut(bits: int) -> Index:
    """The low bits of a number."""
    return lambda number: number & ((1 << bits) - 1)


def moved(by: int) -> Index:
    """A number that is off by so many."""
    return lambda number: number + by


def wrapped(width: int) -> Index:
    """Sums that wrap at a width."""
    return lambda sums: wrap(sums, width)


def offsets(codes: Array, bits: int) -> Iterator[tuple[str, Array]]:
    """Codes in offset binary, taken wrongly."""
    offset = 1 << (bits - 1)
    yield "the codes' offset is one low", codes + 1
    yield "the codes' offset is one high", codes - 1
    yield "the codes' offset is left out", codes + offset
    yield "the codes' offset is doubled", codes - offset
    yield "the codes' offset is halved", codes + (offset >> 1)
    yield "the codes' offset is four times what it should be", codes - 3 * offset
    yield "codes are taken for two's complement", np.where(codes < 0, codes + offset, codes - offset)
    yield "codes are read without a sign", codes & ((1 << bits) - 1)


def roots(unit: Any, field: str) -> Iterator[Wrong]:
    """A root or a reciprocal by Newton's steps, taken wrongly; ``field`` of the unit holds it."""
    own = getattr(unit, field)
    for steps in (0, 1, 3):
        yield (
            "newton steps",
            f"{steps} steps of Newton, not 2",
            replace(unit, **{field: replace(own, steps=steps)}),
        )
    for what, index in (
        ("has not its last bit", lambda mantissa: (own.index(mantissa)) >> 1),
        ("is one high", lambda mantissa: own.index(mantissa) + 1),
        ("is one low", lambda mantissa: own.index(mantissa) - 1),
        ("has its last bit inverted", lambda mantissa: own.index(mantissa) ^ 1),
        ("is the mantissa's high bits but the last", lambda mantissa: mantissa >> 25),
    ):
        yield "table index", f"the seed's index {what}", replace(unit, **{field: replace(own, index=index)})
    for place in range(len(own.lost)):
        for step in (1, -1):
            lost = tuple(bits + step * (at == place) for at, bits in enumerate(own.lost))
            what = f"a step of Newton shifts by {lost[place]}, not {own.lost[place]}"
            yield "newton shift", what, replace(unit, **{field: replace(own, lost=lost)})
    constant = "three" if field == "root" else "two"
    for step in (1, -1):
        value = getattr(own, constant) + step
        what = f"a step of Newton subtracts from {value}, not {value - step}"
        yield "newton constant", what, replace(unit, **{field: replace(own, **{constant: value})})
    if field == "root":
        yield "odd exponent", "an odd exponent is not made even", replace(unit, root=replace(own, even=False))
