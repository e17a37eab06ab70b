"""Small trained tokenizers, each as the tokenizers library has it and as the metadata of a GGUF file, which is written
as llama.cpp's converter writes it."""

from __future__ import annotations

import json
from typing import Any, Final

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, trainers

from tests.gguf_writer import Typed

# The expressions of the models' own tokenizer.json.
LLAMA3: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
QWEN2: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
SPECIAL: Final = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
USER_DEFINED: Final = ("<think>", "  ")
TEXTS: Final = (
    *("", " ", "hello", " hello world", "Hello, World! It's 12345 o'clock; they'RE here, I'LL go."),
    *("1 22 333 4444", "a  b   c    d", "tabs\t\tand\nlines\r\n\r\n  x", "caf\u00e9 na\u00efve \u00dcber"),
    *("\u4e2d\u6587\u5b57\u7b26 12\u0663\u0664", "\U0001f600\U0001f468\u200d\U0001f469 smile", "aaaaaaaaaa"),
    *("<|im_start|>user\nhi<|im_end|>", "a<think> b </think>", "x<|endoftext|>", "!!! ?? ...\n\n---"),
    *("'s 'T don't", "\u00bd\u00b2 \u216b", "__init__(self):\n    return  x+1", "\u0000\u0001\x7f"),
    *("the quick brown fox " * 4, "e\u0301 combining", "\u00a0nbsp\u3000wide"),
)
_CORPUS: Final = 3 * (
    "hello world, the quick brown fox jumps over the lazy dog. It's a test of 123 and 4567 numbers; don't they'll "
    "we're return self init the they them there here her hello help world word work 100 200 300 12 22 \u00e9t\u00e9 "
    "caf\u00e9 \u4e2d\u6587 "
)


def _pre(name: str) -> Any:
    level = pre_tokenizers.ByteLevel
    if name == "gpt-2":
        return level(add_prefix_space=False)
    if name == "smollm":
        return pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), level(add_prefix_space=False)]
        )
    expression = QWEN2 if name == "qwen2" else LLAMA3
    split = pre_tokenizers.Split(Regex(expression), behavior="isolated")
    return pre_tokenizers.Sequence([split, level(add_prefix_space=False, use_regex=False)])


def trained(
    pre: str, vocab: int = 400, user_defined: tuple[str, ...] = USER_DEFINED
) -> tuple[tokenizers.Tokenizer, dict[str, Any]]:
    """A byte-level tokenizer of that pre-tokenizer, and its metadata, filled up to ``vocab`` tokens."""
    learner = tokenizers.Tokenizer(models.BPE())
    learner.pre_tokenizer = _pre(pre)
    learner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab - 8,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    learner.train_from_iterator([_CORPUS], trainer)
    learner.add_tokens([AddedToken(text, normalized=False, special=False) for text in user_defined])
    if pre == "llama-bpe":
        learner.model.ignore_merges = True

    raw = json.loads(learner.to_str())
    ids = learner.get_vocab(with_added_tokens=True)
    tokens: list[str] = [f"[PAD{at}]" for at in range(vocab)]
    kinds = [5] * vocab
    for text, token in ids.items():
        tokens[token] = text
        kinds[token] = 3 if text in SPECIAL else 4 if text in user_defined else 1
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in raw["model"]["merges"]]
    return learner, {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": Typed("INT32", kinds),
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.bos_token_id": ids["<|im_start|>"],
        "tokenizer.ggml.eos_token_id": ids["<|im_end|>"],
        "tokenizer.ggml.unknown_token_id": ids["<|endoftext|>"],
        "tokenizer.ggml.padding_token_id": ids["<|im_end|>"],
        "tokenizer.ggml.add_bos_token": False,
    }


def sentencepiece(vocab: int = 400) -> dict[str, Any]:
    """Metadata of a SentencePiece BPE vocabulary: unknown, BOS, EOS, bytes, and pieces by their scores."""
    space = "\u2581"
    words = f"{space}hello{space}world{space}the{space}quick{space}brown{space}fox{space}they{space}there"
    letters = dict.fromkeys(words + "abcdefghijklmnopqrstuvwxyz,.!?'0123456789HIT\n\u00e9\u4e2d")
    pieces: dict[str, None] = {}
    for size in (2, 3, 4, 6, 8):
        for at in range(0, len(words) - size):
            piece = words[at : at + size]
            if space not in piece[1:] and len(pieces) < 90:
                pieces.setdefault(piece, None)
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    kinds = [2, 3, 3, *[6] * 256]
    scores = [0.0] * len(tokens)
    for rank, piece in enumerate([*pieces, *letters]):
        tokens.append(piece)
        kinds.append(1)
        scores.append(-float(rank))
    tokens += [*(f"<fill{at}>" for at in range(vocab - len(tokens)))]
    kinds += [3] * (vocab - len(kinds))
    scores += [-1000.0] * (vocab - len(scores))
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": Typed("FLOAT32", scores),
        "tokenizer.ggml.token_type": Typed("INT32", kinds),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_eos_token": False,
    }
