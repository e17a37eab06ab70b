"""What may be wrong with the logic of the units: each is the unit with another field."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from etchproof.contract.diagnosis import BASE, Column, Hypothesis, Question, Seen
from etchproof.contract.taps import TapKey, TokenArrays
from models.chip import ChipPlan
from models.diagnosis.arithmetic import CLAMPINGS, ROUNDINGS, wrap
from models.diagnosis.units import (
    Argmax,
    Attended,
    AttnOut,
    Cache,
    Embedding,
    Index,
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

Array = npt.NDArray[Any]
Wrong = tuple[str, str, Any]
"""Kind, what is wrong, and the unit that has it."""

_RANK: Final = 3
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
            yield Hypothesis(kind, what, wrong.made, f"{unit.module}: {what}", _RANK)
    yield from _primitives(unit)
    if isinstance(unit, Rope):
        yield from _positions(unit, question)
    if isinstance(unit, Residual):
        yield from _addends(unit, words)
    yield from _moved_inputs(unit, plan)
    if isinstance(unit, Scores | Softmax):
        yield Hypothesis(
            "last row not written",
            "the last row keeps what it held",
            _last_row(unit),
            "attention: last row",
            _RANK,
        )


def _primitives(unit: Unit) -> Iterator[Hypothesis]:
    """Another rounding or saturation, of all stages or of one; every module has it where its package is wrong."""
    if isinstance(unit, Argmax | Scores | LoraB):
        return
    prims = unit.prims
    for kind, (what, rounding) in ROUNDINGS.items():
        wrong = replace(unit, prims=replace(prims, rs=rounding))
        yield Hypothesis(f"rounding: {kind}", f"what is shifted {what}", wrong.made, "rounding", _RANK)
    for stage in _STAGES.get(type(unit), ()):
        for kind, (what, rounding) in ROUNDINGS.items():
            wrong = replace(unit, prims=replace(prims, stages={stage: rounding}))
            named = f"rounding of {stage}: {kind}"
            yield Hypothesis(named, f"{stage} {what}", wrong.made, f"{unit.module}: {stage}", _RANK + 1)
    for kind, (what, clamping) in CLAMPINGS.items():
        wrong = replace(unit, prims=replace(prims, sat=clamping))
        yield Hypothesis(f"saturation: {kind}", f"the output {what}", wrong.made, "saturation", _RANK)


def _cut(bits: int) -> Index:
    return lambda number: number & ((1 << bits) - 1)


def _moved(by: int) -> Index:
    return lambda number: number + by


def _wrapped(width: int) -> Index:
    return lambda sums: wrap(sums, width)


def _always(adapter: int) -> Callable[[int], int]:
    return lambda _: adapter


def _other(of: Mapping[int, int]) -> Callable[[int], int]:
    return lambda adapter: of.get(adapter, BASE)


def _embedding(unit: Embedding, plan: ChipPlan) -> Iterator[Wrong]:
    width = max(1, (plan.vocab_size - 1).bit_length())
    for bits in range(1, width):
        yield (
            "token id truncated",
            f"the token id is cut to {bits} bits",
            replace(
                unit,
                row=_cut(bits),
                scale_row=_cut(bits),
            ),
        )
    for what, of in _NEIGHBOURS:
        yield "neighbour row", f"reads the row {what}", replace(unit, row=of, scale_row=of)
    for what, changed in _offsets(unit.codes.astype(np.int64), plan.embedding.bits):
        yield "offset of codes", what, replace(unit, codes=changed)


_NEIGHBOURS: Final[tuple[tuple[str, Callable[[Array], Array]], ...]] = (
    ("of the token whose last bit is inverted", lambda token: token ^ 1),
    ("of the next token id", lambda token: token + 1),
    ("of the token id before", lambda token: token - 1),
    ("of token 0", lambda token: 0 * token),
)


def _paired(r: Array) -> Array:
    """(tokens, H) with elements exchanged in pairs."""
    index = np.arange(r.shape[1]) ^ 1
    found: Array = r[:, np.minimum(index, r.shape[1] - 1)]
    return found


def _norm(unit: Norm, plan: ChipPlan) -> Iterator[Wrong]:
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
    yield from _roots(unit, "root")


def _roots(unit: Any, field: str) -> Iterator[Wrong]:
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


def _offsets(codes: Array, bits: int) -> Iterator[tuple[str, Array]]:
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


def _linear(unit: Linear, plan: ChipPlan) -> Iterator[Wrong]:
    bits, lanes, inputs = unit.code_bits, plan.tile_rows, plan.tile_inputs
    codes = unit.codes.astype(np.int64)
    yield (
        "scale with a sign",
        "scales are read with a sign",
        replace(unit, scales=unit.scales.astype(np.int16)),
    )
    for what, changed in _offsets(codes, bits):
        yield "offset of codes", what, replace(unit, codes=changed)
    for width in (24, 28, 31, 32, 33, 36, 40, 48):
        yield (
            f"accumulator of {width} bits",
            f"the accumulator wraps at {width} bits",
            replace(unit, finish=_wrapped(width)),
        )
    chunks = -(-codes.shape[1] // inputs)
    of = np.arange(codes.shape[1]) // inputs
    for chunk in range(chunks if chunks > 1 else 0):
        for kind, what, kept in (
            ("chunk alone", f"chunk {chunk} of the inputs alone is summed", (of == chunk).astype(np.int64)),
            ("chunk missing", f"chunk {chunk} of the inputs is not summed", (of != chunk).astype(np.int64)),
            (
                "chunk twice",
                f"chunk {chunk} of the inputs is summed twice",
                1 + (of == chunk).astype(np.int64),
            ),
        ):
            yield kind, what, replace(unit, codes=codes * kept)
    for what, which in (
        ("of the first chunk in each", lambda k: k % inputs),
        ("of chunks whose number is cut to one bit", lambda k: (k // inputs & 1) * inputs + k % inputs),
        ("of the next block", lambda k: k + lanes),
        ("of the block before", lambda k: k - lanes),
        ("of the block whose last bit is inverted", lambda k: ((k // lanes) ^ 1) * lanes + k % lanes),
        ("of the next lane", lambda k: k // lanes * lanes + (k + 1) % lanes),
        ("of the lane before", lambda k: k // lanes * lanes + (k - 1) % lanes),
    ):
        yield "inputs moved", f"takes the inputs {what}", replace(unit, input=which)
    for lane in range(min(lanes, codes.shape[1])):
        kept = (np.arange(codes.shape[1]) % lanes != lane).astype(np.int64)
        yield "lane missing", f"inputs of lane {lane} are not summed", replace(unit, codes=codes * kept)
    if unit.bias is None:
        yield (
            "sum kept over blocks",
            "a block of rows begins with the sums of the block before",
            replace(unit, finish=lambda sums: _cumulated(sums, lanes)),
        )
    else:
        yield "bias left out", "the bias is left out", replace(unit, bias=None)
        yield "bias not shifted", "the bias is not shifted", replace(unit, bias_shift=0)
        yield "bias negated", "the bias is subtracted", replace(unit, bias=-unit.bias.astype(np.int64))
    if unit.added is not None:
        key, shifts = unit.added
        yield "adapter absent", "what the adapter adds is left out", replace(unit, added=None)
        yield "adapter twice", "what the adapter adds is added twice", replace(unit, times=2)
        yield "adapter negated", "what the adapter adds is subtracted", replace(unit, times=-1)
        yield "adapter at each chunk", "is added at each chunk of inputs", replace(unit, times=chunks)
        for what, scaled in (
            ("is not shifted", dict.fromkeys(shifts, 0)),
            ("is shifted by one more", {one: shift + 1 for one, shift in shifts.items()}),
            ("is shifted by one less", {one: max(0, shift - 1) for one, shift in shifts.items()}),
            ("is shifted by half", {one: shift >> 1 for one, shift in shifts.items()}),
        ):
            yield (
                "adapter scaled wrongly",
                f"what the adapter adds {what}",
                replace(unit, added=(key, scaled)),
            )


def _cumulated(sums: Array, lanes: int) -> Array:
    padded = np.zeros((len(sums), -(-sums.shape[1] // lanes) * lanes), np.int64)
    padded[:, : sums.shape[1]] = sums
    found = padded.reshape(len(sums), -1, lanes).cumsum(axis=1).reshape(len(sums), -1)
    return found[:, : sums.shape[1]]


def _lora_a(unit: LoraA, plan: ChipPlan) -> Iterator[Wrong]:
    yield from _adapters(unit)
    for what, step in (("more", 1), ("less", -1)):
        matrices = {one: (a, max(0, shift + step)) for one, (a, shift) in unit.matrices.items()}
        yield f"shift one {what}", f"h is shifted by one {what}", replace(unit, matrices=matrices)
    lanes = plan.tile_rows
    for what, moved in (("of the next lane", 1), ("of the lane before", -1)):
        matrices = {one: (np.roll(a, moved, axis=1), shift) for one, (a, shift) in unit.matrices.items()}
        yield "inputs moved", f"takes the inputs {what}", replace(unit, matrices=matrices)
    matrices = {one: (_blocks_exchanged(a, lanes), shift) for one, (a, shift) in unit.matrices.items()}
    yield "inputs moved", "takes the inputs of the neighbour block", replace(unit, matrices=matrices)


def _blocks_exchanged(a: Array, lanes: int) -> Array:
    """With the columns of each two blocks exchanged, as far as there are two."""
    block = np.arange(a.shape[1]) // lanes
    columns = (block ^ 1) * lanes + np.arange(a.shape[1]) % lanes
    found = np.zeros_like(a)
    inside = columns < a.shape[1]
    found[:, columns[inside]] = a[:, inside]
    return found


def _lora_b(unit: LoraB, plan: ChipPlan) -> Iterator[Wrong]:
    yield from _adapters(unit)
    yield "h of the next rank", "takes h of the next rank", replace(unit, rank=lambda rank: rank + 1)
    yield "h of the rank before", "takes h of the rank before", replace(unit, rank=lambda rank: rank - 1)
    yield "adapter twice", "the product is added twice", replace(unit, times=2)
    lanes = plan.tile_rows
    matrices = {one: _ranks_first(b, lanes) for one, b in unit.matrices.items()}
    yield (
        "B by rank and block",
        "words of B are read by rank and then block",
        replace(unit, matrices=matrices),
    )


def _ranks_first(b: Array, lanes: int) -> Array:
    """B whose words, by block and rank, are read by rank and block."""
    rows, rank = b.shape
    blocks = -(-rows // lanes)
    padded = np.zeros((blocks * lanes, rank), b.dtype)
    padded[:rows] = b
    words = padded.reshape(blocks, lanes, rank).swapaxes(1, 2).reshape(-1, lanes)  # (blocks * rank, lanes)
    turned = words.reshape(rank, blocks, lanes)
    return turned.transpose(1, 2, 0).reshape(-1, rank)[:rows]


def _adapters(unit: Any) -> Iterator[Wrong]:
    known = sorted(unit.matrices)
    yield "adapter absent", "the adapter's matrix is 0", replace(unit, of=lambda adapter: BASE)
    for other in known if len(known) > 1 else ():
        yield (
            "adapter of another slot",
            f"adapter {other} is used for each",
            replace(unit, of=_always(other)),
        )
    if len(known) > 1:
        for step in (1, -1):
            after = dict(zip(known, [*known[step:], *known[:step]], strict=True))
            yield (
                "adapter of another slot",
                f"the adapter {'after' if step > 0 else 'before'} is used",
                replace(unit, of=_other(after)),
            )


def _rope(unit: Rope, plan: ChipPlan) -> Iterator[Wrong]:
    pairs = unit.cos.shape[1]
    yield "pairs interleaved", "turns neighbours, not halves", replace(unit, interleaved=True)
    yield "rotated the other way", "the sine has the other sign", replace(unit, turn=-1)
    yield (
        "cosine and sine exchanged",
        "cosine and sine are exchanged",
        replace(unit, cos=unit.sin, sin=unit.cos),
    )
    yield "sine of the cosines", "cosines are read for sines", replace(unit, sin=unit.cos)
    yield "cosine of the sines", "sines are read for cosines", replace(unit, cos=unit.sin)
    yield (
        "frequencies in falling order",
        "frequencies stand in falling order",
        replace(unit, pair=lambda pair: pairs - 1 - pair),
    )
    for step in (1, -1, 2):
        yield (
            "position",
            f"turns by position {'+' if step > 0 else '-'} {abs(step)}",
            replace(unit, position=_moved(step)),
        )
    yield "position", "turns by position 0 always", replace(unit, position=lambda position: 0 * position)
    yield (
        "position",
        "turns by the position with its last bit inverted",
        replace(unit, position=lambda position: position ^ 1),
    )
    for bits in range(1, max(1, (plan.context - 1).bit_length())):
        yield (
            "position truncated",
            f"the position is cut to {bits} bits",
            replace(unit, position=_cut(bits)),
        )


def _positions(unit: Rope, question: Question) -> Iterator[Hypothesis]:
    """Positions that go on where a sequence ends."""

    def kept(seen: Seen) -> TokenArrays:
        return unit.made(replace(seen, positions=np.arange(len(seen), dtype=np.int64)))

    yield Hypothesis(
        "position kept", "positions go on over the end of a sequence", kept, "rope: position kept", _RANK
    )


def _cached(unit: Attended, plan: ChipPlan) -> Iterator[Wrong]:
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


def _softmax(unit: Softmax, plan: ChipPlan) -> Iterator[Wrong]:
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


def _last_row(unit: Scores | Softmax) -> Callable[[Seen], TokenArrays]:
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


def _attn_out(unit: AttnOut, plan: ChipPlan) -> Iterator[Wrong]:
    yield from _cached(unit, plan)

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
            replace(unit, sum_head=_moved(of)),
        )
        yield (
            f"result of the head {what}",
            f"heads give the result of the head {what}",
            replace(unit, out_head=_moved(of)),
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
    yield from _roots(unit, "reciprocal")


def _one_late(heads: Array) -> Array:
    """(heads, size): each in the place of the next one."""
    found = np.zeros_like(heads)
    found[1:-1], found[-1:] = heads[:-2], heads[-1:]
    return found


def _swiglu(unit: Swiglu, plan: ChipPlan) -> Iterator[Wrong]:
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


def _residual(unit: Residual, plan: ChipPlan) -> Iterator[Wrong]:
    yield "residual twice", "the residual is added twice", replace(unit, times=2)
    yield "residual left out", "the residual is left out", replace(unit, times=0)
    yield "subtracted", "what should be added is subtracted", replace(unit, sign=-1)
    yield "addend left out", "what should be added is left out", replace(unit, sign=0)


def _addends(unit: Residual, words: Mapping[str, int]) -> Iterator[Hypothesis]:
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
    yield Hypothesis(kind, "takes the other addend, with its shift", wrong.made, at, _RANK)
    yield Hypothesis(kind, "takes the other addend of the token before, with its shift", late, at, _RANK)
    kept = replace(unit, added=key)
    yield Hypothesis(kind, "takes the other addend, with its own shift", kept.made, at, _RANK)


def _moved_inputs(unit: Any, plan: ChipPlan) -> Iterator[Hypothesis]:
    """Blocks and lanes of a vector that come in at another place."""
    lanes = plan.tile_rows
    for source in _VECTORS.get(type(unit), lambda unit: ())(unit):
        is_stream = source[1] in ("embedding", "attn_residual", "mlp_residual")
        name = "the residual" if is_stream else source[1]
        for kind, what, of in _moves(lanes):
            yield Hypothesis(
                f"{kind} of {name}",
                f"of {name}, {what}",
                _with_moved(unit, source, of),
                "residual stream" if is_stream else f"{unit.module}: {kind}",
                _RANK,
            )


_VECTORS: Final[dict[type, Callable[[Any], tuple[TapKey, ...]]]] = {
    Norm: lambda unit: (unit.source,),
    Residual: lambda unit: (unit.before, unit.added),
    Swiglu: lambda unit: (unit.gate, unit.up),
    Rope: lambda unit: (unit.source,),
    AttnOut: lambda unit: (unit.cached,),
    Scores: lambda unit: (unit.source, unit.cached),
}
"""The taps that a unit reads in blocks of lanes."""


def _moves(lanes: int) -> Iterator[tuple[str, str, Callable[[Array, int], Array]]]:
    """Kind, what is wrong, and the element that is read, of each and their number."""

    def blocks(of: Callable[[Array, int], Array]) -> Callable[[Array, int], Array]:
        return lambda element, size: of(element // lanes, -(-size // lanes)) * lanes + element % lanes

    def inside(of: Index) -> Callable[[Array, int], Array]:
        return lambda element, size: element // lanes * lanes + of(element % lanes) % lanes

    for what, of in (
        ("the first block is taken for each", lambda block, count: 0 * block),
        ("the last block is taken for each", lambda block, count: 0 * block + count - 1),
        ("blocks are exchanged in pairs", lambda block, count: np.where(block ^ 1 < count, block ^ 1, block)),
        ("blocks are exchanged in pairs, and one without another is 0", lambda block, count: block ^ 1),
        ("the block before is taken", lambda block, count: (block - 1) % count),
        ("the block after is taken", lambda block, count: (block + 1) % count),
        ("blocks stand in falling order", lambda block, count: count - 1 - block),
    ):
        yield "blocks", what, blocks(of)
    for what, lane in (
        ("lanes are exchanged in pairs", lambda lane: lane ^ 1),
        ("the next lane is taken", lambda lane: lane + 1),
        ("the lane before is taken", lambda lane: lane - 1),
        ("lanes stand in falling order", lambda lane: lanes - 1 - lane),
        ("the first lane is taken for each", lambda lane: 0 * lane),
    ):
        yield "lanes", what, inside(lane)


def _with_moved(
    unit: Unit, source: TapKey, of: Callable[[Array, int], Array]
) -> Callable[[Seen], TokenArrays]:
    def made(seen: Seen) -> TokenArrays:
        column = seen.taps[source]
        values = np.asarray(column.values)
        moved = of(np.arange(values.shape[1]), values.shape[1])
        inside = moved < values.shape[1]
        taken = np.zeros_like(values)
        taken[:, inside] = values[:, moved[inside]]
        return unit.made(seen.having({source: Column(column.at, taken)}))

    return made


def _argmax(unit: Argmax, plan: ChipPlan) -> Iterator[Wrong]:
    vocab, lanes = plan.vocab_size, plan.tile_rows

    def last(logits: Array) -> Array:
        return np.asarray(vocab - 1 - logits[:, ::-1].argmax(axis=1))

    def unsigned(logits: Array) -> Array:
        return np.asarray((logits & 0xFFFF).argmax(axis=1))

    def padded(logits: Array) -> Array:
        return np.where(logits.max(axis=1) < 0, vocab, logits.argmax(axis=1))

    def kept(logits: Array) -> Array:
        found, best, token = [], np.int64(-(1 << 62)), 0
        for row in logits:
            if row.max() > best:
                best, token = row.max(), int(row.argmax())
            found.append(token)
        return np.array(found)

    for kind, what, choose in (
        ("argmax tie", "of equal logits the last is chosen", last),
        ("logits without sign", "logits are compared without a sign", unsigned),
        ("least logit", "the least logit is chosen", lambda logits: logits.argmin(axis=1)),
        ("largest of all tokens", "the largest logit of the tokens before is kept", kept),
        ("padding takes part", "padding takes part, which is 0", padded),
        (
            "lane in place of index",
            "the lane is given, not the index",
            lambda logits: logits.argmax(axis=1) % lanes,
        ),
        (
            "last block left out",
            "the last block is left out",
            lambda logits: logits[:, : max(1, (vocab - 1) // lanes * lanes)].argmax(axis=1),
        ),
        (
            "last block alone",
            "the last block alone counts",
            lambda logits: (
                logits[:, (vocab - 1) // lanes * lanes :].argmax(axis=1) + (vocab - 1) // lanes * lanes
            ),
        ),
    ):
        yield kind, what, replace(unit, choose=choose)
    index = np.arange(vocab)
    for lane in range(lanes):
        yield (
            "lane left out",
            f"lane {lane} is left out",
            replace(unit, choose=_chosen(index % lanes != lane)),
        )
    for block in range(-(-vocab // lanes)):
        counts = index // lanes != block
        yield "block left out", f"block {block} is left out", replace(unit, choose=_chosen(counts))
    swapped = ((index // lanes) ^ 1) * lanes + index % lanes
    moved = np.where(swapped < vocab, swapped, index)
    yield (
        "blocks exchanged",
        "logits of blocks are exchanged in pairs",
        replace(unit, choose=lambda logits: logits[:, moved].argmax(axis=1)),
    )
    for bits in range(1, (vocab - 1).bit_length()):
        yield (
            "index truncated",
            f"the index is cut to {bits} bits",
            replace(unit, choose=_truncated(bits)),
        )


def _chosen(counts: Array) -> Index:
    return lambda logits: np.where(counts, logits, np.iinfo(np.int64).min).argmax(axis=1)


def _truncated(bits: int) -> Index:
    return lambda logits: np.asarray(logits.argmax(axis=1) & ((1 << bits) - 1))


_FAMILIES: Final[dict[type, Callable[[Any, ChipPlan], Iterator[Wrong]]]] = {
    Embedding: _embedding,
    Norm: _norm,
    Linear: _linear,
    LoraA: _lora_a,
    LoraB: _lora_b,
    Rope: _rope,
    Scores: _cached,
    Softmax: _softmax,
    AttnOut: _attn_out,
    Swiglu: _swiglu,
    Residual: _residual,
    Argmax: _argmax,
}
