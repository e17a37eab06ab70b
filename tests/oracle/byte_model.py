"""The model of the folders on which tokenizers are held against transformers: a token for each byte, and more."""

from __future__ import annotations

from typing import Final

from etchproof.checkpoint.config import ModelConfig

BYTES: Final = ModelConfig(
    name="bytes",
    vocab_size=300,
    hidden_size=8,
    intermediate_size=8,
    n_layers=1,
    n_heads=2,
    n_kv_heads=1,
    head_dim=4,
    context=32,
    bos_token_id=1,
    eos_token_ids=(2,),
)
