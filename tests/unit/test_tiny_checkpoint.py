"""The shipped checkpoint models/tiny: its corpus never changes, its folder loads, README.md records what it says."""

from __future__ import annotations

import hashlib
import json
import re
from itertools import islice
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from tokenizers import Tokenizer
from transformers import AutoTokenizer, LlamaForCausalLM

from models.tiny.corpus import stories
from models.tiny.train import (
    ARCHITECTURE,
    BOS_ID,
    CONTEXT,
    EOS_ID,
    HELD_OUT_SEED,
    HELD_OUT_STORIES,
    PROMPT,
    UNK_ID,
    encode,
    greedy,
    perplexity,
    train_tokenizer,
)

FOLDER = Path(__file__).parents[2] / "models" / "tiny"
README = (FOLDER / "README.md").read_text(encoding="utf-8")
SIZE_LIMIT_BYTES = 1_000_000
# Of the first 50 stories of seed 0, joined by line feeds.
CORPUS_SHA256 = "3ca93ced832cacdb72ea1dced95f7f23ce0a9eeefe683a45af6b9cc2d78298e8"


def recorded(pattern: str) -> str:
    """The one place in README.md that matches `pattern`, its first group."""
    found = re.findall(pattern, README, flags=re.MULTILINE | re.DOTALL)
    assert len(found) == 1, f"README.md has {len(found)} places that match {pattern!r}"
    return str(found[0])


def words(text: str) -> list[str]:
    return re.findall(r"[A-Za-z]+", text)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(FOLDER / "tokenizer.json"))


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    return LlamaForCausalLM.from_pretrained(FOLDER, local_files_only=True, dtype=torch.float32)


def test_corpus_is_the_same_text_for_ever() -> None:
    assert hashlib.sha256("\n".join(stories(50, 0)).encode()).hexdigest() == CORPUS_SHA256


def test_corpus_depends_on_the_seed_and_not_on_n() -> None:
    assert list(stories(50, 0)) != list(stories(50, 1))
    assert list(stories(20, 3)) == list(islice(stories(50, 3), 20))
    assert not list(stories(0, 0))


def test_corpus_is_clean_and_mostly_begins_with_the_prompt() -> None:
    corpus = list(stories(2_000, 7))
    assert len(set(corpus)) > 1_990
    assert sum(story.startswith(PROMPT) for story in corpus) > 1_500
    fault = re.compile(r"[{}]|  |\b[Aa] [aeiou]|\b[Aa]n [^aeiou]|[.!?] [a-z]")
    assert [story for story in corpus if fault.search(story)] == []


def test_weights_are_the_recorded_ones() -> None:
    digest = hashlib.sha256((FOLDER / "model.safetensors").read_bytes()).hexdigest()
    assert digest == recorded(r"`([0-9a-f]{64})`")


def test_folder_is_small_and_complete() -> None:
    files = [path for path in FOLDER.iterdir() if path.is_file()]
    assert {path.name for path in files} >= {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert sum(path.stat().st_size for path in files) < SIZE_LIMIT_BYTES


def test_config_is_what_the_script_trains() -> None:
    assert json.loads((FOLDER / "config.json").read_text(encoding="utf-8")) == ARCHITECTURE


def test_tokenizer_is_what_the_script_trains(tokenizer: Tokenizer) -> None:
    assert train_tokenizer().get_vocab() == tokenizer.get_vocab()


def test_parameters_are_the_recorded_ones() -> None:
    with safe_open(FOLDER / "model.safetensors", framework="pt") as weights:
        tensors = [weights.get_tensor(name) for name in weights.keys()]  # noqa: SIM118, safe_open is not iterable
    assert sum(tensor.numel() for tensor in tensors) == int(recorded(r"([\d,]+) parameters").replace(",", ""))
    assert all(tensor.dtype == torch.float32 and tensor.isfinite().all() for tensor in tensors)


@pytest.mark.parametrize("text", [PROMPT, "naïve Ωmega 机器人 🤖\n\ttabs", "", "!@#$%^&*()[]{}<>|\\~`"])
def test_any_text_encodes_and_decodes(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text).ids
    assert ids[0] == BOS_ID
    assert UNK_ID not in ids
    assert tokenizer.decode(ids) == text


def test_transformers_reads_the_tokenizer_alike(tokenizer: Tokenizer) -> None:
    loaded = AutoTokenizer.from_pretrained(FOLDER, local_files_only=True)
    assert (loaded.bos_token_id, loaded.eos_token_id) == (BOS_ID, EOS_ID)
    assert loaded(PROMPT)["input_ids"] == tokenizer.encode(PROMPT).ids


def test_greedy_text_is_the_recorded_sample(tokenizer: Tokenizer, model: LlamaForCausalLM) -> None:
    sample = " ".join(recorded(r"```text\n(Once upon a time.*?)```").split())
    # The whole story: its closest choice has a margin of 0.03 in probability, far above float32's noise.
    assert greedy(model, tokenizer.encode(PROMPT).ids, CONTEXT) == tokenizer.encode(sample).ids


def test_greedy_text_is_made_of_the_corpus_words(tokenizer: Tokenizer, model: LlamaForCausalLM) -> None:
    text = tokenizer.decode(greedy(model, tokenizer.encode(PROMPT).ids, 200))
    vocabulary = {word for story in stories(2_000, 0) for word in words(story)}
    assert len(words(text)) > 40
    assert set(words(text)) <= vocabulary


def test_perplexity_is_the_recorded_one(tokenizer: Tokenizer, model: LlamaForCausalLM) -> None:
    held_out = encode(tokenizer, HELD_OUT_STORIES, HELD_OUT_SEED)
    figure = float(recorded(r"perplexity \*\*([\d.]+)\*\*"))
    assert perplexity(model, held_out) == pytest.approx(figure, abs=0.0006)  # recorded with three digits
