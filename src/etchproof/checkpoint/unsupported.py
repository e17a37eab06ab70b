"""What a ``config.json`` may say that changes the arithmetic and that the chip does not model: refused by
name.

A key that is not listed here and that ``config.py`` does not read is taken to be harmless (dropout, cache and
training switches).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from etchproof.checkpoint.json_file import shown
from etchproof.checkpoint.validation import refuse_unless_neutral
from etchproof.errors import InputError

_EXPERTS: Final = "mixture of experts is not modelled"
_SCALED: Final = "this multiplier is not modelled"
_WINDOW: Final = "windowed attention is not modelled"
_QK_NORM: Final = "a norm on q and k is not modelled"
_CAPPED: Final = "soft-capping is not modelled"
_LATENT: Final = "latent attention is not modelled"
_PARTIAL: Final = "rotating a part of the head is not modelled"
_QUANTIZED: Final = "Etchproof quantizes by its own recipe, use the unquantized checkpoint"

# key -> (values that leave the arithmetic alone, beside null; what it would mean)
_NEUTRAL: Final[dict[str, tuple[tuple[object, ...], str]]] = {
    "num_local_experts": ((0,), _EXPERTS),
    "num_experts": ((0,), _EXPERTS),
    "n_routed_experts": ((0,), _EXPERTS),
    "n_shared_experts": ((0,), _EXPERTS),
    "num_experts_per_tok": ((0,), _EXPERTS),
    "moe_intermediate_size": ((0,), _EXPERTS),
    "sliding_window": ((), _WINDOW),
    "use_sliding_window": ((False,), _WINDOW),
    "attention_chunk_size": ((), _WINDOW),
    "attn_logit_softcapping": ((), _CAPPED),
    "final_logit_softcapping": ((), _CAPPED),
    "logits_soft_cap": ((), _CAPPED),
    "residual_multiplier": ((1,), _SCALED),
    "embedding_multiplier": ((1,), _SCALED),
    "logits_scaling": ((1,), _SCALED),
    "logit_scale": ((1,), _SCALED),
    "attention_multiplier": ((), _SCALED),
    "query_pre_attn_scalar": ((), _SCALED),
    "scale_emb": ((1,), _SCALED),
    "scale_depth": ((), _SCALED),
    "dim_model_base": ((), _SCALED),
    "mup_enabled": ((False,), _SCALED),
    "qk_norm": ((False,), _QK_NORM),
    "use_qk_norm": ((False,), _QK_NORM),
    "qk_layernorm": ((False,), _QK_NORM),
    "partial_rotary_factor": ((1,), _PARTIAL),
    "rotary_pct": ((1,), _PARTIAL),
    "rope_interleave": ((False,), "interleaved RoPE is not modelled, only rotate-half"),
    "rope_interleaved": ((False,), "interleaved RoPE is not modelled, only rotate-half"),
    "no_rope_layers": (([],), "layers without RoPE are not modelled"),
    "alibi": ((False,), "ALiBi is not modelled"),
    "clip_qkv": ((), "clamping q, k and v is not modelled"),
    "qkv_bias": ((False,), "a bias on q, k and v alone is not modelled"),
    "use_parallel_residual": ((False,), "a parallel residual is not modelled"),
    "parallel_attn": ((False,), "a parallel residual is not modelled"),
    "attn_temperature_tuning": ((False, 0), "attention temperature is not modelled"),
    "q_lora_rank": ((), _LATENT),
    "kv_lora_rank": ((), _LATENT),
    "num_nextn_predict_layers": ((0,), "multi-token prediction is not modelled"),
    "block_configs": ((), "layers of different shapes are not modelled"),
    "cross_attention_layers": (([],), "cross-attention is not modelled"),
    "add_cross_attention": ((False,), "cross-attention is not modelled"),
    "is_encoder_decoder": ((False,), "an encoder is not modelled"),
    "pruned_heads": (({},), "pruned heads are not modelled"),
    "hidden_act": (("silu", "swish"), "the MLP's activation is SiLU"),
    "hidden_activation": (("silu", "swish"), "the MLP's activation is SiLU"),
    "position_embedding_type": (("rope", "rotary"), "positions enter by RoPE alone"),
    "quantization_config": ((), _QUANTIZED),
    "compression_config": ((), _QUANTIZED),
}


def refuse_unsupported(raw: dict[str, Any], source: Path) -> None:
    """Raise ``InputError`` at the first key of ``config.json`` that asks for what the chip does not compute."""
    model_type = raw.get("model_type")
    if model_type != "llama":
        found = "is missing" if "model_type" not in raw else f"is {shown(model_type)}"
        raise InputError(
            f"{found}, expected 'llama'", source=source, key="model_type", hint="Llama only is modelled"
        )

    architectures = raw.get("architectures")
    if architectures and architectures != ["LlamaForCausalLM"]:
        raise InputError(
            f"is {shown(architectures)}, expected ['LlamaForCausalLM']", source=source, key="architectures"
        )
    custom = raw.get("auto_map")
    if isinstance(custom, dict) and any(str(name).startswith("AutoModel") for name in custom):
        raise InputError(
            f"is {shown(custom)}: a model with code of its own is not modelled", source=source, key="auto_map"
        )

    layer_types = raw.get("layer_types")
    if layer_types is not None and (
        not isinstance(layer_types, list) or any(kind != "full_attention" for kind in layer_types)
    ):
        raise InputError(
            f"is {shown(layer_types)}, expected 'full_attention' for every layer",
            source=source,
            key="layer_types",
        )

    refuse_unless_neutral(raw, _NEUTRAL, source)
