"""The tokenizers library in a process of its own: the answers that ``tokenizer.py`` asks for. Imported by nobody.

A ``tokenizer.json`` is read as transformers' ``AutoTokenizer`` reads it: the file decides, and
``tokenizer_config.json`` with its older companions adds special tokens. A chat is the one text for which classes count
that transformers builds anew from the vocabulary: its ids are those of ``apply_chat_template``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import tokenizers
from tokenizers import models, pre_tokenizers

from etchproof.contained.child import RefusedError, serve

_NAMED: Final = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_FLAGS: Final = ("single_word", "lstrip", "rstrip", "normalized", "special")
_SAMPLE: Final = "a"
_LLAMA: Final = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
"""What transformers' ``LlamaTokenizer`` has for a token that the config does not name."""


class _Answers:
    def __init__(self) -> None:
        self._inner: Any = None
        self._chat: Callable[[], Any] = lambda: None
        self._special: frozenset[int] = frozenset()

    def __call__(self, request: dict[str, Any]) -> Any:
        return getattr(self, request.pop("op"))(**request)

    def load(self, text: str, config: dict[str, Any], added: dict[str, int], rebuilt: bool) -> dict[str, Any]:
        """Read a tokenizer; says which ids it puts around a text, the ids of its named tokens, and those of a chat.

        Args:
            rebuilt: whether transformers builds it anew.
        """
        parsed = _json_object(text)
        try:
            self._inner = tokenizers.Tokenizer.from_str(text)
        except Exception as error:
            raise RefusedError(f"is not a tokenizer the tokenizers library reads: {error}") from None
        for name in ("dropout", "alpha", "nbest_size"):  # sampling is for training: one text, one encoding
            if getattr(self._inner.model, name, None) is not None:
                setattr(self._inner.model, name, None)
        self._inner.no_truncation()
        self._inner.no_padding()
        own = parsed.get("added_tokens") or []
        _add_tokens(self._inner, config, added, own)
        decoder = self._inner.get_added_tokens_decoder()
        self._special = frozenset(token for token, added in decoder.items() if added.special)
        before, after = self._around()
        named = {name: self._inner.token_to_id(_content(config[name])) for name in _NAMED if config.get(name)}
        config = _LLAMA | config if rebuilt else config
        special = {name: _content(config[name]) for name in _NAMED if config.get(name) is not None}
        self._chat = cache(lambda: _rebuilt(parsed["model"], config, added, own) if rebuilt else self._inner)
        return {"before": before, "after": after, "named": named, "special": special}

    def encode(self, text: str) -> list[int]:
        return list(self._inner.encode(text).ids)

    def encode_chat(self, text: str) -> list[int]:
        """A text that has its own special tokens in it."""
        return list(self._chat().encode(text, add_special_tokens=False).ids)

    def decode(self, ids: list[int]) -> str:
        return str(self._inner.decode(ids, skip_special_tokens=True))

    def content(self, token: int) -> str | None:
        """What an id stands for; None for a special token, and where there is no entry."""
        return None if token in self._special else self._inner.id_to_token(token)

    def _around(self) -> tuple[list[int], list[int]]:
        whole = list(self._inner.encode(_SAMPLE).ids)
        bare = list(self._inner.encode(_SAMPLE, add_special_tokens=False).ids)
        for first in range(len(whole) - len(bare) + 1):
            if whole[first : first + len(bare)] == bare:
                return whole[:first], whole[first + len(bare) :]
        return [], []


def _rebuilt(
    model: dict[str, Any], config: dict[str, Any], added: dict[str, int], own: list[dict[str, Any]]
) -> Any:
    """As transformers' ``LlamaTokenizer`` builds it: of the file it takes vocabulary and merges.

    A space goes before the text as a whole, before every part between special tokens (``legacy``), or nowhere.
    """
    merges: list[Any] = [
        tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]
    ]
    made = tokenizers.Tokenizer(
        models.BPE(vocab=model["vocab"], merges=merges, fuse_unk=True, byte_fallback=True)
    )
    prefix = config.get("add_prefix_space")
    scheme = "always" if config.get("legacy") else "first"
    made.pre_tokenizer = pre_tokenizers.Metaspace(
        replacement="\u2581", prepend_scheme=scheme if prefix in (None, True) else "never", split=False
    )
    _add_tokens(made, config, added, own)
    return made


def _add_tokens(made: Any, config: dict[str, Any], added: dict[str, int], own: list[dict[str, Any]]) -> None:
    """The tokens that the companions of ``tokenizer.json`` name and that it lacks, or has with other flags."""
    listed = {int(token): _token(entry) for token, entry in config.get("added_tokens_decoder", {}).items()}
    if "added_tokens_decoder" not in config:
        named = {_content(config[name]) for name in _NAMED if config.get(name)}
        for content, token in added.items():
            special = content in named
            listed[token] = tokenizers.AddedToken(content, normalized=not special, special=special)
        listed |= {entry["id"]: _token(entry) for entry in own}
    have = {repr(token) for token in made.get_added_tokens_decoder().values()}
    new = [token for _, token in sorted(listed.items()) if repr(token) not in have]
    contents = {token.content for token in made.get_added_tokens_decoder().values()}
    contents |= {token.content for token in new}
    extra = config.get("extra_special_tokens") or config.get("additional_special_tokens") or []
    for value in (
        *(config.get(name) for name in _NAMED),
        *(extra.values() if isinstance(extra, dict) else extra),
    ):
        if value and _content(value) not in contents:
            contents.add(_content(value))
            new.append(
                _token(value) if isinstance(value, dict) else tokenizers.AddedToken(value, special=True)
            )
    made.add_tokens(new)
    made.encode_special_tokens = config.get("split_special_tokens") is True


def _content(value: object) -> str:
    content = value.get("content") if isinstance(value, dict) else value
    if not isinstance(content, str):
        raise RefusedError(
            f"has a companion that names the special token {ascii(value)[:80]}, expected a string"
        )
    return content


def _token(entry: Any) -> Any:
    flags = {name: entry[name] for name in _FLAGS if name in entry}
    return tokenizers.AddedToken(_content(entry), **flags)


def _json_object(text: str) -> dict[str, Any]:
    """As ``json_file.read_json_object``, here because a hostile file can take any memory to parse."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise RefusedError(f"has the key {ascii(twice)[:80]} twice in one object")
        return found

    try:
        parsed = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"is not valid JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise RefusedError(f"holds {ascii(parsed)[:80]}, expected a JSON object")
    return parsed


if __name__ == "__main__":
    serve(_Answers())
