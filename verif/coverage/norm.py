"""Covergroup of the norms and of what they read, the residual (docs/numerics.md sections 3 and 10)."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from etchproof.fixed_point import bit_length, round_shift, saturate
from models.numerics import ops
from verif.coverage.round_cases import ends, roundings, saturations

Array = npt.NDArray[Any]

RESIDUAL_BITS: Final = 32
BLOCK_BITS: Final = 24  # of the largest magnitude, beyond which there is a block exponent
RESIDUAL: Final = (
    *("exponent_0", "exponent_0_last", "exponent_1", "exponent_more", "exponent_largest"),
    *("begins_at_1", "negative_largest", "first_lane_largest", "last_lane_largest"),
    *("epsilon", "epsilon_shifted", "unit_tie"),
    *("length_even", "length_odd", "mantissa_left", "mantissa_right"),
    *("saturated_low", "saturated_high"),
)


class Norm:
    """The intermediates of a norm, each by its name in section 3.

    Args:
        residual: (T, H) int64.
        epsilon: E.
    """

    def __init__(self, residual: Array, epsilon: int) -> None:
        self.r = torch.from_numpy(residual.astype(np.int64))
        self.length = bit_length(self.r.abs().amax(dim=-1, keepdim=True))  # of m, (T, 1)
        self.s = (self.length - BLOCK_BITS).clamp(min=0)
        self.q = round_shift(self.r, self.s)
        self._sum = (self.q * self.q).sum(dim=-1, keepdim=True)
        self._epsilon = torch.full_like(self.s, epsilon)
        self.v = (self._sum + (self._epsilon >> (2 * self.s))).clamp(min=1)
        length = bit_length(self.v)
        self.is_odd = (length & 1) == 1
        self.n = length + (length & 1)

    @property
    def mantissa(self) -> Tensor:
        """M of section 3.1, (T, 1)."""
        left, right = (32 - self.n).clamp(min=0), (self.n - 32).clamp(min=0)
        return torch.where(self.n <= 32, self.v << left, self.v >> right)

    def product(self) -> tuple[Tensor, Tensor]:
        """q * y and the shift that makes u of it."""
        y, n = ops.rsqrt(self.v)
        return self.q * y, (n >> 1) - 1

    def unit(self, shifted: int | None = 2) -> Tensor:
        """u, (T, H), had epsilon been shifted by so many times s; without an epsilon for None."""
        added = self._epsilon * 0 if shifted is None else self._epsilon >> (shifted * self.s)
        y, n = ops.rsqrt((self._sum + added).clamp(min=1))
        return round_shift(self.q * y, (n >> 1) - 1)

    def unit_at(self, s: Tensor) -> Tensor:
        """u, (T, H), had the block exponent been this one, (T, 1)."""
        q = round_shift(self.r, s)
        y, n = ops.rsqrt(((q * q).sum(dim=-1, keepdim=True) + (self._epsilon >> (2 * s))).clamp(min=1))
        return round_shift(q * y, (n >> 1) - 1)

    def wrong_exponents(self, lanes: int) -> dict[str, Tensor]:
        """Block exponents, (T, 1) each, that a fabric would find with one slip, by the bin of what shows it.

        Args:
            lanes: elements of a block.
        """

        def without(elements: Tensor) -> Tensor:
            others = self.r.abs().masked_fill(elements, 0)
            return (bit_length(others.amax(dim=-1, keepdim=True)) - BLOCK_BITS).clamp(min=0)

        lane = torch.arange(self.r.shape[-1]) % lanes
        return {
            "begins_at_1": self.s - (self.s == 1).to(torch.int64),
            "negative_largest": without(self.r < 0),
            "first_lane_largest": without(lane == 0),
            "last_lane_largest": without(lane == lanes - 1),
        }

    def unit_tie_down(self) -> Tensor:
        """u, had its ties gone down."""
        product, half = self.product()
        rest = product & ((torch.ones_like(half) << half) - 1)
        tie = (half > 0) & (rest == (torch.ones_like(half) << half) >> 1)
        return round_shift(product, half) - tie.to(torch.int64)


def sample_norm(
    residual: Array,
    gains: Array,
    epsilon: int,
    shift: int,
    bits: int,
    lanes: int,
    found: dict[str, Counter[str]],
) -> Array:
    """Count what a norm did; returns the entries of RSQRT that it read.

    Args:
        residual: (T, H).
        gains: (H,).
        lanes: elements of a block.
    """
    norm, into, rounding = Norm(residual, epsilon), found["residual"], found["rounding"]
    product, half = norm.product()
    roundings(rounding, "norm_block", norm.r.numpy(), norm.s.numpy())
    u = torch.from_numpy(roundings(rounding, "norm_unit", product.numpy(), half.numpy()))
    scale = torch.from_numpy(gains.astype(np.int64))
    value = roundings(rounding, "norm", (u * scale).numpy(), shift)
    saturations(rounding, "norm", value, bits)
    ends(found["ends"], "norm", value, bits)

    def differs(other: Tensor) -> int:
        """Outputs that another u would have changed."""
        made = (saturate(round_shift(one * scale, shift), bits) for one in (u, other))
        return int(torch.ne(*made).sum())

    length, s = norm.length, norm.s
    counts = {
        "exponent_0": length < BLOCK_BITS,
        "exponent_0_last": length == BLOCK_BITS,
        "exponent_1": s == 1,
        "exponent_more": s > 1,
        "exponent_largest": s == RESIDUAL_BITS - BLOCK_BITS,
        "length_even": ~norm.is_odd,
        "length_odd": norm.is_odd,
        "mantissa_left": norm.n < 32,
        "mantissa_right": norm.n > 32,
        "saturated_low": norm.r == -(1 << (RESIDUAL_BITS - 1)),
        "saturated_high": norm.r == (1 << (RESIDUAL_BITS - 1)) - 1,
    }
    into.update({name: int(hit.sum()) for name, hit in counts.items()})
    into["epsilon"] += differs(norm.unit(None))
    into["unit_tie"] += differs(norm.unit_tie_down())
    into.update({name: differs(norm.unit_at(wrong)) for name, wrong in norm.wrong_exponents(lanes).items()})
    if bool((s > 0).any()):
        into["epsilon_shifted"] += differs(norm.unit(1))
    index: Array = (norm.mantissa >> 24).numpy()
    return index
