"""Every pattern of every element and scale as ml_dtypes has it; every border between two, and what lies beside it."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Final

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etchproof.published.minifloat import E2M1, E2M3, E3M2, E4M3, E8M0, INT8, Minifloat

FLOATS: Final = {
    "E2M1": (E2M1, ml_dtypes.float4_e2m1fn),
    "E2M3": (E2M3, ml_dtypes.float6_e2m3fn),
    "E3M2": (E3M2, ml_dtypes.float6_e3m2fn),
    "E4M3": (E4M3, ml_dtypes.float8_e4m3fn),
}


def library(name: str) -> Any:
    """What each pattern is, (patterns,) float64, by ml_dtypes."""
    element, dtype = FLOATS[name]
    return np.arange(1 << element.bits, dtype=np.uint8).view(dtype).astype(np.float64)


def finite(name: str) -> Any:
    values = library(name)
    return values[np.isfinite(values)]


@pytest.mark.parametrize("name", FLOATS)
def test_every_pattern(name: str) -> None:
    element, dtype = FLOATS[name]
    patterns, expected = np.arange(1 << element.bits, dtype=np.uint8), library(name)
    nan = np.isnan(expected)
    assert np.array_equal(element.is_nan(patterns), nan)
    assert nan.sum() == (2 if name == "E4M3" else 0)
    found = element.values(patterns)
    assert np.array_equal(found[~nan], expected[~nan])
    assert np.array_equal(np.signbit(found[~nan]), np.signbit(expected[~nan]))  # both zeros
    integers = element.integers(patterns)[~nan]
    assert np.array_equal(integers, expected[~nan] * 2.0**element.fraction)
    assert np.abs(integers)[integers != 0].min() == 1  # no smaller power of two would do
    information: Any = ml_dtypes.finfo(dtype)
    assert (element.bits, element.largest) == (information.bits, float(information.max))
    assert element.emax == int(information.maxexp) - 1 == np.floor(np.log2(element.largest))
    assert np.array_equal(element.nearest(found[~nan]), patterns[~nan])


def test_the_integers_of_e2m1() -> None:
    assert E2M1.integers(np.arange(16, dtype=np.uint8)).tolist() == [
        *(0, 1, 2, 3, 4, 6, 8, 12),
        *(0, -1, -2, -3, -4, -6, -8, -12),
    ]


def test_every_int8() -> None:
    patterns = np.arange(256, dtype=np.uint8)
    expected = [pattern - 256 * (pattern > 127) for pattern in range(256)]
    assert INT8.integers(patterns).tolist() == expected
    assert (INT8.fraction, INT8.emax, INT8.largest) == (6, 0, 127 / 64)
    values = np.array(expected) / 64
    found = INT8.nearest(values)
    assert INT8.integers(found).tolist() == [max(code, -127) for code in expected]
    ties = np.array([0.5, 1.5, -0.5, -1.5, 126.5, 127.5, -127.5, 1e30, -1e30]) / 64
    assert INT8.integers(INT8.nearest(ties)).tolist() == [0, 2, 0, -2, 126, 127, -127, 127, -127]


def test_every_e8m0() -> None:
    patterns = np.arange(256, dtype=np.uint8)
    expected = patterns.view(ml_dtypes.float8_e8m0fnu).astype(np.float64)
    assert np.array_equal(E8M0.is_nan(patterns), np.isnan(expected))
    assert np.array_equal(E8M0.values(patterns)[:255], expected[:255])
    assert (E8M0.values(patterns)[0], E8M0.values(patterns)[254]) == (2.0**-127, 2.0**127)
    assert E8M0.at_most(np.array([-1000, -128, -127, 0, 127, 128, 1000])).tolist() == [
        0,
        0,
        0,
        127,
        254,
        254,
        254,
    ]


@pytest.mark.parametrize("name", FLOATS)
def test_each_border_and_beside_it(name: str) -> None:
    """In float32, as ml_dtypes casts a float64 by way of float32."""
    element, dtype = FLOATS[name]
    values = np.unique(finite(name)).astype(np.float32)
    borders = (values[1:] + values[:-1]) / 2
    assert np.array_equal(borders.astype(np.float64) * 2, values[1:].astype(np.float64) + values[:-1])
    beside = [np.nextafter(borders, np.float32(side)) for side in (-np.inf, np.inf)]
    inputs = np.concatenate([borders, *beside, np.array([0, -0.0, 1e-45, -1e-45], dtype=np.float32)])
    assert np.array_equal(element.nearest(inputs.astype(np.float64)), inputs.astype(dtype).view(np.uint8))


@pytest.mark.parametrize("name", FLOATS)
def test_beyond_the_largest_is_the_largest(name: str) -> None:
    element, _ = FLOATS[name]
    largest = element.largest
    inputs = np.array([np.nextafter(largest, np.inf), 2 * largest, 1e300])
    assert element.values(element.nearest(inputs)).tolist() == [largest] * 3
    assert element.values(element.nearest(-inputs)).tolist() == [-largest] * 3


def nearest(element: Minifloat, values: Any, value: float) -> int:
    """By exact distances: the nearest pattern of the value's sign, the even one of two."""
    exact, half = abs(Fraction(value)), 1 << (element.bits - 1)
    order = [
        (abs(Fraction(float(values[p])) - exact), p & 1, p) for p in range(half) if np.isfinite(values[p])
    ]
    return min(order)[2] + half * bool(np.signbit(value))


@given(
    name=st.sampled_from(sorted(FLOATS)),
    value=st.floats(allow_nan=False, allow_infinity=False) | st.floats(-500, 500) | st.floats(-0.01, 0.01),
)
@settings(max_examples=200, deadline=None)
def test_any_number(name: str, value: float) -> None:
    element, _ = FLOATS[name]
    assert element.nearest(np.array([value])).tolist() == [nearest(element, library(name), value)]
