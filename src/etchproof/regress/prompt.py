"""The text that an item of a regression generates: its prompt in token ids, and how many tokens follow."""

from __future__ import annotations

from etchproof.checkpoint import ModelConfig, Tokenizer
from etchproof.checkpoint.prompt import prompt_ids
from etchproof.errors import InputError
from etchproof.project.declaration import Project
from etchproof.regress.spec import ItemSpec
from etchproof.verdict.expect import Generation


def generates(spec: ItemSpec, project: Project) -> bool:
    """Whether an item's test continues a prompt."""
    return spec.prompt is not None or spec.test == project.verif.generation


def generation_of(
    spec: ItemSpec, config: ModelConfig, context: int, tokenizer: Tokenizer | None
) -> Generation:
    """The prompt, and as many tokens as the item asks for and the context holds.

    Args:
        context: positions of the chip.
        tokenizer: None where the checkpoint has none.

    Raises:
        InputError: the prompt is no token, or longer than the context.
    """
    prompt = prompt_ids(spec.prompt, config, tokenizer, source=spec.name, key="prompt")
    new = min(spec.tokens, context - len(prompt) + 1)
    if new < 1:
        raise InputError(
            f"has {len(prompt)} tokens, the chip's context holds {context}",
            source=spec.name,
            key="prompt",
            hint="give a shorter text",
        )
    return Generation(prompt, new, config.eos_token_ids)
