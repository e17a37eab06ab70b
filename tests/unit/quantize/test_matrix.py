"""Rounding to nearest, held to docs/numerics.md section 12 in exact fractions on any finite float32 weights."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from etchproof.errors import InputError
from etchproof.quantize import matrix as module
from etchproof.quantize.matrix import dequantize, quantize_matrix

BITS = (3, 4, 6, 8)
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
MATRICES = st.tuples(st.integers(1, 5), st.integers(1, 37)).flatmap(
    lambda shape: hnp.arrays(
        np.float32, shape, elements=st.one_of(FINITE, st.floats(-4, 4, width=32), st.just(0.0))
    )
)


def by_fractions(
    weight: np.ndarray, bits: int, group: int
) -> tuple[list[list[int]], list[list[int]], int] | None:
    """(codes, scales, e) as section 12 says, in exact arithmetic; None where no e in -16 .. 46 does."""
    top = 2 ** (bits - 1) - 1
    exact = [[Fraction(float(value)) for value in row] for row in weight]
    ideal = [
        [max(map(abs, row[first : first + group])) / top for first in range(0, len(row), group)]
        for row in exact
    ]
    largest = max(max(row) for row in ideal)
    half = Fraction(1, 2)
    fits = [e for e in range(-16, 47) if math.floor(largest * Fraction(2) ** e + half) <= 65535]
    if not fits:
        return None
    unit = Fraction(2) ** max(fits)
    scales = [[max(1, math.floor(s * unit + half)) if s else 0 for s in row] for row in ideal]
    codes = [
        [
            max(-top, min(top, round(value * unit / scales[r][k // group]))) if scales[r][k // group] else 0
            for k, value in enumerate(row)
        ]
        for r, row in enumerate(exact)
    ]
    return codes, scales, max(fits)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(weight=MATRICES, bits=st.sampled_from(BITS), group=st.sampled_from((1, 5, 16, 64)))
def test_equals_exact_arithmetic(weight: np.ndarray, bits: int, group: int) -> None:
    expected = by_fractions(weight, bits, group)
    if expected is None:
        with pytest.raises(InputError, match=rf"w: holds .*{bits}-bit codes"):
            quantize_matrix(weight, bits, group, name="w")
        return
    found = quantize_matrix(weight, bits, group)
    assert (found.codes.tolist(), found.scales.tolist(), found.exponent) == expected
    assert found.codes.dtype == np.int8
    assert found.scales.dtype == np.uint16
    assert (found.bits, found.group_size, found.bias) == (bits, group, None)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("group", [16, 50])
def test_error_is_at_most_half_a_step(bits: int, group: int) -> None:
    weight = np.random.default_rng(bits).normal(size=(40, 50)).astype(np.float32)
    found = quantize_matrix(weight, bits, group)
    top = 2 ** (bits - 1) - 1
    assert np.abs(found.codes).max() == top
    assert found.scales.max() >= 2**15  # the exponent wastes no bit of the largest scale
    step = np.ldexp(np.repeat(found.scales.astype(np.float64), group, axis=1)[:, :50], -found.exponent)
    error = np.abs(dequantize(found, np.float64) - weight)
    clamped = (
        np.abs(weight) > (top + 0.5) * step
    )  # where rounding the scale down left the largest weight outside
    assert clamped.mean() < 0.001
    assert (error[~clamped] <= step[~clamped] / 2).all()
    assert np.array_equal(dequantize(found), dequantize(found, np.float64))  # float32 holds it exactly


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = np.random.default_rng(1).normal(size=(33, 40)).astype(np.float32)
    whole = quantize_matrix(weight, 4, 16)
    monkeypatch.setattr(module, "_BLOCK", 100)
    blocked = quantize_matrix(weight, 4, 16)
    assert np.array_equal(whole.codes, blocked.codes)
    assert np.array_equal(whole.scales, blocked.scales)
    assert np.array_equal(dequantize(whole), dequantize(blocked))


@pytest.mark.parametrize("group", [16, 30, 300])
def test_threads_change_nothing(group: int) -> None:
    """Blocks of many rows, several at a time: as one block in one thread."""
    weight = np.random.default_rng(2).normal(size=(900, 300)).astype(np.float32)
    weight[17, :60] = 0
    found = quantize_matrix(weight, 4, group)
    rows = [
        quantize_matrix(np.vstack([row, weight[np.abs(weight).max(axis=1).argmax()]]), 4, group)
        for row in weight
    ]
    assert {one.exponent for one in rows} == {found.exponent}
    assert np.array_equal(found.codes, [one.codes[0] for one in rows])
    assert np.array_equal(found.scales, [one.scales[0] for one in rows])


class TestExtremes:
    def test_all_zero(self) -> None:
        found = quantize_matrix(np.zeros((3, 20), np.float32), 6, 16)
        assert not found.codes.any()
        assert not found.scales.any()
        assert found.exponent == 46

    def test_a_zero_group_beside_others(self) -> None:
        weight = np.ones((1, 32), np.float32)
        weight[0, 16:] = 0
        found = quantize_matrix(weight, 4, 16)
        assert found.scales[0, 1] == 0
        assert not found.codes[0, 16:].any()
        assert found.codes[0, :16].tolist() == [7] * 16

    def test_one_huge_outlier_keeps_the_rest_in_range(self) -> None:
        weight = np.full((2, 32), 1e-3, np.float32)
        weight[0, 0] = 1e9
        found = quantize_matrix(weight, 8, 16)
        assert found.scales.min() == 1  # never 0 for a group that holds something
        assert dequantize(found)[0, 0] == pytest.approx(1e9, rel=1e-4)
        assert not dequantize(found)[1].any()

    def test_subnormal(self) -> None:
        found = quantize_matrix(np.full((1, 16), 1e-44, np.float32), 8, 16)
        assert found.exponent == 46
        assert found.scales.tolist() == [[1]]
        assert not found.codes.any()

    def test_the_largest_that_fits_and_the_next(self) -> None:
        limit = 65535.5 * 2.0**16 * 127
        below = np.nextafter(np.float32(limit), np.float32(0))
        assert quantize_matrix(np.full((1, 4), below, np.float32), 8, 4).exponent == -16
        with pytest.raises(InputError) as caught:
            quantize_matrix(np.full((1, 4), limit * 1.001, np.float32), 8, 4, name="model.w", source="folder")
        assert str(caught.value).startswith("folder: model.w: holds a weight of magnitude 5.46")

    def test_ties_go_to_even(self) -> None:
        weight = np.array([[127, 0.5, 1.5, 2.5, -0.5, -1.5]], np.float32)
        assert quantize_matrix(weight, 8, 16).codes.tolist() == [[127, 0, 2, 2, 0, -2]]
