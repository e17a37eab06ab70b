"""The tokenizer of a GGUF file as the ``tokenizer.json`` and ``tokenizer_config.json`` that it comes to.

The file holds vocabulary, merges or scores, the kind of each token, and the name of a pre-tokenizer. What that name
means is llama.cpp's ``llama-vocab.cpp``, which agrees with the models' own ``tokenizer.json``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from etchproof.checkpoint.gguf.config import TOKENS_KEY
from etchproof.checkpoint.tokenizer import TokenizerParts
from etchproof.errors import shown
from etchproof.published.gguf import GgufFile
from etchproof.published.gguf.metadata import Metadata

TEMPLATE_KEY: Final = "tokenizer.chat_template"
_MODEL_KEY: Final = "tokenizer.ggml.model"
_PRE_KEY: Final = "tokenizer.ggml.pre"
_KINDS_KEY: Final = "tokenizer.ggml.token_type"
_MERGES_KEY: Final = "tokenizer.ggml.merges"
_SCORES_KEY: Final = "tokenizer.ggml.scores"

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = range(1, 7)
_SPACE: Final = "\u2581"
_LONGEST_PIECE: Final = 256
_MOST_CHARACTERS: Final = 1 << 22
"""Of a SentencePiece vocabulary, beyond any real one: each token is cut at every place."""

_LLAMA3: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2: Final = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")


@dataclass(frozen=True)
class _Pre:
    """What the name of a pre-tokenizer stands for.

    Attributes:
        steps: of the tokenizers library.
        whole_words: whether a word that is a token stays one, whatever merges would make of it.
        begins: whether a text begins with BOS where the file does not say.
    """

    steps: tuple[Mapping[str, Any], ...]
    whole_words: bool = False
    begins: bool = False


def _byte_level(*, splits: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": splits}


def _split(expression: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": False}


_DIGITS: Final = {"type": "Digits", "individual_digits": True}
_LLAMA3_PRE: Final = _Pre((_split(_LLAMA3), _byte_level(splits=False)), whole_words=True, begins=True)
_QWEN2_PRE: Final = _Pre((_split(_QWEN2), _byte_level(splits=False)))
PRE_TOKENIZERS: Final = {
    "gpt-2": _Pre((_byte_level(splits=True),)),
    "smollm": _Pre((_DIGITS, _byte_level(splits=True))),
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3"), _LLAMA3_PRE),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen"), _QWEN2_PRE),
}
"""Values of ``tokenizer.ggml.pre`` that are read."""


def has_tokenizer(file: GgufFile) -> bool:
    """Whether the file has one, of whatever kind."""
    return _MODEL_KEY in file.header.metadata


def read_gguf_tokenizer(file: GgufFile) -> TokenizerParts:
    """The tokenizer of a GGUF file.

    Raises:
        InputError: there is none, it is of a kind that is not read, or a part of it is missing, ill-typed or does not
            fit the others.
    """
    found = file.header.metadata
    kind = found.text(_MODEL_KEY)
    if kind not in ("gpt2", "llama"):
        hint = "read are gpt2 (byte-level BPE), llama (SentencePiece BPE); a run by --prompt-ids needs no tokenizer"
        found.refuse(f"is {shown(kind)}, which is not read here", _MODEL_KEY, hint=hint)
    vocabulary = _Vocabulary(found)
    named = {
        f"{name}_token": vocabulary.named(name, key, default)
        for name, key, default in (
            ("bos", "bos", 1 if kind == "llama" else None),
            ("eos", "eos", 2 if kind == "llama" else None),
            ("unk", "unknown", 0 if kind == "llama" else None),
            ("pad", "padding", None),
        )
    }
    config: dict[str, Any] = {name: token for name, token in named.items() if token is not None}
    if TEMPLATE_KEY in found:
        config["chat_template"] = found.text(TEMPLATE_KEY)
    if kind == "llama":
        config["tokenizer_class"] = "LlamaTokenizer"
        parts, begins = _sentencepiece(found, vocabulary, named["unk_token"]), True
    else:
        parts, begins = _byte_level_bpe(found, vocabulary)
    begins = found.flag("tokenizer.ggml.add_bos_token", default=begins)
    ends = found.flag("tokenizer.ggml.add_eos_token", default=False)
    around = [named["bos_token"] if begins else None, named["eos_token"] if ends else None]
    for wanted, token, key in zip((begins, ends), around, ("bos", "eos"), strict=True):
        if wanted and token is None:
            found.refuse(
                f"is missing, and add_{key}_token says that each text has it",
                f"tokenizer.ggml.{key}_token_id",
            )
    whole = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": vocabulary.added(),
        **parts,
        "post_processor": _around(around[0], around[1], vocabulary.ids),
    }
    return TokenizerParts(json.dumps(whole, ensure_ascii=False), config)


class _Vocabulary:
    """Tokens with their kinds.

    Attributes:
        tokens: in the order of their ids; ``kinds``: as many.
        ids: of each token that text or a decoder can meet: what only fills the vocabulary up is left out.
    """

    def __init__(self, found: Metadata) -> None:
        self._found = found
        self.tokens = found.texts(TOKENS_KEY)
        self.kinds = found.wholes(_KINDS_KEY) if _KINDS_KEY in found else [_NORMAL] * len(self.tokens)
        if len(self.kinds) != len(self.tokens):
            found.refuse(f"has {len(self.kinds)} kinds of {len(self.tokens)} tokens", _KINDS_KEY)
        self.ids: dict[str, int] = {}
        for token, (text, kind) in enumerate(zip(self.tokens, self.kinds, strict=True)):
            if not _NORMAL <= kind <= _BYTE:
                found.refuse(f"is {kind} for token {token}, expected {_NORMAL} .. {_BYTE}", _KINDS_KEY)
            if kind == _UNUSED:
                continue
            if text in self.ids:
                found.refuse(f"has {shown(text)} as token {self.ids[text]} and as token {token}", TOKENS_KEY)
            self.ids[text] = token

    def named(self, name: str, key: str, default: int | None) -> str | None:
        """The special token of that name."""
        full = f"tokenizer.ggml.{key}_token_id"
        if full not in self._found and default is None:
            return None
        token = self._found.whole(full, default=default)
        if not 0 <= token < len(self.tokens):
            self._found.refuse(
                f"is {token}, expected less than {len(self.tokens)}, the number of tokens", full
            )
        if self.kinds[token] == _UNUSED:
            self._found.refuse(f"is {token}, a token of kind {_UNUSED}: not used", full)
        return self.tokens[token]

    def added(self) -> list[dict[str, Any]]:
        """Tokens that are found in a text before anything else of it is looked at, as ``added_tokens``."""
        plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        return [
            {"id": token, "content": text, **plain, "special": kind == _CONTROL}
            for token, (text, kind) in enumerate(zip(self.tokens, self.kinds, strict=True))
            if kind in (_CONTROL, _USER_DEFINED) and text
        ]


def _byte_level_bpe(found: Metadata, vocabulary: _Vocabulary) -> tuple[dict[str, Any], bool]:
    """Parts of ``tokenizer.json``, and whether a text begins with BOS by default."""
    name = found.text(_PRE_KEY)
    pre = PRE_TOKENIZERS.get(name)
    if pre is None:
        hint = f"read are {', '.join(PRE_TOKENIZERS)}; a run by --prompt-ids needs no tokenizer"
        found.refuse(f"is {shown(name)}, a pre-tokenizer that is not read here", _PRE_KEY, hint=hint)
    merges = []
    for at, merge in enumerate(found.texts(_MERGES_KEY)):
        pair = merge.split(" ")
        if len(pair) != 2 or not all(pair):
            found.refuse(
                f"[{at}] is {shown(merge)}, expected two tokens with a space between them", _MERGES_KEY
            )
        lost = next((part for part in (*pair, "".join(pair)) if part not in vocabulary.ids), None)
        if lost is not None:
            found.refuse(f"[{at}] is {shown(merge)}, and {shown(lost)} is no token", _MERGES_KEY)
        merges.append(pair)
    return {
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": list(pre.steps)},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": _bpe(vocabulary.ids, merges, ignore_merges=pre.whole_words),
    }, pre.begins


def _sentencepiece(found: Metadata, vocabulary: _Vocabulary, unknown: str | None) -> dict[str, Any]:
    """Parts of ``tokenizer.json`` of a vocabulary with scores: merges follow from those, the highest first."""
    scores = found.reals(_SCORES_KEY)
    if len(scores) != len(vocabulary.tokens):
        found.refuse(f"has {len(scores)} scores of {len(vocabulary.tokens)} tokens", _SCORES_KEY)
    ids, merges, characters = vocabulary.ids, [], 0
    for text, token in ids.items():
        if vocabulary.kinds[token] not in (_NORMAL, _USER_DEFINED):
            continue
        if len(text) > _LONGEST_PIECE:
            found.refuse(
                f"has a token of {len(text):,} characters, expected at most {_LONGEST_PIECE}", TOKENS_KEY
            )
        characters += len(text)
        if characters > _MOST_CHARACTERS:
            found.refuse(f"has more than {_MOST_CHARACTERS:,} characters in all", TOKENS_KEY)
        score = scores[token]
        if math.isnan(score):
            found.refuse(f"[{token}] is nan, expected a number", _SCORES_KEY)
        pairs = [(text[:at], text[at:]) for at in range(1, len(text))]
        merges += [(score, left, right) for left, right in pairs if left in ids and right in ids]
    # By score; of equal ones the longer first part counts, as transformers has it.
    merges.sort(key=lambda merge: (merge[0], len(merge[1]), len(merge[2])), reverse=True)
    prefix = found.flag("tokenizer.ggml.add_space_prefix", default=True)
    to_space = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefix else []
    return {
        "normalizer": {
            "type": "Sequence",
            "normalizers": [*([{"type": "Prepend", "prepend": _SPACE}] if prefix else []), to_space],
        },
        "pre_tokenizer": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "},
                *({"type": "ByteFallback"}, {"type": "Fuse"}),
                *strip,
            ],
        },
        "model": _bpe(
            ids,
            [[left, right] for _, left, right in merges],
            unk_token=unknown,
            fuse_unk=True,
            byte_fallback=True,
        ),
    }


def _bpe(vocab: Mapping[str, int], merges: list[list[str]], **changes: Any) -> dict[str, Any]:
    plain = {
        **dict.fromkeys(("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix")),
        **dict.fromkeys(("fuse_unk", "byte_fallback", "ignore_merges"), False),
    }
    return {"type": "BPE", **plain, **changes, "vocab": dict(vocab), "merges": merges}


def _around(before: str | None, after: str | None, ids: Mapping[str, int]) -> dict[str, Any] | None:
    """A post-processor that puts tokens around a text; None where there are none."""
    if before is None and after is None:
        return None

    def special(token: str | None) -> list[dict[str, Any]]:
        return [] if token is None else [{"SpecialToken": {"id": token, "type_id": 0}}]

    one, two = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    return {
        "type": "TemplateProcessing",
        "single": [*special(before), one, *special(after)],
        "pair": [*special(before), one, *special(after), *special(before), two, *special(after)],
        "special_tokens": {
            token: {"id": token, "ids": [ids[token]], "tokens": [token]}
            for token in (before, after)
            if token is not None
        },
    }
