"""The constant tables against exact arithmetic: each entry proven nearest by integers alone."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from etchproof.checkpoint import ModelConfig
from models.numerics import tables
from tests.unit.models.conftest import CONFIG

_ONE = 1 << 300  # fixed point of the series below


def _exp_of_32nds(count: int) -> list[int]:
    """exp(i/32) for i = 0 .. count-1, 300 fractional bits: the Taylor series of exp(1/32), and its powers."""
    term = base = _ONE
    for k in range(1, 60):
        term = term // (32 * k)
        base += term
    powers = [_ONE]
    for _ in range(count - 1):
        powers.append(powers[-1] * base >> 300)
    return powers


def test_rsqrt() -> None:
    """y = floor(2^14 / sqrt(q) + 1/2)  <=>  (2y - 1)^2 q <= 2^30 < (2y + 1)^2 q."""
    table = tables.rsqrt_table()
    assert len(table) == 192
    for i, y in enumerate(table):
        q = Fraction(2 * i + 129, 512)
        assert (2 * y - 1) ** 2 * q <= 2**30 < (2 * y + 1) ** 2 * q


def test_recip() -> None:
    table = tables.recip_table()
    assert len(table) == 128
    for i, y in enumerate(table):
        assert y == math.floor(Fraction(2**14 * 512, 2 * i + 257) + Fraction(1, 2))


def test_exp2() -> None:
    """The 128th power of 2^25 * 2^(-i/128) is the integer 2^(3200 - i)."""
    table = tables.exp2_table()
    assert len(table) == 129
    for i, y in enumerate(table):
        assert (2 * y - 1) ** 128 <= 2 ** (3200 - i) < (2 * y + 1) ** 128
    assert (table[0], table[128]) == (2**24, 2**23)


def test_sigmoid() -> None:
    table = tables.sigmoid_table()
    assert len(table) == 513
    for y, power in zip(table, _exp_of_32nds(513), strict=True):
        # 2^20 / (1 + exp(-x)) = 2^20 exp(x) / (1 + exp(x))
        assert y == math.floor(Fraction(2**20 * power, _ONE + power) + Fraction(1, 2))


@pytest.mark.parametrize(
    ("size", "eps", "e"), [(1, 0.0, 0), (48, 1e-5, 2061584), (4096, 1e-5, 175921860), (3, 0.5, 3 << 31)]
)
def test_norm_epsilon(size: int, eps: float, e: int) -> None:
    assert tables.norm_epsilon(size, eps) == e


@pytest.mark.parametrize("dim", [1, 2, 3, 4, 6, 8, 17, 64, 80, 128, 256, 1000])
def test_softmax_scale(dim: int) -> None:
    """SM^2 ln(2)^2 dim is 2^(2 kappa) within the half unit of SM, and SM has 16 bits."""
    scale, kappa = tables.softmax_scale(dim)
    assert 2**15 <= scale < 2**16
    assert abs(scale - 2**kappa / (math.log(2) * math.sqrt(dim))) <= 0.5 + 1e-9


@pytest.mark.parametrize("context", [1, 32, 4096])
def test_rope_tables(context: int) -> None:
    """Within 2^-15 of cosine and sine, for angles computed with the standard library."""
    config: ModelConfig = CONFIG
    cos, sin = tables.rope_tables(config, context)
    assert cos.shape == sin.shape == (context, config.head_dim // 2)
    assert cos.dtype == sin.dtype == np.int16
    for table, function in ((cos, math.cos), (sin, math.sin)):
        exact = np.array(
            [
                [
                    function(p * config.rope.theta ** (-2 * i / config.head_dim))
                    for i in range(config.head_dim // 2)
                ]
                for p in range(context)
            ]
        )
        assert np.abs(table / 2**14 - exact).max() <= 2**-15 + 1e-11
