"""The text that an item of a regression generates: its prompt in token ids, and how many tokens follow."""

from __future__ import annotations

from pathlib import Path

from etchproof.checkpoint import ModelConfig, Tokenizer, load_checkpoint
from etchproof.checkpoint.chat import Chat, chat, no_template
from etchproof.checkpoint.prompt import prompt_ids
from etchproof.contract.model import Inputs
from etchproof.errors import InputError
from etchproof.project.declaration import Project
from etchproof.regress.spec import ItemSpec
from etchproof.run.streams import generation_test
from etchproof.verdict.expect import Generation


def generates(spec: ItemSpec, project: Project) -> bool:
    """Whether an item's test continues a prompt."""
    return spec.prompt is not None or spec.test == generation_test(project)


def chat_of(message: str, model: Path | None, project: Project) -> Chat:
    """A user's message in the chat template of a checkpoint.

    Args:
        model: the checkpoint; None of a shape.

    Raises:
        InputError: it has no template, or a bad one (``etchproof.checkpoint.chat``).
    """
    if model is None or project.model is not None:
        raise no_template("random weights" if model is None else "models of the project's own")
    return chat(message, load_checkpoint(model, known=lambda _: True).tokenizer())


def generation_of(
    spec: ItemSpec, inputs: Inputs, config: ModelConfig | None = None, tokenizer: Tokenizer | None = None
) -> Generation:
    """The prompt, and as many tokens as the item asks for and the context holds.

    Args:
        inputs: what the chip takes.
        config: of a checkpoint; None of a model of the project's own kind, whose prompts are token ids.
        tokenizer: None where the checkpoint has none.

    Raises:
        InputError: there is no prompt, it is no token, or it is longer than the context.
    """
    prompt, key = spec.prompt_ids, "prompt_ids"
    if prompt is None and config is not None:
        prompt, key = prompt_ids(spec.prompt, config, tokenizer, source=spec.name, key="prompt"), "prompt"
    if not prompt:
        raise InputError("is missing or empty", source=spec.name, key=key, hint="give token ids")
    for token in prompt:
        if inputs.vocab_size is not None and token >= inputs.vocab_size:
            problem = f"{token} is outside the vocabulary of {inputs.vocab_size}"
            raise InputError(problem, source=spec.name, key=key)
    new = spec.tokens
    if inputs.context is not None:
        new = min(new, inputs.context - len(prompt) + 1)
    if new < 1:
        raise InputError(
            f"has {len(prompt)} tokens, the chip's context holds {inputs.context}",
            source=spec.name,
            key=key,
            hint="give a shorter text",
        )
    return Generation(prompt, new, inputs.stop_tokens)
