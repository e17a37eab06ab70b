"""The tokenizer within a GGUF file: ids as those of the tokenizer that it was written from; refusals by key."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from etchproof.checkpoint import Checkpoint, Tokenizer, load_checkpoint
from etchproof.checkpoint.chat import chat
from etchproof.checkpoint.prompt import notes, open_tokenizer
from etchproof.errors import InputError
from tests.gguf_model import Sizes, model, tokenizer
from tests.gguf_tokenizer import TEXTS, sentencepiece, trained
from tests.gguf_writer import Typed

VOCAB = 400


def load(path: Path, metadata: dict[str, Any], **changes: Any) -> Checkpoint:
    """A model with that tokenizer; a change to None takes the key away."""
    parts = model(Sizes(vocab=VOCAB, layers=1))
    kept = {key: value for key, value in parts.metadata.items() if not key.startswith("tokenizer.")}
    changed = {f"tokenizer.ggml.{name}": value for name, value in changes.items()}
    whole = {key: value for key, value in {**metadata, **changed}.items() if value is not None}
    parts.metadata = kept | whole
    (path / "drawn.gguf").write_bytes(parts.content())
    return load_checkpoint(path / "drawn.gguf", known=lambda _: True)


@pytest.mark.parametrize("pre", ["gpt-2", "smollm", "llama-bpe", "qwen2"])
def test_ids_are_those_of_the_tokenizer_it_was_written_from(pre: str, tmp_path: Path) -> None:
    original, metadata = trained(pre, VOCAB)
    found = load(tmp_path, metadata).tokenizer()
    for text in TEXTS:
        ids = original.encode(text).ids
        assert found.encode(text) == ids, text
        assert found.decode(ids) == original.decode(ids), text
    assert found.special == {
        **{"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "unk_token": "<|endoftext|>"},
        "pad_token": "<|im_end|>",
    }
    found.close()


@pytest.mark.parametrize(
    ("pre", "changes", "around"),
    [
        ("smollm", {"add_bos_token": True}, ([1], [])),
        ("smollm", {"add_bos_token": None}, ([], [])),
        ("llama-bpe", {"add_bos_token": None}, ([1], [])),
        ("llama-bpe", {"add_bos_token": False}, ([], [])),
        ("qwen2", {"add_bos_token": True, "add_eos_token": True}, ([1], [2])),
    ],
)
def test_bos_and_eos(
    pre: str, changes: dict[str, Any], around: tuple[list[int], list[int]], tmp_path: Path
) -> None:
    _, metadata = trained(pre, VOCAB)
    found = load(tmp_path, metadata, **changes).tokenizer()
    before, after = around
    inner = found.encode_chat("hello")
    assert found.encode("hello") == [*before, *inner, *after]
    assert (found.before, found.after) == (tuple(before), tuple(after))
    found.close()


def test_sentencepiece(tmp_path: Path) -> None:
    checkpoint = load(tmp_path, sentencepiece(VOCAB))
    found = checkpoint.tokenizer()
    tokens = sentencepiece(VOCAB)["tokenizer.ggml.tokens"]
    assert found.before == (1,) and checkpoint.config.bos_token_id == 1
    for text in ("hello world", "the quick brown fox", "  two  spaces ", "caf\u00e9 \u4e2d \u20ac!", "x\ny"):
        ids = found.encode(text)
        assert ids[0] == 1 and found.decode(ids) == text
    assert [tokens[token] for token in found.encode("\u20ac")] == [
        "<s>",
        "\u2581",
        "<0xE2>",
        "<0x82>",
        "<0xAC>",
    ]
    assert any(
        "--prompt has spaces where llama.cpp puts them" in note for note in found.notes(checkpoint.config)
    )
    bare = load(tmp_path, sentencepiece(VOCAB), add_space_prefix=False, add_bos_token=False).tokenizer()
    assert tokens[bare.encode("hello")[0]][0] == "h" and bare.decode(bare.encode("hello")) == "hello"
    found.close()
    bare.close()


def test_the_highest_score_merges_first(tmp_path: Path) -> None:
    """A merge's rank is its score, not the place of its token."""
    metadata = sentencepiece(VOCAB)
    tokens, scores = metadata["tokenizer.ggml.tokens"], list(metadata["tokenizer.ggml.scores"].value)
    left, right = tokens.index("ro"), tokens.index("ox")
    found = load(tmp_path, metadata).tokenizer()
    assert [tokens[token] for token in found.encode("zroxz")] == ["<s>", "\u2581", "z", "ro", "x", "z"]
    scores[left], scores[right] = scores[right], scores[left]
    swapped = load(tmp_path, metadata, scores=Typed("FLOAT32", scores)).tokenizer()
    assert [tokens[token] for token in swapped.encode("zroxz")] == ["<s>", "\u2581", "z", "r", "ox", "z"]
    found.close()
    swapped.close()


def test_the_chat_template(tmp_path: Path) -> None:
    checkpoint = load(tmp_path, tokenizer(VOCAB))
    found = checkpoint.tokenizer()
    made = chat("hello", found, datetime(2026, 2, 3))
    assert found.decode(made.ids) == "user\nhello\nassistant\n" and made.ids[0] == 1
    assert (made.template.key, made.template.source) == ("tokenizer.chat_template", tmp_path / "drawn.gguf")
    found.close()
    without = {key: value for key, value in tokenizer(VOCAB).items() if key != "tokenizer.chat_template"}
    bare = load(tmp_path, without).tokenizer()
    with pytest.raises(InputError, match=r"drawn.gguf: tokenizer.chat_template: there is no chat template"):
        chat("hello", bare)
    bare.close()


def changed_at(values: Any, at: int, new: Any) -> Any:
    if isinstance(values, Typed):
        return Typed(values.kind, changed_at(list(values.value), at, new))
    return [*values[:at], new, *values[at + 1 :]]


GPT2, SPM = tokenizer(VOCAB), sentencepiece(VOCAB)
REFUSED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (GPT2, {"model": "bert"}, "tokenizer.ggml.model: is 'bert', which is not read here (read are gpt2"),
    (GPT2, {"pre": "tekken"}, "tokenizer.ggml.pre: is 'tekken', a pre-tokenizer that is not read here (read are gpt-2"),
    (GPT2, {"pre": None}, "tokenizer.ggml.pre: is missing, expected a text"),
    (GPT2, {"merges": None}, "tokenizer.ggml.merges: is missing, expected an array of STRING"),
    (GPT2, {"merges": ["h e", "he"]}, "tokenizer.ggml.merges: [1] is 'he', expected two tokens with a space"),
    (GPT2, {"merges": ["h e", "l  l"]}, "tokenizer.ggml.merges: [1] is 'l l', expected two tokens"),
    (GPT2, {"merges": ["x y"]}, "tokenizer.ggml.merges: [0] is 'x y', and 'xy' is no token"),
    (GPT2, {"token_type": Typed("INT32", [1])}, "tokenizer.ggml.token_type: has 1 kinds of 400 tokens"),
    (GPT2, {"token_type": changed_at(GPT2["tokenizer.ggml.token_type"], 9, 7)}, "token_type: is 7 for token 9"),
    (GPT2, {"tokens": changed_at(GPT2["tokenizer.ggml.tokens"], 9, "h")}, "has 'h' as token 9 and as token 107"),
    (GPT2, {"tokens": changed_at(GPT2["tokenizer.ggml.tokens"], 9, b"\xff")}, "tokens: [9] is no UTF-8 at its byte 0"),
    (GPT2, {"unknown_token_id": 400}, "tokenizer.ggml.unknown_token_id: is 400, expected less than 400"),
    (GPT2, {"padding_token_id": 399}, "tokenizer.ggml.padding_token_id: is 399, a token of kind 5: not used"),
    (GPT2, {"bos_token_id": None, "add_bos_token": True}, "tokenizer.ggml.bos_token_id: is missing, and add_bos_token"),
    (GPT2, {"add_bos_token": 1}, "tokenizer.ggml.add_bos_token: is 1 (UINT32), expected true or false"),
    (SPM, {"scores": None}, "tokenizer.ggml.scores: is missing, expected an array of FLOAT32 or FLOAT64"),
    (SPM, {"scores": Typed("FLOAT32", [0.0])}, "tokenizer.ggml.scores: has 1 scores of 400 tokens"),
    (SPM, {"scores": Typed("FLOAT32", [float("nan")] * 400)}, "tokenizer.ggml.scores: [259] is nan, expected a number"),
    (SPM, {"tokens": changed_at(SPM["tokenizer.ggml.tokens"], 300, "x" * 300)}, "has a token of 300 characters"),
]  # fmt: skip


@pytest.mark.parametrize(("metadata", "changes", "said"), REFUSED, ids=[said[:48] for _, _, said in REFUSED])
def test_refused(metadata: dict[str, Any], changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    checkpoint = load(tmp_path, metadata, **changes)
    with pytest.raises(InputError) as caught:
        checkpoint.tokenizer()
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert open_tokenizer(checkpoint, needed=False) is None  # a run by token ids needs none
    with pytest.raises(InputError):
        open_tokenizer(checkpoint, needed=True)


def test_no_tokenizer(tmp_path: Path) -> None:
    checkpoint = load(tmp_path, {})
    assert not checkpoint.has_tokenizer and open_tokenizer(checkpoint, needed=False) is None
    with pytest.raises(InputError, match=r"tokenizer.ggml.model: holds no tokenizer"):
        checkpoint.tokenizer()


def test_notes(tmp_path: Path) -> None:
    checkpoint = load(tmp_path, tokenizer(VOCAB))
    found = checkpoint.tokenizer()
    assert notes(checkpoint, found) == (
        "drawn.gguf holds published codes (7 Q4_1, 1 Q8_0): they are not etched, but dequantized and quantized again "
        "by the recipe",
        "its tokenizer puts nothing before a text, drawn.gguf has bos_token_id 1: prompts are the tokenizer's",
    )
    assert isinstance(found, Tokenizer) and not found.own_format and found.path == tmp_path / "drawn.gguf"
    found.close()


def test_the_limit_of_all_characters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etchproof.checkpoint.gguf.tokenizer._MOST_CHARACTERS", 50)
    with pytest.raises(InputError, match="has more than 50 characters in all"):
        load(tmp_path, sentencepiece(VOCAB)).tokenizer()
