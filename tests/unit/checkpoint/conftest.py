"""A tiny synthetic checkpoint to bend out of shape, one fault per test."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from etchproof.checkpoint import ModelConfig, write_synthetic

EditConfig = Callable[..., Path]


@pytest.fixture(scope="session")
def tiny() -> ModelConfig:
    """Tied, GQA, nothing a power of two that need not be."""
    return ModelConfig(
        name="tiny",
        vocab_size=70,
        hidden_size=12,
        intermediate_size=10,
        n_layers=2,
        n_heads=4,
        n_kv_heads=2,
        head_dim=6,
        context=32,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_ids=(2,),
    )


@pytest.fixture
def folder(tmp_path: Path, tiny: ModelConfig) -> Path:
    """A written ``tiny`` checkpoint, one weight file."""
    return write_synthetic(tmp_path / "tiny", tiny, seed=1)


@pytest.fixture
def edit_config(folder: Path) -> EditConfig:
    """Set keys of ``folder``'s config.json (``...`` as the value drops the key); return the folder."""

    def edit(**changes: Any) -> Path:
        path = folder / "config.json"
        raw = json.loads(path.read_text())
        for key, value in changes.items():
            raw.pop(key, None)
            if value is not ...:
                raw[key] = value
        path.write_text(json.dumps(raw))
        return folder

    return edit
