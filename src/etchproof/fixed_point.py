"""The two primitives of the chip's arithmetic, on int64 tensors (docs/numerics.md section 1)."""

from __future__ import annotations

import torch
from torch import Tensor


def round_shift(x: Tensor, shift: int | Tensor) -> Tensor:
    """rs(x, shift): divide by 2**shift, to nearest, a tie towards plus infinity; int64 in, int64 out; shift < 63."""
    if isinstance(shift, int):
        return (x + (1 << (shift - 1))) >> shift if shift else x
    return (x + (torch.ones_like(shift) << shift >> 1)) >> shift


def saturate(x: Tensor, bits: int) -> Tensor:
    """sat(x, bits): clamp to the range of a two's complement number of ``bits`` bits."""
    return x.clamp(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)


def bit_length(x: Tensor) -> Tensor:
    """bitlen(x) for 0 <= x < 2**63: the number of bits of x, 0 for 0."""
    # A bit below a set one is cleared, so that no rounding reaches the next power of two.
    return torch.frexp((x & ~(x >> 1)).to(torch.float64)).exponent.to(torch.int64)
