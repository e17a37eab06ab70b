"""Rounding to block formats, bit for bit: by ml_dtypes' casts, and by the rule in fractions."""

from __future__ import annotations

from bisect import bisect_left
from fractions import Fraction
from functools import cache
from typing import Any, Final

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etchproof.errors import InputError
from etchproof.published.block_scaled import (
    BLOCK_FORMATS,
    MXFP4,
    MXFP6_E2M3,
    MXFP6_E3M2,
    MXINT8,
    NVFP4,
    BlockFormat,
    BlockScaled,
)
from etchproof.quantize.block_formats import quantize_blocks

DTYPES: Final[dict[str, Any]] = {
    "E2M1": ml_dtypes.float4_e2m1fn,
    "E2M3": ml_dtypes.float6_e2m3fn,
    "E3M2": ml_dtypes.float6_e3m2fn,
}
EMAX: Final = {"E2M1": 2, "E2M3": 2, "E3M2": 4, "INT8": 0}
MX: Final = (MXFP4, MXFP6_E2M3, MXFP6_E3M2, MXINT8)
NAMES: Final = {form.name: form for form in BLOCK_FORMATS}


def row(form: BlockFormat, values: list[float]) -> BlockScaled:
    return quantize_blocks(np.array([values], dtype=np.float32), form)


@cache
def decoded(name: str) -> list[Fraction]:
    """What each pattern without a sign is, exactly."""
    dtype = DTYPES.get(name, ml_dtypes.float8_e4m3fn)
    count = 1 << (int(ml_dtypes.finfo(dtype).bits) - 1)
    values = np.arange(count, dtype=np.uint8).view(dtype).astype(np.float64)
    return [Fraction(value) for value in values.tolist() if np.isfinite(value)]


def nearest(values: list[Fraction], exact: Fraction) -> int:
    place = bisect_left(values, abs(exact))
    beside = range(max(place - 1, 0), min(place + 1, len(values)))
    return min((abs(values[pattern] - abs(exact)), pattern & 1, pattern) for pattern in beside)[2]


def floor_log2(value: Fraction) -> int:
    """By comparisons alone."""
    exponent = 0
    while Fraction(2) ** (exponent + 1) <= value:
        exponent += 1
    while Fraction(2) ** exponent > value:
        exponent -= 1
    return exponent


def ruled(weight: Any, form: BlockFormat) -> tuple[list[list[int]], list[list[int]], Fraction]:
    """Patterns, patterns of scales, divisor: the rule of docs/published.md in fractions, number by number."""
    name = form.element.name
    exact = [[Fraction(value) for value in values] for values in weight.astype(np.float64).tolist()]
    largest = max((abs(value) for values in exact for value in values), default=Fraction(0))
    divisor = Fraction(1)
    if form is NVFP4 and largest:
        top = Fraction(float(np.finfo(np.float32).max))
        wanted = min(Fraction(2688) / largest, top)
        near = np.float32(float(wanted))
        with np.errstate(over="ignore"):
            around = [near, np.nextafter(near, np.float32(0)), np.nextafter(near, np.float32(np.inf))]
        held = [Fraction(float(value)) for value in around if np.isfinite(value)]
        divisor = min(held, key=lambda value: (abs(value - wanted), value != Fraction(float(near))))
    patterns, scales = [], []
    for o, values in enumerate(exact):
        patterns.append([])
        scales.append([])
        for first in range(0, len(values), form.size):
            block = values[first : first + form.size]
            most = max(abs(value) for value in block)
            if form is NVFP4:
                held_scales = decoded("E4M3")
                scales[o].append(nearest(held_scales, most * divisor / 6))
                scale = held_scales[scales[o][-1]]
            else:
                exponent = max(floor_log2(most) - EMAX[name], -127) if most else -127
                scales[o].append(exponent + 127)
                scale = Fraction(2) ** exponent
            for k, value in enumerate(block):
                quotient = value * divisor / scale if scale else Fraction(0)
                if name == "INT8":
                    patterns[o].append(max(-127, min(127, round(quotient * 64))) & 0xFF)
                else:
                    sign = bool(np.signbit(weight[o, first + k])) << (form.element.bits - 1)
                    patterns[o].append(nearest(decoded(name), quotient) | sign)
    return patterns, scales, divisor


def check(weight: Any, form: BlockFormat) -> None:
    found = quantize_blocks(weight, form)
    patterns, scales, divisor = ruled(weight, form)
    assert found.form is form
    assert (found.patterns.dtype, found.scales.dtype) == (np.uint8, np.uint8)
    assert (found.patterns.tolist(), found.scales.tolist()) == (patterns, scales)
    assert Fraction(found.divisor) == divisor


@given(
    name=st.sampled_from(sorted(NAMES)),
    cols=st.integers(1, 70),
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(["any bits", "subnormal", "close", "few bits"]),
)
@settings(max_examples=100, deadline=None)
def test_as_the_rule_in_fractions(name: str, cols: int, seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    if kind == "any bits":
        weight = rng.integers(0, 2**32, (2, cols), dtype=np.uint32).view(np.float32)
        weight = np.where(np.isfinite(weight), weight, np.float32(0))
    elif kind == "subnormal":
        weight = (rng.integers(-40, 40, (2, cols)) * 2.0**-149).astype(np.float32)
    elif kind == "close":
        weight = rng.normal(0, 0.02, (2, cols)).astype(np.float32)
    else:  # with many ties
        weight = (rng.integers(-24, 25, (2, cols)) / 8).astype(np.float32)
    check(weight, NAMES[name])


@pytest.mark.parametrize("form", [MXFP4, MXFP6_E2M3, MXFP6_E3M2], ids=lambda form: form.name)
def test_as_the_casts_of_ml_dtypes(form: BlockFormat) -> None:
    weight = np.random.default_rng(1).normal(0, 0.02, (64, 256)).astype(np.float32)
    found = quantize_blocks(weight, form)
    exponent = (
        np.floor(np.log2(np.abs(weight).reshape(64, 8, 32).max(2))).astype(int) - EMAX[form.element.name]
    )
    assert np.array_equal(found.scales.astype(int) - 127, exponent)
    scaled = np.ldexp(weight, -np.repeat(exponent, 32, axis=1)).astype(np.float32)
    assert np.array_equal(found.patterns, scaled.astype(DTYPES[form.element.name]).view(np.uint8))


@pytest.mark.parametrize("form", MX, ids=lambda form: form.name)
def test_a_largest_weight_at_a_power_of_two(form: BlockFormat) -> None:
    """It becomes the element's largest power of two; one just below, the half of it, under a scale of half."""
    emax = EMAX[form.element.name]
    for exponent in (-100, -1, 0, 3, 100):
        found = row(form, [2.0**exponent]).published()
        assert found.scales[0, 0] * 2.0**form.element.fraction == 2.0 ** (exponent - emax)
        assert found.weights()[0, 0] == 2.0**exponent
        below = float(np.nextafter(np.float32(2.0**exponent), np.float32(0)))
        held = row(form, [below]).published()
        assert held.scales[0, 0] == found.scales[0, 0] / 2
        assert held.weights()[0, 0] == form.element.largest * 2.0 ** (exponent - 1 - emax)  # saturates


def test_borders_of_mxfp4() -> None:
    """Under a largest weight of 4 the scale is 1: each tie goes to the even pattern, and 6 .. 8 become 6."""
    ties = [4.0, 0.25, 0.75, 1.25, 1.75, 2.5, 3.5, -0.25, -0.75, -1.25, -1.75, -2.5, -3.5]
    found = row(MXFP4, ties)
    assert found.scales.tolist() == [[127]]
    assert found.published().weights()[0].tolist() == [4, 0, 1, 1, 2, 2, 4, -0.0, -1, -1, -2, -2, -4]
    assert found.patterns[0, [1, 7]].tolist() == [0, 8]  # either zero
    beyond = row(MXFP4, [5.0, 6.5, 7.999, -7.999])
    assert beyond.published().weights()[0].tolist() == [4, 6, 6, -6]


@pytest.mark.parametrize("form", BLOCK_FORMATS, ids=lambda form: form.name)
def test_zeros(form: BlockFormat) -> None:
    weight = np.zeros((2, 80), dtype=np.float32)
    weight[0, 0], weight[1, 3] = -0.0, 1
    found = quantize_blocks(weight, form)
    negative = 0 if form is MXINT8 else 1 << (form.element.bits - 1)
    assert found.patterns[0, 0] == negative
    assert not found.patterns[0, 1:].any()
    assert not found.scales[0].any()  # 2**-127, of NVFP4 0
    assert not found.published().weights()[0].any()
    assert found.published().weights()[1, 3] == pytest.approx(1, rel=2e-7)
    assert quantize_blocks(weight[:1], form).divisor == 1
    assert quantize_blocks(weight[:, :0], form).patterns.shape == (2, 0)


def test_the_least_scales() -> None:
    """MX: 2**-127. NVFP4: subnormal, and 0 where half the smallest one and less is left; the tie goes to 0."""
    tiny = 2.0**-149
    found = row(MXFP4, [tiny, -3 * tiny])
    assert found.scales.tolist() == [[0]]
    assert found.patterns.tolist() == [[0, 8]]
    assert row(MXFP4, [2.0**-126]).published().weights().tolist() == [[2.0**-126]]
    most = [2688.0] + [0.0] * 15
    for factor, scale, element in ((1.0, 1, 7), (0.5, 0, 0), (0.50001, 1, 5), (7.0, 7, 7)):
        weight = np.array([most + [factor * 6 * 2.0**-9] * 16], dtype=np.float32)
        held = quantize_blocks(weight, NVFP4)
        assert (held.divisor, held.scales.tolist()) == (1, [[126, scale]])
        assert held.patterns[0, 16:].tolist() == [element] * 16
        check(weight, NVFP4)


def test_the_divisor_of_nvfp4() -> None:
    assert row(NVFP4, [2.0]).divisor == 1344
    assert row(NVFP4, [3.0e-36]).divisor == float(np.finfo(np.float32).max)
    greatest = float(np.finfo(np.float32).max)
    assert row(NVFP4, [greatest]).published().weights()[0, 0] == pytest.approx(greatest, rel=2e-7)


@pytest.mark.parametrize("form", BLOCK_FORMATS, ids=lambda form: form.name)
@pytest.mark.parametrize(("value", "shown"), [(np.inf, "inf"), (-np.inf, "-inf"), (np.nan, "nan")])
def test_what_is_not_finite_is_refused(form: BlockFormat, value: float, shown: str) -> None:
    weight = np.zeros((3, 40), dtype=np.float32)
    weight[2, 35] = value
    with pytest.raises(InputError) as caught:
        quantize_blocks(weight, form, name="lm_head.weight", source="model")
    assert str(caught.value) == f"model: lm_head.weight: is {shown} at [2, 35], expected a finite number"


def test_blocks_of_rows_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = np.random.default_rng(3).normal(0, 1, (9, 50)).astype(np.float32)
    for form in BLOCK_FORMATS:
        whole = quantize_blocks(weight, form)
        with monkeypatch.context() as patched:
            patched.setattr("etchproof.quantize.block_formats._CACHED", 100)
            parts = quantize_blocks(weight, form)
        assert np.array_equal(whole.patterns, parts.patterns)
        assert np.array_equal(whole.scales, parts.scales)
