"""A small synthetic adapter to bend out of shape, one fault per test."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from etchproof.adapter import AdapterConfig, write_synthetic_adapter
from etchproof.checkpoint import ModelConfig

EditConfig = Callable[..., Path]
EditTensors = Callable[[dict[str, Any]], Path]


@pytest.fixture(scope="session")
def base() -> ModelConfig:
    """Every linear has a shape of its own, but for k and v, gate and up."""
    return ModelConfig(
        name="base",
        vocab_size=70,
        hidden_size=12,
        intermediate_size=10,
        n_layers=3,
        n_heads=4,
        n_kv_heads=2,
        head_dim=4,
        context=32,
        attention_bias=True,
        bos_token_id=1,
        eos_token_ids=(2,),
    )


@pytest.fixture
def folder(tmp_path: Path, base: ModelConfig) -> Path:
    """An adapter for ``base`` of rank 4 on three linears of each layer."""
    config = AdapterConfig(r=4, lora_alpha=8, target_modules=("q_proj", "v_proj", "mlp.down_proj"))
    return write_synthetic_adapter(tmp_path / "tuned", base, config, seed=1)


@pytest.fixture
def edit_config(folder: Path) -> EditConfig:
    """Set keys of ``folder``'s adapter_config.json (``...`` as the value drops the key); return the folder."""

    def edit(**changes: Any) -> Path:
        path = folder / "adapter_config.json"
        raw = json.loads(path.read_text())
        for key, value in changes.items():
            raw.pop(key, None)
            if value is not ...:
                raw[key] = value
        path.write_text(json.dumps(raw))
        return folder

    return edit


@pytest.fixture
def edit_tensors(folder: Path) -> EditTensors:
    """Replace or add tensors by name (``...`` drops one, a function gets the old tensor); return the folder."""

    def edit(changes: dict[str, Any]) -> Path:
        path = folder / "adapter_model.safetensors"
        tensors: dict[str, torch.Tensor] = load_file(path)
        for name, value in changes.items():
            old = tensors.pop(name, None)
            if value is not ...:
                tensors[name] = value(old) if callable(value) else value
        save_file(tensors, path)
        return folder

    return edit
