"""The second look at integers: what is right passes, and each way of being wrong is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etchproof.adapter import Adapter, load_adapter
from etchproof.adapter.config import AdapterConfig
from etchproof.adapter.synthetic import write_synthetic_adapter
from etchproof.checkpoint import Checkpoint, ModelConfig, load_checkpoint
from etchproof.checkpoint.synthetic import write_synthetic
from etchproof.quantize import quantize_adapter, quantize_model
from etchproof.quantize.audit import audit
from etchproof.quantize.quantized_model import AdapterMatrix, QuantizedAdapter, QuantizedModel
from etchproof.quantize.recipe import Calibration, Gptq, MatrixRule, Recipe

CONFIG = ModelConfig(
    name="small",
    vocab_size=40,
    hidden_size=32,
    intermediate_size=48,
    n_layers=2,
    n_heads=4,
    n_kv_heads=2,
    head_dim=8,
    context=32,
    attention_bias=True,
    bos_token_id=1,
    eos_token_ids=(2,),
)
RECIPE = Recipe(
    name="r",
    calibration=Calibration(sequences=2, length=16),
    matrices=(MatrixRule(match=("*",), bits=6, group_size=16),),
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return load_checkpoint(write_synthetic(tmp_path_factory.mktemp("model") / "small", CONFIG, 1))


@pytest.fixture(scope="module")
def model(checkpoint: Checkpoint) -> QuantizedModel:
    return quantize_model(checkpoint, RECIPE)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Adapter:
    config = AdapterConfig(r=4, lora_alpha=8, target_modules="all-linear")
    folder = tmp_path_factory.mktemp("adapter") / "one"
    return load_adapter(write_synthetic_adapter(folder, CONFIG, config, 1), CONFIG)


@pytest.fixture(scope="module")
def integers(model: QuantizedModel, adapter: Adapter, checkpoint: Checkpoint) -> QuantizedAdapter:
    return quantize_adapter(model, adapter, checkpoint)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"activation_bits": 8, "kv_bits": 8, "headroom": 1.0},
        {"method": "gptq"},
        {"method": "gptq", "gptq": Gptq(clip=True)},
        {"matrices": (MatrixRule(match=("*",), bits=3, group_size="row"),)},
    ],
)
def test_what_is_right(checkpoint: Checkpoint, changes: dict[str, Any]) -> None:
    recipe = RECIPE.model_copy(update=changes)
    assert list(audit(quantize_model(checkpoint, recipe), checkpoint)) == []


def test_adapters_that_are_right(
    model: QuantizedModel, checkpoint: Checkpoint, adapter: Adapter, integers: QuantizedAdapter
) -> None:
    assert list(audit(model, checkpoint, [(adapter, integers)])) == []


def _layer(model: QuantizedModel, **changes: Any) -> QuantizedModel:
    return replace(model, layers=(replace(model.layers[0], **changes), *model.layers[1:]))


def _linear(model: QuantizedModel, name: str, **changes: Any) -> QuantizedModel:
    linears = model.layers[0].linears
    return _layer(model, linears={**linears, name: replace(linears[name], **changes)})


def _codes(model: QuantizedModel, row: int, change: Callable[[Any], Any]) -> QuantizedModel:
    codes = model.layers[0].linears["up_proj"].codes.copy()
    codes[row] = change(codes[row])
    return _linear(model, "up_proj", codes=codes)


WRONG: dict[str, tuple[Callable[[QuantizedModel], QuantizedModel], str]] = {
    "a code off by one": (
        lambda m: _codes(m, 3, lambda row: np.where(np.arange(len(row)) == 5, row - np.sign(row), row)),
        "up_proj: code",
    ),
    "a code beyond the range": (lambda m: _codes(m, 2, lambda row: np.full_like(row, -32)), "up_proj: code"),
    "a scale off by one": (
        lambda m: _linear(m, "q_proj", scales=m.layers[0].linears["q_proj"].scales + np.uint16(1)),
        "q_proj: row 0 group 0 has scale",
    ),
    "scales of other groups": (
        lambda m: _linear(m, "o_proj", scales=np.roll(m.layers[0].linears["o_proj"].scales, 1, axis=1)),
        "o_proj: row 0 group 0 has scale",
    ),
    "another exponent, the scales with it": (
        lambda m: _linear(
            m,
            "k_proj",
            exponent=m.layers[0].linears["k_proj"].exponent - 1,
            scales=(m.layers[0].linears["k_proj"].scales + np.uint16(1)) >> np.uint16(1),
        ),
        "k_proj",
    ),
    "a lost bias": (lambda m: _linear(m, "v_proj", bias=None), "v_proj: a bias was lost"),
    "a bias off by one": (
        lambda m: _linear(m, "v_proj", bias=m.layers[0].linears["v_proj"].bias + np.int32(1)),
        "v_proj: a bias that is not the nearest",
    ),
    "gains of the other norm": (
        lambda m: _layer(m, attn_norm=m.layers[1].mlp_norm),
        "model.layers.0.input_layernorm: gains",
    ),
    "a fractional bit less": (
        lambda m: _layer(m, frac={**m.layers[0].frac, "swiglu": m.layers[0].frac["swiglu"] - 1}),
        "layer 0 swiglu:",
    ),
    "a fractional bit less at the end": (
        lambda m: replace(m, frac={**m.frac, "logits": m.frac["logits"] - 1}),
        "logits:",
    ),
    "another epsilon": (
        lambda m: replace(m, config=m.config.model_copy(update={"rms_norm_eps": 1e-5})),
        "config.json: rms_norm_eps",
    ),
    "another theta": (
        lambda m: replace(
            m,
            config=m.config.model_copy(update={"rope": m.config.rope.model_copy(update={"theta": 5e5})}),
        ),
        "config.json: rope_theta",
    ),
    "the head of another vocabulary": (
        lambda m: replace(m, lm_head=replace(m.lm_head, codes=m.lm_head.codes[1:])),
        "lm_head: [39, 32] codes",
    ),
    "layers exchanged": (lambda m: replace(m, layers=m.layers[::-1]), "q_proj"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong(model: QuantizedModel, checkpoint: Checkpoint, name: str) -> None:
    change, said = WRONG[name]
    assert any(said in problem for problem in audit(change(model), checkpoint))


def _adapted(integers: QuantizedAdapter, **changes: Any) -> QuantizedAdapter:
    (key, matrix), *others = integers.linears.items()
    return replace(integers, linears={key: replace(matrix, **changes), **dict(others)})


ADAPTERS: dict[str, tuple[Callable[[AdapterMatrix], dict[str, Any]], str]] = {
    "scaled twice": (lambda m: {"b_exponent": m.b_exponent - 1, "b_shift": m.b_shift + 1}, "lora_B"),
    "an integer off by one": (lambda m: {"a": m.a + np.int16(1)}, "lora_A is not the nearest"),
    "a shift off by one": (lambda m: {"b_shift": m.b_shift + 1}, "b_shift is"),
    "another first shift": (lambda m: {"a_shift": m.a_shift + 1}, "a_shift is"),
    "coarser than it may be": (
        lambda m: {"h_frac": m.h_frac - 1, "a_shift": m.a_shift + 1, "b_shift": m.b_shift + 1},
        "fractional bits of A x",
    ),
}


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_that_is_wrong(
    model: QuantizedModel, checkpoint: Checkpoint, adapter: Adapter, integers: QuantizedAdapter, name: str
) -> None:
    change, said = ADAPTERS[name]
    wrong = _adapted(integers, **change(next(iter(integers.linears.values()))))
    assert any(said in problem for problem in audit(model, checkpoint, [(adapter, wrong)]))


def test_an_adapter_with_linears_left_out(
    model: QuantizedModel, checkpoint: Checkpoint, adapter: Adapter, integers: QuantizedAdapter
) -> None:
    fewer = replace(integers, linears=dict(list(integers.linears.items())[1:]))
    assert any("other linears" in problem for problem in audit(model, checkpoint, [(adapter, fewer)]))


def test_files_that_changed_since(model: QuantizedModel, checkpoint: Checkpoint, tmp_path: Path) -> None:
    """It reads the files themselves: those of another model do not fit."""
    other = load_checkpoint(write_synthetic(tmp_path / "other", CONFIG, 2))
    assert list(audit(model, other))
    config = json.loads((other.path / "config.json").read_text())
    (other.path / "config.json").write_text(json.dumps({**config, "num_key_value_heads": 4}))
    assert any("num_key_value_heads" in problem for problem in audit(model, other))
