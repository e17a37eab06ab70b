"""What may be wrong with the logic of a norm."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from models.chip import ChipPlan
from models.diagnosis.logic.common import Array, Wrong, roots
from models.diagnosis.units import Norm


def _paired(r: Array) -> Array:
    """(tokens, H) with elements exchanged in pairs."""
    index = np.arange(r.shape[1]) ^ 1
    found: Array = r[:, np.minimum(index, r.shape[1] - 1)]
    return found


def norm(unit: Norm, plan: ChipPlan) -> Iterator[Wrong]:
    """Block exponent, magnitudes, squares, epsilon and root taken wrongly."""
    for kept, limit in ((24, 25), (25, 25), (23, 23), (24, 23), (25, 24)):
        yield (
            "block exponent",
            f"shifts from {limit + 1} bits on, by bits - {kept}",
            replace(unit, kept=(kept, limit)),
        )
    for what, of in (
        ("negatives are left out", lambda r: np.maximum(r, 0)),
        ("negatives count as they stand", lambda r: r & 0xFFFFFFFF),
        ("it is always the largest", lambda r: 0 * r + (1 << 31)),
        ("it is always the least", lambda r: 0 * r),
        ("a lane takes the sign of its neighbour", lambda r: np.where(_paired(r) < 0, -r, r) & 0xFFFFFFFF),
        ("of negatives one is lost", lambda r: np.where(r < 0, ~r, r)),
    ):
        yield "magnitude", what, replace(unit, magnitude=of)
    yield "block exponent left out", "the squares are of what is not shifted", replace(unit, shifted=False)
    yield (
        "norm without square",
        "magnitudes are summed in the place of squares",
        replace(unit, squares=np.abs),
    )
    yield (
        "square of one lane less",
        "the last element is left out of the sum of squares",
        replace(unit, squares=lambda q: (q * q)[:, :-1]),
    )
    for times in (1, 0, 3):
        yield "epsilon's shift", f"epsilon is shifted by {times} s, not 2 s", replace(unit, exponents=times)
    yield "epsilon", "epsilon is left out", replace(unit, epsilon=0)
    for what, epsilon in (("ten times", 10 * unit.epsilon), ("a tenth of", unit.epsilon // 10)):
        yield "epsilon", f"epsilon is {what} what it should be", replace(unit, epsilon=epsilon)
    yield from roots(unit, "root")
