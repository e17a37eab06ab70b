"""Shapes: architectures without weights, read from YAML (``models/shapes/``), to be filled with random ones.

A shape is what a checkpoint's ``config.json`` comes to, under the names of ``ModelConfig``. A part of it can be checked
alone: fewer layers, a smaller vocabulary.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from etchproof.checkpoint.config import ModelConfig
from etchproof.errors import InputError, shown
from etchproof.files.yaml_file import find_yaml, read_yaml_object, validation_problem

VOCABULARY: Final = 512
"""Tokens of a cut shape, where no other number is given: a head of 128,256 would outweigh a layer."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_OWN_NAMES: Final = {  # ModelConfig's messages say Hugging Face's
    "num_attention_heads": "n_heads",
    "num_key_value_heads": "n_kv_heads",
    "eos_token_id": "eos_token_ids",
}


@dataclass(frozen=True)
class RandomModel:
    """A part of a shape, and the seed of its weights.

    Attributes:
        shape: name or file.
        seed: of the weights.
        layers: as for ``cut_shape``, as is ``vocab``.
    """

    shape: str
    seed: int
    layers: int | None = None
    vocab: int | None = None

    def config(self, shapes_dir: Path) -> ModelConfig:
        """The architecture; its name says what it is a part of, and the seed.

        Raises:
            InputError: as ``load_shape`` and ``cut_shape``.
        """
        cut = cut_shape(load_shape(self.shape, shapes_dir), layers=self.layers, vocab=self.vocab)
        return cut.model_copy(update={"name": f"{cut.name}-layers{cut.n_layers}-seed{self.seed}"})


def load_shape(path_or_name: str | Path, shapes_dir: Path) -> ModelConfig:
    """Read a shape: a path that ends in .yaml or .yml, or the name of one in ``shapes_dir``.

    Raises:
        InputError: one line that names the file, the key and the value; an unknown name lists the known ones.
    """
    path = find_yaml(path_or_name, shapes_dir, kind="shape")
    data = read_yaml_object(path)
    if not _NAME.fullmatch(data["name"]):
        raise InputError(
            f"is {shown(data['name'])}, expected letters, digits, '.', '_' and '-'", source=path, key="name"
        )
    if isinstance(ids := data.get("eos_token_ids"), list):
        data["eos_token_ids"] = tuple(ids)
    try:
        return ModelConfig.model_validate(data).read_from(path)
    except ValidationError as error:
        found = validation_problem(error, path)
        key = re.sub(
            r"^(rope\.scaling)\.(llama3|linear)", r"\1", str(found.key)
        )  # pydantic's tag of the union
        raise InputError(_own(found.problem), source=path, key=_own(key)) from None


def cut_shape(shape: ModelConfig, *, layers: int | None, vocab: int | None) -> ModelConfig:
    """The first ``layers`` layers (None: all) of a shape, with a vocabulary of ``vocab`` tokens.

    Random weights choose any token, so none ends the text. BOS is the shape's own, or token 0 where the vocabulary ends
    before it.

    Args:
        vocab: by default ``VOCABULARY``, as far as the shape's own reaches.

    Raises:
        InputError: more of either than the shape has.
    """
    if vocab is None:
        vocab = min(VOCABULARY, shape.vocab_size)
    changes: dict[str, Any] = {"eos_token_ids": ()}
    for key, field, wanted in (("--layers", "n_layers", layers), ("--vocab", "vocab_size", vocab)):
        own = getattr(shape, field)
        if wanted is not None and not 1 <= wanted <= own:
            raise InputError(f"is {wanted}, expected 1 .. {own}, the shape's own", key=key)
        changes[field] = own if wanted is None else wanted
    if shape.bos_token_id is None or shape.bos_token_id >= vocab:
        changes["bos_token_id"] = 0
    return shape.model_copy(update=changes)


def _own(text: str) -> str:
    return re.sub(r"\w+", lambda word: _OWN_NAMES.get(word[0], word[0]), text)
