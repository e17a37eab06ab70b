"""A checkpoint's weights: ``model.safetensors`` or its shards, checked against the config, read one tensor at
a time.

Opening reads headers only. A value is read when it is asked for, from a memory-mapped file, and kept nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from etchproof.checkpoint.config import ModelConfig
from etchproof.checkpoint.safetensors_file import (
    check_finite,
    check_header,
    open_safetensors,
    own_float32,
    refuse_missing,
)
from etchproof.errors import InputError, shown, shown_name
from etchproof.files.json_file import read_json_object
from etchproof.files.regular import exists
from etchproof.files.stamp import Stamp

if TYPE_CHECKING:
    from torch import Tensor

SINGLE_FILE: Final = "model.safetensors"
INDEX_FILE: Final = "model.safetensors.index.json"
EMBEDDING: Final = "model.embed_tokens.weight"
LM_HEAD: Final = "lm_head.weight"

_IGNORED: Final = re.compile(
    r"model\.(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq"
)  # buffers of older transformers
_OTHER_FORMATS: Final = ("*.bin", "*.pth", "*.pt", "*.gguf", "*.bin.index.json")
_COMPARED_ROWS: Final = 4096  # rows of a tied lm_head compared at once


def expected_tensors(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Hugging Face's tensor names of this architecture, with shapes (out_features, in_features)."""
    hidden, mlp = config.hidden_size, config.intermediate_size
    linears = (  # (name, out_features, in_features, has a bias)
        ("self_attn.q_proj", config.q_size, hidden, config.attention_bias),
        ("self_attn.k_proj", config.kv_size, hidden, config.attention_bias),
        ("self_attn.v_proj", config.kv_size, hidden, config.attention_bias),
        ("self_attn.o_proj", hidden, config.q_size, config.attention_bias),
        ("mlp.gate_proj", mlp, hidden, config.mlp_bias),
        ("mlp.up_proj", mlp, hidden, config.mlp_bias),
        ("mlp.down_proj", hidden, mlp, config.mlp_bias),
    )
    shapes: dict[str, tuple[int, ...]] = {EMBEDDING: (config.vocab_size, hidden)}
    for layer in range(config.n_layers):
        prefix = f"model.layers.{layer}"
        shapes[f"{prefix}.input_layernorm.weight"] = (hidden,)
        shapes[f"{prefix}.post_attention_layernorm.weight"] = (hidden,)
        for name, rows, columns, bias in linears:
            shapes[f"{prefix}.{name}.weight"] = (rows, columns)
            if bias:
                shapes[f"{prefix}.{name}.bias"] = (rows,)
    shapes["model.norm.weight"] = (hidden,)
    if not config.tie_word_embeddings:
        shapes[LM_HEAD] = (config.vocab_size, hidden)
    return shapes


class Weights(Protocol):
    """The tensors of one checkpoint, whatever the format of its files.

    Attributes:
        files: every file that they are read from, in name order.
        shapes: the expected tensors (``expected_tensors``).
        location: which file holds each tensor.
    """

    @property
    def files(self) -> tuple[Path, ...]: ...

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]: ...

    @property
    def location(self) -> Mapping[str, Path]: ...

    def read(self, name: str) -> Tensor:
        """One tensor as float32, its own memory, checked for NaN and infinity.

        Raises:
            KeyError: no such tensor.
            InputError: a value is not finite, or the file was changed since it was opened.
        """
        ...

    def check_values(self) -> None:
        """Scan every tensor, one at a time; errors as of ``read``."""
        ...


@dataclass(frozen=True)
class WeightFiles:
    """The weight files of one checkpoint folder, headers checked.

    Attributes:
        files: every weight file, and the shard index if there is one, in name order.
        shapes: the expected tensors (``expected_tensors``).
        location: which file holds each tensor; beside the expected ones, perhaps a redundant
            ``lm_head.weight``.
    """

    files: tuple[Path, ...]
    shapes: Mapping[str, tuple[int, ...]]
    location: Mapping[str, Path]
    stamps: Mapping[Path, Stamp]

    def read(self, name: str) -> Tensor:
        """One tensor as float32, its own memory, checked for NaN and infinity.

        Raises:
            KeyError: no such tensor.
            InputError: a value is not finite, or the file was changed since it was opened.
        """
        with self._open(name) as file:
            values = own_float32(file.get_tensor(name))
        check_finite(values, name, self.location[name])
        return values

    def check_values(self) -> None:
        """Scan every tensor, one at a time; a redundant ``lm_head.weight`` must equal the embedding."""
        for name in self.shapes:
            self.read(name)
        if LM_HEAD in self.location and LM_HEAD not in self.shapes:
            self._check_tied()

    def _check_tied(self) -> None:
        """Compare by blocks of rows, so that the two largest tensors are never in memory together."""
        rows = self.shapes[EMBEDDING][0]
        with self._open(LM_HEAD) as head_file, self._open(EMBEDDING) as embedding_file:
            head, embedding = head_file.get_slice(LM_HEAD), embedding_file.get_slice(EMBEDDING)
            for first in range(0, rows, _COMPARED_ROWS):
                block = slice(first, min(first + _COMPARED_ROWS, rows))
                differs = (own_float32(head[block]) != own_float32(embedding[block])).any(dim=1)
                if differs.any():
                    raise InputError(
                        f"differs from {EMBEDDING} in row {first + int(differs.nonzero()[0])}, "
                        "though tie_word_embeddings is true",
                        source=self.location[LM_HEAD],
                        key=LM_HEAD,
                        hint="set tie_word_embeddings to false, or drop the tensor",
                    )

    @contextmanager
    def _open(self, name: str) -> Iterator[Any]:
        path = self.location[name]
        self.stamps[path].check(path)
        with open_safetensors(path) as file:
            yield file


def open_weights(folder: Path, config: ModelConfig) -> WeightFiles:
    """Find the weight files of a checkpoint folder and check their headers against ``config``; no value is
    read.

    Raises:
        InputError: naming the file and the tensor, with what was found and what was expected.
    """
    shapes = expected_tensors(config)
    single, index = folder / SINGLE_FILE, folder / INDEX_FILE
    if exists(single) and exists(index):
        raise InputError(
            f"holds both {SINGLE_FILE} and {INDEX_FILE}", source=folder, hint="delete the one that is stale"
        )
    if exists(index):
        weight_map = _read_index(index)
        source, shards = index, tuple(folder / name for name in sorted(set(weight_map.values())))
    elif exists(single):
        weight_map = None
        source, shards = single, (single,)
    else:
        raise _no_weights(folder)

    location: dict[str, Path] = {}
    stamps: dict[Path, Stamp] = {}
    for shard in shards:
        if not exists(shard):
            raise InputError(
                f"shard {shown(shard.name)} is not in the folder", source=index, key="weight_map"
            )
        stamps[shard] = Stamp.of(shard)
        with open_safetensors(shard, framework="numpy") as file:
            held = tuple(file.keys())
            for name in held:
                if _IGNORED.fullmatch(name):
                    continue
                if weight_map is not None and weight_map.get(name) != shard.name:
                    raise InputError(
                        f"is in this shard, but {INDEX_FILE} places it in {shown(weight_map.get(name))}",
                        source=shard,
                        key=shown_name(name),
                    )
                _check_header(file, name, shapes, config, shard)
                location[name] = shard
            for name, held_in in (weight_map or {}).items():
                if held_in == shard.name and name not in held:
                    raise InputError(
                        f"{INDEX_FILE} places it in this shard, which lacks it",
                        source=shard,
                        key=shown_name(name),
                    )
    refuse_missing(location, shapes, source)
    files = tuple(sorted({*shards, source}))
    return WeightFiles(files=files, shapes=shapes, location=location, stamps=stamps)


def _check_header(
    file: Any, name: str, shapes: Mapping[str, tuple[int, ...]], config: ModelConfig, source: Path
) -> None:
    redundant_head = name == LM_HEAD and config.tie_word_embeddings
    expected = shapes[EMBEDDING] if redundant_head else shapes.get(name)
    if expected is None:
        raise InputError(
            "is a tensor that this config does not have",
            source=source,
            key=shown_name(name),
            hint=_surplus_hint(name),
        )
    check_header(file, name, expected, source)


def _surplus_hint(name: str) -> str | None:
    if name.endswith(".bias"):
        return "is attention_bias or mlp_bias missing in config.json?"
    if "lora_" in name:
        return "this is an adapter; load it beside its base model"
    layer = re.match(r"model\.layers\.(\d+)\.", name)
    return "does num_hidden_layers fit?" if layer else None


def _read_index(path: Path) -> dict[str, str]:
    """The index's ``weight_map``: tensor name to shard, each a plain file name within the folder."""
    weight_map = read_json_object(path, limit_bytes=16 << 20).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise InputError(
            f"is {shown(weight_map)}, expected an object of tensor name to shard",
            source=path,
            key="weight_map",
        )
    for tensor, shard in weight_map.items():
        plain = isinstance(shard, str) and shard.isprintable() and not re.search(r"[/\\:]|^\.*$", shard)
        if not plain or not shard.endswith(".safetensors"):
            raise InputError(
                f"is {shown(shard)}, expected the name of a .safetensors file in the same folder",
                source=path,
                key=f"weight_map.{shown_name(tensor)}",
            )
    return weight_map


def _no_weights(folder: Path) -> InputError:
    others = sorted(path.name for pattern in _OTHER_FORMATS for path in folder.glob(pattern))
    if others:
        hint = "convert it: AutoModelForCausalLM.from_pretrained(...).save_pretrained(...) of transformers"
        if others[0].endswith(".gguf"):
            hint = "pass the .gguf file itself"
        problem = f"holds {shown_name(others[0])} but no {SINGLE_FILE}"
        return InputError(problem, source=folder, hint=hint)
    return InputError(f"holds neither {SINGLE_FILE} nor {INDEX_FILE}", source=folder)
