"""Covergroup ``softmax``: scores, weights and their division (docs/numerics.md sections 6 to 8)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from etchproof.contract.taps import TapKey, TokenArrays
from etchproof.fixed_point import bit_length, round_shift, saturate
from models.chip import ChipPlan
from models.numerics import ops, tables
from verif.coverage.round_cases import ends, roundings, saturations

Array = npt.NDArray[Any]

SOFTMAX: Final = (
    *("dominated", "flat", "single", "underflow", "weight_1"),
    *("largest_first", "largest_between", "largest_last", "largest_tie", "largest_negative", "largest_falls"),
    *("chord_first", "chord_last", "beyond_31", "beyond_63", "sum_tie"),
)
DOMINATED: Final = 0.99  # of the sum, by one position
FLAT: Final = 0.8  # smallest weight, as part of the largest
_SEEN: Final = 22  # a weight of a distance of 2^16 times so many is 0, or more (section 7.1)


def softmax_bins(plan: ChipPlan) -> tuple[str, ...]:
    """Where there are several key/value heads, each query head reads another value from every other one."""
    heads = range(plan.n_heads) if plan.n_kv_heads > 1 else ()
    return (*SOFTMAX, *(f"keys_of_head_{h}" for h in heads), *(f"values_of_head_{h}" for h in heads))


class AttentionSampler:
    """Counts what the attention of a chip did."""

    def __init__(self, plan: ChipPlan) -> None:
        self._plan = plan
        self._exp2 = np.array(tables.exp2_table(), dtype=np.int64)

    def __call__(
        self,
        taps: Mapping[TapKey, TokenArrays],
        layer: int,
        words: Mapping[str, int],
        found: dict[str, Counter[str]],
    ) -> tuple[Array, Array]:
        """Count one layer of a sequence; returns the entries of EXP2 and of RECIP that were read."""
        plan, into, kv = self._plan, found["softmax"], found["kv_cache"]
        q, k, v = (
            np.asarray(taps[layer, name]).astype(np.int64).reshape(-1, heads, plan.head_dim)
            for name, heads in (
                ("q_rope", plan.n_heads),
                ("k_rope", plan.n_kv_heads),
                ("v_proj", plan.n_kv_heads),
            )
        )
        self._own_keys(q, k, into)
        distances, totals, sums = [], [], []  # of all positions: (rows, heads), (heads,) and (heads, D)
        before: Array | None = None
        for position in range(len(q)):
            scores = np.asarray(taps[layer, "scores"][position]).reshape(-1, plan.n_heads)
            w = np.asarray(taps[layer, "softmax"][position]).reshape(-1, plan.n_heads).astype(np.int64)
            largest = scores.max(axis=0)
            distances.append(((largest - scores) * plan.softmax_scale).reshape(-1))
            total = w.sum(axis=0)
            totals.append(total)
            sums.append(self._weighted(w, v[: position + 1], into))
            _largest(scores, largest, before, into)
            before = largest
            if position == 0:
                into["single"] += plan.n_heads
                continue
            into["dominated"] += int((w.max(axis=0) >= DOMINATED * total).sum())
            into["flat"] += int((w.min(axis=0) >= FLAT * w.max(axis=0)).sum())
            into["underflow"] += int((w == 0).any(axis=0).sum())
            into["weight_1"] += int((w == 1).any(axis=0).sum())
            earlier = (w[:-1] > 0).any(axis=0).reshape(plan.n_kv_heads, -1).any(axis=1)
            for index in np.flatnonzero(earlier):
                kv[f"head_group_{index}"] += 1
        z = roundings(found["rounding"], "distance", np.concatenate(distances), words["softmax.shift"])
        entries = self._weights(z, into, found["rounding"])
        return entries, self._divided(np.stack(totals), np.stack(sums), words["attn_out.shift"], found)

    def _own_keys(self, q: Array, k: Array, into: Counter[str]) -> None:
        """Where a query head's score with its own token's key is another than with the next key/value head's."""
        plan = self._plan
        if plan.n_kv_heads == 1:
            return
        groups = plan.n_heads // plan.n_kv_heads
        own, other = (
            (q * np.repeat(keys, groups, axis=1)).sum(axis=2) for keys in (k, np.roll(k, -1, axis=1))
        )
        for head, count in enumerate((own != other).sum(axis=0)):
            into[f"keys_of_head_{head}"] += int(count)

    def _weighted(self, w: Array, v: Array, into: Counter[str]) -> Array:
        """acc of section 8, (heads, D), of one position."""
        plan = self._plan
        grouped = w.T.reshape(plan.n_kv_heads, -1, len(w)).astype(np.float64)  # (N_kv, groups, rows)
        values = v.transpose(1, 0, 2).astype(np.float64)  # (N_kv, rows, D)
        acc = (grouped @ values).reshape(plan.n_heads, -1)
        if plan.n_kv_heads > 1:
            other = (grouped @ np.roll(values, -1, axis=0)).reshape(plan.n_heads, -1)
            for head in np.flatnonzero((acc != other).any(axis=1)):
                into[f"values_of_head_{head}"] += 1
        exact: Array = acc.astype(np.int64)
        return exact

    def _weights(self, z: Array, into: Counter[str], rounding: Counter[str]) -> Array:
        """Section 7.1."""
        n, low = z >> 16, z & 0x1FF
        into["beyond_31"] += int((n > 31).sum())
        into["beyond_63"] += int(((n > 63) & (n % 64 < _SEEN)).sum())
        kept = n < _SEEN
        index, low, n = ((z & 0xFFFF) >> 9)[kept], low[kept], n[kept]
        into["chord_first"] += int((low == 0).sum())
        into["chord_last"] += int((low == 511).sum())
        upper, lower = self._exp2[index], self._exp2[index + 1]
        t = upper - roundings(rounding, "exp_chord", (upper - lower) * low, 9)
        roundings(rounding, "weight", t, 4 + n)
        entries: Array = index
        return entries

    def _divided(self, totals: Array, sums: Array, shift: int, found: dict[str, Counter[str]]) -> Array:
        """Section 8: totals (T, heads), sums (T, heads, D)."""
        y, b = (part.numpy() for part in ops.recip(torch.from_numpy(totals)))
        half = (np.int64(1) << (b - 18)[..., None]) >> 1
        reduced = roundings(found["rounding"], "attn_sum", sums, (b - 18)[..., None])
        value = roundings(found["rounding"], "attn_out", reduced * y[..., None], shift)
        saturations(found["rounding"], "attn_out", value, self._plan.act_bits)
        ends(found["ends"], "attn_out", value, self._plan.act_bits)
        down = (reduced - ((sums & (2 * half - 1)) == half)) * y[..., None]
        outputs = (
            saturate(round_shift(torch.from_numpy(one), shift), self._plan.act_bits)
            for one in (reduced * y[..., None], down)
        )
        found["softmax"]["sum_tie"] += int(torch.ne(*outputs).sum())
        length = bit_length(torch.from_numpy(totals)).numpy()
        mantissa = np.where(
            length <= 32, totals << np.maximum(32 - length, 0), totals >> np.maximum(length - 32, 0)
        )
        entries: Array = (mantissa >> 24) - 128
        return entries


def _largest(scores: Array, largest: Array, before: Array | None, into: Counter[str]) -> None:
    """Which row has the largest score of a head, and how it stands to that of the token before."""
    into["largest_negative"] += int((largest < 0).sum())
    if before is not None:
        into["largest_falls"] += int((largest < before).sum())
    if len(scores) == 1:
        return
    is_largest = scores == largest
    ties = is_largest.sum(axis=0)
    row = is_largest.argmax(axis=0)[ties == 1]
    into["largest_tie"] += int((ties > 1).sum())
    into["largest_first"] += int((row == 0).sum())
    into["largest_last"] += int((row == len(scores) - 1).sum())
    into["largest_between"] += int(((row > 0) & (row < len(scores) - 1)).sum())
