"""The plan's arithmetic and refusals, and the ranges of the params words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etchproof.checkpoint.linears import LINEARS
from etchproof.errors import InputError
from etchproof.quantize.quantized_model import QuantizedModel
from etchproof.quantize.recipe import Lora, MatrixRule, Tile
from models import chip
from models.chip import LinearPlan
from models.cycles import layer_cycles, tail_cycles
from models.numerics import params
from tests.unit.models.conftest import CONFIG, recipe


def linear(**changes: object) -> LinearPlan:
    fields = {
        "name": "q_proj",
        "rows": 20,
        "cols": 130,
        "bits": 6,
        "group_size": 32,
        "out_bits": 16,
        "has_bias": False,
        "tile_rows": 16,
        "tile_inputs": 64,
        "act_bits": 16,
    }
    return LinearPlan(**{**fields, **changes})  # type: ignore[arg-type]


class TestLinearPlan:
    def test_fine(self) -> None:
        plan = linear()
        assert (plan.blocks, plan.chunks, plan.depth) == (2, 3, 6)
        assert (plan.groups_per_word, plan.chunks_per_group, plan.scale_depth) == (2, 1, 6)
        assert plan.max_part == 32 * 2**5 * 2**15
        assert plan.max_acc == 192 // 32 * 65535 * plan.max_part + 2**61

    def test_coarse(self) -> None:
        plan = linear(group_size=128, has_bias=True)
        assert (plan.groups_per_word, plan.chunks_per_group, plan.scale_depth) == (1, 2, 4)
        assert plan.max_acc == 2 * 65535 * plan.max_part + 2**46 + 2**61

    def test_row(self) -> None:
        plan = linear(group_size=192)
        assert (plan.chunks_per_group, plan.scale_depth) == (3, 2)

    def test_slots_for_adapters_take_their_part_of_the_accumulator(self) -> None:
        plan = linear(lora_slots=4, lora_max_rank=16)
        assert plan.max_acc == linear().max_acc + 2**60
        assert (plan.in_blocks, plan.blocks) == (9, 2)

    @pytest.mark.parametrize(("group", "part"), [(256, 32), (512, 64), (384, 32)])
    def test_part_bits(self, group: int, part: int) -> None:
        """8-bit codes and 16-bit inputs: 512 products of 2^22 are 2^31, one more than 32 bits hold."""
        assert linear(bits=8, group_size=group).part_bits == part

    @given(
        st.integers(1, 500),
        st.integers(1, 500),
        st.sampled_from([4, 8, 16, 32]),
        st.sampled_from([32, 64, 128]),
        st.sampled_from([16, 32, 64, 128, None]),
    )
    def test_every_row_and_group_has_a_place(
        self, rows: int, cols: int, tile_rows: int, tile_inputs: int, group: int | None
    ) -> None:
        padded = -(-cols // tile_inputs) * tile_inputs
        size = padded if group is None or group >= cols else group
        plan = linear(rows=rows, cols=cols, tile_rows=tile_rows, tile_inputs=tile_inputs, group_size=size)
        assert plan.blocks * tile_rows - tile_rows < rows <= plan.blocks * tile_rows
        assert plan.chunks * tile_inputs == padded
        assert plan.scale_depth // plan.blocks * plan.groups_per_word >= -(-cols // size)
        assert plan.groups_per_word == 1 or plan.chunks_per_group == 1


class TestPlan:
    def test_shapes(self) -> None:
        plan = chip.plan(CONFIG, recipe())
        assert plan.context == 20
        assert len(plan.layer_kinds) == 1
        assert plan.layers == (0, 0)
        named = plan.linears(1)
        assert tuple(named) == LINEARS
        assert (named["q_proj"].rows, named["q_proj"].cols, named["q_proj"].group_size) == (30, 40, 16)
        assert (named["o_proj"].group_size, named["gate_proj"].group_size) == (32, 48)  # rows, padded
        assert (named["v_proj"].out_bits, plan.lm_head.out_bits) == (16, 16)
        assert all(named[name].has_bias for name in LINEARS)
        assert not plan.lm_head.has_bias
        assert [plan.blocks(n) for n in (1, 8, 9, 40)] == [1, 1, 2, 5]
        assert [plan.padded_blocks(n) for n in (1, 16, 17)] == [2, 2, 4]

    def test_layers_of_two_kinds(self) -> None:
        rules = (
            MatrixRule(match=("model.layers.1.mlp.*",), bits=3, group_size=16),
            MatrixRule(match=("*",), bits=6, group_size=16),
        )
        plan = chip.plan(CONFIG, recipe(matrices=rules))
        assert plan.layers == (0, 1)
        assert (plan.linears(0)["up_proj"].bits, plan.linears(1)["up_proj"].bits) == (6, 3)

    def test_the_checkpoints_context_may_be_the_smaller(self) -> None:
        assert chip.plan(CONFIG, recipe(context=500)).context == 32

    def test_too_wide_an_accumulator_is_refused_with_its_numbers(self) -> None:
        """8-bit codes, 16-bit inputs: 2^38 a product, so 2^24 inputs reach 2^62 and the rounding constant more."""
        config = CONFIG.model_copy(update={"intermediate_size": 2**24})
        rules = (MatrixRule(match=("*",), bits=8, group_size=16),)
        rounded_up = 2**24 * 2**22 * 65535 + 2**46 + 2**60 + 2**61  # bias, adapter, rounding
        assert rounded_up < 2**63  # so much still fits
        assert chip.plan(config, recipe(matrices=rules)).linears(0)["down_proj"].max_acc == rounded_up
        config = CONFIG.model_copy(update={"intermediate_size": 2**25})
        with pytest.raises(InputError) as error:
            chip.plan(config, recipe(matrices=rules))
        reached = 2**25 * 2**22 * 65535 + 2**46 + 2**60 + 2**61
        assert f"accumulator could reach {reached} (2^{reached.bit_length()}) of 2^63" in str(error.value)
        assert "down_proj" in str(error.value)
        chip.plan(config, recipe(matrices=rules, activation_bits=8))  # as the hint says

    def test_too_many_layers_are_refused(self) -> None:
        with pytest.raises(InputError, match=r"num_hidden_layers.*2047 is more than 2046"):
            chip.plan(CONFIG.model_copy(update={"n_layers": 2047}), recipe())

    def test_too_large_a_hidden_size_is_refused(self) -> None:
        config = CONFIG.model_copy(update={"hidden_size": 2**14 + 1})
        with pytest.raises(InputError, match=r"hidden_size.*16385 is more than 16384"):
            chip.plan(config, recipe())
        chip.plan(CONFIG.model_copy(update={"hidden_size": 2**14}), recipe())

    def test_too_long_a_context_is_refused(self) -> None:
        config = CONFIG.model_copy(update={"context": 2**20})
        with pytest.raises(InputError, match=r"context.*262144 is more than 262143"):
            chip.plan(config, recipe(context=2**18))
        assert chip.plan(config, recipe(context=2**18 - 1)).context == 2**18 - 1
        # The reason given: weights are at most 2^20, and the reciprocal takes sums of 38 bits.
        assert (2**18 - 1) * 2**20 < 2**38 <= 2**18 * 2**20

    def test_a_slotless_chip(self) -> None:
        plan = chip.plan(CONFIG, recipe(lora=Lora(slots=0)))
        assert (plan.lora_slots, plan.lora_max_rank) == (0, 0)
        assert {linear.lora_slots for linear in plan.linears(0).values()} == {0}

    @pytest.mark.parametrize(("rank", "limit"), [(1, 30), (2, 29), (16, 26), (17, 25), (128, 23)])
    def test_the_largest_b_shift_keeps_the_adapters_term_below_its_bound(self, rank: int, limit: int) -> None:
        plan = chip.plan(CONFIG, recipe(lora=Lora(max_rank=rank)))
        assert plan.max_b_shift == limit
        assert rank * 2**30 * 2**limit <= 2**60 < rank * 2**30 * 2 ** (limit + 1)
        assert (plan.lm_head.lora_slots, plan.linears(0)["v_proj"].lora_slots) == (0, 4)

    def test_tiles_change_the_geometry_only(self) -> None:
        one, other = (chip.plan(CONFIG, recipe(tile=Tile(rows=r, inputs=i))) for r, i in ((4, 64), (32, 32)))
        assert one.linears(0)["q_proj"].depth == 8
        assert other.linears(0)["q_proj"].depth == 2


class TestParams:
    def test_words(self, toy: QuantizedModel) -> None:
        words = params.layer_params(toy, 0)
        assert tuple(words) == params.LAYER_WORDS
        assert words["q_proj.shift"] == 24
        assert words["q_proj.bias_shift"] == 3
        assert words["attn_norm.shift"] == 29 + 12 - 11
        assert words["k_rope.shift"] == 14
        assert words["attn_out.shift"] == 46
        assert words["swiglu.gate_shift"] == 5
        assert words["swiglu.shift"] == 20 + 11
        assert words["o_proj.residual_shift"] == 5
        assert words["softmax.shift"] == 11 + 11 + chip.plan(toy.config, toy.recipe).softmax_kappa - 16
        top = params.top_params(toy)
        assert top == {"embedding.shift": 8, "final_norm.shift": 30, "lm_head.shift": 25}
        assert tuple(top) == params.TOP_WORDS

    @pytest.mark.parametrize(
        ("tap", "frac", "word", "problem"),
        [
            ("q_proj", 50, "q_proj.shift", "is -15, expected 0 .. 62"),
            ("q_proj", -28, "q_proj.shift", "is 63, expected 0 .. 62"),
            ("k_rope", 26, "k_rope.shift", "is -1, expected 0 .. 62"),
            ("attn_norm", 42, "attn_norm.shift", "is -1, expected 0 .. 62"),
            ("gate_proj", 17, "swiglu.gate_shift", "is -1, expected 0 .. 24"),
            ("gate_proj", -9, "swiglu.gate_shift", "is 25, expected 0 .. 24"),
            ("down_proj", 17, "down_proj.residual_shift", "is -1, expected 0 .. 31"),
            ("o_proj", -16, "o_proj.residual_shift", "is 32, expected 0 .. 31"),
        ],
    )
    def test_a_shift_out_of_range_is_refused(
        self, toy: QuantizedModel, tap: str, frac: int, word: str, problem: str
    ) -> None:
        layer = replace(toy.layers[1], frac={**toy.layers[1].frac, tap: frac})
        model = replace(toy, layers=(toy.layers[0], layer))
        assert params.layer_params(model, 0)
        with pytest.raises(InputError) as error:
            params.layer_params(model, 1)
        assert problem in str(error.value)
        assert word in str(error.value)
        assert "toy: layer 1 " in str(error.value)

    def test_a_bias_shift_out_of_range_is_refused(self, toy: QuantizedModel) -> None:
        linears = {**toy.layers[0].linears}
        linears["up_proj"] = replace(linears["up_proj"], bias_shift=16)
        model = replace(toy, layers=(replace(toy.layers[0], linears=linears), toy.layers[1]))
        with pytest.raises(InputError, match=r"up_proj\.bias_shift: is 16, expected 0 \.\. 15"):
            params.layer_params(model, 0)

    @pytest.mark.parametrize(("tap", "frac"), [("logits", 60), ("final_norm", 42)])
    def test_the_tail_is_held_to_its_range_too(self, toy: QuantizedModel, tap: str, frac: int) -> None:
        with pytest.raises(InputError, match=r"expected 0 \.\. 62"):
            params.top_params(replace(toy, frac={**toy.frac, tap: frac}))


def test_the_steps_of_a_stage_are_those_of_the_cycle_model() -> None:
    """The templates number them by ``LAYER_STEPS``, and the cycle model times them by the same names."""
    plan = chip.plan(CONFIG, recipe())
    assert tuple(layer_cycles(plan, 0, 0)) == ("receive", *chip.LAYER_STEPS)
    assert tuple(tail_cycles(plan)) == ("receive", *chip.TAIL_STEPS)
