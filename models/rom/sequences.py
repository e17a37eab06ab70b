"""Whole sequences among the tokens that a unit is fed, and the attention of each, from taps that are compared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from etchproof.contract.mask import Fed
from models.chip import ChipPlan
from models.numerics import ops

Array = npt.NDArray[Any]


def tensor(values: Array) -> Tensor:
    """int64, for the operations of ``models.numerics.ops``."""
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.int64))


def sequences(fed: Fed) -> Iterator[slice]:
    """The tokens of each sequence."""
    begins = [*np.flatnonzero(fed.positions == 0).tolist(), len(fed.positions)]
    yield from map(slice, begins, begins[1:])


@dataclass(frozen=True)
class Attention:
    """The scores and weights of a layer, all positions of one sequence at once (docs/numerics.md, sections 7 and 8).

    Attributes:
        scores: (T, N, T) int64.
        visible: (T, 1, T) bool.
    """

    plan: ChipPlan
    scores: Tensor
    visible: Tensor

    @classmethod
    def of(cls, plan: ChipPlan, layer: int, fed: Fed, at: slice) -> Attention:
        """From the taps ``q_rope`` and ``k_rope``."""
        groups = plan.n_heads // plan.n_kv_heads
        q = tensor(fed.taps[layer, "q_rope"][at]).view(-1, plan.n_heads, plan.head_dim)
        k = tensor(fed.taps[layer, "k_rope"][at]).view(-1, plan.n_kv_heads, plan.head_dim)
        keys = k.repeat_interleave(groups, dim=1).permute(1, 2, 0)  # (N, D, T)
        bound = plan.head_dim << (plan.act_bits - 1 + plan.kv_bits - 1)
        scores = ops.exact_matmul(q.transpose(0, 1), keys, bound).transpose(0, 1)
        rows = torch.arange(len(q))
        return cls(plan, scores, (rows <= rows[:, None])[:, None])

    def weights(self, shift: int) -> Tensor:
        """(T, N, T) int64, 0 where not visible."""
        return ops.softmax_weights(self.scores, self.visible, self.plan.softmax_scale, shift)


def ragged(weights: Tensor) -> list[Array]:
    """(T, N, T) as the tap ``softmax`` holds it: of each token the rows up to its own, heads side by side."""
    rows = weights.transpose(1, 2).contiguous().numpy()
    return [rows[position, : position + 1].reshape(-1) for position in range(len(rows))]


def summed(plan: ChipPlan, layer: int, fed: Fed, at: slice) -> tuple[Tensor, Tensor]:
    """acc (T, N, D) and sum (T, N) of section 8, from the taps ``softmax`` and ``v_proj``."""
    groups = plan.n_heads // plan.n_kv_heads
    v = tensor(fed.taps[layer, "v_proj"][at]).view(-1, plan.n_kv_heads, plan.head_dim)
    weights = np.zeros((len(v), len(v), plan.n_heads), dtype=np.int64)
    for position, row in enumerate(fed.ragged[layer, "softmax"][at]):
        weights[position, : position + 1] = row.reshape(-1, plan.n_heads)
    dense = tensor(weights).permute(2, 0, 1)  # (N, T, T)
    values = v.repeat_interleave(groups, dim=1).transpose(0, 1)  # (N, T, D)
    acc = ops.exact_matmul(dense, values, len(v) << (20 + plan.kv_bits - 1))
    return acc.transpose(0, 1), dense.sum(dim=2).T
