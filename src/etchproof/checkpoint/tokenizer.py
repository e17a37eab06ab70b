"""Text to token ids and back, by the checkpoint's own ``tokenizer.json``, exactly as it is shipped.

The tokenizers library runs in a process of its own (``tokenizer_child.py``): a file can make it panic, hang, or fill
memory.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from etchproof.checkpoint.config import ModelConfig
from etchproof.contained.parent import Child, ContainedError
from etchproof.errors import InputError, shown
from etchproof.files.json_file import read_json_object
from etchproof.files.regular import exists, read_text

TOKENIZER_FILE: Final = "tokenizer.json"
CONFIG_FILE: Final = "tokenizer_config.json"
_SPECIAL_FILE: Final = "special_tokens_map.json"  # of older transformers, like the next
_ADDED_FILE: Final = "added_tokens.json"
_CHILD: Final = Path(__file__).with_name("tokenizer_child.py")
_BYTE_TOKEN: Final = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_REBUILT: Final = ("LlamaTokenizer", "LlamaTokenizerFast")
"""Classes of Llamas that transformers makes from the vocabulary alone, unless the file is byte-level."""

_UNDECODED: Final = "\ufffd"  # what the decoder puts where bytes are no UTF-8, or not yet


@dataclass(frozen=True)
class TokenizerParts:
    """What the tokenizer of another format comes to.

    Attributes:
        text: of a ``tokenizer.json``.
        config: of a ``tokenizer_config.json``: the named special tokens, a chat template, and the class that
            transformers has for it where that one does not take the text as it is.
    """

    text: str
    config: dict[str, Any]


class Tokenizer:
    """A ``tokenizer.json``, with the files beside it that add tokens to it, held to one model's vocabulary.

    Args:
        path: the ``tokenizer.json``, or the file of another format that ``parts`` come from.
        vocab_size: of the model; ids beyond it are refused in both directions.
        parts: of a tokenizer of another format; None for a ``tokenizer.json``.

    Attributes:
        before: the ids that its post-processor puts before every text, BOS as a rule.
        after: the ids that it puts after every text.
        config: what ``tokenizer_config.json`` says, with the older ``special_tokens_map.json``.
        special: the named special tokens that a chat template has, such as ``bos_token``.

    Raises:
        InputError: the file is missing, or the tokenizers library cannot read it.
    """

    def __init__(self, path: Path, vocab_size: int, parts: TokenizerParts | None = None) -> None:
        self._path, self._vocab_size, self._own_format = path, vocab_size, parts is None
        text = read_text(path) if parts is None else parts.text
        self.config = _config(path) if parts is None else dict(parts.config)
        self._child = Child(_CHILD)
        self._contents: dict[int, str | None] = {}
        self._rebuilt = self.config.get("tokenizer_class") in _REBUILT and '"ByteLevel"' not in text
        loaded = self._ask(
            op="load",
            text=text,
            config=self.config,
            added=_companion(path.with_name(_ADDED_FILE)) if parts is None else {},
            rebuilt=self._rebuilt,
        )
        self.before, self.after = tuple(loaded["before"]), tuple(loaded["after"])
        self._named: dict[str, int | None] = loaded["named"]
        self.special: dict[str, str] = loaded["special"]

    @property
    def path(self) -> Path:
        """Of the file."""
        return self._path

    @property
    def own_format(self) -> bool:
        """Whether it is a ``tokenizer.json`` with files beside it."""
        return self._own_format

    def notes(self, config: ModelConfig) -> tuple[str, ...]:
        """Where ``config.json`` and the tokenizer disagree about BOS or EOS, a line each; the tokenizer's word counts
        for prompts, the config's for where a text ends. And where transformers would not take ``tokenizer.json`` as it
        is."""
        said, bos, eos = [], config.bos_token_id, config.eos_token_ids
        if self._own_format:
            tokenizer, beside, model = TOKENIZER_FILE, CONFIG_FILE, "config.json"
        else:
            tokenizer, beside, model = "its tokenizer", self._path.name, self._path.name
        if self.before != (() if bos is None else (bos,)):
            begin = f"begins a text with {list(self.before)}" if self.before else "puts nothing before a text"
            said.append(f"{tokenizer} {begin}, {model} has bos_token_id {bos}: prompts are the tokenizer's")
        if self.after:
            said.append(f"{tokenizer} ends every text with {list(self.after)}, the end of each prompt too")
        for key, around in (("add_bos_token", self.before), ("add_eos_token", self.after)):
            if self.config.get(key) not in (None, bool(around)):
                said.append(
                    f"{beside} has {key} {shown(self.config[key])}, {tokenizer} adds {list(around)}, "
                    "and it counts, as in transformers 5"
                )
        named = self._named.get("bos_token")
        if named is not None and named != bos:
            said.append(f"{beside} has bos_token of id {named}, {model} has bos_token_id {bos}")
        named = self._named.get("eos_token")
        if named is not None and named not in eos:
            said.append(
                f"{beside} has eos_token of id {named}, the model's EOS ids are {list(eos)}: a text ends there"
            )
        if self._rebuilt and self._own_format:
            said.append(
                f"{beside} has tokenizer_class {shown(self.config['tokenizer_class'])}: transformers 5 builds "
                f"that one anew from the vocabulary, and {tokenizer} is taken as it is shipped here, but for "
                "--chat; runs of spaces and special tokens within a text may get other ids"
            )
        elif self._rebuilt:
            said.append(
                f"{tokenizer} is a SentencePiece one: --prompt has spaces where llama.cpp puts them, --chat before the "
                "text alone, as transformers 5 does"
            )
        return tuple(said)

    def encode(self, text: str) -> list[int]:
        """Token ids of ``text`` as the tokenizer is shipped: what its post-processor adds, and nothing else.

        Raises:
            InputError: a token is outside the model's vocabulary, the text is no valid Unicode, or the tokenizer
                fails on it.
        """
        return self._encoded("encode", text)

    def encode_chat(self, text: str) -> list[int]:
        """Token ids of a text that has its own special tokens in it, as transformers has them; nothing is added.

        Raises:
            InputError: as ``encode``.
        """
        return self._encoded("encode_chat", text)

    def _encoded(self, op: str, text: str) -> list[int]:
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise InputError(f"text {shown(text)} holds half of a surrogate pair, expected valid Unicode")
        ids: list[int] = self._ask(op=op, text=text)
        self._check(ids)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ``ids``; special tokens, and ids the tokenizer has no entry for, yield nothing.

        Raises:
            InputError: an id is outside the model's vocabulary, or the tokenizer fails on them.
        """
        self._check(ids)
        return str(self._ask(op="decode", ids=list(ids)))

    def stream(self, after: Sequence[int] = ()) -> TextStream:
        """A decoder to be given one id at a time; ``after`` is a prompt that the text continues, not repeated."""
        return TextStream(self, after)

    def close(self) -> None:
        """End the process; it ends by itself when nobody holds the tokenizer any more."""
        self._child.close()

    def _ask(self, **request: Any) -> Any:
        try:
            return self._child.ask(**request)
        except ContainedError as error:
            raise InputError(
                str(error),
                source=self._path,
                hint="without this file, a run by --prompt-ids needs no tokenizer",
            ) from None

    def _check(self, ids: Sequence[int]) -> None:
        for token in ids:
            if not 0 <= token < self._vocab_size:
                raise InputError(
                    f"token id {token} is outside the model's vocabulary of {self._vocab_size}",
                    source=self._path,
                    hint="tokenizer and weights are of different models?",
                )

    def _settled(self, token: int) -> bool | None:
        """Whether decoding up to ``token`` is final: None for a token without text, False for one byte of a
        run.

        Byte-fallback tokens are decoded as a run: one invalid byte later changes what the whole run reads as.
        """
        if token not in self._contents:
            self._contents[token] = self._ask(op="content", token=token)
        content = self._contents[token]
        return None if content is None else _BYTE_TOKEN.fullmatch(content) is None


def _config(path: Path) -> dict[str, Any]:
    """What the files beside a ``tokenizer.json`` say, but the tokens that they add."""
    beside = path.with_name(CONFIG_FILE)
    config = _companion(beside)
    if config.get("auto_map"):
        raise InputError(
            f"is {shown(config['auto_map'])}: a tokenizer with code of its own is not run",
            source=beside,
            key="auto_map",
        )
    if "added_tokens_decoder" not in config:
        config |= _companion(path.with_name(_SPECIAL_FILE))
    return config


def _companion(path: Path) -> dict[str, Any]:
    """A file beside ``tokenizer.json``; empty where there is none."""
    return read_json_object(path) if exists(path) else {}


class TextStream:
    """Incremental decoding: the pieces of ``push`` and ``finish``, joined, equal ``Tokenizer.decode`` of all ids
    (less the prompt's).

    A piece is held back while later tokens could still change it: bytes of an unfinished UTF-8 character, or
    a run of byte-fallback tokens (such as a new line in a Llama 2 vocabulary) until a token of another kind
    follows.
    """

    def __init__(self, tokenizer: Tokenizer, after: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._ids = list(after)
        self._emitted = tokenizer.decode(self._ids).rstrip(_UNDECODED)
        self._held = False

    def push(self, token: int) -> str:
        """Take one id; return the text that is now certain, perhaps none.

        Raises:
            InputError: the id is outside the model's vocabulary.
        """
        self._tokenizer._check([token])
        self._ids.append(token)
        settled = self._tokenizer._settled(token)
        if settled is not None:
            self._held = not settled
        # Decoding from the start keeps the first piece's leading space right; at a model's context it stays
        # cheap.
        return "" if self._held else self._advance(self._tokenizer.decode(self._ids).rstrip(_UNDECODED))

    def finish(self) -> str:
        """The text still held back, with U+FFFD for bytes that never became a character."""
        return self._advance(self._tokenizer.decode(self._ids))

    def _advance(self, text: str) -> str:
        piece = text[len(self._emitted) :]
        self._emitted += piece
        return piece
