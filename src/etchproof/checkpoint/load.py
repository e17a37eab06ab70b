"""A checkpoint folder in Hugging Face form, validated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from etchproof.checkpoint.config import ModelConfig, read_config
from etchproof.checkpoint.folder import content_hash, existing_folder
from etchproof.checkpoint.tensors import WeightFiles, open_weights
from etchproof.checkpoint.tokenizer import TOKENIZER_FILE, Tokenizer

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Checkpoint:
    """A validated checkpoint. Weights stay in their files and are read on demand, one at a time, cached
    nowhere.

    Attributes:
        path: the folder.
        name: the folder's name, for reports.
        config: the resolved architecture.
        sha256: hash of the content: ``config.json``, then the weight files (with a shard index) in name
            order, each as file name, size and bytes. It does not depend on where the folder lies; it does
            depend on how weights are sharded.
    """

    path: Path
    name: str
    config: ModelConfig
    sha256: str
    weights: WeightFiles = field(repr=False, compare=False)

    @property
    def tensor_names(self) -> tuple[str, ...]:
        """The tensors of this architecture in dataflow order (``expected_tensors``)."""
        return tuple(self.weights.shapes)

    def tensor(self, name: str) -> Tensor:
        """One tensor as float32, checked for NaN and infinity; KeyError if the architecture lacks it."""
        if name not in self.weights.shapes:
            raise KeyError(name)
        return self.weights.read(name)

    def check_values(self) -> None:
        """Scan every tensor for NaN and infinity; a redundant ``lm_head.weight`` must equal the embedding."""
        self.weights.check_values()

    def tokenizer(self) -> Tokenizer:
        """The checkpoint's tokenizer; InputError if ``tokenizer.json`` is missing or bad (not needed before)."""
        return Tokenizer(self.path / TOKENIZER_FILE, self.config.vocab_size, self.config.bos_token_id)


def load_checkpoint(path: str | Path, known: Callable[[Checkpoint], bool] = lambda _: False) -> Checkpoint:
    """Validate a checkpoint folder: its config, its weight files' headers, then every weight value.

    Args:
        known: whether the values of this checkpoint, by its hash, have been checked before.

    Raises:
        InputError: one line that names the file, the key or tensor, what was found and what was expected.
    """
    folder = existing_folder(path, "checkpoint", "config.json")
    config = read_config(folder / "config.json")
    weights = open_weights(folder, config)
    checkpoint = Checkpoint(
        path=folder,
        name=config.name,
        config=config,
        sha256=content_hash((folder / "config.json", *weights.files)),
        weights=weights,
    )
    if not known(checkpoint):
        checkpoint.check_values()
    return checkpoint
