"""Text to token ids and back, by the checkpoint's own ``tokenizer.json``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import tokenizers

from etchproof.checkpoint.json_file import read_json_object, shown
from etchproof.errors import InputError

TOKENIZER_FILE: Final = "tokenizer.json"
_BYTE_TOKEN: Final = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_UNDECODED: Final = "\ufffd"  # what the decoder puts where bytes are no UTF-8, or not yet


class Tokenizer:
    """A ``tokenizer.json`` held to one model's vocabulary.

    Args:
        path: the ``tokenizer.json``.
        vocab_size: of the model; ids beyond it are refused in both directions.
        bos_token_id: every encoding begins with it, exactly once (None: nothing is added).

    Raises:
        InputError: the file is missing, or the tokenizers library cannot read it.
    """

    def __init__(self, path: Path, vocab_size: int, bos_token_id: int | None) -> None:
        read_json_object(path)  # says what is wrong with bad JSON better than the library does
        self._path, self._vocab_size, self._bos = path, vocab_size, bos_token_id
        try:
            self._inner = tokenizers.Tokenizer.from_str(path.read_text(encoding="utf-8"))
        except Exception as error:  # the library raises bare Exception
            raise InputError(
                f"is not a tokenizer the tokenizers library reads: {error}", source=path
            ) from None
        self._inner.no_truncation()
        self._inner.no_padding()
        self._special: Final = frozenset(
            token for token, added in self._inner.get_added_tokens_decoder().items() if added.special
        )

    def encode(self, text: str) -> list[int]:
        """Token ids of ``text``; BOS stands first exactly once, whether or not the post-processor adds it.

        Raises:
            InputError: a token is outside the model's vocabulary, or the text is no valid Unicode.
        """
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise InputError(f"text {shown(text)} holds half of a surrogate pair, expected valid Unicode")
        ids: list[int] = self._inner.encode(text).ids
        if self._bos is not None:
            while ids[:1] == [self._bos]:  # added by the post-processor, written out in the text, or both
                ids = ids[1:]
            ids = [self._bos, *ids]
        self._check(ids)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ``ids``; special tokens, and ids the tokenizer has no entry for, yield nothing.

        Raises:
            InputError: an id is outside the model's vocabulary.
        """
        self._check(ids)
        return str(self._inner.decode(list(ids), skip_special_tokens=True))

    def stream(self, after: Sequence[int] = ()) -> TextStream:
        """A decoder to be given one id at a time; ``after`` is a prompt that the text continues, not repeated."""
        return TextStream(self, after)

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
        content = self._inner.id_to_token(token)
        if content is None or token in self._special:
            return None
        return _BYTE_TOKEN.fullmatch(content) is None


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
