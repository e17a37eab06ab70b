"""A resolved architecture as a ``config.json`` says it."""

from __future__ import annotations

from typing import Any

from etchproof.checkpoint.config import ModelConfig


def config_json(config: ModelConfig) -> dict[str, Any]:
    """The keys of a ``config.json`` but RoPE and the tensors' dtype, which are spelled in more than one way."""
    eos: int | list[int] | None = list(config.eos_token_ids)
    if len(config.eos_token_ids) < 2:
        eos = config.eos_token_ids[0] if config.eos_token_ids else None
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads,
        "head_dim": config.head_dim,
        "max_position_embeddings": config.context,
        "rms_norm_eps": config.rms_norm_eps,
        "hidden_act": "silu",
        "tie_word_embeddings": config.tie_word_embeddings,
        "attention_bias": config.attention_bias,
        "mlp_bias": config.mlp_bias,
        "bos_token_id": config.bos_token_id,
        "eos_token_id": eos,
    }


def rope_parameters(config: ModelConfig) -> dict[str, Any]:
    """RoPE as newer files say it, under the key ``rope_parameters``."""
    scaling = {} if config.rope.scaling is None else config.rope.scaling.model_dump(mode="json")
    return {"rope_type": "default", **scaling, "rope_theta": config.rope.theta}
