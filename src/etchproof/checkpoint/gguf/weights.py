"""The tensors of a GGUF file under Hugging Face's names, as float32 or as published codes.

ggml rotates neighbouring rows of a head where Hugging Face's Llama rotates the two halves, so converters lay the rows
of q and k out anew; here they come back, those of each with the number of its own heads.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from etchproof.checkpoint.config import ModelConfig
from etchproof.checkpoint.gguf.config import ROPE_FACTORS
from etchproof.checkpoint.linears import MODULES
from etchproof.checkpoint.safetensors_file import refuse_missing
from etchproof.checkpoint.tensors import EMBEDDING, LM_HEAD, expected_tensors
from etchproof.errors import InputError, shown_name
from etchproof.published.gguf import GgufFile
from etchproof.published.matrix import PublishedMatrix

if TYPE_CHECKING:
    from torch import Tensor

_OUTSIDE: Final = {
    EMBEDDING: "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    LM_HEAD: "output.weight",
}
_INSIDE: Final = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    MODULES["q_proj"]: "attn_q",
    MODULES["k_proj"]: "attn_k",
    MODULES["v_proj"]: "attn_v",
    MODULES["o_proj"]: "attn_output",
    MODULES["gate_proj"]: "ffn_gate",
    MODULES["up_proj"]: "ffn_up",
    MODULES["down_proj"]: "ffn_down",
}
_LAYER: Final = re.compile(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)")
_TURNED: Final = {MODULES["q_proj"]: "n_heads", MODULES["k_proj"]: "n_kv_heads"}


def gguf_name(name: str) -> str:
    """ggml's name of a tensor, from Hugging Face's."""
    if name in _OUTSIDE:
        return _OUTSIDE[name]
    match = _LAYER.fullmatch(name)
    assert match is not None
    return f"blk.{match[1]}.{_INSIDE[match[2]]}.{match[3]}"


def rows_of(name: str, config: ModelConfig) -> npt.NDArray[np.int64] | None:
    """Which row of the file each row is, (rows,); None where they lie in order.

    Row i + j head_dim / 2 of a head, the half j of pair i, is the file's row 2 i + j.
    """
    match = _LAYER.fullmatch(name)
    if match is None or match[2] not in _TURNED:
        return None
    heads = getattr(config, _TURNED[match[2]])
    rows: npt.NDArray[np.int64] = np.arange(heads * config.head_dim, dtype=np.int64)
    return rows.reshape(heads, config.head_dim // 2, 2).swapaxes(1, 2).reshape(-1)


@dataclass(frozen=True)
class GgufWeights:
    """The tensors of one architecture in a GGUF file; each is read when it is asked for, and kept nowhere.

    Attributes:
        file: the file.
        config: the architecture.
        shapes: the expected tensors by Hugging Face's names (``expected_tensors``).
    """

    file: GgufFile
    config: ModelConfig
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def files(self) -> tuple[Path, ...]:
        """The one file."""
        return (self.file.path,)

    @cached_property
    def location(self) -> Mapping[str, Path]:
        """Which file holds each tensor."""
        return dict.fromkeys(self.shapes, self.file.path)

    @cached_property
    def forms(self) -> Mapping[str, int]:
        """How many tensors there are of each quantized type, the most first."""
        kinds = (self.file.header.tensors[gguf_name(name)].type for name in self.shapes)
        return dict(Counter(kind.name for kind in kinds if kind.bits is not None).most_common())

    def read(self, name: str) -> Tensor:
        """One tensor as float32, as ggml dequantizes it.

        Raises:
            KeyError: no such tensor.
            InputError: a number is NaN or infinite, or the file was changed since it was opened.
        """
        import torch

        if name not in self.shapes:
            raise KeyError(name)
        rows = rows_of(name, self.config)
        if rows is not None and len(self.shapes[name]) == 1:
            return torch.from_numpy(self.file.values(gguf_name(name))[rows])
        return torch.from_numpy(self.file.values(gguf_name(name), rows))

    def matrix(self, name: str) -> PublishedMatrix | None:
        """The published codes of one matrix; None of a tensor of plain numbers. Errors as of ``read``."""
        if name not in self.shapes:
            raise KeyError(name)
        own = gguf_name(name)
        kind = self.file.header.tensors[own].type
        return None if kind.bits is None else self.file.matrix(own, rows_of(name, self.config))

    def check_values(self) -> None:
        """Scan every tensor, one at a time, for NaN and infinity."""
        for name in self.shapes:
            self.read(name)


def open_gguf_weights(file: GgufFile, config: ModelConfig) -> GgufWeights:
    """Check the table of tensors against the architecture; no value is read.

    Raises:
        InputError: naming the tensor, with what was found and what was expected.
    """
    shapes, held = expected_tensors(config), file.header.tensors
    own = {gguf_name(name): shape for name, shape in shapes.items()}
    for name, tensor in held.items():
        if name == ROPE_FACTORS:
            continue
        if name not in own:
            raise InputError(
                "is a tensor that this architecture does not have",
                source=file.path,
                key=shown_name(name),
                hint=f"does {config.key('num_hidden_layers')} fit?"
                if re.match(r"blk\.\d+\.", name)
                else None,
            )
        if tensor.shape != own[name]:
            raise InputError(
                f"has shape {list(tensor.shape)}, expected {list(own[name])}", source=file.path, key=name
            )
        if len(tensor.shape) == 1 and tensor.type.bits is not None:
            raise InputError(
                f"is of type {tensor.type.name}, expected plain floats", source=file.path, key=name
            )
    refuse_missing(held, own, file.path)
    return GgufWeights(file, config, shapes)
