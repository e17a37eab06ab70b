"""A GGUF file as a checkpoint: opened, checked, and written out as the small files of a checkpoint's folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from etchproof.checkpoint.config import ModelConfig
from etchproof.checkpoint.config_json import config_json, rope_parameters
from etchproof.checkpoint.gguf.config import read_gguf_config
from etchproof.checkpoint.gguf.tokenizer import has_tokenizer, read_gguf_tokenizer
from etchproof.checkpoint.gguf.weights import GgufWeights, open_gguf_weights
from etchproof.checkpoint.tokenizer import CONFIG_FILE, TOKENIZER_FILE, TokenizerParts
from etchproof.errors import InputError
from etchproof.published.gguf import GgufFile, open_gguf

SUFFIX: Final = ".gguf"


def is_gguf(path: str | Path) -> bool:
    """Whether a path is that of a GGUF file, by its suffix; a folder is none."""
    found = Path(path)
    return found.suffix.lower() == SUFFIX and not found.is_dir()


@dataclass(frozen=True)
class GgufModel:
    """A GGUF file that is a model of a known architecture.

    Attributes:
        file: the file.
        config: its architecture.
        weights: its tensors.
    """

    file: GgufFile
    config: ModelConfig
    weights: GgufWeights

    @property
    def published(self) -> str | None:
        """The types of its published codes and how many tensors are of each, such as "210 Q4_1, 1 Q8_0"; None where
        every tensor is of plain floats."""
        return ", ".join(f"{count} {name}" for name, count in self.weights.forms.items()) or None

    @property
    def has_tokenizer(self) -> bool:
        return has_tokenizer(self.file)

    def tokenizer_parts(self) -> TokenizerParts:
        """Its tokenizer; errors as of ``read_gguf_tokenizer``, or it has none."""
        if not self.has_tokenizer:
            raise InputError("holds no tokenizer", source=self.file.path, key="tokenizer.ggml.model")
        return read_gguf_tokenizer(self.file)

    def small_files(self) -> dict[str, str]:
        """What the file says beside its weights, as a checkpoint's folder has it: name and text of each file.

        RoPE that is divided pair by pair has the ``rope_type`` "factors", which transformers does not know.

        Raises:
            InputError: the file was changed since it was opened.
        """
        self.file.stamp.check(self.file.path)
        raw = {**config_json(self.config), "rope_parameters": rope_parameters(self.config)}
        texts = {"config.json": _text(raw)}
        if self.has_tokenizer:
            try:
                parts = self.tokenizer_parts()
            except InputError:  # a run by token ids needs none
                return texts
            texts |= {TOKENIZER_FILE: parts.text, CONFIG_FILE: _text(parts.config)}
        return texts


def open_gguf_model(path: Path) -> GgufModel:
    """A model in a GGUF file: its metadata and its table of tensors checked; no weight is read.

    Raises:
        InputError: one line that names the file, the key or tensor, what was found and what was expected.
    """
    file = open_gguf(path)
    config = read_gguf_config(file)
    return GgufModel(file, config, open_gguf_weights(file, config))


def _text(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2) + "\n"
