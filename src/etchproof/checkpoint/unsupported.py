"""Which keys a ``config.json`` may have: an allow-list, as adapters have one.

A key is read (``config.py``), is judged here because some of its values change the arithmetic, or is known to be
without effect on inference, with the reason. Any other key is refused by name unless it is null: transformers turns
every key into an attribute of its configuration, so nobody can say what a key of tomorrow does. docs/checkpoints.md
is the same list for people.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

from etchproof.errors import InputError, shown, shown_name
from etchproof.files.validation import refuse_unless_neutral

_EXPERTS: Final = "mixture of experts is not modelled"
_SCALED: Final = "this multiplier is not modelled"
_WINDOW: Final = "windowed attention is not modelled"
_QK_NORM: Final = "a norm on q and k is not modelled"
_CAPPED: Final = "soft-capping is not modelled"
_LATENT: Final = "latent attention is not modelled"
_PARTIAL: Final = "rotating a part of the head is not modelled"
_QUANTIZED: Final = "Etchproof quantizes by its own recipe, use the unquantized checkpoint"
_ATTENTION: Final = ("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention")
_KERNEL: Final = f"an attention other than {', '.join(_ATTENTION)} may compute something else"
_OTHER_FILE: Final = (
    "transformers would read another file than the ones that are etched; remove the key, "
    "and give the files their usual names"
)
_FLOATS: Final = ("float32", "bfloat16", "float16")
_CAST: Final = f"transformers would round the weights to it; known are {', '.join(_FLOATS)}"
_MANY: Final = "layers of different shapes are not modelled"
_MTP: Final = "multi-token prediction is not modelled"
_COMPOSITE: Final = "a model within another is not modelled"
_REPLACED: Final = "modules that are replaced while loading are not modelled"

# key -> (values that leave the arithmetic alone, beside null; what any other would mean)
_NEUTRAL: Final[dict[str, tuple[tuple[object, ...], str]]] = {
    "num_local_experts": ((0,), _EXPERTS),
    "num_experts": ((0,), _EXPERTS),
    "n_routed_experts": ((0,), _EXPERTS),
    "n_shared_experts": ((0,), _EXPERTS),
    "num_experts_per_tok": ((0,), _EXPERTS),
    "moe_intermediate_size": ((0,), _EXPERTS),
    "first_k_dense_replace": ((0,), _EXPERTS),
    "mlp_layer_types": ((), _EXPERTS),
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
    "logits_mup_width_multiplier": ((1,), _SCALED),
    "qk_norm": ((False,), _QK_NORM),
    "use_qk_norm": ((False,), _QK_NORM),
    "qk_layernorm": ((False,), _QK_NORM),
    "partial_rotary_factor": ((1,), _PARTIAL),
    "rotary_pct": ((1,), _PARTIAL),
    "rope_interleave": ((False,), "interleaved RoPE is not modelled, only rotate-half"),
    "rope_interleaved": ((False,), "interleaved RoPE is not modelled, only rotate-half"),
    "no_rope_layers": (([],), "layers without RoPE are not modelled"),
    "_rope_type_labels": ((), "RoPE by layer type is not modelled"),
    "alibi": ((False,), "ALiBi is not modelled"),
    "clip_qkv": ((), "clamping q, k and v is not modelled"),
    "qkv_bias": ((False,), "a bias on q, k and v alone is not modelled"),
    "use_parallel_residual": ((False,), "a parallel residual is not modelled"),
    "parallel_attn": ((False,), "a parallel residual is not modelled"),
    "attn_temperature_tuning": ((False, 0), "attention temperature is not modelled"),
    "q_lora_rank": ((), _LATENT),
    "kv_lora_rank": ((), _LATENT),
    "qk_head_dim": ((), _LATENT),
    "num_nextn_predict_layers": ((0,), _MTP),
    "num_mtp_layers": ((0,), _MTP),
    "mtp_layer_types": ((), _MTP),
    "mtp_mlp_layer_types": ((), _MTP),
    "mtp_per_layer_config": ((), _MTP),
    "mtp_hidden_states_first": ((), _MTP),
    "chain_hidden_post_norm": ((), _MTP),
    "block_configs": ((), _MANY),
    "per_layer_config": (({},), _MANY),
    "_heterogeneity_spec": ((), _MANY),
    "skip": (([],), _MANY),
    "serialize_explicit_per_layer_config": ((False,), _MANY),
    "allow_global_per_layer_attribute_access": ((False,), _MANY),
    "cross_attention_layers": (([],), "cross-attention is not modelled"),
    "add_cross_attention": ((False,), "cross-attention is not modelled"),
    "cross_attention_hidden_size": ((), "cross-attention is not modelled"),
    "is_encoder_decoder": ((False,), "an encoder is not modelled"),
    "is_decoder": ((False, True), "expected true or false"),
    "tie_encoder_decoder": ((False,), "an encoder is not modelled"),
    "pruned_heads": (({},), "pruned heads are not modelled"),
    "hidden_act": (("silu", "swish"), "the MLP's activation is SiLU"),
    "hidden_activation": (("silu", "swish"), "the MLP's activation is SiLU"),
    "position_embedding_type": (("rope", "rotary"), "positions enter by RoPE alone"),
    "quantization_config": ((), _QUANTIZED),
    "compression_config": ((), _QUANTIZED),
    "quant_method": ((), _QUANTIZED),
    "load_in_8bit": ((False,), _QUANTIZED),
    "load_in_4bit": ((False,), _QUANTIZED),
    "transformers_weights": ((), _OTHER_FILE),
    "configuration_files": (([],), _OTHER_FILE),
    "extra_files": (([],), _OTHER_FILE),
    "extra_config_files": (([],), _OTHER_FILE),
    "gguf_file": ((), _OTHER_FILE),
    "subfolder": (("",), _OTHER_FILE),
    "dtype": (_FLOATS, _CAST),
    "torch_dtype": (_FLOATS, _CAST),
    "attn_implementation": (_ATTENTION, _KERNEL),
    "_attn_implementation": (_ATTENTION, _KERNEL),
    "_attn_implementation_internal": (_ATTENTION, _KERNEL),
    "fusion_config": (({},), _REPLACED),
    "sub_configs": (({},), _COMPOSITE),
    "text_config": ((), _COMPOSITE),
    "vision_config": ((), _COMPOSITE),
    "encoder": ((), _COMPOSITE),
    "decoder": ((), _COMPOSITE),
    "auto_map": (({},), "a model with code of its own is not modelled"),
}

_TRAINING: Final = "counts while training only"
_TEXT: Final = (
    "belongs to choosing tokens: the chip takes the most likely one, and transformers ignores it here"
)
_OUTPUT: Final = "says what is returned, not what is computed"
_HEAD: Final = "belongs to the head of a classifier, which a LlamaForCausalLM lacks"
_LABEL: Final = "is a label"
_PLACE: Final = "says where the model lies in memory and machines"
_SPEED: Final = "is another order of the same sums"

NO_EFFECT: Final[dict[str, str]] = {
    **dict.fromkeys(
        (
            *("attention_dropout", "hidden_dropout", "resid_pdrop", "embd_pdrop", "attn_pdrop"),
            *("initializer_range", "initializer_factor", "init_std", "gradient_checkpointing"),
        ),
        _TRAINING,
    ),
    **dict.fromkeys(
        (
            *(
                "bad_words_ids",
                "begin_suppress_tokens",
                "cache_implementation",
                "diversity_penalty",
                "do_sample",
            ),
            *(
                "early_stopping",
                "encoder_no_repeat_ngram_size",
                "encoder_repetition_penalty",
                "epsilon_cutoff",
            ),
            *("eta_cutoff", "exponential_decay_length_penalty", "forced_bos_token_id", "forced_eos_token_id"),
            *("length_penalty", "max_length", "min_length", "no_repeat_ngram_size", "num_beam_groups"),
            *("num_beams", "num_return_sequences", "remove_invalid_values", "repetition_penalty"),
            *("suppress_tokens", "temperature", "top_k", "top_p", "typical_p", "decoder_start_token_id"),
            *("assistant_confidence_threshold", "assistant_lookbehind", "num_assistant_tokens"),
            *("num_assistant_tokens_schedule", "target_lookbehind", "pad_token_id", "sep_token_id"),
        ),
        _TEXT,
    ),
    **dict.fromkeys(
        (
            "output_attentions",
            "output_hidden_states",
            "output_scores",
            "return_dict",
            "return_dict_in_generate",
        ),
        _OUTPUT,
    ),
    **dict.fromkeys(
        (
            *("classifier_dropout", "finetuning_task", "id2label", "label2id", "num_labels", "problem_type"),
            "task_specific_params",
        ),
        _HEAD,
    ),
    **dict.fromkeys(
        (
            *("_commit_hash", "_name_or_path", "name_or_path", "tokenizer_class", "transformers_version"),
            *("unsloth_fixed", "unsloth_version", "prefix"),
        ),
        _LABEL,
    ),
    **dict.fromkeys(
        (
            *("base_model_ep_plan", "base_model_fsdp_plan", "base_model_pp_plan", "base_model_tp_plan"),
            *("device_map", "device_mesh", "distributed_config", "use_safetensors"),
        ),
        _PLACE,
    ),
    **dict.fromkeys(
        (
            *("chunk_size_feed_forward", "pretraining_tp", "torchscript", "use_bfloat16", "use_cache"),
            *("_experts_implementation", "_experts_implementation_internal", "experts_implementation"),
            *("_flash_attn_2_enabled", "use_flash_attention"),
        ),
        _SPEED,
    ),
}
"""Keys without effect on inference, each with the reason."""

JUDGED: Final = frozenset(
    {*_NEUTRAL, "architectures", "is_causal", "layer_types", "model_type", "rope_parameters", "rope_scaling"}
)
"""Keys of which some values are refused here or in ``config.py``."""


def refuse_unsupported(raw: dict[str, Any], read_keys: Collection[str], source: Path) -> None:
    """Raise ``InputError`` at the first key of ``config.json`` that asks for what the chip does not compute.

    Args:
        raw: the object in ``config.json``.
        read_keys: the keys that ``config.py`` reads and checks.
    """
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
    if raw.get("is_causal", True) is not True:  # null too: transformers takes it for false
        raise InputError(
            f"is {shown(raw['is_causal'])}: attention to later tokens is not modelled",
            source=source,
            key="is_causal",
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

    quantization = raw.get("quantization_config")
    if isinstance(quantization, dict) and (method := quantization.get("quant_method")) is not None:
        raise InputError(
            f"is of quant_method {shown(method)}: {_QUANTIZED}", source=source, key="quantization_config"
        )
    refuse_unless_neutral(raw, _NEUTRAL, source)
    known = {*JUDGED, *NO_EFFECT, *read_keys}
    for key, value in raw.items():
        if value is not None and key not in known:
            raise InputError(
                f"is {shown(value)}, a key that Etchproof does not know: it may change what the model computes",
                source=source,
                key=shown_name(key),
                hint="remove it if it is without effect on inference",
            )
