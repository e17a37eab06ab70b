"""A Qwen3 of this chip's shape: how it is read from a Hugging Face folder, and what the memories hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, deserialize

from etchproof.contract.memory import Memory
from etchproof.errors import InputError

Array = npt.NDArray[Any]
Shapes = dict[str, tuple[int, ...]]

LAYERS, HEADS, KV_HEADS, HEAD_DIM, CONTEXT, VOCABULARY, THETA, STOP = range(2), 4, 2, 8, 32, 128, 10000.0, 10
SIZES: Final = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "vocab_size": VOCABULARY}
HEAD: Final = {"num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": HEAD_DIM}
KIND: Final = {"model_type": "qwen3", "rms_norm_eps": 1e-6, "tie_word_embeddings": True, "hidden_act": "silu"}
REST: Final = {"max_position_embeddings": CONTEXT, "attention_bias": False, "eos_token_id": STOP}
CONFIG: Final = {**SIZES, **HEAD, **KIND, **REST, "rope_theta": THETA, "rope_scaling": None}
"""What ``config.json`` has to say: all of it is wired into the chip."""

NORMS: Final[Shapes] = {"input_layernorm": (32,), "post_attention_layernorm": (32,)}
ATTENTION: Final[Shapes] = {f"self_attn.{name}_proj": (32 if name in "qo" else 16, 32) for name in "qkvo"}
QK_NORMS: Final[Shapes] = {"self_attn.q_norm": (8,), "self_attn.k_norm": (8,)}
MLP: Final[Shapes] = {"mlp.gate_proj": (64, 32), "mlp.up_proj": (64, 32), "mlp.down_proj": (32, 64)}
INSIDE: Final = NORMS | ATTENTION | QK_NORMS | MLP
LAYER_SHAPES: Final = {f"layers.{n}.{name}": shape for n in LAYERS for name, shape in INSIDE.items()}
SHAPES: Final = LAYER_SHAPES | {"embed_tokens": (VOCABULARY, 32), "norm": (32,)}
"""Of each tensor ``model.NAME.weight``."""


@dataclass(frozen=True)
class Model:
    """Weights as the bits of bfloat16, by the names of ``SHAPES``."""

    files: tuple[Path, ...]
    weights: Mapping[str, Array]
    stop_tokens: tuple[int, ...] = (STOP,)
    context: int = CONTEXT
    vocab_size: int = VOCABULARY


def number(bits: Array) -> Array:
    """The numbers of bfloat16 bits, as float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def bf16(numbers: Array) -> Array:
    """The bits of the nearest bfloat16, a tie to the even one; 0 for what is below the least normal one."""
    bits = numbers.astype(np.float32).view(np.uint32)
    nearest = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    return np.where(nearest & 0x7F80, nearest, 0).astype(np.uint16)


def load(path: Path) -> Model:
    """Read ``config.json`` and ``model.safetensors``; anything but a model of the chip's shape is refused."""
    config_file, file = path / "config.json", path / "model.safetensors"
    try:
        config = {**json.loads(config_file.read_bytes())}
        tensors = dict(deserialize(file.read_bytes()))  # type: ignore[no-untyped-call]
    except (OSError, TypeError, ValueError, SafetensorError) as error:
        raise InputError(f"cannot be read: {error}", source=path) from error
    for key, value in CONFIG.items():
        if config.get(key) != value:
            raise InputError(f"is {config.get(key)!r}, expected {value!r}", source=config_file, key=key)
    found = {name: (tensor["dtype"], tuple(tensor["shape"])) for name, tensor in tensors.items()}
    expected = {f"model.{name}.weight": ("BF16", shape) for name, shape in SHAPES.items()}
    for key in sorted(found.keys() | expected.keys()):
        if found.get(key) != expected.get(key):
            raise InputError(f"is {found.get(key)}, expected {expected.get(key)}", source=file, key=key)
    weights = {}
    for name, shape in SHAPES.items():
        bits = np.frombuffer(tensors[f"model.{name}.weight"]["data"], np.uint16).reshape(shape)
        if (bits & 0x7FFF).max() >= 0x4280:
            raise InputError("has a weight of 64 or more, or a NaN", source=file, key=f"model.{name}.weight")
        weights[name] = bf16(number(bits))
    return Model((config_file, file), weights)


def angles() -> Array:
    """Cosines and sines as the bits of bfloat16: (positions, 2, pairs)."""
    radians = np.outer(np.arange(CONTEXT), THETA ** (-np.arange(0, HEAD_DIM, 2) / HEAD_DIM))
    return bf16(np.stack([np.cos(radians), np.sin(radians)], axis=1))


def memories(model: Model) -> list[Memory]:
    """The files that the RTL reads; of numbers from a half to one, the 7 bits of their fractions."""
    y, x = number(np.arange(118 << 7, 134 << 7)).astype(np.float64), np.arange(128, 256) / 128
    return [
        *(Memory(f"weights/{name}.hex", words, 16) for name, words in model.weights.items()),
        Memory("tables/rope.hex", angles(), 16, table=True),
        Memory("tables/exp.hex", bf16(np.exp(-y)), 16, table=True),
        Memory("tables/reciprocal.hex", bf16(1 / x) & 0x7F, 7, table=True),
        Memory("tables/rsqrt.hex", bf16(np.concatenate([x, 2 * x]) ** -0.5) & 0x7F, 7, table=True),
    ]
