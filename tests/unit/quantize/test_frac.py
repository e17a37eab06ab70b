"""Gains, biases and fractional bits: the rules of docs/numerics.md sections 3, 4 and 12, and their limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etchproof.checkpoint import ModelConfig
from etchproof.checkpoint.linears import LINEARS
from etchproof.errors import InputError
from etchproof.quantize.bias import with_bias
from etchproof.quantize.frac import calibrated_frac, ceil_log2, layer_fracs, softmax_kappa, tail_fracs
from etchproof.quantize.gains import quantize_gains
from etchproof.quantize.matrix import quantize_matrix
from etchproof.quantize.quantized_model import FRAC_TAPS
from etchproof.quantize.recipe import MatrixRule, Recipe

TAPS = (*FRAC_TAPS, "q_rope")


def recipe(**changes: object) -> Recipe:
    rule = MatrixRule(match=("*",), bits=8, group_size=16)
    return Recipe.model_validate({"name": "r", "matrices": (rule,), **changes})


@pytest.mark.parametrize(
    ("x", "expected"), [(1, 0), (2, 1), (2.0000001, 2), (1.9999, 1), (0.5, -1), (0.51, 0), (3, 2), (1e-3, -9)]
)
def test_ceil_log2(x: float, expected: int) -> None:
    assert ceil_log2(x) == expected


@pytest.mark.parametrize(
    ("width", "largest", "headroom", "frac"),
    [(16, 1.0, 2, 14), (16, 1.1, 2, 13), (8, 1.0, 1, 7), (8, 5.0, 1, 4), (16, 0.0, 2, 24), (16, 1e-30, 2, 24),
     (8, 1e9, 1, -8)],
)  # fmt: skip
def test_calibrated_frac(width: int, largest: float, headroom: float, frac: int) -> None:
    assert calibrated_frac(width, largest, headroom) == frac


@given(largest=st.floats(1e-2, 1e4), headroom=st.sampled_from((1.0, 2.0)))
@settings(derandomize=True)
def test_headroom_holds(largest: float, headroom: float) -> None:
    frac = calibrated_frac(16, largest, headroom)
    assert headroom * largest * 2**frac <= 2**15  # h times the largest still fits
    if frac < 24:
        assert headroom * largest * 2 ** (frac + 1) > 2**15  # and no bit is wasted


@pytest.mark.parametrize(("head_dim", "kappa"), [(2, 15), (8, 16), (64, 18), (128, 18)])
def test_softmax_kappa(head_dim: int, kappa: int) -> None:
    assert softmax_kappa(head_dim) == kappa
    scale = math.floor(math.log2(math.e) / math.sqrt(head_dim) * 2**kappa + 0.5)
    assert 2**15 <= scale < 2**16


def shifts(
    fracs: dict[str, int], exponents: dict[str, int], norms: tuple[int, int], head_dim: int
) -> dict[str, int]:
    """Every shift of a layer as docs/numerics.md writes it."""
    f, inputs = (
        fracs,
        {"o_proj": "attn_out", "gate_proj": "mlp_norm", "up_proj": "mlp_norm", "down_proj": "swiglu"},
    )
    found = {name: exponents[name] + f[inputs.get(name, "attn_norm")] - f[name] for name in LINEARS}
    return found | {
        "attn_norm": 29 + norms[0] - f["attn_norm"],
        "mlp_norm": 29 + norms[1] - f["mlp_norm"],
        "k_rope": 14 + f["k_proj"] - f["k_rope"],
        "softmax": f["q_proj"] + f["k_rope"] + softmax_kappa(head_dim) - 16,
        "attn_out": 46 + f["v_proj"] - f["attn_out"],
        "gate_shift": 16 - f["gate_proj"],
        "swiglu": 20 + f["gate_proj"] + f["up_proj"] - f["swiglu"],
    }


@settings(max_examples=300, deadline=None, derandomize=True)
@given(data=st.data())
def test_every_shift_is_in_range(data: st.DataObject) -> None:
    config = ModelConfig(
        name="toy", vocab_size=9, hidden_size=8, intermediate_size=8, n_layers=1, n_heads=1, n_kv_heads=1,
        head_dim=data.draw(st.sampled_from((2, 8, 128))), context=8,
    )  # fmt: skip
    magnitudes = st.one_of(st.just(0.0), st.floats(-30, 20).map(lambda x: 2.0**x))
    ranges = {(0, tap): data.draw(magnitudes) for tap in TAPS}
    exponents = {name: data.draw(st.integers(10, 46)) for name in LINEARS}
    norms = (data.draw(st.integers(-8, 30)), data.draw(st.integers(-8, 30)))
    chosen = recipe(
        activation_bits=data.draw(st.sampled_from((8, 16))), kv_bits=data.draw(st.sampled_from((8, 16)))
    )
    try:
        fracs = layer_fracs(config, chosen, ranges, 0, exponents, norms)
    except InputError as error:
        assert "fractional bits to keep its shifts in" in str(error)
        return
    assert tuple(fracs) == FRAC_TAPS
    found = shifts(fracs, exponents, norms, config.head_dim)
    assert all(0 <= shift <= 62 for shift in found.values()), found
    assert -15 <= fracs["o_proj"] <= 16
    assert -15 <= fracs["down_proj"] <= 16


def test_ordinary_magnitudes_are_not_limited(config: ModelConfig) -> None:
    ranges = {(0, tap): 3.0 for tap in TAPS} | {(0, "q_rope"): 5.0}
    fracs = layer_fracs(config, recipe(kv_bits=8), ranges, 0, dict.fromkeys(LINEARS, 21), (10, 10))
    assert fracs["q_proj"] == 11  # the larger of q_proj and q_rope: 15 - ceil(log2(10))
    assert fracs["k_proj"] == 12
    assert fracs["k_rope"] == fracs["v_proj"] == 4  # key/value bits


def test_no_choice_is_refused(config: ModelConfig) -> None:
    ranges = {(0, tap): 1e30 for tap in TAPS}
    with pytest.raises(
        InputError,
        match=r"toy: model.layers.0.self_attn.k_proj.weight: makes the tap layer 0 k_rope reach 1e\+30: it needs at "
        r"least 24 and at most -10 fractional bits",
    ):
        layer_fracs(config, recipe(), ranges, 0, dict.fromkeys(LINEARS, -16), (10, 10))


def test_tail_logits_are_16_bit(config: ModelConfig) -> None:
    ranges = {(-1, "final_norm"): 3.0, (-1, "logits"): 20.0}
    narrow = tail_fracs(config, recipe(activation_bits=8), ranges, 10, 21)
    assert narrow == {"final_norm": 5, "logits": 10}


class TestGains:
    def test_rounding(self) -> None:
        gain = np.array([1.0, -0.5, 0.25, 3.0], np.float32)
        found = quantize_gains(gain)
        assert found.exponent == 12  # 3 * 2 * 2^12 = 24576, twice that is more than 32767
        assert found.values.tolist() == [8192, -4096, 2048, 24576]

    def test_zero(self) -> None:
        found = quantize_gains(np.zeros(5, np.float32))
        assert not found.values.any()

    def test_error_bound(self) -> None:
        gain = np.random.default_rng(0).normal(1, 0.3, 48).astype(np.float32)
        found = quantize_gains(gain)
        scaled = gain.astype(np.float64) * math.sqrt(48)
        assert np.abs(np.ldexp(found.values.astype(np.float64), -found.exponent) - scaled).max() <= 2.0 ** (
            -found.exponent - 1
        )
        assert np.abs(found.values).max() > 2**14

    def test_too_large(self) -> None:
        with pytest.raises(
            InputError, match=r"a: n: holds a gain of magnitude 1.00000002e\+30, expected less than 1.0737"
        ):
            quantize_gains(np.full(4, 1e30, np.float32), name="n", source="a")


class TestBias:
    matrix = quantize_matrix(np.ones((2, 4), np.float32), 8, 4)

    @pytest.mark.parametrize("largest", [0.0, 1e-3, 0.7, 1e3])
    def test_smallest_shift_that_fits(self, largest: float) -> None:
        bias = np.array([largest, -largest / 3], np.float32)
        found = with_bias(self.matrix, bias, 8)
        assert found.bias is not None
        unit = 2.0 ** (found.bias_shift - found.exponent - 8)
        assert np.abs(found.bias * unit - bias.astype(np.float64)).max() <= unit / 2
        assert found.bias_shift == 0 or np.abs(found.bias).max() >= 2**30
        assert found.codes is self.matrix.codes

    def test_too_large(self) -> None:
        with pytest.raises(
            InputError,
            match=r"b: holds a bias of magnitude 100000000, expected less than \d+.* beside weights of exponent",
        ):
            with_bias(self.matrix, np.full(2, 1e8, np.float32), 16, name="b")

    def test_shift_range(self) -> None:
        seen = set()
        for power in range(-10, 8):
            found = with_bias(self.matrix, np.full(2, 2.0**power, np.float32), 16)
            seen.add(found.bias_shift)
        assert min(seen) == 0
        assert max(seen) <= 15
