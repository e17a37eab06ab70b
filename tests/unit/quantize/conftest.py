"""Fixtures of the quantizer's suite: checkpoints, recipes, and models quantized once a session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from etchproof.checkpoint import Checkpoint, ModelConfig, load_checkpoint
from etchproof.quantize import quantize_model
from etchproof.quantize.quantized_model import QuantizedModel
from etchproof.quantize.recipe import Recipe, load_recipe


@pytest.fixture(scope="session")
def recipes_dir(repo_root: Path) -> Path:
    return repo_root / "models" / "recipes"


@pytest.fixture(scope="session")
def tiny(tiny_checkpoint: Path) -> Checkpoint:
    return load_checkpoint(tiny_checkpoint)


@pytest.fixture(scope="session")
def stories(stories260k: Path) -> Checkpoint:
    return load_checkpoint(stories260k)


@pytest.fixture(scope="session")
def w6a16(recipes_dir: Path) -> Recipe:
    return load_recipe("w6a16", recipes_dir)


@pytest.fixture(scope="session")
def tiny_w6a16(tiny: Checkpoint, w6a16: Recipe) -> QuantizedModel:
    return quantize_model(tiny, w6a16)


@pytest.fixture
def config() -> ModelConfig:
    """Two layers, nothing a power of two but the vocabulary."""
    return ModelConfig(
        name="toy",
        vocab_size=64,
        hidden_size=24,
        intermediate_size=44,
        n_layers=2,
        n_heads=3,
        n_kv_heads=1,
        head_dim=6,
        context=32,
        bos_token_id=1,
        eos_token_ids=(2,),
        tie_word_embeddings=True,
        attention_bias=True,
        mlp_bias=True,
    )


@pytest.fixture
def write_recipe(tmp_path: Path) -> Callable[[str], Path]:
    """Writes text as a recipe file and returns its path."""

    def write(text: str) -> Path:
        path = tmp_path / "mine.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write
