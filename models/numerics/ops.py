"""The chip's operations on int64 tensors, one function per section of docs/numerics.md.

Every function is exact: integers throughout, and float64 matrix products only where ``exact_matmul`` proves them.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from etchproof.fixed_point import bit_length, round_shift, saturate
from models.numerics import tables

EXACT_FLOAT64: Final = 1 << 53
"""Float64 holds every integer below this magnitude."""


def _table(values: tuple[int, ...]) -> Tensor:
    return torch.tensor(values, dtype=torch.int64)


_RSQRT = _table(tables.rsqrt_table())
_RECIP = _table(tables.recip_table())
_EXP2 = _table(tables.exp2_table())
_SIGMOID = _table(tables.sigmoid_table())


def exact_matmul(a: Tensor, b: Tensor, bound: int) -> Tensor:
    """a @ b for integer tensors, exactly; ``bound`` limits the sum of the magnitudes of one output's products.

    Below 2**53 every partial sum, in any order, is an integer that float64 holds exactly, so the float64 BLAS
    is exact; otherwise the int64 product is used.
    """
    if bound < EXACT_FLOAT64:
        return (a.to(torch.float64) @ b.to(torch.float64)).to(torch.int64)
    return a @ b


def rsqrt(v: Tensor) -> tuple[Tensor, Tensor]:
    """Section 3.1: (y, n) with 1/sqrt(v) = y * 2**(-28 - n/2), for 1 <= v < 2**63."""
    length = bit_length(v)
    n = length + (length & 1)
    mantissa = torch.where(n <= 32, v << (32 - n).clamp(min=0), v >> (n - 32).clamp(min=0))
    y = _RSQRT[(mantissa >> 24) - 64] << 14
    for _ in range(2):
        square = (y * y) >> 28
        y = (y * ((3 << 28) - ((mantissa * square) >> 32))) >> 29
    return y, n


def recip(total: Tensor) -> tuple[Tensor, Tensor]:
    """Section 8.1: (y, b) with 1/total = y * 2**(-28 - b), for 1 <= total < 2**38."""
    b = bit_length(total)
    mantissa = torch.where(b <= 32, total << (32 - b).clamp(min=0), total >> (b - 32).clamp(min=0))
    y = _RECIP[(mantissa >> 24) - 128] << 14
    for _ in range(2):
        y = (y * ((2 << 28) - ((mantissa * y) >> 32))) >> 28
    return y, b


def exp2n(z: Tensor) -> Tensor:
    """Section 7.1: 2**20 * 2**(-z / 2**16), rounded; z >= 0."""
    n = (z >> 16).clamp(max=31)
    index, low = (z & 0xFFFF) >> 9, z & 0x1FF
    upper = _EXP2[index]
    return round_shift(upper - round_shift((upper - _EXP2[index + 1]) * low, 9), 4 + n)


def sigmoid(g: Tensor, gate_shift: int) -> Tensor:
    """Section 9: the logistic function of g * 2**(gate_shift - 16), with 20 fractional bits."""
    a = (g.abs() << gate_shift).clamp(max=(1 << 20) - 1)
    index, low = a >> 11, a & 0x7FF
    lower = _SIGMOID[index]
    t = lower + round_shift((_SIGMOID[index + 1] - lower) * low, 11)
    return torch.where(g >= 0, t, (1 << 20) - t)


def rms_norm(r: Tensor, gains: Tensor, epsilon: int, shift: int, bits: int) -> Tensor:
    """Section 3: r (T, H) residual, gains (H,) -> (T, H)."""
    magnitude = r.abs().amax(dim=-1, keepdim=True)  # (T, 1)
    s = (bit_length(magnitude) - 24).clamp(min=0)
    q = round_shift(r, s)  # (T, H), |q| <= 2**24
    v = ((q * q).sum(dim=-1, keepdim=True) + (torch.full_like(s, epsilon) >> (2 * s))).clamp(min=1)
    y, n = rsqrt(v)
    u = round_shift(q * y, (n >> 1) - 1)
    return saturate(round_shift(u * gains, shift), bits)


def rope(x: Tensor, cos: Tensor, sin: Tensor, shift: int, bits: int) -> Tensor:
    """Section 5: x (T, heads, D), cos and sin (T, D/2) -> (T, heads, D)."""
    low, high = x.chunk(2, dim=-1)
    cos, sin = cos[:, None], sin[:, None]
    turned = torch.cat((low * cos - high * sin, high * cos + low * sin), dim=-1)
    return saturate(round_shift(turned, shift), bits)


def softmax_weights(scores: Tensor, visible: Tensor, scale: int, shift: int) -> Tensor:
    """Section 7: scores (T, N, S), visible (T, 1, S) bool -> unnormalized weights (T, N, S), 0 where not visible."""
    hidden = ~visible
    m = scores.masked_fill(hidden, torch.iinfo(torch.int64).min).amax(dim=-1, keepdim=True)
    delta = (m - scores).masked_fill(hidden, 0)
    return exp2n(round_shift(delta * scale, shift)).masked_fill(hidden, 0)


def normalize_attention(acc: Tensor, total: Tensor, shift: int, bits: int) -> Tensor:
    """Section 8: acc (T, N, D) weighted sums, total (T, N) -> (T, N, D)."""
    y, b = recip(total[..., None])
    return saturate(round_shift(round_shift(acc, b - 18) * y, shift), bits)


def swiglu(gate: Tensor, up: Tensor, gate_shift: int, shift: int, bits: int) -> Tensor:
    """Section 9: gate, up (T, F) -> (T, F)."""
    return saturate(round_shift(gate * sigmoid(gate, gate_shift) * up, shift), bits)


def residual_add(r: Tensor, y: Tensor, shift: int) -> Tensor:
    """Section 10."""
    return saturate(r + (y << shift), 32)
