"""A checkpoint folder in Hugging Face form, validated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from etchproof.checkpoint.config import ModelConfig, read_config
from etchproof.checkpoint.folder import content_hash, existing_folder
from etchproof.checkpoint.tensors import WeightFiles, open_weights
from etchproof.checkpoint.tokenizer import TOKENIZER_FILE, Tokenizer
from etchproof.errors import InputError
from etchproof.files.regular import exists

if TYPE_CHECKING:
    from torch import Tensor

_ADAPTER_FILES: Final = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")


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

    def file_of(self, name: str) -> Path:
        """The weight file that holds a tensor; KeyError if the architecture lacks it."""
        return self.weights.location[name]

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
        return Tokenizer(self.path / TOKENIZER_FILE, self.config.vocab_size)


def load_checkpoint(path: str | Path, known: Callable[[Checkpoint], bool] = lambda _: False) -> Checkpoint:
    """Validate a checkpoint folder: its config, its weight files' headers, then every weight value.

    The folder is looked at as a whole: what transformers or PEFT would add to the model is refused, and files that
    neither of them reads may lie beside it (docs/checkpoints.md).

    Args:
        known: whether the values of this checkpoint, by its hash, have been checked before.

    Raises:
        InputError: one line that names the file, the key or tensor, what was found and what was expected.
    """
    folder = existing_folder(path, "checkpoint", "config.json")
    _refuse_adapter(folder)
    config = read_config(folder)
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


def _refuse_adapter(folder: Path) -> None:
    """transformers and PEFT load an adapter that lies in the model's own folder, as training tools leave it."""
    for name in _ADAPTER_FILES:
        if exists(folder / name):
            if not exists(folder / "config.json"):
                hint = "name its model, and give it as --adapter"
                raise InputError("is an adapter's folder, expected a model's", source=folder, hint=hint)
            raise InputError(
                "lies in the model's own folder: transformers would run the model with this adapter",
                source=folder / name,
                hint="move adapter_config.json and adapter_model.* to a folder of their own, and give that one as "
                "--adapter; or merge the adapter into the weights",
            )
