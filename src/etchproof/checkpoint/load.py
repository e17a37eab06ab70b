"""A checkpoint, a folder in Hugging Face form or a GGUF file, validated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from etchproof.checkpoint.config import ModelConfig, read_config
from etchproof.checkpoint.folder import content_hash, existing_folder
from etchproof.checkpoint.gguf.model import SUFFIX, GgufModel, is_gguf, open_gguf_model
from etchproof.checkpoint.tensors import Weights, open_weights
from etchproof.checkpoint.tokenizer import TOKENIZER_FILE, Tokenizer
from etchproof.errors import InputError, shown_name
from etchproof.files.regular import exists

if TYPE_CHECKING:
    from torch import Tensor

_ADAPTER_FILES: Final = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")


@dataclass(frozen=True)
class Checkpoint:
    """A validated checkpoint. Weights stay in their files and are read on demand, one at a time, cached
    nowhere.

    Attributes:
        path: the folder, or the GGUF file.
        name: the folder's name, or the file's without its suffix, for reports.
        config: the resolved architecture.
        sha256: hash of the content: ``config.json``, then the weight files (with a shard index) in name
            order, each as file name, size and bytes; of a GGUF, of that file. It does not depend on where the folder
            lies; it does depend on how weights are sharded.
        gguf: the GGUF file; None for a folder.
    """

    path: Path
    name: str
    config: ModelConfig
    sha256: str
    weights: Weights = field(repr=False, compare=False)
    gguf: GgufModel | None = field(default=None, repr=False, compare=False)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that ``sha256`` is of, in its order."""
        return self.weights.files if self.gguf else (self.path / "config.json", *self.weights.files)

    @property
    def published(self) -> str | None:
        """The types of codes that the model was published with, such as "210 Q4_1, 1 Q8_0"; None for plain floats."""
        return self.gguf.published if self.gguf else None

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

    @property
    def has_tokenizer(self) -> bool:
        """Whether a tokenizer came with the weights."""
        return self.gguf.has_tokenizer if self.gguf else exists(self.path / TOKENIZER_FILE)

    def tokenizer(self) -> Tokenizer:
        """The checkpoint's tokenizer; InputError if it is missing or bad (not needed before)."""
        if self.gguf:
            return Tokenizer(self.path, self.config.vocab_size, self.gguf.tokenizer_parts())
        return Tokenizer(self.path / TOKENIZER_FILE, self.config.vocab_size)


def load_checkpoint(path: str | Path, known: Callable[[Checkpoint], bool] = lambda _: False) -> Checkpoint:
    """Validate a checkpoint: its config, its weight files' headers, then every weight value.

    A path that ends in ``.gguf`` is that of a GGUF file, and any other a folder's. The folder is looked at as a whole:
    what transformers or PEFT would add to the model is refused, and files that neither of them reads may lie beside it
    (docs/checkpoints.md).

    Args:
        known: whether the values of this checkpoint, by its hash, have been checked before.

    Raises:
        InputError: one line that names the file, the key or tensor, what was found and what was expected.
    """
    checkpoint = _open_gguf(Path(path)) if is_gguf(path) else _open_folder(path)
    if not known(checkpoint):
        checkpoint.check_values()
    return checkpoint


def load_config(path: str | Path) -> ModelConfig:
    """The architecture alone, of a folder or a GGUF file; errors as of ``load_checkpoint``."""
    return open_gguf_model(Path(path)).config if is_gguf(path) else read_config(path)


def _open_folder(path: str | Path) -> Checkpoint:
    folder = existing_folder(path, "checkpoint", "config.json")
    _refuse_adapter(folder)
    _refuse_gguf_within(folder)
    config = read_config(folder)
    weights = open_weights(folder, config)
    sha256 = content_hash((folder / "config.json", *weights.files))
    return Checkpoint(path=folder, name=config.name, config=config, sha256=sha256, weights=weights)


def _open_gguf(path: Path) -> Checkpoint:
    model = open_gguf_model(path)
    return Checkpoint(
        path=path,
        name=model.config.name,
        config=model.config,
        sha256=content_hash((path,)),
        weights=model.weights,
        gguf=model,
    )


def _refuse_gguf_within(folder: Path) -> None:
    """A folder as it is downloaded, with nothing but GGUF files: which one is meant is the user's to say."""
    found = sorted(path.name for path in folder.glob(f"*{SUFFIX}"))
    if found and not exists(folder / "config.json"):
        name = shown_name(found[0])
        raise InputError(f"holds {name} and no config.json", source=folder, hint="pass the .gguf file itself")


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
