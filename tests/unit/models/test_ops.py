"""The golden's operations against Python's integers and real arithmetic (docs/numerics.md)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from etchproof.fixed_point import bit_length, round_shift, saturate
from models.numerics import ops

WIDE = st.integers(-(2**62), 2**62)
SHIFT = st.integers(0, 62)
Real = np.longdouble  # 64 bits of mantissa
SEED = 3


def one(value: int) -> torch.Tensor:
    return torch.tensor([value], dtype=torch.int64)


class TestPrimitives:
    @given(WIDE, SHIFT)
    def test_round_shift(self, x: int, n: int) -> None:
        wanted = (x + 2 ** (n - 1)) // 2**n if n else x
        assert round_shift(one(x), n).item() == wanted
        assert round_shift(one(x), one(n)).item() == wanted

    @pytest.mark.parametrize(("x", "n", "y"), [(1, 1, 1), (-1, 1, 0), (-3, 1, -1), (6, 2, 2), (-6, 2, -1)])
    def test_a_tie_goes_up(self, x: int, n: int, y: int) -> None:
        assert round_shift(one(x), n).item() == y

    @given(WIDE, st.integers(1, 63))
    def test_saturate(self, x: int, bits: int) -> None:
        wanted = max(-(2 ** (bits - 1)), min(2 ** (bits - 1) - 1, x))
        assert saturate(one(x), bits).item() == wanted

    @given(st.integers(0, 2**63 - 1), SHIFT)
    def test_bit_length(self, x: int, n: int) -> None:
        assert bit_length(one(x >> n)).item() == (x >> n).bit_length()

    def test_bit_length_around_powers_of_two(self) -> None:
        values = [0, *(2**n + d for n in range(1, 63) for d in (-1, 0, 1))]
        assert bit_length(torch.tensor(values)).tolist() == [value.bit_length() for value in values]


class TestExactMatmul:
    @pytest.mark.parametrize("scale", [2**20, 2**26, 2**28])
    def test_equals_python(self, scale: int) -> None:
        """Odd numbers up to ``scale``: products of 2^28 lose bits in float64, as the guard must know."""
        draw = np.random.default_rng(SEED)
        a = draw.integers(-scale, scale, (3, 8)) | 1
        b = draw.integers(-scale, scale, (8, 4)) | 1
        wanted = a.astype(object) @ b.astype(object)
        bound = 8 * (scale + 1) ** 2
        found = ops.exact_matmul(torch.from_numpy(a), torch.from_numpy(b), bound)
        assert np.array_equal(found.numpy(), wanted.astype(np.int64))
        if scale == 2**28:
            lost = ops.exact_matmul(torch.from_numpy(a), torch.from_numpy(b), 2**53 - 1)
            assert not np.array_equal(lost.numpy(), wanted.astype(np.int64))

    def test_the_guard_is_at_2_to_53(self) -> None:
        a, b = one(2**53 + 1)[None], one(1)[None]
        assert ops.exact_matmul(a, b, 2**53).item() == 2**53 + 1
        assert ops.exact_matmul(a, b, 2**53 - 1).item() == 2**53


class TestErrorBounds:
    """The table of section 13; where a domain is small, all of it."""

    def test_rsqrt(self) -> None:
        draw = np.random.default_rng(SEED)
        edges = (np.arange(64, 256)[:, None] * 2**24 + np.arange(-3, 4)).ravel()
        values = [
            np.arange(1, 100_000),
            edges[edges >= 2**30],
            draw.integers(2**30, 2**32, 500_000),
            draw.integers(2**62, 2**63 - 1, 500_000) >> draw.integers(0, 62, 500_000),
            [2**63 - 1, 2**62, 2**62 - 1],
        ]
        v = np.concatenate(values)
        y, n = (x.numpy() for x in ops.rsqrt(torch.from_numpy(v)))
        assert np.all(n % 2 == 0)
        assert all(
            2 ** (int(b) - 2) <= int(x) < 2 ** int(b) for x, b in zip(v[-1000:], n[-1000:], strict=True)
        )
        error = y.astype(Real) * np.exp2(-28 - n.astype(Real) / 2) * np.sqrt(v.astype(Real)) - 1
        assert np.abs(error).max() <= 2.0**-25

    def test_recip(self) -> None:
        draw = np.random.default_rng(SEED)
        total = np.concatenate(
            [
                np.arange(1, 100_000),
                (np.arange(128, 256)[:, None] * 2**24 + np.arange(4)).ravel(),
                draw.integers(2**37, 2**38, 500_000) >> draw.integers(0, 37, 500_000),
                [2**38 - 1, 2**37, 2**20],
            ]
        )
        y, b = (x.numpy() for x in ops.recip(torch.from_numpy(total)))
        error = y.astype(Real) * np.exp2(-28 - b.astype(Real)) * total.astype(Real) - 1
        assert np.abs(error).max() <= 2.0**-26

    def test_exp2n(self) -> None:
        z = np.arange(22 * 2**16)  # all z down to weights of 0
        w = ops.exp2n(torch.from_numpy(z)).numpy()
        exact = np.exp2(-z.astype(Real) / 2**16)
        assert np.all(np.abs(w.astype(Real) / 2**20 - exact) <= 3.8e-6 * exact + 2.0**-21)
        assert (w[0], w[-1]) == (2**20, 0)
        assert np.all(np.diff(w) <= 0)

    def test_exp2n_far_away(self) -> None:
        z = torch.tensor([31 << 16, (32 << 16) - 1, 32 << 16, 2**40, 2**62])
        assert ops.exp2n(z).tolist() == [0] * 5

    @pytest.mark.parametrize("gate_shift", [0, 3, 5, 8, 24])
    def test_sigmoid(self, gate_shift: int) -> None:
        g = np.arange(-(2**15), 2**15)
        sigma = ops.sigmoid(torch.from_numpy(g), gate_shift).numpy()
        exact = 1 / (1 + np.exp(np.clip(-g * Real(2) ** (gate_shift - 16), -100, 100)))
        assert np.abs(sigma.astype(Real) / 2**20 - exact).max() <= 1.3e-5
        assert np.array_equal(sigma[1:] + sigma[1:][::-1], np.full(2**16 - 1, 2**20))  # symmetric about 1/2
        assert np.all(np.diff(sigma) >= 0)


class TestRmsNorm:
    def test_largest_value_of_u(self) -> None:
        """|u| <= 2^29 (1 + 2^-20) of section 3, where a vector has a single element."""
        draw = np.random.default_rng(SEED)
        r = torch.from_numpy(draw.integers(1, 2**31, 200_000) >> draw.integers(0, 31, 200_000))[:, None]
        x = ops.rms_norm(r, torch.ones(1, dtype=torch.int64), 0, 0, 64 - 1)
        assert x[r > 0].max().item() <= 2**29 * (1 + 2**-20)
        assert x[r > 2**12].min().item() >= 2**29 * (1 - 2**-11)

    def test_zero_stays_zero(self) -> None:
        assert not ops.rms_norm(torch.zeros(1, 5, dtype=torch.int64), torch.ones(5).long(), 0, 0, 16).any()

    @given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=9), st.integers(0, 2**40))
    def test_equals_python(self, values: list[int], epsilon: int) -> None:
        """Section 3 written once more, in Python's integers."""
        s = max(0, max(map(abs, values)).bit_length() - 24)
        q = [(v + (1 << s >> 1)) >> s for v in values]
        v = max(1, sum(x * x for x in q) + (epsilon >> 2 * s))
        y, n = (int(x) for x in ops.rsqrt(one(v)))
        h = n // 2 - 1
        wanted = [
            max(-(2**15), min(2**15 - 1, ((((x * y + (1 << h >> 1)) >> h) * 3) + 2**15) >> 16)) for x in q
        ]
        gains = torch.full((len(values),), 3)
        assert ops.rms_norm(torch.tensor([values]), gains, epsilon, 16, 16)[0].tolist() == wanted
