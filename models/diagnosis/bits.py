"""Bits of the ROM, solved for: which element, with which other value, gives what the chip has.

An output depends on one row of a matrix, one gain, one row of the embedding, one entry of a table. So each output that
differs is solved for by itself: its accumulator must lie where it rounds to what the chip has, at every token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from etchproof.contract.diagnosis import Hypothesis, Place, Question
from models.chip import ChipPlan
from models.diagnosis.arithmetic import half
from models.diagnosis.content import bits_of, place
from models.diagnosis.units import Embedding, Linear, LoraA, LoraB, Norm, Rope, Unit

Array = npt.NDArray[Any]

KIND: Final = "bit"
SEVERAL: Final = "bits"
_FREE: Final = np.int64(1) << 62
_ROWS: Final = 24  # outputs of one matrix that are solved for: more are no single bits
_COMBINED: Final = 6  # of the solutions of several outputs
_RANGE: Final = 256  # values of an element that are told apart
_EXCHANGED: Final = 2048  # columns of a row of which pairs are exchanged
_PAIRS: Final = 2048  # single bits of a row of which pairs are tried


@dataclass(frozen=True)
class Change:
    """An element with another value.

    Attributes:
        kind: "codes", "scales", "bias", "gains".
        element: its index.
        value: in place of its own, as it is computed with.
        own: as it should be.
        bits: of an element.
    """

    kind: str
    element: tuple[int, ...]
    value: int
    own: int
    bits: int

    @property
    def difference(self) -> int:
        """The bits that differ."""
        return (self.value ^ self.own) & ((1 << self.bits) - 1)

    def exchanges(self, other: Change) -> bool:
        """Whether each of two has what the other should have."""
        return self.kind == other.kind and self.value == other.own != self.own == other.value


def preimage(got: Array, shift: int, bits: int) -> tuple[Array, Array]:
    """The least and the largest accumulator that rounds to each output; saturated ends are free."""
    top = (1 << (bits - 1)) - 1
    low = (got << shift) - half(shift)
    high = low + (np.int64(1) << shift) - 1
    return np.where(got <= -top - 1, -_FREE, low), np.where(got >= top, _FREE, high)


def steps(acc: Array, operands: Array, low: Array, high: Array) -> tuple[int, int]:
    """The least and the largest d for which every acc + d * operand lies within low .. high; an empty range if none.

    Args:
        acc: (tokens,) likewise the others.
    """
    still = operands == 0
    if ((acc < low) | (acc > high))[still].any():
        return 1, 0
    below, above, by = (low - acc)[~still], (high - acc)[~still], operands[~still]
    if not len(by):
        return 1, 0
    first, last = np.where(by > 0, below, -above), np.where(by > 0, above, -below)
    by = np.abs(by)
    return int((-(-first // by)).max()), int((last // by).min())


def values(own: int, least: int, largest: int, bits: int, *, signed: bool) -> list[int]:
    """Other values of an element within a range, those that differ in the fewest bits first; a few of them."""
    floor, ceiling = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    least, largest = max(least, floor), min(largest, ceiling)
    raw = own & ((1 << bits) - 1)
    singles = []
    for bit in range(bits):
        value = raw ^ (1 << bit)
        value = value - (1 << bits) if signed and value >> (bits - 1) else value
        if least <= value <= largest:
            singles.append(value)
    if singles or least > largest:
        return singles
    some = range(least, min(largest, least + 4096) + 1)
    return sorted((v for v in some if v != own), key=lambda v: ((v ^ own) & ((1 << bits) - 1)).bit_count())[
        :3
    ]


def of_linear(unit: Linear, question: Question, plan: ChipPlan) -> Iterator[Hypothesis]:
    """Bits of codes, scales and biases."""
    got, made = np.asarray(question.got.values, np.int64), np.asarray(question.made)
    rows = np.flatnonzero((got != made).any(axis=0))
    if len(rows) > _ROWS:
        return
    x, sums = question.seen.of(unit.source, question.got.at), unit.sums(question.seen, question.got.at)
    solutions = []
    for row in rows.tolist():
        found = list(_of_row(unit, x, sums[:, row], got[:, row], row))
        if not found:
            found = list(_pairs(unit, x, sums[:, row], got[:, row], row))
        if not found:
            return
        solutions.append(found)
    for changes in _combined(solutions):
        yield _hypothesis(unit, plan, changes)


def _of_row(unit: Linear, x: Array, acc: Array, got: Array, row: int) -> Iterator[tuple[Change, ...]]:
    """Changes of one element that explain an output; those of single bits alone where there are any."""
    low, high = preimage(got, unit.shift, unit.bits)
    found = [*_codes(unit, x, acc, low, high, row), *_scales(unit, x, acc, low, high, row)]
    if unit.bias is not None:
        own = int(unit.bias[row])
        step = np.full_like(acc, 1 << unit.bias_shift)
        least, largest = steps(acc, step, low, high)
        for value in values(own, own + least, own + largest, 32, signed=True):
            found.append(Change("bias", (row,), value, own, 32))
    fewest = min((change.difference.bit_count() for change in found), default=0)
    yield from ((change,) for change in found if change.difference.bit_count() == fewest)


def _codes(unit: Linear, x: Array, acc: Array, low: Array, high: Array, row: int) -> Iterator[Change]:
    by = unit.scales[row].astype(np.int64)[unit.group_of] * x  # (tokens, K)
    for column, value, own in columns(by, acc, low, high, unit.codes[row].astype(np.int64), unit.code_bits):
        yield Change("codes", (row, column), value, own, unit.code_bits)


def columns(
    by: Array, acc: Array, low: Array, high: Array, elements: Array, bits: int
) -> Iterator[tuple[int, int, int]]:
    """Column, value and own value of each element of a row that alone explains an output.

    Args:
        by: (tokens, cols) what a step of each element adds to the accumulator.
        acc: (tokens,), and the least and the largest that it may be.
        elements: (cols,) with a sign, of so many bits.
    """
    most = 1 << (bits - 1)
    first = int(np.flatnonzero((acc < low) | (acc > high))[0])
    one = slice(first, first + 1)
    for column in np.flatnonzero(by[first]).tolist():
        least, largest = steps(acc[one], by[one, column], low[one], high[one])
        if least > largest or least > 2 * most or largest < -2 * most:
            continue
        least, largest = steps(acc, by[:, column], low, high)
        own = int(elements[column])
        for value in values(own, own + least, own + largest, bits, signed=True):
            yield column, value, own


def _scales(unit: Linear, x: Array, acc: Array, low: Array, high: Array, row: int) -> Iterator[Change]:
    codes = unit.codes[row].astype(np.int64)
    for group in range(unit.scales.shape[1]):
        part = slice(group * unit.group_size, (group + 1) * unit.group_size)
        least, largest = steps(acc, x[:, part] @ codes[part], low, high)
        own = int(unit.scales[row, group])
        for value in values(own, own + least, own + largest, 16, signed=False):
            yield Change("scales", (row, group), value, own, 16)


def _pairs(unit: Linear, x: Array, acc: Array, got: Array, row: int) -> Iterator[tuple[Change, ...]]:
    """Two single bits of one row."""
    low, high = preimage(got, unit.shift, unit.bits)
    singles: list[Change] = []
    moves: list[Array] = []
    codes, scales = unit.codes[row].astype(np.int64), unit.scales[row].astype(np.int64)
    by = scales[unit.group_of] * x
    for column, own in enumerate(codes.tolist()):
        for value in values(own, -(1 << 62), 1 << 62, unit.code_bits, signed=True):
            singles.append(Change("codes", (row, column), value, own, unit.code_bits))
            moves.append((value - own) * by[:, column])
    for group, own in enumerate(scales.tolist()):
        part = slice(group * unit.group_size, (group + 1) * unit.group_size)
        sums = x[:, part] @ codes[part]
        for value in values(own, -(1 << 62), 1 << 62, 16, signed=False):
            singles.append(Change("scales", (row, group), value, own, 16))
            moves.append((value - own) * sums)
    yield from _exchanges(unit, by, acc, low, high, row)
    if not singles or len(singles) > _PAIRS:
        return
    moved = np.array(moves)  # (singles, tokens)
    fits = np.ones((len(singles), len(singles)), dtype=bool)
    for token in range(moved.shape[1]):
        at = acc[token] + moved[:, token][:, None] + moved[:, token][None]
        fits &= (at >= low[token]) & (at <= high[token])
        if not fits.any():
            return
    for one, other in zip(*np.nonzero(np.triu(fits, 1)), strict=True):
        first, second = singles[one], singles[other]
        if (first.kind, first.element) != (second.kind, second.element) and first.kind == second.kind:
            yield first, second


def _exchanges(
    unit: Linear, by: Array, acc: Array, low: Array, high: Array, row: int
) -> Iterator[tuple[Change, ...]]:
    """Two codes of one row exchanged; ``by`` (tokens, cols) is what a step of each adds."""
    codes = unit.codes[row].astype(np.int64)
    if len(codes) > _EXCHANGED:
        return
    apart = codes[None] - codes[:, None]  # (one, other): what the one has too little
    fits = np.triu(apart != 0, 1)
    for token in range(len(acc)):
        moved = acc[token] + apart * (by[token][:, None] - by[token][None])
        fits &= (moved >= low[token]) & (moved <= high[token])
        if not fits.any():
            return
    for one, other in zip(*(part.tolist() for part in np.nonzero(fits)), strict=True):
        first, second = int(codes[one]), int(codes[other])
        yield (
            Change("codes", (row, one), second, first, unit.code_bits),
            Change("codes", (row, other), first, second, unit.code_bits),
        )


def _combined(solutions: Sequence[Sequence[Sequence[Change]]]) -> Iterator[list[Change]]:
    """One solution of each output, two elements that are exchanged first; a few of all there are."""
    if len(solutions) == 2:
        pairs = product(*solutions)
        yield from (
            [*one, *other]
            for one, other in pairs
            if len(one) == len(other) == 1 and one[0].exchanges(other[0])
        )
    for chosen in islice(product(*solutions), _COMBINED if len(solutions) > 1 else None):
        yield [change for part in chosen for change in part]


def _hypothesis(unit: Linear | Norm | Embedding, plan: ChipPlan, changes: Sequence[Change]) -> Hypothesis:
    arrays: dict[str, Any] = {}
    for change in changes:
        array = arrays.setdefault(change.kind, getattr(unit, change.kind).astype(np.int64))
        array[change.element] = change.value
    return hypothesis(unit, replace(unit, **arrays), plan, changes)


def hypothesis(unit: Unit, wrong: Unit, plan: ChipPlan, changes: Sequence[Change]) -> Hypothesis:
    """That elements of a unit have other bits."""
    named = [(_site(unit, change.kind), change.element, change.difference) for change in changes]
    where = place(unit, plan, named)
    count = sum(change.difference.bit_count() for change in changes)
    what = f"{'a bit is' if count == 1 else f'{count} bits are'} inverted"
    if len(changes) == 2 and changes[0].exchanges(changes[1]):
        one, other = (",".join(map(str, change.element)) for change in changes)
        kind, what = "elements exchanged", f"{changes[0].kind} [{one}] and [{other}] are exchanged"
        return Hypothesis(kind, what, wrong.made, " ".join(where.inject), 1, where)
    return Hypothesis(
        KIND if count == 1 else SEVERAL,
        what,
        wrong.made,
        at=" ".join(where.inject),
        rank=0 if count == 1 else 1 if count <= 4 else 4,
        place=where,
    )


def _site(unit: Unit, kind: str) -> str:
    return (
        unit.name
        if kind in ("codes", "gains")
        else kind
        if kind.startswith("rope")
        else f"{unit.name}.{kind}"
    )


def of_norm(unit: Norm, question: Question, plan: ChipPlan) -> Iterator[Hypothesis]:
    """Bits of gains."""
    got, made = np.asarray(question.got.values, np.int64), np.asarray(question.made)
    wrong = np.flatnonzero((got != made).any(axis=0))
    if len(wrong) > _ROWS:
        return
    u = unit.normal(question.seen, question.got.at)
    solutions: list[list[Change]] = []
    for element in wrong.tolist():
        own = int(unit.gains[element])
        low, high = preimage(got[:, element], unit.shift, unit.bits)
        least, largest = steps(np.zeros(len(u), np.int64), u[:, element], low, high)
        solutions.append(
            [
                Change("gains", (element,), value, own, 16)
                for value in values(own, least, largest, 16, signed=True)
            ]
        )
    for changes in _combined([[[change] for change in each] for each in solutions]):
        yield _hypothesis(unit, plan, changes)


def of_embedding(unit: Embedding, question: Question, plan: ChipPlan) -> Iterator[Hypothesis]:
    """Bits of codes and scales of the rows that tokens read."""
    got, made = np.asarray(question.got.values, np.int64), np.asarray(question.made)
    tokens = question.seen.tokens[question.got.at]
    solutions: list[list[list[Change]]] = []
    for token in np.unique(tokens[question.differs]).tolist():
        row = int(question.differs[tokens[question.differs] == token][0])
        wrong = np.flatnonzero(got[row] != made[row])
        low, high = preimage(got[row], unit.shift, 32)
        found: list[list[Change]] = []
        for group in range(unit.scales.shape[1]):
            part = slice(group * unit.group_size, (group + 1) * unit.group_size)
            if not set(wrong.tolist()) <= set(range(len(made[row]))[part]):
                continue
            codes, own = unit.codes[token, part].astype(np.int64), int(unit.scales[token, group])
            least, largest = steps(np.zeros(len(codes), np.int64), codes, low[part], high[part])
            for value in values(own, least, largest, 16, signed=False):
                found.append([Change("scales", (token, group), value, own, 16)])
        each: list[list[Change]] = []
        for element in wrong.tolist() if len(wrong) <= _ROWS else ():
            own = int(unit.codes[token, element])
            scale = int(unit.scales[token, element // unit.group_size])
            least, largest = steps(
                np.zeros(1, np.int64),
                np.array([scale]),
                low[element : element + 1],
                high[element : element + 1],
            )
            each.append(
                [
                    Change("codes", (token, element), value, own, plan.embedding.bits)
                    for value in values(own, least, largest, plan.embedding.bits, signed=True)
                ]
            )
        if each:
            found += list(_combined([[[change] for change in one] for one in each]))
        solutions.append(found)
    for changes in _combined(solutions):
        if len(changes) <= _ROWS:
            yield _hypothesis(unit, plan, changes)


def of_rope(unit: Rope, question: Question, plan: ChipPlan) -> Iterator[Hypothesis]:
    """Bits of cosines and sines, of one position and pair."""
    got = np.asarray(question.got.values, np.int64)
    at = question.got.at
    positions = question.seen.positions[at]
    heads = got.reshape(len(at), unit.heads, -1)
    size = unit.head_size // 2
    wrong = (got != np.asarray(question.made)).reshape(heads.shape)
    wrong = (wrong[..., :size] | wrong[..., size:]).any(axis=1)  # (tokens, pairs)
    places = {(int(positions[token]), int(pair)) for token, pair in zip(*np.nonzero(wrong), strict=True)}
    if len(places) != 1:
        return
    ((position, pair),) = places
    here = positions == position
    first, second = (part[here][..., pair] for part in unit.split(question.seen.of(unit.source, at)))
    cos, sin = int(unit.cos[position, pair]), int(unit.sin[position, pair])
    low, high = preimage(
        np.stack((heads[here][..., pair], heads[here][..., pair + size])).reshape(-1), unit.shift, unit.bits
    )
    sums = np.stack((first * cos - second * sin, second * cos + first * sin)).reshape(-1)
    for name, own, by in (
        ("cos", cos, np.stack((first, second)).reshape(-1)),
        ("sin", sin, np.stack((-second, first)).reshape(-1)),
    ):
        least, largest = steps(sums, by, low, high)
        for value in values(own, own + least, own + largest, 16, signed=True):
            table = getattr(unit, name).astype(np.int64)
            table[position, pair] = value
            change = Change(f"rope.{name}", (position, pair), value, own, 16)
            yield hypothesis(unit, replace(unit, **{name: table}), plan, [change])


def of_lora_a(unit: LoraA, question: Question, slots: int) -> Iterator[Hypothesis]:
    """Bits of A of one adapter."""
    for adapter, at, got, made in _by_adapter(question):
        a, shift = unit.matrices[adapter]
        x = question.seen.of(unit.source, at)
        sums = x @ a.astype(np.int64).T
        low, high = preimage(got, shift, 16)
        found: list[list[tuple[int, int, int, int]]] = []
        for row in np.flatnonzero((got != made).any(axis=0)).tolist():
            solved = columns(x, sums[:, row], low[:, row], high[:, row], a[row].astype(np.int64), 16)
            found.append([(row, *one) for one in solved])
        for chosen in islice(product(*found), _COMBINED if len(found) > 1 else None):
            changed = a.astype(np.int64)
            for row, column, value, _ in chosen:
                changed[row, column] = value
            wrong = replace(unit, matrices={**unit.matrices, adapter: (changed, shift)})
            yield _of_adapter(unit, wrong, adapter % slots, "lora_A", chosen)


def of_lora_b(unit: LoraB, question: Question, slots: int) -> Iterator[Hypothesis]:
    """Bits of B of one adapter."""
    for adapter, at, got, made in _by_adapter(question):
        b = unit.matrices[adapter].astype(np.int64)
        h = np.stack([np.asarray(one, np.int64) for one in question.seen.ragged(unit.source, at)])
        found: list[list[tuple[int, int, int, int]]] = []
        for row in np.flatnonzero((got != made).any(axis=0)).tolist():
            solved = columns(h, made[:, row], got[:, row], got[:, row], b[row], 16)
            found.append([(row, *one) for one in solved])
        for chosen in islice(product(*found), _COMBINED if len(found) > 1 else None):
            changed = b.copy()
            for row, column, value, _ in chosen:
                changed[row, column] = value
            wrong = replace(unit, matrices={**unit.matrices, adapter: changed})
            yield _of_adapter(unit, wrong, adapter % slots, "lora_B", chosen)


def _by_adapter(question: Question) -> Iterator[tuple[int, Array, Array, Array]]:
    """Where vectors of one adapter alone differ, and few elements: it, its tokens, what the chip has and should."""
    adapters = question.seen.adapters[question.got.at]
    wrong = np.unique(adapters[question.differs])
    if len(wrong) != 1:
        return
    rows = np.flatnonzero(adapters == wrong[0])
    got, made = (
        np.stack([np.asarray(values[row], np.int64) for row in rows])
        for values in (question.got.values, question.made)
    )
    if np.count_nonzero((got != made).any(axis=0)) <= _ROWS:
        yield int(wrong[0]), question.got.at[rows], got, made


def _of_adapter(
    unit: LoraA | LoraB, wrong: Unit, slot: int, name: str, changes: Sequence[tuple[int, int, int, int]]
) -> Hypothesis:
    base = unit.name.rpartition(".")[0]
    differences = [(row, column, (value ^ own) & 0xFFFF) for row, column, value, own in changes]
    inject = tuple(
        f"lora:{slot}:{base}.{name}[{row},{column}]^{bit}"
        for row, column, difference in differences
        for bit in bits_of(difference)
    )
    row, column, difference = differences[0]
    where = Place(
        tensor=f"{base}.{name}.weight",
        element=(row, column),
        inject=inject,
        bits=bits_of(difference),
        instance=unit.place.instance,
        file=unit.place.file,
    )
    count = len(inject)
    what = f"{'a bit is' if count == 1 else f'{count} bits are'} inverted in the adapter's SRAM"
    kind = KIND if count == 1 else SEVERAL
    return Hypothesis(kind, what, wrong.made, " ".join(inject), 0 if count == 1 else 1, where)
