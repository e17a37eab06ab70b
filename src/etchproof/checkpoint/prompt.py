"""A prompt's token ids, and what a user is told of a checkpoint whose parts disagree on how a text begins or ends."""

from __future__ import annotations

from pathlib import Path

from etchproof.checkpoint.config import ModelConfig
from etchproof.checkpoint.generation import generation_notes
from etchproof.checkpoint.load import Checkpoint
from etchproof.checkpoint.tokenizer import Tokenizer
from etchproof.errors import InputError, shown


def open_tokenizer(checkpoint: Checkpoint, *, needed: bool) -> Tokenizer | None:
    """The checkpoint's tokenizer; None where it has none and nobody needs it, or a GGUF file's is not read.

    Raises:
        InputError: it is bad, or missing and needed.
    """
    if not needed and not checkpoint.has_tokenizer:
        return None
    try:
        return checkpoint.tokenizer()
    except InputError:
        if needed or checkpoint.gguf is None:
            raise
        return None  # it cannot be taken out of its file, as a tokenizer.json can


def prompt_ids(
    text: str | None,
    config: ModelConfig,
    tokenizer: Tokenizer | None,
    *,
    source: str | Path | None = None,
    key: str = "--prompt",
) -> tuple[int, ...]:
    """The token ids of a prompt, at least one.

    Args:
        text: empty or None is the BOS token alone, or what the tokenizer makes of no text where the model has no BOS.
        tokenizer: None where there is none, which is enough for an empty prompt.
        source: where the prompt stands, for messages, as is ``key``.

    Raises:
        InputError: there is no token, no tokenizer, or the tokenizer fails.
    """
    if text and tokenizer is None:
        raise InputError("random weights have no tokenizer", source=source, key=key, hint="leave it out")
    if text and tokenizer is not None:
        ids = tuple(tokenizer.encode(text))
        if not ids:
            raise InputError(
                f"is {shown(text)}, which is no token to this tokenizer, and it adds no BOS",
                source=source,
                key=key,
                hint="give another text",
            )
        return ids
    if config.bos_token_id is not None:
        return (config.bos_token_id,)
    ids = tuple(tokenizer.encode("")) if tokenizer is not None else ()
    if not ids:
        raise InputError(
            "is empty, and the model has no BOS token to begin with",
            source=source,
            key=key,
            hint="give a text",
        )
    return ids


def notes(checkpoint: Checkpoint, tokenizer: Tokenizer | None) -> tuple[str, ...]:
    """What has to be known of a checkpoint, a line each: where ``config.json``, ``generation_config.json`` and the
    tokenizer disagree, and whether its published codes are what is etched.

    Raises:
        InputError: ``generation_config.json`` has changed into a bad one.
    """
    config = checkpoint.config
    said = published_note(checkpoint)
    if checkpoint.gguf is None:
        said += generation_notes(checkpoint.path, config.bos_token_id)
    return said if tokenizer is None else (*said, *tokenizer.notes(config))


def published_note(checkpoint: Checkpoint) -> tuple[str, ...]:
    """That the codes which a model was published with are not what is etched, a line; nothing where it has none."""
    if checkpoint.published is None:
        return ()
    return (
        f"{checkpoint.path.name} holds published codes ({checkpoint.published}): they are not etched, but dequantized "
        "and quantized again by the recipe",
    )
