"""A checkpoint folder in Hugging Face form, validated."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from torch import Tensor

from etchproof.checkpoint.config import ModelConfig, read_config
from etchproof.checkpoint.json_file import shown
from etchproof.checkpoint.tensors import WeightFiles, open_weights
from etchproof.checkpoint.tokenizer import TOKENIZER_FILE, Tokenizer
from etchproof.errors import InputError

_HUB_ID: Final = re.compile(r"[\w.-]+/[\w.-]+")
_HASH_BLOCK_BYTES: Final = 1 << 22


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


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Validate a checkpoint folder: its config, its weight files' headers, then every weight value.

    Raises:
        InputError: one line that names the file, the key or tensor, what was found and what was expected.
    """
    folder = _checkpoint_folder(path)
    config = read_config(folder / "config.json")
    weights = open_weights(folder, config)
    checkpoint = Checkpoint(
        path=folder,
        name=config.name,
        config=config,
        sha256=_content_hash((folder / "config.json", *weights.files)),
        weights=weights,
    )
    checkpoint.check_values()
    return checkpoint


def _checkpoint_folder(path: str | Path) -> Path:
    if not (str(path) and str(path).isprintable()):
        raise InputError(f"checkpoint {shown(str(path))} is no usable path")
    folder = Path(path)
    try:
        if folder.is_dir():
            return folder
        found = folder.exists()
    except OSError as error:  # a name that is too long
        raise InputError(f"checkpoint {shown(str(path))} is no usable path: {error.strerror}") from None
    if found:
        raise InputError(
            "is a file, expected a checkpoint folder with config.json",
            source=folder,
            hint=f"pass {folder.parent}",
        )
    hint = None
    if _HUB_ID.fullmatch(str(path)):
        hint = "if this is a hub id: nothing is downloaded here, fetch the repository and pass its folder"
    raise InputError("checkpoint folder not found", source=folder, hint=hint)


def _content_hash(files: tuple[Path, ...]) -> str:
    total = hashlib.sha256()
    for path in files:
        try:
            with path.open("rb") as stream:
                total.update(f"{path.name}\0{path.stat().st_size}\0".encode())
                while block := stream.read(_HASH_BLOCK_BYTES):
                    total.update(block)
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", source=path) from None
    return total.hexdigest()
