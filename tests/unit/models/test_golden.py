"""The golden model as a whole: one pass or token by token, its linears against Python's integers, its refusals."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etchproof.quantize.quantized_model import QuantizedMatrix, QuantizedModel
from models.golden import Golden, Linear, greedy_token
from tests.taps import TAP_NAMES
from tests.unit.models.conftest import drawn_model

LENGTH = 20
Seen = dict[tuple[int, str], list[torch.Tensor]]


def run(golden: Golden, tokens: torch.Tensor, splits: list[int]) -> Seen:
    """Every tap, token by token, of a sequence computed in parts; scores and weights as far as they are visible."""
    seen: Seen = defaultdict(list)
    store = golden.new_cache()
    start = 0
    for part in torch.tensor_split(tokens, splits):

        def observe(layer: int, tap: str, value: torch.Tensor, start: int = start) -> None:
            for i, row in enumerate(value):
                shown = row[:, : start + i + 1].T if tap in ("scores", "softmax") else row
                seen[layer, tap].append(shown.clone())

        golden.forward(part, store, observe)
        start += len(part)
    return seen


def assert_same(found: Seen, wanted: Seen) -> None:
    assert found.keys() == wanted.keys()
    for key, rows in wanted.items():
        assert len(found[key]) == len(rows)
        for pos, (one, other) in enumerate(zip(found[key], rows, strict=True)):
            assert torch.equal(one, other), f"{key} at position {pos}"


@pytest.fixture(scope="session")
def whole(tiny_model: QuantizedModel) -> tuple[Golden, torch.Tensor, Seen]:
    golden = Golden(tiny_model)
    tokens = torch.from_numpy(np.random.default_rng(4).integers(0, tiny_model.config.vocab_size, LENGTH))
    return golden, tokens, run(golden, tokens, [])


class TestSplits:
    def test_every_tap_is_observed(self, whole: tuple[Golden, torch.Tensor, Seen]) -> None:
        golden, _, seen = whole
        assert {tap for _, tap in seen} == {tap for tap in TAP_NAMES if ".lora_" not in tap}
        assert {layer for layer, _ in seen} == set(range(-1, golden.plan.n_layers))
        assert all(len(rows) == LENGTH for rows in seen.values())

    def test_token_by_token(self, whole: tuple[Golden, torch.Tensor, Seen]) -> None:
        golden, tokens, seen = whole
        assert_same(run(golden, tokens, list(range(1, LENGTH))), seen)

    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(splits=st.lists(st.integers(1, LENGTH - 1), unique=True, max_size=6).map(sorted))
    def test_any_split(self, whole: tuple[Golden, torch.Tensor, Seen], splits: list[int]) -> None:
        golden, tokens, seen = whole
        assert_same(run(golden, tokens, splits), seen)

    def test_a_prefix_knows_nothing_of_what_follows(self, whole: tuple[Golden, torch.Tensor, Seen]) -> None:
        golden, tokens, seen = whole
        assert_same(run(golden, tokens[:7], []), {key: rows[:7] for key, rows in seen.items()})

    def test_extreme_weights(self) -> None:
        """The drawn model saturates nearly everywhere; its cache is 20 positions, all used."""
        golden = Golden(drawn_model())
        tokens = torch.arange(20) * 7 % 37
        assert_same(run(golden, tokens, [3, 4, 11]), run(golden, tokens, []))

    def test_the_context_is_a_limit(self) -> None:
        golden = Golden(drawn_model())
        store = golden.new_cache()
        golden.forward(torch.zeros(20, dtype=torch.int64), store)
        with pytest.raises(ValueError, match="21 positions are more than the chip's context of 20"):
            golden.forward(torch.zeros(1, dtype=torch.int64), store)


class TestLinear:
    @pytest.mark.parametrize("bits", [3, 4, 6, 8])
    @pytest.mark.parametrize("group", [16, 32, 40])
    @pytest.mark.parametrize("act", [8, 16])
    def test_equals_python(self, bits: int, group: int, act: int) -> None:
        draw = np.random.default_rng([bits, group, act])
        low = -(1 << (bits - 1))
        codes = draw.integers(low, -low, (5, 40)).astype(np.int8)
        scales = draw.integers(0, 65536, (5, -(-40 // group))).astype(np.uint16)
        bias = draw.integers(-(2**31), 2**31, 5).astype(np.int32)
        x = draw.integers(-(1 << (act - 1)), 1 << (act - 1), (6, 40))
        for shift, bias_shift, out in ((0, 0, 16), (20, 3, 16), (27, 15, 8), (62, 0, 16)):
            m = QuantizedMatrix(bits, group, codes, scales, 0, bias, bias_shift)
            found = Linear(m, shift, out, act)(torch.from_numpy(x)).tolist()
            for t in range(6):
                for o in range(5):
                    parts = (int(scales[o, k // group]) * int(codes[o, k]) * int(x[t, k]) for k in range(40))
                    acc = sum(parts) + (int(bias[o]) << bias_shift)
                    y = (acc + (1 << shift >> 1)) >> shift
                    assert found[t][o] == max(-(1 << (out - 1)), min((1 << (out - 1)) - 1, y))

    @pytest.mark.parametrize(("cols", "in_float"), [(16, True), (1 << 16, False)])
    def test_both_ways_are_exact_at_the_extremes(self, cols: int, in_float: bool) -> None:
        """8-bit codes -128, scales 65535, inputs -32768: nearly 2^38 a product, so 2^16 of them pass 2^53."""
        codes = np.full((1, cols), -128, np.int8)
        linear = Linear(
            QuantizedMatrix(8, 16, codes, np.full((1, cols // 16), 65535, np.uint16), 0), 0, 63, 16
        )
        x = torch.full((1, cols), -32768)
        x[0, 0] = -32767
        assert (cols * 65535 * 128 << 15 < 2**53) is in_float
        assert linear(x).item() == 65535 * 128 * (32768 * (cols - 1) + 32767)


class TestGreedy:
    @given(st.lists(st.integers(-3, 3), min_size=1, max_size=12))
    def test_the_lowest_index_of_the_largest(self, logits: list[int]) -> None:
        assert greedy_token(torch.tensor([logits])).tolist() == [logits.index(max(logits))]

    def test_rows_are_apart(self) -> None:
        assert greedy_token(torch.tensor([[1, 2, 2], [5, 5, 5], [-9, -9, -8]])).tolist() == [1, 0, 2]
