"""The constant tables that are made in logic, ``ep_tables_pkg`` of the RTL, as ``TriedUnit``s (``[coverage] tables``).

A table is one constant of the fabric, which every layer reads. A lookup reads one entry, or two neighbours of which
each has a role of its own; so a bit is inverted in all entries of a role at once, and each lookup says what its entry
does. Seeds that are refined go through the arithmetic of the RTL, unsigned modulo 2**64: an inverted seed may leave the
range that docs/numerics.md speaks of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from etchproof.contract.mask import Bits, Fed, MaskPart, Outputs
from etchproof.contract.taps import TapKey, TokenArrays
from etchproof.fixed_point import bit_length
from models.chip import ChipPlan
from models.numerics import tables
from models.rom.margins import rounded
from models.rom.sequences import Attention, ragged, sequences, summed, tensor

Array = npt.NDArray[Any]

SEED_BITS: Final = 16
EXP2_BITS: Final = 25
SIGMOID_BITS: Final = 21
ONE: Final = np.uint64(1 << 28)
"""Of a seed, which has 28 fractional bits."""


@dataclass(frozen=True)
class Lookups:
    """What one unit looks up, of consecutive tokens.

    Attributes:
        result: the tap that it makes.
        entries: (lookups,) of each the entry of the first role; a second one is the next entry.
        output: of some lookups, by their indices, the outputs with other entries of each role, (lookups, ...).
        collected: from the outputs of all lookups to the tap.
    """

    result: TapKey
    entries: Array
    output: Callable[[Array, Sequence[Array]], Array]
    collected: Callable[[Array], TokenArrays]


@dataclass(frozen=True)
class LogicTable:
    """A table.

    Attributes:
        site: "logic.exp2".
        values: (entries,) as ``ep_tables_pkg`` has them.
        bits: of an entry.
        roles: entries that a lookup reads.
        sources: the taps from which the lookups follow.
        results: those that are made of them, in dataflow order.
        lookups: of the tokens that are fed, for each result.
        unreached: (entries, bits) that no input of any unit can show, each set with the reason.
        faint: likewise bits that hardly any shows.
    """

    site: str
    values: tuple[int, ...]
    bits: int
    roles: int
    sources: tuple[TapKey, ...]
    results: tuple[TapKey, ...]
    lookups: Callable[[Fed], Iterator[Lookups]]
    unreached: Callable[[], tuple[tuple[str, Bits], ...]] = tuple
    faint: Callable[[], tuple[tuple[str, Bits], ...]] = tuple
    words: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    positions: None = None

    @cached_property
    def _table(self) -> Array:
        return np.array(self.values, dtype=np.int64)

    @cached_property
    def _part(self) -> MaskPart:
        return MaskPart(
            "entries",
            self.site,
            self._table,
            self.bits,
            False,
            redundant=self.unreached(),
            listed=self.faint(),
        )

    def parts(self) -> tuple[MaskPart, ...]:
        return (self._part,)

    def made(self, fed: Fed) -> Outputs:
        return self._by(fed, [self._table] * self.roles)

    def tried(self, kind: str, element: Sequence[int], bit: int, fed: Fed) -> Outputs:
        table = self._table.copy()
        table[element[0]] ^= 1 << bit
        return self._by(fed, [table] * self.roles)

    def _by(self, fed: Fed, by_role: Sequence[Array]) -> dict[TapKey, TokenArrays]:
        found = {}
        for one in self.lookups(fed):
            entries = [table[one.entries + role] for role, table in enumerate(by_role)]
            found[one.result] = one.collected(one.output(np.arange(len(one.entries)), entries))
        return found

    def seen(self, fed: Fed, wanted: Sequence[Bits]) -> tuple[Bits, ...]:
        (asked,) = wanted
        found = np.zeros_like(asked)
        for one in self.lookups(fed):
            for bit in np.flatnonzero(asked.any(axis=0)).tolist():
                for role in range(self.roles):
                    at = np.flatnonzero(asked[one.entries + role, bit] & ~found[one.entries + role, bit])
                    if not len(at):
                        continue
                    entries = [self._table[one.entries[at] + each] for each in range(self.roles)]
                    right = one.output(at, entries)
                    entries[role] = entries[role] ^ (1 << bit)
                    differs = (one.output(at, entries) != right).reshape(len(at), -1).any(axis=1)
                    found[one.entries[at[differs]] + role, bit] = True
        return (found,)


# Section 9.


def sigmoid(plan: ChipPlan, words: Sequence[Mapping[str, int]]) -> LogicTable:
    """``SIGMOID``; ``words`` are the params of each layer."""

    def lookups(fed: Fed) -> Iterator[Lookups]:
        for layer, params in enumerate(words):
            gate, up = (fed.taps[layer, name].astype(np.int64) for name in ("gate_proj", "up_proj"))
            shape, gate, up = gate.shape, gate.reshape(-1), up.reshape(-1)
            a = np.minimum(np.abs(gate) << params["swiglu.gate_shift"], (1 << 20) - 1)
            product, shift = gate * up, params["swiglu.shift"]

            def output(
                at: Array,
                entries: Sequence[Array],
                a: Array = a,
                gate: Array = gate,
                product: Array = product,
                shift: int = shift,
            ) -> Array:
                sigma = _logistic(gate[at], a[at] & 0x7FF, *entries)
                return rounded(product[at] * sigma, shift, plan.act_bits)

            yield Lookups(
                (layer, "swiglu"),
                a >> 11,
                output,
                lambda rows, shape=shape: rows.reshape(shape),  # type: ignore[misc]
            )

    layers = range(plan.n_layers)
    return LogicTable(
        "logic.sigmoid",
        tables.sigmoid_table(),
        SIGMOID_BITS,
        2,
        tuple((layer, name) for layer in layers for name in ("gate_proj", "up_proj")),
        tuple((layer, "swiglu") for layer in layers),
        lookups,
        lambda: _beyond_gates(plan.act_bits),
    )


def _logistic(gate: Array, low: Array, lower: Array, upper: Array) -> Array:
    t = lower + (((upper - lower) * low + (1 << 10)) >> 11)
    sigma: Array = np.where(gate >= 0, t, (1 << 20) - t)
    return sigma


BEYOND_GATES: Final = "no gate under any gate_shift gives another value with it"


def _beyond_gates(bits: int) -> tuple[tuple[str, Bits], ...]:
    """Bits that no gate of so many bits shows, whichever ``gate_shift`` its layer has: all of them are tried."""
    magnitudes = np.arange((1 << (bits - 1)) + 1, dtype=np.int64)
    reached = {
        int(a)
        for gate_shift in range(25)
        for a in np.unique(np.minimum(magnitudes << gate_shift, (1 << 20) - 1))
    }
    a = np.array(sorted(reached))
    table = np.array(tables.sigmoid_table(), dtype=np.int64)
    first, low = a >> 11, a & 0x7FF
    positive = np.zeros_like(low)
    right = _logistic(positive, low, table[first], table[first + 1])
    hidden = np.ones((len(table), SIGMOID_BITS), dtype=bool)
    for bit in range(SIGMOID_BITS):
        for role in range(2):
            entries = [table[first], table[first + 1]]
            entries[role] = entries[role] ^ (1 << bit)
            differs = _logistic(positive, low, *entries) != right
            hidden[first[differs] + role, bit] = False
    return ((BEYOND_GATES, hidden),)


# Section 7.1.


def exp2(plan: ChipPlan, words: Sequence[Mapping[str, int]]) -> LogicTable:
    """``EXP2``; ``words`` as of ``sigmoid``."""

    def lookups(fed: Fed) -> Iterator[Lookups]:
        for layer, params in enumerate(words):
            parts = [
                _distances(plan, Attention.of(plan, layer, fed, at), params["softmax.shift"])
                for at in sequences(fed)
            ]
            z = np.concatenate([each for each, _ in parts])
            ends = np.cumsum([size for _, own in parts for size in own])[:-1]

            def output(at: Array, entries: Sequence[Array], z: Array = z) -> Array:
                upper, lower = entries
                t = upper - (((upper - lower) * (z[at] & 0x1FF) + (1 << 8)) >> 9)
                n = 4 + np.minimum(z[at] >> 16, 31)
                weights: Array = (t + ((np.int64(1) << n) >> 1)) >> n
                return weights

            yield Lookups(
                (layer, "softmax"),
                (z & 0xFFFF) >> 9,
                output,
                lambda rows, ends=ends: np.split(rows, ends),  # type: ignore[misc]
            )

    layers = range(plan.n_layers)
    return LogicTable(
        "logic.exp2",
        tables.exp2_table(),
        EXP2_BITS,
        2,
        tuple((layer, name) for layer in layers for name in ("q_rope", "k_rope")),
        tuple((layer, "softmax") for layer in layers),
        lookups,
    )


def _distances(plan: ChipPlan, attention: Attention, shift: int) -> tuple[Array, list[int]]:
    """z of section 7 in the order of the tap ``softmax``, and how many there are for each token."""
    scores = attention.scores.numpy()
    visible = attention.visible.numpy()
    largest = np.where(visible, scores, np.iinfo(np.int64).min).max(axis=2, keepdims=True)
    below = np.where(visible, largest - scores, 0) * plan.softmax_scale
    z = (below + ((1 << shift) >> 1)) >> shift
    rows = ragged(tensor(z))
    return np.concatenate(rows), [len(row) for row in rows]


# Sections 3.1 and 8.1: seeds.

FAINT: Final = 2.0**-21
"""Of what is refined from a seed, relative: less than 1/64 of the last unit of a tap of 16 bits."""

REFINED_AWAY: Final = (
    "two steps of Newton leave less than 2^-21 of it, under 1/64 of a 16-bit tap's last unit, and no value of the runs "
    "was that near to its rounding"
)
_TRUNCATED: Final = 2.0**-25  # of a step of Newton, relative: three floors of 28 fractional bits at most


def _faint(
    values: Sequence[int], first: int, exact: Callable[[Array], Array], error: Callable[[Array], Array]
) -> Bits:
    """(entries, bits): those without which what is refined from the seed is hardly another.

    Args:
        values: the seeds, 14 fractional bits.
        first: the mantissa of entry i lies between (first + i) / 256 and the next one.
        exact: of a mantissa, what the seed stands for.
        error: the largest relative error that a step leaves of one; grows with it.
    """
    seeds = np.array(values, dtype=np.int64)
    edges = np.arange(first, first + len(seeds) + 1) / 256

    def left(seed: Array) -> Array:
        """The largest relative error after two steps; monotone between the edges before them."""
        ends = [np.abs(seed / 2**14 / exact(edge) - 1) for edge in (edges[:-1], edges[1:])]
        found = np.maximum(*ends)
        for _ in range(2):
            found = error(found) + _TRUNCATED
        return found

    inverted = [left(seeds ^ (1 << bit)) + left(seeds) < FAINT for bit in range(SEED_BITS)]
    return np.stack(inverted, axis=1)


def _faint_roots() -> tuple[tuple[str, Bits], ...]:
    """y = y (3 - m y^2) / 2 takes an error e to (3 e^2 + e^3) / 2 at most."""
    hidden = _faint(
        tables.rsqrt_table(), 64, lambda m: 1 / np.sqrt(m), lambda e: 1.5 * e * e + 0.5 * e * e * e
    )
    return ((REFINED_AWAY, hidden),)


def _faint_reciprocals() -> tuple[tuple[str, Bits], ...]:
    """y = y (2 - m y) takes an error e to e^2."""
    return ((REFINED_AWAY, _faint(tables.recip_table(), 128, lambda m: 1 / m, lambda e: e * e)),)


def rsqrt(plan: ChipPlan, norms: Sequence[tuple[TapKey, TapKey, npt.NDArray[np.int16], int]]) -> LogicTable:
    """``RSQRT``; ``norms`` are source, result, gains and shift of each norm, in dataflow order."""

    def lookups(fed: Fed) -> Iterator[Lookups]:
        for source, result, gains, shift in norms:
            r = tensor(fed.taps[source])
            s = (bit_length(r.abs().amax(dim=-1, keepdim=True)) - 24).clamp(min=0).numpy()
            q = (r.numpy() + ((np.int64(1) << s) >> 1)) >> s
            v = np.maximum((q * q).sum(axis=1) + (plan.norm_epsilon >> (2 * s[:, 0])), 1)
            length = bit_length(tensor(v)).numpy()
            n = length + (length & 1)
            mantissa = np.where(n <= 32, v << np.maximum(32 - n, 0), v >> np.maximum(n - 32, 0))
            factors = gains.astype(np.int64)

            def output(
                at: Array,
                entries: Sequence[Array],
                q: Array = q,
                n: Array = n,
                mantissa: Array = mantissa,
                factors: Array = factors,
                shift: int = shift,
            ) -> Array:
                y = entries[0].astype(np.uint64) << np.uint64(14)
                m = mantissa[at].astype(np.uint64)
                for _ in range(2):
                    square = (y * y) >> np.uint64(28)
                    y = (y * (np.uint64(3) * ONE - ((m * square) >> np.uint64(32)))) >> np.uint64(29)
                half = (n[at, None] >> 1) - 1
                u = (q[at] * y.view(np.int64)[:, None] + ((np.int64(1) << half) >> 1)) >> half
                return rounded(u * factors, shift, plan.act_bits)

            yield Lookups(result, (mantissa >> 24) - 64, output, lambda rows: rows)

    return LogicTable(
        "logic.rsqrt",
        tables.rsqrt_table(),
        SEED_BITS,
        1,
        tuple(dict.fromkeys(source for source, *_ in norms)),
        tuple(result for _, result, *_ in norms),
        lookups,
        faint=_faint_roots,
    )


def recip(plan: ChipPlan, words: Sequence[Mapping[str, int]]) -> LogicTable:
    """``RECIP``; ``words`` as of ``sigmoid``."""

    def lookups(fed: Fed) -> Iterator[Lookups]:
        for layer, params in enumerate(words):
            parts = [summed(plan, layer, fed, at) for at in sequences(fed)]
            acc = np.concatenate([each.numpy() for each, _ in parts]).reshape(-1, plan.head_dim)
            total = np.concatenate([each.numpy() for _, each in parts]).reshape(-1)
            b = bit_length(tensor(total)).numpy()
            mantissa = np.where(b <= 32, total << np.maximum(32 - b, 0), total >> np.maximum(b - 32, 0))

            def output(
                at: Array,
                entries: Sequence[Array],
                acc: Array = acc,
                b: Array = b,
                mantissa: Array = mantissa,
                shift: int = params["attn_out.shift"],
            ) -> Array:
                y = entries[0].astype(np.uint64) << np.uint64(14)
                m = mantissa[at].astype(np.uint64)
                for _ in range(2):
                    y = (y * (np.uint64(2) * ONE - ((m * y) >> np.uint64(32)))) >> np.uint64(28)
                less = b[at, None] - 18
                reduced = (acc[at] + ((np.int64(1) << less) >> 1)) >> less
                return rounded(reduced * y.view(np.int64)[:, None], shift, plan.act_bits)

            yield Lookups(
                (layer, "attn_out"),
                (mantissa >> 24) - 128,
                output,
                lambda rows: rows.reshape(-1, plan.q_size),
            )

    layers = range(plan.n_layers)
    return LogicTable(
        "logic.recip",
        tables.recip_table(),
        SEED_BITS,
        1,
        tuple((layer, name) for layer in layers for name in ("v_proj", "softmax")),
        tuple((layer, "attn_out") for layer in layers),
        lookups,
        faint=_faint_reciprocals,
    )
