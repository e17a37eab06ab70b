"""What may be wrong with the logic of attention: caches, softmax, weighted sums."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import fields, replace

import numpy as np
import numpy.typing as npt

from etchproof.contract.diagnosis import Seen
from etchproof.contract.taps import TokenArrays
from models.chip import ChipPlan
from models.diagnosis.logic.common import Array, Wrong, moved, roots
from models.diagnosis.units import Attended, AttnOut, Cache, Scores, Softmax


def cached(unit: Attended, plan: ChipPlan) -> Iterator[Wrong]:
    """Rows of the cache written and read wrongly, heads and elements taken wrongly."""
    what = "keys" if isinstance(unit, Scores) else "values"
    for kind, text, cache in (
        ("cache row", f"{what} are written into the next row", Cache(row=lambda position: position + 1)),
        ("cache row", f"{what} are written into the row before", Cache(row=lambda position: position - 1)),
        ("cache row", f"{what} are written into the row with its last bit inverted", Cache(lambda p: p ^ 1)),
        ("cache row", f"{what} are written into row 0 always", Cache(row=lambda position: 0)),
        ("cache row", f"{what} are never written", Cache(row=lambda position: -1)),
        ("stale cache row", f"{what} are read before they are written", Cache(late=True)),
        ("cache read", f"{what} of the next row are read", Cache(read=lambda row: row + 1)),
        ("cache read", f"{what} of the row before are read", Cache(read=lambda row: np.maximum(row - 1, 0))),
        (
            "cache read",
            f"{what} of the row with its last bit inverted are read",
            Cache(read=lambda row: row ^ 1),
        ),
        ("cache read", f"{what} are read in falling order", Cache(read=lambda row: row[::-1])),
        ("cache read", f"{what} of row 0 are read always", Cache(read=lambda row: 0 * row)),
    ):
        yield f"{kind} ({what})", text, replace(unit, cache=cache)
    keys, queries = unit.heads.keys, unit.heads.queries
    groups = queries // keys
    for text, of in (
        ("h mod the number of heads", lambda head: head % keys),
        ("always head 0", lambda head: 0),
        ("of the next head", lambda head: head // groups + 1),
        ("in falling order", lambda head: keys - 1 - head // groups),
        ("of the head with its last bit inverted", lambda head: (head // groups) ^ 1),
    ):
        yield f"head map of {what}", f"query heads read {what} {text}", replace(unit, map=of)
    yield f"{what} by element", f"{what} stand by element and then head", replace(unit, by_element=True)


def softmax(unit: Softmax, plan: ChipPlan) -> Iterator[Wrong]:
    """Maximum, scale, exponential and rows taken wrongly."""
    own = unit.exponential

    def running(scores: Array, before: Array | None) -> Array:
        here: Array = scores.max(axis=0)
        return here if before is None or len(scores) == 1 else np.maximum(here, before)

    for what, of in (
        ("of the token before is kept", running),
        ("is left out", lambda scores, before: np.zeros_like(scores[0])),
        ("is that of the first head", lambda scores, before: np.full_like(scores[0], scores[:, 0].max())),
        ("of all heads is taken", lambda scores, before: np.full_like(scores[0], scores.max())),
        ("is the score of the first row", lambda scores, before: scores[0]),
        ("is the score of the last row", lambda scores, before: scores[-1]),
        ("is the least", lambda scores, before: scores.min(axis=0)),
        ("is of all rows but the last", lambda scores, before: scores[: max(1, len(scores) - 1)].max(axis=0)),
    ):
        yield "softmax's maximum", f"the maximum {what}", replace(unit, maximum=of)
    for what, scale in (
        ("a power of two", 1 << 15),
        ("one more", unit.scale + 1),
        ("one less", unit.scale - 1),
        ("not divided by the root of the head's size", _unscaled(plan)),
    ):
        yield "softmax's scale", f"the scale is {what}", replace(unit, scale=scale)
    for kind, what, other in (
        ("exponent not limited", "the exponent is not limited", replace(own, limit=None)),
        ("exponent limited", "the exponent is limited to 15", replace(own, limit=15)),
        ("exponent limited", "the exponent is limited to 30", replace(own, limit=30)),
        ("table index", "the upper entry is the next one", replace(own, first=1)),
        ("table index", "both entries are the next ones", replace(own, first=1, second=2)),
        ("not interpolated", "the exponential is not interpolated", replace(own, chord=0)),
        ("interpolated the other way", "the exponential is interpolated upwards", replace(own, chord=-1)),
    ):
        yield kind, what, replace(unit, exponential=other)
    yield (
        "last row left out",
        "the last row keeps the weight that it held, and is not in the maximum",
        _as(_Short, unit),
    )
    yield (
        "mask",
        "the last row is not weighed",
        _as(_Masked, unit),
    )


def _as(kind: type[Softmax], unit: Softmax) -> Softmax:
    """A unit of another kind with the same fields."""
    return kind(**{field.name: getattr(unit, field.name) for field in fields(unit)})


class _Short(Softmax):
    """Rows but the last are weighed."""

    def compute(self, seen: Seen, at: npt.NDArray[np.intp]) -> list[Array]:
        short = replace(self, maximum=_but_the_last)
        return _kept(Softmax.compute(short, seen, at), self.heads)


def _but_the_last(scores: Array, before: Array | None) -> Array:
    found: Array = scores[: max(1, len(scores) - 1)].max(axis=0)
    return found


class _Masked(Softmax):
    """A token does not see itself."""

    def compute(self, seen: Seen, at: npt.NDArray[np.intp]) -> list[Array]:
        found = super().compute(seen, at)
        for weights in found:
            if len(weights) > self.heads:
                weights[-self.heads :] = 0
        return found


def _unscaled(plan: ChipPlan) -> int:
    return round(plan.softmax_scale * math.sqrt(plan.head_dim))


def last_row(unit: Scores | Softmax) -> Callable[[Seen], TokenArrays]:
    """Rows of a memory that outlasts a token, of which the last is not written."""

    def made(seen: Seen) -> TokenArrays:
        heads = unit.heads if isinstance(unit, Softmax) else unit.heads.queries
        return _kept(list(unit.made(seen)), heads)

    return made


def _kept(right: list[Array], heads: int) -> list[Array]:
    """What rows hold of which the last one is not written."""
    held = np.zeros(max(map(len, right), default=0), np.int64)
    found = []
    for vector in right:
        written = len(vector) - heads if len(vector) > heads else len(vector)
        held[:written] = vector[:written]
        found.append(held[: len(vector)].copy())
    return found


def attn_out(unit: AttnOut, plan: ChipPlan) -> Iterator[Wrong]:
    """Rows, sums, heads and reciprocal taken wrongly, beside what is cached."""
    yield from cached(unit, plan)

    def less(rows: int) -> slice:
        return slice(max(1, rows - 1))

    def added(weights: Array, before: Array | None) -> Array:
        here: Array = weights.sum(axis=0)
        return here if before is None else here + before

    yield "own row not weighed", "the values of the token's own row are left out", replace(unit, weighed=less)
    yield "own row not counted", "the weight of the token's own row is left out", replace(unit, counted=less)
    yield "own row left out", "the token's own row is left out", replace(unit, weighed=less, counted=less)
    yield "sum kept", "the sum of weights goes on from the token before", replace(unit, total=added)
    yield "values kept", "the sums of values go on from the token before", replace(unit, accumulates=True)
    yield "sums kept", "both sums go on from the token before", replace(unit, total=added, accumulates=True)
    for what, of in (("next", 1), ("before", -1)):
        yield (
            f"sum of the head {what}",
            f"is divided by the sum of the head {what}",
            replace(unit, sum_head=moved(of)),
        )
        yield (
            f"result of the head {what}",
            f"heads give the result of the head {what}",
            replace(unit, out_head=moved(of)),
        )
    yield (
        "result of the next head",
        "each head's result stands at the next one, at the last its own, at the first nothing",
        replace(unit, finish=_one_late),
    )
    yield (
        "mantissa of the next head",
        "the second step of Newton takes the mantissa of the next head",
        replace(unit, reciprocal=replace(unit.reciprocal, last=lambda m: np.append(m[1:], m[-1:]))),
    )
    yield (
        "sum of the first head",
        "is divided by the sum of the first head",
        replace(unit, sum_head=lambda head: 0 * head),
    )
    yield from roots(unit, "reciprocal")


def _one_late(heads: Array) -> Array:
    """(heads, size): each in the place of the next one."""
    found = np.zeros_like(heads)
    found[1:-1], found[-1:] = heads[:-2], heads[-1:]
    return found
