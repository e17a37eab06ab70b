"""The chip's constant tables and constants, made with decimal arithmetic (docs/numerics.md section 12).

No libm is involved, so every machine makes the same bytes; RoPE's tables alone come from float64 (section 12).
"""

from __future__ import annotations

from decimal import ROUND_FLOOR, Context, Decimal
from functools import cache

import numpy as np
import numpy.typing as npt

from etchproof.checkpoint import ModelConfig
from etchproof.checkpoint.rope import rope_cos_sin

_DECIMAL = Context(prec=50)
ROPE_FRAC = 14


def _nearest(value: Decimal) -> int:
    return int(_DECIMAL.add(value, Decimal("0.5")).to_integral_value(ROUND_FLOOR))


@cache
def rsqrt_table() -> tuple[int, ...]:
    """RSQRT of section 3.1: 192 entries of 16 bits."""
    sqrt, div = _DECIMAL.sqrt, _DECIMAL.divide
    return tuple(
        _nearest(div(Decimal(2**14), sqrt(div(Decimal(2 * i + 129), Decimal(512))))) for i in range(192)
    )


@cache
def recip_table() -> tuple[int, ...]:
    """RECIP of section 8.1: 128 entries of 16 bits."""
    return tuple(_nearest(_DECIMAL.divide(Decimal(2**14 * 512), Decimal(2 * i + 257))) for i in range(128))


@cache
def exp2_table() -> tuple[int, ...]:
    """EXP2 of section 7.1: 129 entries of 25 bits."""
    return tuple(
        _nearest(_DECIMAL.multiply(Decimal(2**24), _DECIMAL.power(Decimal(2), Decimal(-i) / Decimal(128))))
        for i in range(129)
    )


@cache
def sigmoid_table() -> tuple[int, ...]:
    """SIGMOID of section 9: 513 entries of 21 bits."""
    one = Decimal(1)
    return tuple(
        _nearest(_DECIMAL.divide(Decimal(2**20), one + _DECIMAL.exp(Decimal(-i) / Decimal(32))))
        for i in range(513)
    )


def norm_epsilon(hidden_size: int, eps: float) -> int:
    """E of section 3: hidden_size * eps with 32 fractional bits."""
    return _nearest(_DECIMAL.multiply(Decimal(hidden_size * 2**32), Decimal(repr(eps))))


@cache
def softmax_scale(head_dim: int) -> tuple[int, int]:
    """(SM, kappa) of section 7: log2(e) / sqrt(head_dim) as a 16-bit mantissa and its fractional bits."""
    log2_e = _DECIMAL.divide(Decimal(1), _DECIMAL.ln(Decimal(2)))
    value = _DECIMAL.divide(log2_e, _DECIMAL.sqrt(Decimal(head_dim)))
    kappa = 15
    while (mantissa := _nearest(_DECIMAL.multiply(value, Decimal(2**kappa)))) < 2**15:
        kappa += 1
    if mantissa >= 2**16:  # head_dim 1, or rounding up to 2**16
        kappa -= 1
        mantissa = _nearest(_DECIMAL.multiply(value, Decimal(2**kappa)))
    return mantissa, kappa


def rope_tables(config: ModelConfig, context: int) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int16]]:
    """COS and SIN of section 5, each (context, head_dim / 2) int16 with 14 fractional bits."""
    cos, sin = rope_cos_sin(config, np.arange(context))

    def fixed(table: npt.NDArray[np.float64]) -> npt.NDArray[np.int16]:
        nearest: npt.NDArray[np.float64] = np.floor(table * 2**ROPE_FRAC + 0.5)
        return nearest.astype(np.int16)

    return fixed(cos), fixed(sin)
