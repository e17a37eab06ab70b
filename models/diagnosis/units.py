"""The units of this chip, each a record that makes its tap from others (docs/numerics.md).

A wrong chip is a unit with another field: what may be wrong with a unit is said by ``dataclasses.replace``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from etchproof.contract.diagnosis import Excluded, Hypothesis, Place, Question, Seen
from etchproof.contract.taps import TapKey, TokenArrays
from models.diagnosis.arithmetic import (
    RIGHT,
    Exponential,
    Primitives,
    Reciprocal,
    Root,
    Sigmoid,
    bit_length,
)
from models.rom.margins import dot

Array = npt.NDArray[Any]
Rows = npt.NDArray[np.intp]
Index = Callable[[Array], Array]
Families = Callable[[Any, Question], Iterator[Hypothesis | Excluded]]

RESIDUAL_BITS: Final = 32
LORA_BITS: Final = 16
LORA_PRODUCT_BITS: Final = 64


def same(index: Array) -> Array:
    """The index itself."""
    return index


@dataclass(frozen=True, eq=False)
class Unit:
    """What all units have (``etchproof.contract.diagnosis.Unit``).

    Attributes:
        name: in Hugging Face's words.
        module: of the RTL, "linear" for ``ep_linear``.
        result: the tap that it makes.
        place: in the RTL.
        lanes: of every vector.
        families: what may be wrong with it.
        prims: what it computes with.
    """

    name: str
    module: str
    result: TapKey
    place: Place
    lanes: int
    families: Families = field(repr=False)
    prims: Primitives = field(default=RIGHT, kw_only=True)

    @property
    def sources(self) -> tuple[TapKey, ...]:
        """The taps that it reads."""
        return ()

    @property
    def memory(self) -> bool:
        """Whether it reads taps of earlier tokens."""
        return False

    @property
    def head_size(self) -> int | None:
        """Elements of a head; None where there are none."""
        return None

    def groups(self, elements: int) -> Mapping[str, Rows]:
        """Lane and block of each element, and its head."""
        at = np.arange(elements)
        found = {"block": at // self.lanes, "lane": at % self.lanes}
        return found if self.head_size is None else {**found, "head": at // self.head_size}

    def hypotheses(self, question: Question) -> Iterator[Hypothesis | Excluded]:
        """What may be wrong with it."""
        yield from self.families(self, question)

    def made(self, seen: Seen) -> TokenArrays:
        """Its tap, of the tokens that have it."""
        return self.compute(seen, seen.taps[self.result].at)

    def compute(self, seen: Seen, at: Rows) -> TokenArrays:
        """Its tap, of some tokens."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Embedding(Unit):
    """Section 2.

    Attributes:
        codes: (V, H); ``scales`` (V, groups).
        row: the row that a token reads; ``scale_row`` likewise of the scales.
        group: the group of an element.
    """

    codes: Array = field(kw_only=True)
    scales: Array = field(kw_only=True)
    group_size: int = field(kw_only=True)
    shift: int = field(kw_only=True)
    row: Index = field(default=same, kw_only=True)
    scale_row: Index = field(default=same, kw_only=True)
    group: Index = field(default=same, kw_only=True)

    def compute(self, seen: Seen, at: Rows) -> Array:
        tokens = seen.tokens[at]
        rows, scale_rows = (which(tokens) % len(self.codes) for which in (self.row, self.scale_row))
        groups = self.group(np.arange(self.codes.shape[1]) // self.group_size) % self.scales.shape[1]
        scaled = self.codes[rows].astype(np.int64) * self.scales[scale_rows].astype(np.int64)[:, groups]
        return self.prims.sat(self.prims.rs(scaled, self.shift), RESIDUAL_BITS)


def magnitude(r: Array) -> Array:
    """|r|."""
    return np.abs(r)


@dataclass(frozen=True, eq=False)
class Norm(Unit):
    """Section 3.

    Attributes:
        source: the residual.
        gains: (H,).
        epsilon: E.
        root: of section 3.1.
        magnitude: of which the largest is taken.
        kept: bits that are left of the largest magnitude, and from how many on some are lost.
        squares: what is summed, of q.
        exponents: by how many times s epsilon is shifted.
    """

    source: TapKey = field(kw_only=True)
    gains: Array = field(kw_only=True)
    epsilon: int = field(kw_only=True)
    shift: int = field(kw_only=True)
    bits: int = field(kw_only=True)
    root: Root = field(kw_only=True)
    magnitude: Index = field(default=magnitude, kw_only=True)
    kept: tuple[int, int] = field(default=(24, 24), kw_only=True)
    squares: Index = field(default=lambda q: q * q, kw_only=True)
    shifted: bool = field(default=True, kw_only=True)
    exponents: int = field(default=2, kw_only=True)

    @property
    def sources(self) -> tuple[TapKey, ...]:
        return (self.source,)

    def normal(self, seen: Seen, at: Rows) -> Array:
        """u, (tokens, H)."""
        r = seen.of(self.source, at)
        kept, limit = self.kept
        length = bit_length(np.maximum(self.magnitude(r), 0).max(axis=1, keepdims=True))
        s = np.where(length > limit, length - kept, 0)
        q = self.prims.stage("q")(r, s)
        squares = self.squares(q if self.shifted else r)
        v = squares.sum(axis=1, keepdims=True) + (
            np.int64(self.epsilon) >> np.minimum(self.exponents * s, 62)
        )
        y, n = self.root(np.maximum(v, 1))
        return self.prims.stage("u")(q * y, np.maximum((n >> 1) - 1, 0))

    def compute(self, seen: Seen, at: Rows) -> Array:
        gained = self.normal(seen, at) * self.gains.astype(np.int64)
        return self.prims.sat(self.prims.rs(gained, self.shift), self.bits)


@dataclass(frozen=True, eq=False)
class Linear(Unit):
    """Section 4.

    Attributes:
        source: x.
        codes: (rows, cols); ``scales`` (rows, groups); ``bias`` (rows,) or None.
        code_bits: of a code.
        added: the tap ``lora_b`` and, by adapter, the shift of what is added; None where nothing can be.
        times: how often it is added.
        input: of each input, which one is read.
        finish: of accumulators, what is rounded.
    """

    source: TapKey = field(kw_only=True)
    codes: Array = field(kw_only=True)
    scales: Array = field(kw_only=True)
    bias: Array | None = field(kw_only=True)
    code_bits: int = field(kw_only=True)
    group_size: int = field(kw_only=True)
    shift: int = field(kw_only=True)
    bias_shift: int = field(kw_only=True)
    bits: int = field(kw_only=True)
    added: tuple[TapKey, Mapping[int, int]] | None = field(default=None, kw_only=True)
    times: int = field(default=1, kw_only=True)
    input: Index = field(default=same, kw_only=True)
    finish: Index = field(default=same, kw_only=True)

    @property
    def sources(self) -> tuple[TapKey, ...]:
        return (self.source,) if self.added is None else (self.source, self.added[0])

    @property
    def group_of(self) -> Array:
        """The group of each input."""
        return np.arange(self.codes.shape[1]) // self.group_size

    @cached_property
    def weights(self) -> Array:
        """(rows, cols) int64: scale times code."""
        found: Array = self.codes.astype(np.int64) * self.scales.astype(np.int64)[:, self.group_of]
        return found

    def term(self, seen: Seen, at: Rows) -> Array | int:
        """What an adapter adds, (tokens, rows)."""
        if self.added is None or self.added[0] not in seen.taps:
            return 0
        key, shifts = self.added
        column = seen.taps[key]
        have = np.isin(at, column.at)
        if not have.any():
            return 0
        found = np.zeros((len(at), len(self.codes)), np.int64)
        of = np.array([shifts[int(adapter)] for adapter in seen.adapters[at[have]]], np.int64)
        found[have] = self.times * (seen.of(key, at[have]) << of[:, None])
        return found

    def offset(self) -> Array | int:
        """What the biases add, (rows,)."""
        return 0 if self.bias is None else self.bias.astype(np.int64) << self.bias_shift

    def x(self, seen: Seen, at: Rows) -> Array:
        """(tokens, cols)."""
        x = seen.of(self.source, at)
        found: Array = x if self.input is same else x[:, self.input(np.arange(x.shape[1])) % x.shape[1]]
        return found

    def sums(self, seen: Seen, at: Rows) -> Array:
        """Accumulators before their rounding, (tokens, rows)."""
        return dot(self.x(seen, at), self.weights) + self.offset() + self.term(seen, at)

    def rounded(self, sums: Array) -> Array:
        """The output of accumulators."""
        return self.prims.sat(self.prims.rs(self.finish(sums), self.shift), self.bits)

    def compute(self, seen: Seen, at: Rows) -> Array:
        return self.rounded(self.sums(seen, at))


@dataclass(frozen=True, eq=False)
class LoraA(Unit):
    """h of section 14.

    Attributes:
        source: x.
        matrices: (r, cols) and the shift, by adapter.
        of: the adapter that is used, of the one that should be; ``BASE`` for none.
    """

    source: TapKey = field(kw_only=True)
    matrices: Mapping[int, tuple[Array, int]] = field(kw_only=True)
    of: Callable[[int], int] = field(default=lambda adapter: adapter, kw_only=True)

    @property
    def sources(self) -> tuple[TapKey, ...]:
        return (self.source,)

    def compute(self, seen: Seen, at: Rows) -> list[Array]:
        found: list[Array] = [np.zeros(0, np.int64)] * len(at)
        adapters = seen.adapters[at]
        for adapter in np.unique(adapters).tolist():
            here = np.flatnonzero(adapters == adapter)
            rank = len(self.matrices[adapter][0])
            x = seen.of(self.source, at[here])
            a, shift = self.matrices.get(self.of(adapter), (np.zeros((rank, x.shape[1]), np.int64), 0))
            acc = dot(x, _ranked(a, rank).astype(np.int64))
            h = self.prims.sat(self.prims.rs(acc, shift), LORA_BITS)
            for row, values in zip(here, h, strict=True):
                found[row] = values
        return found


def _ranked(matrix: Array, rank: int, axis: int = 0) -> Array:
    """With as many rows or columns as the rank: cut, or zeros added."""
    matrix = np.moveaxis(matrix, axis, 0)
    found = np.zeros((rank, *matrix.shape[1:]), matrix.dtype)
    found[: len(matrix)] = matrix[:rank]
    return np.moveaxis(found, 0, axis)


@dataclass(frozen=True, eq=False)
class LoraB(Unit):
    """d of section 14.

    Attributes:
        source: h.
        matrices: (rows, r), by adapter.
        of: as of ``LoraA``.
        rank: the h that each column meets, of its number; one that the adapter has not is 0, as after a reset.
    """

    source: TapKey = field(kw_only=True)
    matrices: Mapping[int, Array] = field(kw_only=True)
    of: Callable[[int], int] = field(default=lambda adapter: adapter, kw_only=True)
    rank: Index = field(default=same, kw_only=True)
    times: int = field(default=1, kw_only=True)

    @property
    def sources(self) -> tuple[TapKey, ...]:
        return (self.source,)

    def compute(self, seen: Seen, at: Rows) -> Array:
        rows = len(next(iter(self.matrices.values())))
        found = np.zeros((len(at), rows), np.int64)
        for row, (token, h) in enumerate(zip(at, seen.ragged(self.source, at), strict=True)):
            b = self.matrices.get(self.of(int(seen.adapters[token])))
            if b is not None:
                met = np.zeros(len(h), np.int64)
                rank = self.rank(np.arange(len(h)))
                there = (rank >= 0) & (rank < len(h))
                met[there] = np.asarray(h, np.int64)[rank[there]]
                found[row] = self.times * (_ranked(b, len(h), 1).astype(np.int64) @ met)
        return found


@dataclass(frozen=True, eq=False)
class Rope(Unit):
    """Section 5.

    Attributes:
        source: what is rotated.
        cos: (positions, D/2); likewise ``sin``.
        heads: of the vector.
        position: the row of the tables, of a token's position.
        pair: the entry of a row, of a pair's number; likewise ``pairs`` the two elements of a head.
        turn: the sign of the sine.
    """

    source: TapKey = field(kw_only=True)
    cos: Array = field(kw_only=True)
    sin: Array = field(kw_only=True)
    heads: int = field(kw_only=True)
    shift: int = field(kw_only=True)
    bits: int = field(kw_only=True)
    position: Index = field(default=same, kw_only=True)
    pair: Index = field(default=same, kw_only=True)
    interleaved: bool = field(default=False, kw_only=True)
    turn: int = field(default=1, kw_only=True)

    @property
    def sources(self) -> tuple[TapKey, ...]:
        return (self.source,)

    @property
    def head_size(self) -> int:
        return 2 * int(self.cos.shape[1])

    def tables(self, positions: Array) -> tuple[Array, Array]:
        """(tokens, 1, D/2) cosines and sines."""
        rows = self.position(positions) % len(self.cos)
        pairs = self.pair(np.arange(self.cos.shape[1])) % self.cos.shape[1]
        cos, sin = (part.astype(np.int64)[rows][:, pairs][:, None] for part in (self.cos, self.sin))
        return cos, sin

    def split(self, x: Array) -> tuple[Array, Array]:
        """The first and the second element of each pair, (tokens, heads, D/2)."""
        x = x.reshape(len(x), self.heads, self.head_size)
        size = self.head_size // 2
        return (x[..., ::2], x[..., 1::2]) if self.interleaved else (x[..., :size], x[..., size:])

    def compute(self, seen: Seen, at: Rows) -> Array:
        cos, sin = self.tables(seen.positions[at])
        first, second = self.split(seen.of(self.source, at))
        sin = self.turn * sin
        turned = np.concatenate((first * cos - second * sin, second * cos + first * sin), axis=-1)
        return self.prims.sat(self.prims.rs(turned, self.shift), self.bits).reshape(len(at), -1)


@dataclass(frozen=True, eq=False)
class Cache:
    """Section 6: rows of keys or values that outlast a sequence.

    Attributes:
        row: that a token writes, of its position; a negative one writes none.
        late: whether a token reads before it writes.
        read: the row that is read for row t, of the rows 0 .. p.
    """

    row: Callable[[int], int] = lambda position: position
    late: bool = False
    read: Index = same

    def rows(self, seen: Seen, key: TapKey, tokens: Rows) -> Iterator[Array]:
        """Of each token, the rows 0 .. p that it reads, (p + 1, elements)."""
        values = seen.of(key, np.arange(len(seen)))
        wanted = set(tokens.tolist())
        cache = np.zeros((int(seen.positions.max(initial=0)) + 2, values.shape[1]), np.int64)
        for token, position in enumerate(seen.positions.tolist()):
            row = self.row(position)
            before = cache.copy() if self.late and token in wanted else None
            if 0 <= row < len(cache):
                cache[row] = values[token]
            if token in wanted:
                yield (cache if before is None else before)[self.read(np.arange(position + 1)) % len(cache)]


RIGHT_CACHE: Final = Cache()


@dataclass(frozen=True)
class Heads:
    """Heads of an attention.

    Attributes:
        queries: how many; ``keys`` of keys and of values.
        size: elements of one.
    """

    queries: int
    keys: int
    size: int


@dataclass(frozen=True, eq=False)
class Attended(Unit):
    """A unit that reads cached rows.

    Attributes:
        cached: the tap whose rows it reads.
        map: the key/value head of a query head; None as it should be.
        by_element: whether the elements of a row stand by element and then head.
    """

    cached: TapKey = field(kw_only=True)
    heads: Heads = field(kw_only=True)
    cache: Cache = field(default=RIGHT_CACHE, kw_only=True)
    map: Callable[[int], int] | None = field(default=None, kw_only=True)
    by_element: bool = field(default=False, kw_only=True)

    @property
    def memory(self) -> bool:
        return True

    def head_map(self) -> Array:
        """(query heads,) the key/value head of each."""
        groups = self.heads.queries // self.heads.keys
        of = self.map or (lambda head: head // groups)
        return np.array([of(head) % self.heads.keys for head in range(self.heads.queries)])

    def rows(self, seen: Seen, at: Rows) -> Iterator[Array]:
        """Of each token, (p + 1, query heads, size)."""
        read, (keys, size) = self.head_map(), (self.heads.keys, self.heads.size)
        for row in self.cache.rows(seen, self.cached, at):
            if self.by_element:
                yield row.reshape(len(row), size, keys).swapaxes(1, 2)[:, read]
            else:
                yield row.reshape(len(row), keys, size)[:, read]


def _by_row(elements: int, heads: int) -> Mapping[str, Rows]:
    """Row and head of each element of a tap with one a row and head."""
    at = np.arange(elements)
    return {"row": at // heads, "head": at % heads}


@dataclass(frozen=True, eq=False)
class Scores(Attended):
    """The scores of section 7; ``source`` are the queries."""

    source: TapKey = field(kw_only=True)

    @property
    def sources(self) -> tuple[TapKey, ...]:
        return (self.source, self.cached)

    def groups(self, elements: int) -> Mapping[str, Rows]:
        return _by_row(elements, self.heads.queries)

    def compute(self, seen: Seen, at: Rows) -> list[Array]:
        queries = seen.of(self.source, at).reshape(len(at), self.heads.queries, self.heads.size)
        return [
            np.einsum("hd,thd->th", q, k).reshape(-1)
            for q, k in zip(queries, self.rows(seen, at), strict=True)
        ]


def largest(scores: Array, before: Array | None) -> Array:
    """(heads,) the largest score of each head."""
    found: Array = scores.max(axis=0)
    return found


@dataclass(frozen=True, eq=False)
class Softmax(Unit):
    """The weights of section 7.

    Attributes:
        source: the scores.
        scale: SM.
        exponential: of section 7.1.
        maximum: of scores (p + 1, heads), and of what the token before had as its own; None before the first.
    """

    source: TapKey = field(kw_only=True)
    heads: int = field(kw_only=True)
    scale: int = field(kw_only=True)
    shift: int = field(kw_only=True)
    exponential: Exponential = field(kw_only=True)
    maximum: Callable[[Array, Array | None], Array] = field(default=largest, kw_only=True)

    @property
    def sources(self) -> tuple[TapKey, ...]:
        return (self.source,)

    @property
    def memory(self) -> bool:
        return True

    def groups(self, elements: int) -> Mapping[str, Rows]:
        return _by_row(elements, self.heads)

    def compute(self, seen: Seen, at: Rows) -> list[Array]:
        found, before = [], None
        for tap in seen.ragged(self.source, at):
            scores = np.asarray(tap, np.int64).reshape(-1, self.heads)
            before = self.maximum(scores, before)
            z = self.prims.stage("z")((before - scores) * self.scale, self.shift)
            found.append(wrap32(self.exponential(z, self.prims)).reshape(-1))
        return found


def wrap32(x: Array) -> Array:
    """As a tap of 32 bits has it."""
    return x.astype(np.int32).astype(np.int64)


def total(weights: Array, before: Array | None) -> Array:
    """(heads,) the sum of each head's weights."""
    found: Array = weights.sum(axis=0)
    return found


@dataclass(frozen=True, eq=False)
class AttnOut(Attended):
    """Section 8.

    Attributes:
        source: the weights.
        reciprocal: of section 8.1.
        total: of weights (p + 1, heads), and of what the token before had.
        weighed: the rows whose values are summed, of p + 1; ``counted`` those whose weights are.
        accumulates: whether the sums of values begin with those of the token before.
        out_head: the head whose result each head gives; ``sum_head`` that whose sum it is divided by.
        finish: of the results (heads, size), what is given.
    """

    source: TapKey = field(kw_only=True)
    shift: int = field(kw_only=True)
    bits: int = field(kw_only=True)
    reciprocal: Reciprocal = field(kw_only=True)
    total: Callable[[Array, Array | None], Array] = field(default=total, kw_only=True)
    accumulates: bool = field(default=False, kw_only=True)
    weighed: Callable[[int], slice] = field(default=slice, kw_only=True)
    counted: Callable[[int], slice] = field(default=slice, kw_only=True)
    out_head: Index = field(default=same, kw_only=True)
    sum_head: Index = field(default=same, kw_only=True)
    finish: Index = field(default=same, kw_only=True)

    @property
    def sources(self) -> tuple[TapKey, ...]:
        return (self.source, self.cached)

    @property
    def head_size(self) -> int:
        return self.heads.size

    def compute(self, seen: Seen, at: Rows) -> Array:
        heads = self.heads.queries
        found, before, kept = [], None, np.zeros((heads, self.heads.size), np.int64)
        taps = seen.ragged(self.source, at)
        of_sum = self.sum_head(np.arange(heads)) % heads
        of_out = self.out_head(np.arange(heads)) % heads
        for position, tap, v in zip(seen.positions[at].tolist(), taps, self.rows(seen, at), strict=True):
            w = np.asarray(tap, np.int64).reshape(-1, heads)
            rows = self.weighed(len(w))
            acc = np.einsum("th,thd->hd", w[rows], v[rows])
            before = self.total(w[self.counted(len(w))], None if position == 0 else before)
            if self.accumulates:
                acc = kept = acc + (kept if position else 0)
            y, b = self.reciprocal(before[of_sum])
            reduced = self.prims.stage("reduce")(acc, (b - 18)[:, None] & 63)
            out = self.prims.sat(self.prims.rs(reduced * y[:, None], self.shift), self.bits)
            found.append(self.finish(out[of_out]).reshape(-1))
        return np.array(found).reshape(len(at), -1)


@dataclass(frozen=True, eq=False)
class Swiglu(Unit):
    """Section 9.

    Attributes:
        gate: the tap of the gates; ``up`` of what they open.
        sigmoid: the logistic function.
        early: bits that are rounded away before the second product.
    """

    gate: TapKey = field(kw_only=True)
    up: TapKey = field(kw_only=True)
    gate_shift: int = field(kw_only=True)
    shift: int = field(kw_only=True)
    bits: int = field(kw_only=True)
    sigmoid: Sigmoid = field(kw_only=True)
    early: int = field(default=0, kw_only=True)
    linear: bool = field(default=False, kw_only=True)

    @property
    def sources(self) -> tuple[TapKey, ...]:
        return (self.gate, self.up)

    def compute(self, seen: Seen, at: Rows) -> Array:
        gate, up = seen.of(self.gate, at), seen.of(self.up, at)
        rs = self.prims.rs
        sigma = self.sigmoid(gate, self.gate_shift, self.prims)
        opened = sigma if self.linear else gate * sigma
        opened = rs(opened, self.early) << self.early if self.early else opened
        return self.prims.sat(rs(opened * up, self.shift), self.bits)


@dataclass(frozen=True, eq=False)
class Residual(Unit):
    """Section 10.

    Attributes:
        before: the residual stream; ``added`` what joins it.
        times: of the stream.
    """

    before: TapKey = field(kw_only=True)
    added: TapKey = field(kw_only=True)
    shift: int = field(kw_only=True)
    times: int = field(default=1, kw_only=True)
    sign: int = field(default=1, kw_only=True)

    @property
    def sources(self) -> tuple[TapKey, ...]:
        return (self.before, self.added)

    def compute(self, seen: Seen, at: Rows) -> Array:
        r, y = seen.of(self.before, at), seen.of(self.added, at)
        return self.prims.sat(self.times * r + self.sign * (y << self.shift), RESIDUAL_BITS)


def first_largest(logits: Array) -> Array:
    """Section 11."""
    return np.asarray(logits.argmax(axis=1))


@dataclass(frozen=True, eq=False)
class Argmax(Unit):
    """Section 11; ``choose`` takes logits (tokens, V)."""

    source: TapKey = field(kw_only=True)
    choose: Index = field(default=first_largest, kw_only=True)

    @property
    def sources(self) -> tuple[TapKey, ...]:
        return (self.source,)

    def compute(self, seen: Seen, at: Rows) -> Array:
        return self.choose(seen.of(self.source, at))[:, None]
