"""Synthetic adapters: the same bytes for the same seed, and every config reads back as it was written."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from etchproof.adapter import AdapterConfig, load_adapter, read_adapter_config, write_synthetic_adapter
from etchproof.adapter.synthetic import peft_config
from etchproof.checkpoint import ModelConfig
from etchproof.checkpoint.synthetic import random_tensor
from etchproof.errors import InputError

NAMES = st.sampled_from(
    ["q_proj", "self_attn.v_proj", "1.mlp.up_proj", "model.layers.0.mlp.down_proj", "other"]
)
EXPRESSIONS = st.sampled_from(["all-linear", r".*\.[qkv]_proj", r".*mlp\..*_proj"])
PATTERNS = st.sampled_from(["q_proj", r"layers\.[01]\..*", "^model.layers.2.mlp.up_proj", ".*"])
ALPHAS = st.integers(-64, 64).map(float) | st.floats(-1e3, 1e3)
LISTED = {
    "target_modules": st.none() | st.lists(NAMES).map(tuple),
    "layers_to_transform": st.integers(-1, 4) | st.lists(st.integers(0, 4)).map(tuple),
}


@st.composite
def configs(draw: st.DrawFn) -> AdapterConfig:
    settings: dict[str, Any] = {
        "r": draw(st.integers(1, 99)),
        "lora_alpha": draw(ALPHAS),
        "target_modules": draw(EXPRESSIONS),
        "exclude_modules": draw(st.none() | EXPRESSIONS | st.lists(NAMES).map(tuple)),
        "rank_pattern": draw(st.dictionaries(PATTERNS, st.integers(1, 9))),
        "alpha_pattern": draw(st.dictionaries(PATTERNS, ALPHAS)),
        "use_rslora": draw(st.booleans()),
    }
    if draw(st.booleans()):
        settings |= {key: draw(strategy) for key, strategy in LISTED.items()}
        if settings["layers_to_transform"] != ():
            settings["layers_pattern"] = draw(st.none() | st.just("layers") | st.just(("h", "layers")))
    return AdapterConfig.model_validate(settings)


@given(config=configs())
def test_the_config_reads_back(tmp_path_factory: pytest.TempPathFactory, config: AdapterConfig) -> None:
    path = tmp_path_factory.mktemp("config") / "adapter_config.json"
    path.write_text(json.dumps(peft_config(config)))
    read = read_adapter_config(path)
    assert read == config
    assert list(read.rank_pattern) == list(config.rank_pattern)  # the order decides


def test_the_bytes_are_fixed(tmp_path: Path, base: ModelConfig) -> None:
    """A new hash here means that every adapter made from a seed has changed: intended?"""
    folder = write_synthetic_adapter(tmp_path / "a", base, AdapterConfig(r=2, lora_alpha=4), seed=1)
    digest = hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()
    assert digest == "7e44594080055245acb26d25649c9dc4eea2a2dd78b9c2c143c94695c267512c"
    assert (
        load_adapter(folder, base).sha256
        == "220cbd51b46785977f5def2e5edf9eda1be6f5a900274e45d45371e50d4004f1"
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_dtypes_round_the_same_draw(tmp_path: Path, base: ModelConfig, dtype: torch.dtype) -> None:
    config = AdapterConfig(r=3, lora_alpha=6, target_modules="all-linear")
    folder = write_synthetic_adapter(tmp_path / "a", base, config, seed=4, dtype=dtype)
    tensors = load_file(folder / "adapter_model.safetensors")
    assert len(tensors) == 2 * 7 * 3
    for name, tensor in tensors.items():
        assert torch.equal(tensor, random_tensor(name, tuple(tensor.shape), seed=4).to(dtype))


def test_gain(tmp_path: Path, base: ModelConfig) -> None:
    """0 changes nothing, and -1 cancels 1."""
    config = AdapterConfig(r=3, lora_alpha=6)
    zero, one, minus_one = (
        load_adapter(write_synthetic_adapter(tmp_path / str(gain), base, config, 5, gain=gain), base).linears
        for gain in (0, 1, -1)
    )
    for key, lora in one.items():
        assert not zero[key].B.any()
        assert lora.B.any()
        assert torch.equal(zero[key].A, lora.A)
        assert torch.equal(minus_one[key].A, lora.A)
        assert torch.equal(minus_one[key].B, -lora.B)


def test_a_config_without_targets(tmp_path: Path, base: ModelConfig) -> None:
    with pytest.raises(InputError, match="adapts no linear of base"):
        write_synthetic_adapter(
            tmp_path / "a", base, AdapterConfig(r=1, lora_alpha=1, target_modules=("w1",)), 0
        )
