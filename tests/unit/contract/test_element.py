"""Elements of taps: what is equal, what is shown, and how far floats are apart, against numpy and ml_dtypes."""

from __future__ import annotations

import math
from typing import Any, get_args

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etchproof.contract.element import ElementType, bits_of, shown, stored, ulps

FLOATS: dict[Any, np.dtype[Any]] = {
    "f16": np.dtype(np.float16),
    "bf16": np.dtype(ml_dtypes.bfloat16),
    "f32": np.dtype(np.float32),
    "f64": np.dtype(np.float64),
}


@pytest.mark.parametrize("kind", get_args(ElementType))
def test_as_many_bits_as_its_name_says(kind: ElementType) -> None:
    bits = int(kind.lstrip("iubf"))
    assert stored(kind).itemsize * 8 == bits
    assert stored(kind).kind == ("i" if kind[0] == "i" else "u")


@pytest.mark.parametrize("kind", FLOATS)
@given(seed=st.integers(0, 2**32 - 1))
def test_floats_and_their_bits_are_the_same(kind: ElementType, seed: int) -> None:
    raw = np.random.default_rng(seed).integers(0, 256, 64, np.uint8).view(stored(kind))
    floats = raw.view(FLOATS[kind])  # NaNs, infinities and denormals among them
    signed = raw.view(f"i{raw.itemsize}")
    for given_as in (raw, floats, signed):
        assert np.array_equal(bits_of(kind, given_as), raw)


@pytest.mark.parametrize("kind", FLOATS)
@given(one=st.floats(-100, 100, width=16), other=st.floats(-100, 100, width=16))
def test_ulps_are_steps_of_nextafter(kind: ElementType, one: float, other: float) -> None:
    dtype = FLOATS[kind]
    first, second = dtype.type(one), dtype.type(other)
    bits = [int(np.array([value]).view(stored(kind))[0]) for value in (first, second)]
    distance = ulps(kind, *bits)
    assert distance == ulps(kind, *bits[::-1])
    assert (distance == 0) == (first == second)
    above = np.nextafter(first, dtype.type(200)) if kind != "bf16" else None
    if above is not None:
        assert ulps(kind, bits[0], int(np.array([above]).view(stored(kind))[0])) == 1


def test_no_distance_of_integers_and_of_nans() -> None:
    assert ulps("i16", 3, 4) is None
    nan = int(np.array([math.nan], np.float32).view(np.uint32)[0])
    assert ulps("f32", nan, 0) is None


@pytest.mark.parametrize(
    ("kind", "bits", "text"),
    [
        ("i16", -5, "-5"),
        ("u64", 2**64 - 1, "18446744073709551615"),
        ("f16", 0x3C00, "1 (0x3c00)"),
        ("bf16", 0x8000, "-0 (0x8000)"),
        ("f32", 0x3F800001, "1.00000012 (0x3f800001)"),
        ("f64", 0x7FF8000000000000, "nan (0x7ff8000000000000)"),
    ],
)
def test_shown(kind: ElementType, bits: int, text: str) -> None:
    assert shown(kind, bits) == text


@pytest.mark.parametrize(
    ("kind", "array"),
    [
        ("i16", np.zeros(2)),
        ("u8", np.zeros(2, bool)),
        ("f32", np.zeros(2)),
        ("f32", np.zeros(2, np.float16)),
        ("bf16", np.zeros(2, np.float32)),
        ("f16", np.zeros(2, ml_dtypes.bfloat16)),
        ("bf16", np.zeros(2, np.float16)),
        ("bf16", np.zeros(2, np.int32)),
    ],
)
def test_nothing_is_converted(kind: ElementType, array: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"^holds .*, expected "):
        bits_of(kind, array)


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**64 - 1))
def test_integers_of_either_sign_compare_by_value(signed: int, unsigned: int) -> None:
    """What ``Comparator`` relies on: numpy compares int64 with uint64 exactly."""
    ours, theirs = np.array([signed], np.int64), np.array([unsigned], np.uint64)
    assert bool((ours == theirs)[0]) == (signed == unsigned)
