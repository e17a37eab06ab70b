"""The golden model with adapters: the arithmetic against Python's integers, and what must come to the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etchproof.checkpoint.linears import INPUTS, LINEARS, LORA_PRODUCTS
from etchproof.errors import InputError
from etchproof.quantize.quantized_model import (
    AdapterMatrix,
    QuantizedAdapter,
    QuantizedMatrix,
    QuantizedModel,
)
from models import chip
from models.golden import Golden, Linear, Lora
from models.numerics import params
from tests.taps import TAP_NAMES
from tests.unit.models.conftest import drawn_adapter, drawn_model, everywhere
from tests.unit.models.test_golden import Seen, assert_same

LENGTH = 9


def run(golden: Golden, adapter: int | None, splits: list[int] | None = None) -> Seen:
    """Every tap of a fixed text, computed in parts; scores and weights as far as they are visible."""
    tokens = torch.arange(LENGTH) * 7 % golden.plan.vocab_size
    seen: Seen = {}
    store, start = golden.new_cache(), 0
    for part in torch.tensor_split(tokens, splits or []):

        def observe(layer: int, tap: str, value: torch.Tensor, start: int = start) -> None:
            for i, row in enumerate(value):
                shown = row[:, : start + i + 1].T if tap in ("scores", "softmax") else row
                seen.setdefault((layer, tap), []).append(shown.clone())

        golden.forward(part, store, observe, adapter)
        start += len(part)
    return seen


def without_lora(seen: Seen) -> Seen:
    return {(layer, tap): rows for (layer, tap), rows in seen.items() if ".lora_" not in tap}


def differ(one: Seen, other: Seen) -> list[tuple[int, str]]:
    """The taps of both that are not the same, in dataflow order."""
    keys = sorted(one.keys() & other.keys(), key=lambda key: (key[0] % 1000, TAP_NAMES.index(key[1])))
    return [
        key for key in keys if any(not torch.equal(a, b) for a, b in zip(one[key], other[key], strict=True))
    ]


class TestArithmetic:
    @pytest.mark.parametrize("act", [8, 16])
    @pytest.mark.parametrize("rank", [1, 2, 5, 16])
    def test_products_equal_python(self, act: int, rank: int) -> None:
        """Random and extreme values, among them -2^15 throughout, which no quantizer makes."""
        draw = np.random.default_rng([act, rank])
        a = draw.integers(-(2**15), 2**15, (rank, 40)).astype(np.int16)
        b = draw.integers(-(2**15), 2**15, (7, rank)).astype(np.int16)
        x = draw.integers(-(1 << (act - 1)), 1 << (act - 1), (5, 40))
        a[0], b[0], x[0] = -(2**15), -(2**15), -(1 << (act - 1))
        for a_shift in (0, 1, 14, 21, 62):
            h, d = Lora(AdapterMatrix(a, b, a_shift, 0, 0, 0, 0), act)(torch.from_numpy(x))
            for t in range(5):
                sums = [sum(int(a[j, k]) * int(x[t, k]) for k in range(40)) for j in range(rank)]
                half = 1 << a_shift >> 1
                wanted = [max(-(2**15), min(2**15 - 1, (value + half) >> a_shift)) for value in sums]
                assert h[t].tolist() == wanted
                assert d[t].tolist() == [sum(int(b[o, j]) * wanted[j] for j in range(rank)) for o in range(7)]

    def test_the_sum_joins_before_the_one_rounding(self) -> None:
        codes = np.array([[3]], np.int8)
        linear = Linear(QuantizedMatrix(6, 16, codes, np.array([[2]], np.uint16), 0), 4, 16, 16)
        x, addition = torch.tensor([[1], [1], [1]]), torch.tensor([[1], [2], [-15]])
        # 6 + 1 = 7, 6 + 2 = 8, 6 - 15 = -9; divided by 16, ties up
        assert linear(x, addition).tolist() == [[0], [1], [-1]]
        assert linear(x).tolist() == [[0], [0], [0]]

    @pytest.mark.parametrize("max_rank", [1, 2, 3, 16, 127, 128])
    def test_the_largest_sum_stays_within_its_bound(self, toy: QuantizedModel, max_rank: int) -> None:
        """All at -2^15, at the largest rank and shift: 2^60 is reached at most, and is in the accumulator's proof."""
        lora = toy.recipe.lora.model_copy(update={"max_rank": max_rank})
        plan = chip.plan(toy.config, toy.recipe.model_copy(update={"lora": lora}))
        a, b = np.full((max_rank, 1), -(2**15), np.int16), np.full((1, max_rank), -(2**15), np.int16)
        matrix = AdapterMatrix(a, b, 0, plan.max_b_shift, 0, 0, 0)
        _, d = Lora(matrix, 16)(torch.tensor([[1]]))
        assert d.item() == max_rank << 30
        assert 2**59 < int(d.item()) << plan.max_b_shift <= 2**60
        assert all(
            linear.max_acc >= 2**60 + 2**61 and linear.max_acc < 2**63 for linear in plan.linears(0).values()
        )


class TestSameness:
    def test_the_zero_adapter_is_the_base(self, toy: QuantizedModel) -> None:
        zero = drawn_adapter(toy, everywhere(toy, 3))
        linears = {
            key: dataclasses.replace(matrix, b=np.zeros_like(matrix.b))
            for key, matrix in zero.linears.items()
        }
        golden = Golden(toy, [dataclasses.replace(zero, linears=linears), zero])
        base = run(golden, None)
        assert_same(without_lora(run(golden, 0)), base)
        assert differ(without_lora(run(golden, 1)), base)  # the draw itself changes something

    def test_halves_that_cancel_are_the_base(self, toy: QuantizedModel) -> None:
        """B and -B on the same A, in one adapter of twice the rank."""
        half = drawn_adapter(toy, everywhere(toy, 4), reach=2**15 - 1)
        linears = {
            key: dataclasses.replace(
                matrix,
                a=np.concatenate([matrix.a, matrix.a]),
                b=np.concatenate([matrix.b, -matrix.b], axis=1),
            )
            for key, matrix in half.linears.items()
        }
        golden = Golden(toy, [dataclasses.replace(half, linears=linears), half])
        found, alone = run(golden, 0), run(golden, 1)
        assert_same(without_lora(found), run(golden, None))
        assert any(row.any() for row in found[0, "q_proj.lora_a"])
        assert any(row.any() for row in alone[0, "q_proj.lora_b"])

    def test_an_adapter_and_its_opposite(self, toy: QuantizedModel) -> None:
        """Up to the first linear that they change, all is the same but for the sign of their sums."""
        one = drawn_adapter(toy, everywhere(toy, 4), reach=2**15 - 1)
        linears = {key: dataclasses.replace(matrix, b=-matrix.b) for key, matrix in one.linears.items()}
        golden = Golden(toy, [one, dataclasses.replace(one, linears=linears)])
        plus, minus = run(golden, 0), run(golden, 1)
        for name in ("q_proj", "k_proj", "v_proj"):
            a, b = LORA_PRODUCTS[name]
            for x, y in zip(plus[0, a], minus[0, a], strict=True):
                assert torch.equal(x, y)
            for x, y in zip(plus[0, b], minus[0, b], strict=True):
                assert torch.equal(x, -y)

    @settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(splits=st.lists(st.integers(1, LENGTH - 1), unique=True, max_size=6).map(sorted))
    def test_any_split(self, toy: QuantizedModel, splits: list[int]) -> None:
        golden = Golden(toy, [drawn_adapter(toy, everywhere(toy, 5))])
        assert_same(run(golden, 0, splits), run(golden, 0))

    def test_token_by_token(self, tiny_model: QuantizedModel) -> None:
        golden = Golden(tiny_model, [drawn_adapter(tiny_model, everywhere(tiny_model, 3), b_shift=2)])
        assert_same(run(golden, 0, list(range(1, LENGTH))), run(golden, 0))


class TestPlan:
    def test_each_linear_equals_python(self, toy: QuantizedModel) -> None:
        """From its input's tap: the products, the sum shifted onto the accumulator, one rounding."""
        adapter = drawn_adapter(toy, {(0, name): 1 + i for i, name in enumerate(LINEARS)}, reach=2000)
        seen = run(Golden(toy, [adapter]), 0)
        words = params.layer_params(toy, 0)
        plan = chip.plan(toy.config, toy.recipe).linears(0)
        for name in LINEARS:
            base, lora = toy.layers[0].linears[name], adapter.linears[0, name]
            assert base.bias is not None
            for t in range(LENGTH):
                x = [int(value) for value in seen[0, INPUTS[name]][t]]
                h = []
                for row in lora.a.tolist():
                    total = sum(a * value for a, value in zip(row, x, strict=True))
                    h.append(
                        max(-(2**15), min(2**15 - 1, (total + (1 << lora.a_shift >> 1)) >> lora.a_shift))
                    )
                d = [sum(b * value for b, value in zip(row, h, strict=True)) for row in lora.b.tolist()]
                assert seen[0, f"{name}.lora_a"][t].tolist() == h
                assert seen[0, f"{name}.lora_b"][t].tolist() == d
                for o in range(0, base.rows, 7):
                    acc = (int(base.bias[o]) << base.bias_shift) + (d[o] << lora.b_shift)
                    for k, value in enumerate(x):
                        acc += int(base.scales[o, k // base.group_size]) * int(base.codes[o, k]) * value
                    shift, top = words[f"{name}.shift"], 1 << (plan[name].out_bits - 1)
                    y = max(-top, min(top - 1, (acc + (1 << shift >> 1)) >> shift))
                    assert seen[0, name][t][o] == y

    def test_taps_of_an_adapter_that_leaves_linears_out(self, toy: QuantizedModel) -> None:
        golden = Golden(toy, [drawn_adapter(toy, {(1, "v_proj"): 2, (1, "down_proj"): 7})])
        base, found = run(golden, None), run(golden, 0)
        assert found.keys() - base.keys() == {
            (1, tap) for n in ("v_proj", "down_proj") for tap in LORA_PRODUCTS[n]
        }
        changed = differ(found, base)
        assert changed[0] == (1, "v_proj")
        assert not {(0, tap) for tap in TAP_NAMES} & set(changed)
        assert not {(1, tap) for tap in ("attn_norm", "q_proj", "k_proj", "scores", "softmax")} & set(changed)
        assert [row.numel() for row in found[1, "down_proj.lora_a"]] == [7] * LENGTH
        assert [row.numel() for row in found[1, "down_proj.lora_b"]] == [40] * LENGTH

    def test_a_session_keeps_the_adapter_of_its_first_token(self, toy: QuantizedModel) -> None:
        golden = Golden(
            toy, [drawn_adapter(toy, everywhere(toy, 2)), drawn_adapter(toy, everywhere(toy, 2), 6)]
        )
        session, tokens = golden.session(), [1, 2, 3]

        def logits(adapter: int | None) -> list[list[int]]:
            first = session.predict(tokens[:1], True, adapter)[-1, "logits"]
            rest = session.predict(tokens[1:], False)[-1, "logits"]
            return [*map(list, first), *map(list, rest)]

        alone = {
            adapter: Golden(toy, golden.adapters).forward(torch.tensor(tokens), adapter=adapter).tolist()
            for adapter in (None, 0, 1)
        }
        assert alone[None] != alone[0] != alone[1]
        for adapter in (0, None, 1, 0, 0, None):
            assert logits(adapter) == alone[adapter]


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "says"),
        [
            (
                lambda m: dataclasses.replace(m, a_shift=63),
                "shifts 63 and 6, the chip takes 0 .. 62 and 0 .. 26",
            ),
            (lambda m: dataclasses.replace(m, b_shift=27), "shifts 20 and 27"),
            (lambda m: dataclasses.replace(m, b_shift=-1), "shifts 20 and -1"),
            (lambda m: dataclasses.replace(m, a=m.a[:, :-1]), r"a is \[2, 39\] and b \[52, 2\]"),
            (lambda m: dataclasses.replace(m, b=m.b[:, :-1]), r"the linear is \[52, 40\]"),
            (
                lambda m: dataclasses.replace(m, a=np.tile(m.a, (9, 1)), b=np.tile(m.b, (1, 9))),
                "rank 18, the chip takes 1 .. 16",
            ),
        ],
    )
    def test_what_the_chip_cannot_hold(
        self, toy: QuantizedModel, change: Callable[[AdapterMatrix], AdapterMatrix], says: str
    ) -> None:
        good = drawn_adapter(toy, {(1, "up_proj"): 2})
        bad = {(1, "up_proj"): change(good.linears[1, "up_proj"])}
        with pytest.raises(InputError, match=f"drawn: layer 1 up_proj: .*{says}"):
            Golden(toy, [dataclasses.replace(good, linears=bad)])

    def test_a_linear_that_is_not_there(self, toy: QuantizedModel) -> None:
        matrix = drawn_adapter(toy, {(0, "q_proj"): 1}).linears[0, "q_proj"]
        for key in ((2, "q_proj"), (0, "lm_head")):
            with pytest.raises(InputError, match=f"layer {key[0]} {key[1]}: no such linear"):
                Golden(toy, [QuantizedAdapter("other", "0" * 64, {key: matrix})])

    def test_a_chip_without_slots(self, toy: QuantizedModel) -> None:
        recipe = toy.recipe.model_copy(update={"lora": toy.recipe.lora.model_copy(update={"slots": 0})})
        bare = dataclasses.replace(toy, recipe=recipe)
        with pytest.raises(InputError, match="rank 1, the chip takes"):
            Golden(bare, [drawn_adapter(bare, {(0, "q_proj"): 1})])

    def test_arrays_are_read_only(self) -> None:
        matrix = drawn_adapter(drawn_model(), {(0, "q_proj"): 1}).linears[0, "q_proj"]
        with pytest.raises(ValueError, match="read-only"):
            matrix.a[0, 0] = 1
        assert set(LINEARS) == set(LORA_PRODUCTS)
