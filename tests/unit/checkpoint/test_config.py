"""``config.json``: both forms resolve to one architecture; everything the chip does not model is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from etchproof.checkpoint import LinearScaling, Llama3Scaling, ModelConfig, RopeConfig, read_config
from etchproof.errors import InputError

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}


def test_stories260k(stories260k: Path) -> None:
    assert read_config(stories260k) == ModelConfig(
        name="stories260k",
        vocab_size=512,
        hidden_size=64,
        intermediate_size=172,
        n_layers=5,
        n_heads=8,
        n_kv_heads=4,
        head_dim=8,
        context=512,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_ids=(2,),
    )


def test_llama_3_1_8b_as_published(tmp_path: Path) -> None:
    """The keys of the 8B model's own config.json: the older form, three EOS ids."""
    published = {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 128000,
        "eos_token_id": [128001, 128008, 128009],
        "hidden_act": "silu",
        "hidden_size": 4096,
        "initializer_range": 0.02,
        "intermediate_size": 14336,
        "max_position_embeddings": 131072,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": 32,
        "num_hidden_layers": 32,
        "num_key_value_heads": 8,
        "pretraining_tp": 1,
        "rms_norm_eps": 1e-05,
        "rope_scaling": LLAMA3 | {"original_max_position_embeddings": 8192},
        "rope_theta": 500000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.42.3",
        "use_cache": True,
        "vocab_size": 128256,
    }
    (tmp_path / "config.json").write_text(json.dumps(published))
    config = read_config(tmp_path)
    assert (config.head_dim, config.q_size, config.kv_size, config.context) == (128, 4096, 1024, 131072)
    assert config.eos_token_ids == (128001, 128008, 128009)
    assert config.rope == RopeConfig(
        theta=500000.0,
        scaling=Llama3Scaling(
            factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192
        ),
    )


def test_a_config_that_transformers_writes(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    written = transformers.LlamaConfig(
        num_attention_heads=8,
        num_key_value_heads=2,
        hidden_size=64,
        rope_parameters={"rope_theta": 5e5, **LLAMA3},
    )
    written.save_pretrained(tmp_path)
    config = read_config(tmp_path)
    assert config.rope.theta == 5e5
    assert isinstance(config.rope.scaling, Llama3Scaling)
    assert (config.n_heads, config.n_kv_heads, config.head_dim) == (8, 2, 8)


def test_kv_heads_default_to_mha_and_head_dim_to_the_quotient(edit_config: Callable[..., Path]) -> None:
    config = read_config(edit_config(num_key_value_heads=..., head_dim=None, hidden_size=24))
    assert (config.n_heads, config.n_kv_heads, config.head_dim) == (4, 4, 6)


@pytest.mark.parametrize(
    ("written", "expected"), [(7, (7,)), ([7, 8], (7, 8)), (None, ()), ([], ()), (..., (2,))], ids=str
)
def test_eos_forms(edit_config: Callable[..., Path], written: Any, expected: tuple[int, ...]) -> None:
    assert read_config(edit_config(eos_token_id=written)).eos_token_ids == expected


@pytest.mark.parametrize(("generation", "expected"), [({"eos_token_id": [3, 4]}, (3, 4)), ({}, (2,))])
def test_generation_config_overrides_eos(
    folder: Path, generation: dict[str, Any], expected: tuple[int, ...]
) -> None:
    (folder / "generation_config.json").write_text(json.dumps(generation))
    assert read_config(folder).eos_token_ids == expected


@pytest.mark.parametrize("generation", [{"eos_token_id": "</s>"}, {"eos_token_id": 70}])
def test_a_bad_generation_config_is_named(folder: Path, generation: dict[str, Any]) -> None:
    (folder / "generation_config.json").write_text(json.dumps(generation))
    with pytest.raises(InputError, match=r"generation_config\.json: eos_token_id: is .*, expected"):
        read_config(folder)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"rope_theta": 5e4}, RopeConfig(theta=5e4)),
        ({"rope_theta": 50000}, RopeConfig(theta=5e4)),
        ({}, RopeConfig()),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, RopeConfig(scaling=LinearScaling(factor=2))),
        (
            {"rope_scaling": {"rope_type": "linear", "type": "linear", "factor": 2}},
            RopeConfig(scaling=LinearScaling(factor=2)),
        ),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 5e4}}, RopeConfig(theta=5e4)),
        ({"rope_parameters": {"rope_theta": 5e4}, "rope_theta": 5e4}, RopeConfig(theta=5e4)),
        ({"rope_parameters": {"rope_theta": 5e4, "partial_rotary_factor": 1.0}}, RopeConfig(theta=5e4)),
        ({"rope_scaling": LLAMA3, "rope_theta": 5e5}, RopeConfig(theta=5e5, scaling=Llama3Scaling(**LLAMA3))),
        ({"rope_parameters": {**LLAMA3, "rope_theta": 5e5}}, RopeConfig(theta=5e5, scaling=Llama3Scaling(**LLAMA3))),
        (
            {"rope_parameters": LLAMA3, "original_max_position_embeddings": 16},
            RopeConfig(scaling=Llama3Scaling(**LLAMA3)),
        ),
        (
            {
                "rope_parameters": {key: value for key, value in LLAMA3.items() if not key.startswith("original")},
                "original_max_position_embeddings": 16,
            },
            RopeConfig(scaling=Llama3Scaling(**LLAMA3)),
        ),
        ({"original_max_position_embeddings": 16}, RopeConfig()),
        (
            {"rope_scaling": {key: value for key, value in LLAMA3.items() if not key.startswith("original")}},
            RopeConfig(scaling=Llama3Scaling(**(LLAMA3 | {"original_max_position_embeddings": 32}))),
        ),
    ],
    ids=str,
)  # fmt: skip
def test_rope_forms(edit_config: Callable[..., Path], changes: dict[str, Any], expected: RopeConfig) -> None:
    assert read_config(edit_config(**({"rope_parameters": ...} | changes))).rope == expected


# (keys to set; the key, and the rest of the line)
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    # not a Llama
    ({"model_type": "mistral"}, "model_type", "is 'mistral', expected 'llama' (Llama only is modelled)"),
    ({"model_type": ...}, "model_type", "is missing, expected 'llama' (Llama only is modelled)"),
    ({"model_type": 3}, "model_type", "is 3, expected 'llama' (Llama only is modelled)"),
    ({"architectures": ["LlamaForSequenceClassification"]}, "architectures", "is ['LlamaForSequenceClassification']"),
    ({"auto_map": {"AutoModelForCausalLM": "m.M"}}, "auto_map", "a model with code of its own is not modelled"),
    # other arithmetic
    ({"num_local_experts": 8}, "num_local_experts", "is 8: mixture of experts is not modelled"),
    ({"num_experts": 8}, "num_experts", "is 8: mixture of experts"),
    ({"n_routed_experts": 8}, "n_routed_experts", "is 8: mixture of experts"),
    ({"sliding_window": 4096}, "sliding_window", "is 4096: windowed attention is not modelled"),
    ({"use_sliding_window": True}, "use_sliding_window", "is True: windowed attention"),
    ({"layer_types": ["full_attention", "sliding_attention"]}, "layer_types", "'sliding_attention'"),
    ({"layer_types": "full_attention"}, "layer_types", "is 'full_attention', expected"),
    ({"attn_logit_softcapping": 50.0}, "attn_logit_softcapping", "is 50.0: soft-capping is not modelled"),
    ({"final_logit_softcapping": 30.0}, "final_logit_softcapping", "is 30.0: soft-capping"),
    ({"hidden_act": "gelu"}, "hidden_act", "is 'gelu': the MLP's activation is SiLU"),
    ({"residual_multiplier": 0.22}, "residual_multiplier", "is 0.22: this multiplier is not modelled"),
    ({"embedding_multiplier": 12.0}, "embedding_multiplier", "is 12.0: this multiplier"),
    ({"logits_scaling": 8.0}, "logits_scaling", "is 8.0: this multiplier"),
    ({"attention_multiplier": 0.01}, "attention_multiplier", "is 0.01: this multiplier"),
    ({"query_pre_attn_scalar": 256}, "query_pre_attn_scalar", "is 256: this multiplier"),
    ({"qk_norm": True}, "qk_norm", "is True: a norm on q and k is not modelled"),
    ({"use_qk_norm": True}, "use_qk_norm", "is True: a norm on q and k"),
    ({"partial_rotary_factor": 0.5}, "partial_rotary_factor", "is 0.5: rotating a part of the head"),
    (
        {"quantization_config": {"bits": 4}},
        "quantization_config", "is {'bits': 4}: Etchproof quantizes by its own recipe",
    ),
    *(
        (
            {"quantization_config": {"bits": 4, "quant_method": method}},
            "quantization_config", f"is of quant_method {method!r}: Etchproof quantizes by its own recipe",
        )
        for method in ("gptq", "awq", "compressed-tensors", "bitsandbytes", 7)
    ),
    ({"some_new_key": False}, "some_new_key", "is False, a key that Etchproof does not know: it may change"),
    ({"transformers_weights": "other.safetensors"}, "transformers_weights", "would read another file"),
    ({"configuration_files": ["config.4.0.0.json"]}, "configuration_files", "would read another file"),
    ({"auto_map": {"AutoConfig": "c.C"}}, "auto_map", "a model with code of its own"),
    ({"per_layer_config": {"0": {"num_attention_heads": 2}}}, "per_layer_config", "different shapes"),
    ({"is_causal": False}, "is_causal", "is False: attention to later tokens is not modelled"),
    ({"is_causal": None}, "is_causal", "is None: attention to later tokens is not modelled"),
    ({"torch_dtype": "float8_e4m3fn"}, "torch_dtype", "is 'float8_e4m3fn': transformers would round"),
    ({"_attn_implementation": "someone/kernel"}, "_attn_implementation", "may compute something else"),
    ({"is_encoder_decoder": True}, "is_encoder_decoder", "is True: an encoder is not modelled"),
    # other RoPE
    (
        {"rope_parameters": ..., "rope_scaling": {"type": "dynamic", "factor": 2.0}},
        "rope_scaling.rope_type", "is 'dynamic', which the chip",
    ),
    (
        {"rope_parameters": ..., "rope_scaling": {"rope_type": "yarn", "factor": 2.0}},
        "rope_scaling.rope_type", "is 'yarn', which the chip",
    ),
    ({"rope_parameters": {"rope_type": "longrope"}}, "rope_parameters.rope_type", "is 'longrope', which the chip"),
    ({"rope_parameters": {"rope_type": ["llama3"]}}, "rope_parameters.rope_type", "is ['llama3'], which the chip"),
    (
        {"rope_parameters": {"rope_type": "default", "type": "llama3"}},
        "rope_parameters.type", "is 'llama3', but rope_type is 'default'",
    ),
    (
        {"rope_parameters": {"full_attention": {"rope_type": "default"}}},
        "rope_parameters.full_attention", "RoPE by layer type",
    ),
    (
        {"rope_parameters": {"partial_rotary_factor": 0.5}},
        "rope_parameters.partial_rotary_factor", "is 0.5, expected 1",
    ),
    (
        {"rope_parameters": {"rope_type": "default", "factor": 8.0}},
        "rope_parameters.factor", "is 8.0, which has no meaning",
    ),
    ({"rope_parameters": {"rope_type": "linear"}}, "rope_parameters.factor", "is missing, rope_type 'linear' needs it"),
    (
        {"rope_parameters": {"rope_type": "linear", "factor": 0.5}},
        "rope_parameters.factor", "is 0.5, expected at least 1",
    ),
    ({"rope_parameters": LLAMA3 | {"factor": "8"}}, "rope_parameters.factor", "is '8', expected a number"),
    (
        {"rope_parameters": LLAMA3 | {"low_freq_factor": 4.0}},
        "rope_parameters.low_freq_factor", "is 4.0, expected less than high_freq_factor 4.0",
    ),
    ({"rope_parameters": LLAMA3 | {"low_freq_factor": None}}, "rope_parameters.low_freq_factor", "is missing"),
    ({"rope_parameters": {"rope_theta": 0}}, "rope_parameters.rope_theta", "is 0, expected more than 0"),
    (
        {"rope_parameters": {"rope_theta": 5e5}, "rope_theta": 1e4},
        "rope_theta", "is 10000.0, but rope_parameters.rope_theta is 500000.0",
    ),
    ({"rope_scaling": LLAMA3, "rope_parameters": {"rope_theta": 1e4}}, "rope_scaling", "but rope_parameters says"),
    ({"rope_theta": -1.0, "rope_parameters": ...}, "rope_theta", "is -1.0, expected more than 0"),
    ({"rope_parameters": "llama3"}, "rope_parameters", "is 'llama3', expected an object"),
    (
        {"rope_parameters": LLAMA3, "original_max_position_embeddings": 17},
        "original_max_position_embeddings", "is 17, but rope_parameters says 16",
    ),
    # sizes and types
    ({"hidden_size": "abc"}, "hidden_size", "is 'abc', expected an integer"),
    ({"hidden_size": 12.0}, "hidden_size", "is 12.0, expected an integer"),
    ({"hidden_size": True}, "hidden_size", "is True, expected an integer"),
    ({"hidden_size": ...}, "hidden_size", "is missing"),
    ({"hidden_size": 0}, "hidden_size", "is 0, expected at least 1"),
    ({"vocab_size": -5}, "vocab_size", "is -5, expected at least 1"),
    ({"intermediate_size": None}, "intermediate_size", "is None, expected an integer"),
    ({"num_hidden_layers": 10**9}, "num_hidden_layers", "is 1000000000, expected at most 4096"),
    ({"max_position_embeddings": ...}, "max_position_embeddings", "is missing"),
    ({"max_position_embeddings": 10**30}, "max_position_embeddings", "expected at most 16777216"),
    ({"rms_norm_eps": 0.0}, "rms_norm_eps", "is 0.0, expected more than 0"),
    ({"rms_norm_eps": float("nan")}, "rms_norm_eps", "is nan, expected a finite number"),
    ({"tie_word_embeddings": "yes"}, "tie_word_embeddings", "is 'yes', expected true or false"),
    ({"attention_bias": 1}, "attention_bias", "is 1, expected true or false"),
    ({"mlp_bias": None}, "mlp_bias", "is None, expected true or false"),
    ({"head_dim": None, "hidden_size": 13}, "hidden_size", "is 13, not a multiple of num_attention_heads 4"),
    ({"head_dim": 5}, "head_dim", "is 5, expected an even number"),
    ({"head_dim": ...}, "head_dim", "is 3, expected an even number"),
    ({"num_key_value_heads": 3}, "num_key_value_heads", "is 3, which does not divide num_attention_heads 4"),
    ({"bos_token_id": 70}, "bos_token_id", "is 70, expected less than vocab_size 70"),
    ({"bos_token_id": -1}, "bos_token_id", "is -1, expected at least 0"),
    ({"eos_token_id": [2, 70]}, "eos_token_id", "is 70, expected less than vocab_size 70"),
    ({"eos_token_id": "2"}, "eos_token_id", "is '2', expected an integer"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "key", "rest"), REFUSED, ids=lambda value: str(value)[:40])
def test_refused_in_one_line(
    edit_config: Callable[..., Path], changes: dict[str, Any], key: str, rest: str
) -> None:
    folder = edit_config(**changes)
    with pytest.raises(InputError) as caught:
        read_config(folder)
    line = str(caught.value)
    assert line.startswith(f"{folder / 'config.json'}: {key}: ")
    assert rest in line
    assert "\n" not in line


@pytest.mark.parametrize(
    "changes",
    [
        {"num_local_experts": None, "sliding_window": None, "quantization_config": None},
        {"residual_multiplier": 1.0, "qk_norm": False, "layer_types": ["full_attention"] * 2},
        {"pretraining_tp": 2, "use_cache": False, "attention_dropout": 0.1, "some_new_key": None},
        {"partial_rotary_factor": 1.0, "num_experts": 0, "architectures": None},
    ],
    ids=str,
)
def test_neutral_and_harmless_keys_change_nothing(
    folder: Path, edit_config: Callable[..., Path], changes: dict[str, Any]
) -> None:
    before = read_config(folder)
    assert read_config(edit_config(**changes)) == before


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is not valid JSON"),
        (b"{", "is not valid JSON"),
        (b"[1]", r"holds \[1\], expected a JSON object"),
        (b"\xff\xfe", "is not UTF-8 text at byte 0"),
        (b'{"a": 1, "a": 2}', "a: stands twice"),
        (b'{"vocab_size": ' + b"9" * 5000 + b"}", "is not valid JSON"),
        (b'{"a":' * 100_000, "is not valid JSON"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_bad_json(folder: Path, content: bytes, problem: str) -> None:
    (folder / "config.json").write_bytes(content)
    with pytest.raises(InputError, match=rf"config\.json: {problem}"):
        read_config(folder)


def test_a_missing_or_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json: file not found"):
        read_config(tmp_path)
    (tmp_path / "config.json").mkdir()
    with pytest.raises(InputError, match="is a folder, expected a regular file"):
        read_config(tmp_path / "config.json" / "..")


def test_a_resolved_config_survives_json_and_refuses_change(tiny: ModelConfig) -> None:
    assert ModelConfig.model_validate_json(tiny.model_dump_json()) == tiny
    with pytest.raises(ValidationError, match="frozen"):
        tiny.vocab_size = 3
    with pytest.raises(ValidationError, match="num_attention_heads 4"):
        ModelConfig.model_validate(tiny.model_dump() | {"n_kv_heads": 3})
