"""What a GGUF file says, taken from it again for the audit: names, order of rows and keys are not the importer's.

The blocks are read by ``etchproof.published.gguf``, which the tests hold against the library ``gguf``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from etchproof.checkpoint import ModelConfig
from etchproof.published.gguf import open_gguf

_NAMES: Final = (
    (r"model\.embed_tokens", "token_embd"),
    (r"model\.norm", "output_norm"),
    (r"lm_head", "output"),
    (r"model\.layers\.(\d+)\.input_layernorm", r"blk.\1.attn_norm"),
    (r"model\.layers\.(\d+)\.post_attention_layernorm", r"blk.\1.ffn_norm"),
    (r"model\.layers\.(\d+)\.self_attn\.([qkv])_proj", r"blk.\1.attn_\2"),
    (r"model\.layers\.(\d+)\.self_attn\.o_proj", r"blk.\1.attn_output"),
    (r"model\.layers\.(\d+)\.mlp\.(gate|up|down)_proj", r"blk.\1.ffn_\2"),
)
_KEYS: Final = {
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "block_count": "n_layers",
    "attention.head_count": "n_heads",
    "attention.head_count_kv": "n_kv_heads",
    "attention.key_length": "head_dim",
    "rope.dimension_count": "head_dim",
    "vocab_size": "vocab_size",
    "context_length": "context",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
}
"""Keys of the metadata, and how the resolved architecture calls them."""
_FACTORS: Final = "rope_freqs.weight"


class GgufTensors:
    """The tensors of a GGUF file by Hugging Face's names."""

    def __init__(self, path: Path, config: ModelConfig) -> None:
        self._file, self._config = open_gguf(path), config

    def __contains__(self, name: str) -> bool:
        return self._own(name) in self._file.header.tensors

    def tensor(self, name: str) -> Tensor:
        """One tensor as float32; of q and k, first the even rows of each head, then the odd ones."""
        own = self._own(name)
        values = self._file.values(own)
        heads = {"attn_q": self._config.n_heads, "attn_k": self._config.n_kv_heads}.get(own.split(".")[-2])
        if heads is not None:
            split = np.split(values, heads)
            values = np.concatenate([half for head in split for half in (head[0::2], head[1::2])])
        return torch.from_numpy(values)

    def read(self, name: str) -> npt.NDArray[np.float64]:
        """The same in float64."""
        found: npt.NDArray[np.float64] = self.tensor(name).numpy().astype(np.float64)
        return found

    def keys(self) -> Iterator[str]:
        """What the metadata says in so many words, where the architecture is another."""
        metadata, config = self._file.header.metadata, self._config
        prefix = metadata.text("general.architecture")
        for name, field in _KEYS.items():
            said = metadata.raw(f"{prefix}.{name}")
            if said is not None and said != getattr(config, field):
                yield f"{prefix}.{name} is {said}, the model was made with {getattr(config, field)}"
        theta = metadata.raw(f"{prefix}.rope.freq_base")
        if theta is not None and theta != config.rope.theta:
            yield f"{prefix}.rope.freq_base is {theta}, the model was made with {config.rope.theta}"
        factors = getattr(config.rope.scaling, "factors", None)
        if _FACTORS in self._file.header.tensors:
            found = tuple(self._file.values(_FACTORS).tolist())
            if found != (factors or (1.0,) * len(found)):
                yield f"{_FACTORS} has other numbers than the model was made with"
        elif factors is not None:
            yield f"{_FACTORS} is missing, and the model was made with it"
        factor = metadata.raw(f"{prefix}.rope.scaling.factor")
        linear = getattr(config.rope.scaling, "factor", None)
        if linear is not None and factor is not None and factor != linear:
            yield f"{prefix}.rope.scaling.factor is {factor}, the model was made with {linear}"

    @staticmethod
    def _own(name: str) -> str:
        module, _, kind = name.rpartition(".")
        for theirs, own in _NAMES:
            if re.fullmatch(theirs, module):
                return f"{re.sub(theirs, own, module)}.{kind}"
        return name
