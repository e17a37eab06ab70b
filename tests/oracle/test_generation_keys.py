"""The allow-list of ``generation_config.json`` knows every key that the installed transformers knows, and what it does.

A key is without effect if the greedy text of transformers' own ``generate`` stays the same with it.
"""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

from etchproof.checkpoint.generation import HOSTS, NO_EFFECT, Generation

transformers = pytest.importorskip("transformers")

KNOWN = {*Generation.model_fields, *NO_EFFECT, *HOSTS}
READERS = ("generation/utils.py", "generation/configuration_utils.py", "generation/candidate_generator.py")
NOT_IN_THE_FILE = {
    "_bos_token_tensor": "made from bos_token_id",
    "_decoder_start_token_tensor": "made from decoder_start_token_id",
    "_eos_token_tensor": "made from eos_token_id",
    "_pad_token_tensor": "made from pad_token_id",
    "_mask_length": "made while generating",
    "_original_object_hash": "a mark within Python",
}


def package() -> Path:
    spec = importlib.util.find_spec("transformers")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent


def test_no_key_has_two_places() -> None:
    places = (set(Generation.model_fields), set(NO_EFFECT), set(HOSTS))
    assert sum(map(len, places)) == len(KNOWN)


def test_every_attribute_of_the_class() -> None:
    config = transformers.GenerationConfig()
    named = {*vars(config), *config.to_dict(), *config._get_default_generation_params()}
    assert len(named) > 60
    assert not named - KNOWN


def test_every_key_that_its_constructor_takes() -> None:
    tree = ast.parse((package() / "generation" / "configuration_utils.py").read_text(encoding="utf-8"))
    (made,) = (
        node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "GenerationConfig"
    )
    (init,) = (node for node in made.body if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    popped = {
        node.args[0].value
        for node in ast.walk(init)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "pop"
        and isinstance(node.args[0], ast.Constant)
    }
    assert len(popped) > 60
    assert not popped - KNOWN


def test_every_key_that_generate_reads() -> None:
    read = set()
    for name in READERS:
        for node in ast.walk(ast.parse((package() / name).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                holder = node.value
                held = holder.id if isinstance(holder, ast.Name) else getattr(holder, "attr", "")
                if held == "generation_config" and not hasattr(transformers.GenerationConfig, node.attr):
                    read.add(node.attr)
    assert len(read) > 40
    assert not read - KNOWN - set(NOT_IN_THE_FILE)
    assert not set(NOT_IN_THE_FILE) - read
    assert not set(NOT_IN_THE_FILE) & KNOWN


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(3)
    config = transformers.LlamaConfig(
        vocab_size=40,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    return transformers.LlamaForCausalLM(config).eval()


def text(model: Any, **keys: Any) -> list[int]:
    """What ``generate`` makes of a prompt: greedy, twelve tokens, no end."""
    given = {"max_new_tokens": 12, "eos_token_id": None, "pad_token_id": 0, "do_sample": False} | keys
    model.generation_config = transformers.GenerationConfig(**given)
    made = model.generate(torch.tensor([[1, 5, 9, 5]]))
    return list(made[0].tolist() if isinstance(made, torch.Tensor) else made.sequences[0].tolist())


# Values of keys without effect. The others are of sampling, of lengths, or need a second model.
SAME: dict[str, Any] = {
    "temperature": 0.3,
    "top_k": 3,
    "top_p": 0.5,
    "min_p": 0.2,
    "typical_p": 0.5,
    "epsilon_cutoff": 0.1,
    "eta_cutoff": 0.1,
    "length_penalty": 3.0,
    "early_stopping": True,
    "prompt_lookup_num_tokens": 3,
    "output_attentions": True,
    "output_logits": True,
    "output_scores": True,
    "return_dict_in_generate": True,
    "use_cache": False,
    "disable_compile": True,
    "prefill_chunk_size": 2,
    "renormalize_logits": True,
    "remove_invalid_values": True,
    "pad_token_id": 3,
    "decoder_start_token_id": 7,
    "transformers_version": "1.0",
}
OTHER: dict[str, Any] = {
    "repetition_penalty": 8.0,
    "encoder_repetition_penalty": 8.0,
    "no_repeat_ngram_size": 1,
    "suppress_tokens": None,  # filled in: the first token of the plain text
    "begin_suppress_tokens": None,
    "bad_words_ids": None,
    "forced_eos_token_id": 7,
    "sequence_bias": None,
    "num_beams": 4,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("key", SAME)
def test_a_key_without_effect_leaves_the_text(model: Any, key: str) -> None:
    assert key in NO_EFFECT
    assert text(model, **{key: SAME[key]}) == text(model)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("key", OTHER)
def test_a_key_of_the_hosts_makes_another_text(model: Any, key: str) -> None:
    plain = text(model)
    first = plain[4]
    filled = {
        "suppress_tokens": [first],
        "begin_suppress_tokens": [first],
        "bad_words_ids": [[first]],
        "sequence_bias": [[[first], -100.0]],
    }
    assert key in HOSTS
    assert text(model, **{key: filled.get(key, OTHER[key])}) != plain
