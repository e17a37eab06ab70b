"""The metadata of a GGUF file: what it comes to, and each thing that is refused, by its key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etchproof.checkpoint import load_checkpoint, load_config
from etchproof.checkpoint.config import FactorScaling, LinearScaling, ModelConfig
from etchproof.checkpoint.rope import rope_inv_freq
from etchproof.errors import InputError
from tests.gguf_model import Parts, Sizes, model, plain, tensor
from tests.gguf_writer import Typed


def read(path: Path, parts: Parts) -> ModelConfig:
    (path / "drawn.gguf").write_bytes(parts.content())
    return load_config(path / "drawn.gguf")


def refused(path: Path, parts: Parts) -> str:
    with pytest.raises(InputError) as caught:
        read(path, parts)
    said = str(caught.value)
    assert said.startswith(f"{path / 'drawn.gguf'}: ") and "\n" not in said
    return said.removeprefix(f"{path / 'drawn.gguf'}: ")


def test_what_metadata_comes_to(tmp_path: Path) -> None:
    found = read(tmp_path, model())
    assert found == ModelConfig(
        name="drawn",
        vocab_size=300,
        hidden_size=32,
        intermediate_size=64,
        n_layers=2,
        n_heads=4,
        n_kv_heads=2,
        head_dim=8,
        context=64,
        rms_norm_eps=float(np.float32(1e-5)),
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_ids=(2,),
    )
    assert found.source == str(tmp_path / "drawn.gguf")
    assert found.key("num_hidden_layers") == "llama.block_count"


def test_defaults_and_more(tmp_path: Path) -> None:
    parts = model(tied=False)
    for key in ("rope.freq_base", "attention.head_count_kv", "rope.dimension_count", "vocab_size"):
        del parts.metadata[f"llama.{key}"]
    for key in ("bos_token_id", "eos_token_id", "add_bos_token"):
        del parts.metadata[f"tokenizer.ggml.{key}"]
    rng = np.random.default_rng(1)
    for layer in range(2):
        for name in ("attn_k", "attn_v"):
            parts.tensors[f"blk.{layer}.{name}.weight"] = tensor("F16", (32, 32), rng)
        for name, size in (("attn_q", 32), ("attn_k", 32), ("attn_v", 32), ("attn_output", 32)):
            parts.tensors[f"blk.{layer}.{name}.bias"] = tensor("F32", (size,), rng)
        for name, size in (("ffn_gate", 64), ("ffn_up", 64), ("ffn_down", 32)):
            parts.tensors[f"blk.{layer}.{name}.bias"] = tensor("F32", (size,), rng)
    parts.extra = {
        "llama.attention.key_length": 8,
        "llama.attention.value_length": Typed("UINT64", 8),
        "llama.expert_count": 0,
        "llama.rope.scaling.type": "none",
        "llama.rope.scaling.factor": 4.0,
        "llama.rope.scaling.original_context_length": 32,
        "general.something": "else",
        "mradermacher.quantize_version": "2",
    }
    found = read(tmp_path, parts)
    assert (found.n_kv_heads, found.rope.theta, found.rope.scaling) == (4, 10000.0, None)
    assert (found.attention_bias, found.mlp_bias, found.tie_word_embeddings) == (True, True, False)
    assert (found.bos_token_id, found.eos_token_ids) == (None, ())


@pytest.mark.parametrize(
    ("changes", "scaling"),
    [
        ({"llama.rope.scaling.factor": 4.0}, LinearScaling(factor=4.0)),
        ({"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 2.5}, LinearScaling(factor=2.5)),
        ({"llama.rope.scale_linear": 8.0}, LinearScaling(factor=8.0)),
        ({"llama.rope.scaling.factor": 1.0}, None),
        ({"llama.rope.scaling.factor": 0.0}, None),
    ],
)
def test_linear_rope(changes: dict[str, Any], scaling: LinearScaling | None, tmp_path: Path) -> None:
    assert read(tmp_path, model(changes=changes)).rope.scaling == scaling


def test_the_frequencies_of_each_pair(tmp_path: Path) -> None:
    parts = model()
    factors = np.array([1.0, 1.3, 7.9, 8.0], dtype=np.float32)
    parts.tensors["rope_freqs.weight"] = plain("F32", factors)
    found = read(tmp_path, parts)
    assert found.rope.scaling == FactorScaling(factors=tuple(factors.tolist()))
    own = 10000.0 ** -(np.arange(4) / 4)
    assert rope_inv_freq(found) == pytest.approx(own / factors.astype(np.float64), rel=1e-15)
    parts.tensors["rope_freqs.weight"] = plain("F32", np.ones(4))
    assert read(tmp_path, parts).rope.scaling is None


def test_ends_of_a_turn(tmp_path: Path) -> None:
    assert read(tmp_path, model(changes={"tokenizer.ggml.eot_token_id": 0})).eos_token_ids == (2, 0)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"general.architecture": "qwen2"}, "general.architecture: is 'qwen2', which is not modelled (modelled are llama)"),
    ({"general.architecture": 3}, "general.architecture: is 3 (UINT32), expected a text (STRING)"),
    ({"general.type": "adapter"}, "general.type: is 'adapter', expected 'model'"),
    ({"split.count": 3}, "split.count: is 3: the file is a part of a model (put the parts together with gguf-split"),
    ({"general.quantization_version": 1}, "general.quantization_version: is 1, expected 2"),
    ({"llama.expert_count": 8}, "llama.expert_count: is 8 (UINT32): mixture of experts is not modelled"),
    ({"llama.attention.causal": False}, "llama.attention.causal: is False (BOOL): attention to later tokens"),
    ({"llama.attention.sliding_window": 9}, "llama.attention.sliding_window: is 9 (UINT32), a key that Etchproof does"),
    ({"llama.attention.head_count": ["4"]}, "llama.attention.head_count: is an array of 1 STRING, expected an integer"),
    ({"llama.attention.head_count": Typed("UINT32", [4, 4])}, "is an array of 2 UINT32, expected an integer"),
    ({"llama.attention.head_count": 0}, "llama.attention.head_count: is 0, expected at least 1"),
    ({"llama.attention.head_count": 5}, "head_count: is 5, which does not divide llama.embedding_length 32"),
    ({"llama.attention.head_count_kv": 3}, "llama.attention.head_count_kv: is 3, which does not divide llama.att"),
    ({"llama.attention.head_count_kv": 0}, "llama.attention.head_count_kv: is 0, expected at least 1"),
    ({"llama.attention.key_length": 16}, "llama.rope.dimension_count: is 8, expected 16, the length of a key"),
    ({"llama.attention.value_length": 4}, "llama.attention.value_length: is 4, expected 8, the length of a key"),
    ({"llama.rope.dimension_count": 4}, "llama.rope.dimension_count: is 4, expected 8, the length of a key: rotating"),
    ({"llama.block_count": 0}, "llama.block_count: is 0, expected at least 1"),
    ({"llama.block_count": 2**31}, "llama.block_count: is 2147483648, expected at most 4096"),
    ({"llama.block_count": 3}, "blk.2.attn_norm.weight: is missing, expected shape [32], and 8 more with it"),
    ({"llama.block_count": 1}, "blk.1.attn_norm.weight: is a tensor that this architecture does not have (does llama."),
    ({"llama.context_length": 0}, "llama.context_length: is 0, expected at least 1"),
    ({"llama.embedding_length": 64}, "llama.rope.dimension_count: is 8, expected 16"),
    ({"llama.feed_forward_length": 96}, "blk.0.ffn_gate.weight: has shape [64, 32], expected [96, 32]"),
    ({"llama.attention.layer_norm_rms_epsilon": 0.0}, "layer_norm_rms_epsilon: is 0.0, expected more than 0"),
    ({"llama.attention.layer_norm_rms_epsilon": float("nan")}, "is nan, expected a finite number"),
    ({"llama.rope.freq_base": -1.0}, "llama.rope.freq_base: is -1.0, expected more than 0"),
    ({"llama.rope.scaling.type": "yarn"}, "llama.rope.scaling.type: is 'yarn', which is not modelled"),
    ({"llama.rope.scaling.factor": 0.5}, "llama.rope.scaling.factor: is 0.5, expected 1 .. 1,000,000"),
    ({"llama.rope.scaling.attn_factor": 1.5}, "llama.rope.scaling.attn_factor: is 1.5 (FLOAT32): a factor on"),
    ({"llama.vocab_size": 299}, "llama.vocab_size: is 299, and token_embd.weight has 300 rows"),
    ({"tokenizer.ggml.tokens": ["a"]}, "tokenizer.ggml.tokens: is an array of 1 STRING, and token_embd.weight has 300"),
    ({"tokenizer.ggml.bos_token_id": 300}, "tokenizer.ggml.bos_token_id: is 300, expected less than vocab_size 300"),
    ({"tokenizer.ggml.eos_token_id": 999}, "tokenizer.ggml.eos_token_id: is 999, expected less than vocab_size 300"),
    ({"tokenizer.ggml.eos_token_id": Typed("INT32", -1)}, "tokenizer.ggml.eos_token_id: is -1, expected at least 0"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "said"), REFUSED, ids=[said[:50] for _, said in REFUSED])
def test_refused_metadata(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    assert said in refused(tmp_path, model(changes=changes))


@pytest.mark.parametrize("key", ["block_count", "context_length", "embedding_length", "feed_forward_length"])
def test_missing_sizes(key: str, tmp_path: Path) -> None:
    parts = model()
    del parts.metadata[f"llama.{key}"]
    assert refused(tmp_path, parts) == f"llama.{key}: is missing, expected an integer"


def test_refused_tensors(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    plain32 = tensor("F32", (32,), rng)
    cases = {
        "rope_freqs.weight: is F32 of shape [2, 4], expected a vector of plain floats": {
            "rope_freqs.weight": tensor("F32", (2, 4), rng)
        },
        "rope.scaling.factors: has 3": {"rope_freqs.weight": plain("F32", [1.0, 2.0, 3.0])},
        "rope_freqs.weight: is 0.0 at 1, expected more than 0": {
            "rope_freqs.weight": plain("F32", [1.0, 0, 1, 1])
        },
        "blk.0.attn_q_norm.weight: is a tensor that this architecture": {"blk.0.attn_q_norm.weight": plain32},
        "blk.00.attn_q.weight: is a tensor": {"blk.00.attn_q.weight": tensor("Q4_0", (32, 32), rng)},
        "blk.0.attn_k.bias: is missing, expected shape [16], and 6 more": {"blk.0.attn_q.bias": plain32},
        "blk.0.attn_norm.bias: is a tensor": {"blk.0.attn_norm.bias": plain32},
        "blk.0.attn_norm.weight: has shape [1, 32], expected [32]": {
            "blk.0.attn_norm.weight": tensor("F32", (1, 32), rng)
        },
        "blk.0.attn_norm.weight: is of type Q8_0, expected plain floats": {
            "blk.0.attn_norm.weight": tensor("Q8_0", (32,), rng)
        },
    }
    for said, tensors in cases.items():
        parts = model()
        parts.tensors |= tensors
        wanted = said.replace("rope.scaling.factors", "rope_freqs.weight")
        assert wanted in refused(tmp_path, parts), said
    parts = model(changes={"llama.rope.scaling.factor": 2.0})
    parts.tensors["rope_freqs.weight"] = plain("F32", [1.0, 2.0, 3.0, 4.0])
    assert "and the file has rope_freqs.weight as well" in refused(tmp_path, parts)
    for name in ("token_embd.weight", "output_norm.weight", "blk.1.ffn_up.weight"):
        parts = model()
        del parts.tensors[name]
        assert refused(tmp_path, parts).startswith(f"{name}: is missing")


def test_folders_and_names(tmp_path: Path) -> None:
    (tmp_path / "drawn.gguf").write_bytes(model().content())
    with pytest.raises(
        InputError, match=r"holds drawn.gguf and no config.json \(pass the .gguf file itself\)"
    ):
        load_checkpoint(tmp_path)
    with pytest.raises(InputError, match=r"other.gguf: file not found"):
        load_checkpoint(tmp_path / "other.gguf")
    (tmp_path / "folder.gguf").mkdir()
    with pytest.raises(InputError, match=r"folder.gguf/config.json: file not found"):
        load_checkpoint(tmp_path / "folder.gguf")


def test_wide_heads(tmp_path: Path) -> None:
    """Heads need not make up the hidden size."""
    parts = model(Sizes(hidden=64, mlp=64), changes={"llama.embedding_length": 64})
    rng = np.random.default_rng(1)
    parts.metadata |= {"llama.attention.key_length": 32, "llama.attention.value_length": 32}
    parts.metadata["llama.rope.dimension_count"] = 32
    for layer in range(2):
        for name, shape in (
            ("attn_q", (128, 64)),
            ("attn_k", (64, 64)),
            ("attn_v", (64, 64)),
            ("attn_output", (64, 128)),
        ):
            parts.tensors[f"blk.{layer}.{name}.weight"] = tensor("Q4_0", shape, rng)
    assert read(tmp_path, parts).q_size == 128
