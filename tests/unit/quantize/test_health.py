"""Saturation, dead taps and dead gains, on arrays small enough to count by hand."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from etchproof.checkpoint import Checkpoint
from etchproof.quantize.health import GainHealth, ModelHealth, TapHealth, measure_health
from etchproof.quantize.quantized_model import QuantizedGains, QuantizedModel
from models.golden import Golden

Taps = dict[tuple[int, str], list[Any]]
TOKENS = torch.zeros(1, 2, dtype=torch.int64)


class Scripted:
    """A golden model that answers each sequence with taps that a test wrote down."""

    def __init__(self, *sequences: Taps, activation_bits: int = 8, kv_bits: int = 8) -> None:
        gains = QuantizedGains(np.array([3, 0, 0, 7], np.int16), 4)
        whole = QuantizedGains(np.array([1, 2, 3, 4], np.int16), 4)
        self.model: Any = SimpleNamespace(
            recipe=SimpleNamespace(activation_bits=activation_bits, kv_bits=kv_bits),
            layers=(SimpleNamespace(attn_norm=gains, mlp_norm=whole),),
            final_norm=whole,
        )
        self.adapters: tuple[Any, ...] = ()
        self._left = list(sequences)

    def forward(self, tokens: Any, observe: Callable[[int, str, torch.Tensor], None], **_: Any) -> None:
        for (layer, tap), values in self._left.pop(0).items():
            observe(layer, tap, torch.tensor(values, dtype=torch.int64))


def health(*sequences: Taps, **bits: int) -> dict[str, TapHealth]:
    golden: Any = Scripted(*sequences, **bits)
    found = measure_health(golden, TOKENS.expand(len(sequences), 2))
    return {tap.name: tap for tap in found.taps}


class TestSaturation:
    def test_both_ends_count_and_nothing_else(self) -> None:
        """8 bits: 127 twice and -128 once; -127 and 126 are within."""
        found = health({(0, "attn_norm"): [[127, -128, 0, 5], [126, -127, 127, 1]]})
        tap = found["layer 0 attn_norm"]
        assert (tap.elements, tap.saturated, tap.share, tap.dead) == (8, 3, 37.5, False)

    @pytest.mark.parametrize(
        ("tap", "layer", "bits"),
        [
            ("q_proj", 0, 16),
            ("swiglu", 0, 16),
            ("v_proj", 0, 8),
            ("k_rope", 0, 8),
            ("logits", -1, 16),
            ("embedding", -1, 32),
            ("attn_residual", 0, 32),
            ("q_proj.lora_a", 0, 16),
        ],
    )
    def test_the_ends_are_those_of_the_taps_own_width(self, tap: str, layer: int, bits: int) -> None:
        top = (1 << (bits - 1)) - 1
        found = health({(layer, tap): [[top, -top - 1], [top - 1, -top]]}, activation_bits=16, kv_bits=8)
        assert [(one.elements, one.saturated) for one in found.values()] == [(4, 2)]

    def test_sequences_add_up(self) -> None:
        found = health({(0, "up_proj"): [[127, 0]]}, {(0, "up_proj"): [[127, 127, 1, 2, 3, 4]]})
        assert found["layer 0 up_proj"].share == 100 * 3 / 8

    def test_what_has_no_width_cannot_saturate(self) -> None:
        found = health({(0, "q_proj.lora_b"): [[2**40, -(2**40)]]})
        assert found["layer 0 q_proj.lora_b"].saturated == 0

    def test_a_tap_of_nothing(self) -> None:
        tap = health({(0, "up_proj"): [[]]})["layer 0 up_proj"]
        assert (tap.elements, tap.share, tap.dead) == (0, 0.0, False)


class TestDead:
    def test_one_value_throughout(self) -> None:
        found = health({(0, "up_proj"): [[4, 4], [4, 4]], (0, "gate_proj"): [[4, 4], [4, 5]]})
        assert [found[name].dead for name in ("layer 0 up_proj", "layer 0 gate_proj")] == [True, False]

    def test_a_value_of_each_sequence_is_not_one(self) -> None:
        assert not health({(0, "up_proj"): [[4, 4]]}, {(0, "up_proj"): [[5, 5]]})["layer 0 up_proj"].dead

    def test_attention_looks_at_what_a_token_sees(self) -> None:
        """(2 tokens, 1 head, 2 positions): the 9 stands where token 0 would see token 1, and does not count."""
        found = health({(0, "scores"): [[[1, 9]], [[1, 1]]], (0, "softmax"): [[[1, 0]], [[1, 2]]]})
        assert (found["layer 0 scores"].elements, found["layer 0 scores"].dead) == (3, True)
        assert (found["layer 0 softmax"].elements, found["layer 0 softmax"].dead) == (3, False)

    def test_the_chosen_token_is_no_quantity(self) -> None:
        assert not health({(-1, "token"): [[5], [5]]})

    def test_gains_that_became_0(self) -> None:
        """Of (3, 0, 0, 7) the second is 0 in the checkpoint too: one gain died."""
        weights = {
            "model.layers.0.input_layernorm.weight": torch.tensor([1.0, 0.0, 1e-9, 2.0]),
            "model.layers.0.post_attention_layernorm.weight": torch.ones(4),
            "model.norm.weight": torch.ones(4),
        }
        golden: Any = Scripted({})
        found = measure_health(golden, TOKENS, weights.__getitem__)
        assert [(norm.name, norm.gains, norm.dead) for norm in found.gains] == [
            ("model.layers.0.input_layernorm.weight", 4, 1),
            ("model.layers.0.post_attention_layernorm.weight", 4, 0),
            ("model.norm.weight", 4, 0),
        ]
        assert measure_health(Scripted({}), TOKENS).gains == ()  # type: ignore[arg-type]


class TestTheLine:
    up = TapHealth(layer=0, tap="up_proj", elements=8, saturated=3, dead=False)
    flat = TapHealth(layer=-1, tap="logits", elements=8, saturated=0, dead=True)
    norm = GainHealth(name="model.norm.weight", gains=4, dead=2)

    def test_of_a_sick_model(self) -> None:
        found = ModelHealth(tokens=1234, taps=(self.flat, self.up), gains=(self.norm,))
        assert found.worst == self.up
        assert found.dead == ("logits never changes", "2 of 4 gains of model.norm.weight became 0")
        assert found.dead_count == 3
        assert str(found) == (
            "at most 37.5 % of a tap saturates (layer 0 up_proj); logits never changes; "
            "2 of 4 gains of model.norm.weight became 0, on 1,234 tokens"
        )

    def test_of_a_sound_model(self) -> None:
        sound = self.up.model_copy(update={"saturated": 0})
        found = ModelHealth(tokens=2, taps=(sound,), gains=())
        assert (found.dead, found.dead_count) == ((), 0)
        assert str(found) == "nothing saturates; nothing is dead, on 2 tokens"

    def test_of_nothing(self) -> None:
        found = ModelHealth(tokens=0, taps=(), gains=())
        assert (found.worst, str(found)) == (None, "no tap was seen")


def test_the_shipped_model_is_sound(tiny: Checkpoint, tiny_w6a16: QuantizedModel) -> None:
    """Through the real golden model: every tap but the token, and its counts against an observer of this test's own."""
    golden, tokens = Golden(tiny_w6a16), torch.tensor([[1, 20, 30, 40, 50, 60]])
    seen: dict[tuple[int, str], torch.Tensor] = {}
    golden.forward(tokens[0], observe=lambda layer, tap, value: seen.update({(layer, tap): value}))
    found = measure_health(golden, tokens, tiny.tensor)
    assert {(tap.layer, tap.tap) for tap in found.taps} == {key for key in seen if key[1] != "token"}
    assert found.dead_count == 0
    for tap in found.taps:
        if tap.tap == "up_proj":
            value = seen[tap.layer, tap.tap]
            assert tap.elements == value.numel()
            assert tap.saturated == int(((value == 2**15 - 1) | (value == -(2**15))).sum())
