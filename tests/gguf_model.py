"""Small Llamas as GGUF files: random blocks, metadata as llama.cpp's converter writes it, a tokenizer of bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tests.gguf_writer import Tensor, Typed, gguf_bytes

KINDS: Final = {
    **{"F32": (0, 1, 4), "F16": (1, 1, 2), "BF16": (30, 1, 2)},
    **{
        "Q4_0": (2, 32, 18),
        "Q4_1": (3, 32, 20),
        "Q5_0": (6, 32, 22),
        "Q5_1": (7, 32, 24),
        "Q8_0": (8, 32, 34),
    },
    **{"Q3_K": (11, 256, 110), "Q4_K": (12, 256, 144), "Q5_K": (13, 256, 176), "Q6_K": (14, 256, 210)},
}
"""ggml's number, values of a block, and its bytes."""

_SCALES: Final = {
    **dict.fromkeys(("Q4_0", "Q5_0", "Q8_0"), (0,)),
    **dict.fromkeys(("Q4_1", "Q5_1", "Q4_K", "Q5_K"), (0, 2)),
    **{"Q3_K": (108,), "Q6_K": (208,)},
}
_LARGEST: Final = {"Q4_0": 8, "Q5_0": 16, "Q8_0": 128, "Q4_1": 15, "Q5_1": 31}
_LARGEST |= {"Q3_K": 128, "Q4_K": 945, "Q5_K": 1953, "Q6_K": 4096}
"""Of a weight, in scales."""


@dataclass(frozen=True)
class Sizes:
    """Of a Llama."""

    hidden: int = 32
    mlp: int = 64
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    vocab: int = 300
    context: int = 64

    @property
    def head_dim(self) -> int:
        return self.hidden // self.heads


@dataclass
class Parts:
    """What a file is written from; tests change what they like before ``content``."""

    metadata: dict[str, Any]
    tensors: dict[str, Tensor]
    alignment: int = 32
    version: int = 3
    extra: dict[str, Any] = field(default_factory=dict)

    def content(self) -> bytes:
        return gguf_bytes(
            self.metadata | self.extra, self.tensors, version=self.version, alignment=self.alignment
        )


def blocks(kind: str, count: int, rng: np.random.Generator, most: float = 0.25) -> npt.NDArray[np.uint8]:
    """Random blocks of weights up to about ``most``."""
    drawn = rng.integers(0, 256, (count, KINDS[kind][2]), dtype=np.uint8)
    for which, at in enumerate(_SCALES[kind]):
        scale = rng.uniform(0.3, 1.0, count) * most / _LARGEST[kind]
        if kind in ("Q4_1", "Q5_1"):  # codes without sign, and a minimum that takes half of them below zero
            scale = -most * rng.uniform(0.3, 1.0, count) if which else 2 * scale
        drawn[:, at : at + 2] = scale.astype("<f2").view(np.uint8).reshape(count, 2)
    return drawn


def tensor(kind: str, shape: tuple[int, ...], rng: np.random.Generator, most: float = 0.25) -> Tensor:
    """A random tensor of a type."""
    number, block, _ = KINDS[kind]
    count = int(np.prod(shape))
    if kind in _SCALES:
        return Tensor(number, shape, blocks(kind, count // block, rng, most).tobytes())
    return plain(kind, rng.uniform(-most, most, shape))


def plain(kind: str, values: npt.ArrayLike) -> Tensor:
    """Plain numbers of a type."""
    numbers = np.asarray(values, dtype="<f4")
    if kind == "BF16":
        raw = (numbers.view("<u4") >> 16).astype("<u2").tobytes()
    else:
        raw = numbers.astype("<f4" if kind == "F32" else "<f2").tobytes()
    return Tensor(KINDS[kind][0], numbers.shape, raw)


def byte_letters() -> list[str]:
    """What GPT-2's byte-level tokenizers write for each byte."""
    plain_bytes = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in plain_bytes else chr(next(others)) for byte in range(256)]


TEMPLATE: Final = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def tokenizer(
    vocab: int, pre: str = "smollm", merges: tuple[str, ...] = ("h e", "l l", "he ll")
) -> dict[str, Any]:
    """A byte-level tokenizer: three special tokens, the bytes, what merges make, and fill."""
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *byte_letters()]
    tokens += [merge.replace(" ", "") for merge in merges]
    kinds = [3] * 3 + [1] * (len(tokens) - 3)
    fill = [f"[PAD{at}]" for at in range(len(tokens), vocab)]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": [*tokens, *fill],
        "tokenizer.ggml.token_type": Typed("INT32", [*kinds, *[5] * len(fill)]),
        "tokenizer.ggml.merges": list(merges),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": TEMPLATE,
    }


def model(
    sizes: Sizes | None = None,
    kind: str | Callable[[str], str] = "Q4_1",
    *,
    embedding: str = "Q8_0",
    tied: bool = True,
    seed: int = 1,
    changes: Mapping[str, Any] | None = None,
) -> Parts:
    """A whole Llama.

    Args:
        kind: type of the matrices of the layers, or a function of their names.
        embedding: type of the embedding, and of an output matrix.
        tied: whether there is no output matrix.
        changes: of the metadata.
    """
    sizes = sizes or Sizes()
    rng = np.random.default_rng(seed)
    kind_of = kind if callable(kind) else lambda name: kind
    metadata: dict[str, Any] = {
        "general.architecture": "llama",
        "general.name": "drawn",
        "general.file_type": 3,
        "llama.block_count": sizes.layers,
        "llama.context_length": sizes.context,
        "llama.embedding_length": sizes.hidden,
        "llama.feed_forward_length": sizes.mlp,
        "llama.attention.head_count": sizes.heads,
        "llama.attention.head_count_kv": sizes.kv_heads,
        "llama.rope.freq_base": 10000.0,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.vocab_size": sizes.vocab,
        "llama.rope.dimension_count": sizes.head_dim,
        **tokenizer(sizes.vocab),
        "general.quantization_version": 2,
    }
    narrow = sizes.kv_heads * sizes.head_dim
    shapes = {
        "attn_q": (sizes.hidden, sizes.hidden),
        "attn_k": (narrow, sizes.hidden),
        "attn_v": (narrow, sizes.hidden),
        "attn_output": (sizes.hidden, sizes.hidden),
        "ffn_gate": (sizes.mlp, sizes.hidden),
        "ffn_up": (sizes.mlp, sizes.hidden),
        "ffn_down": (sizes.hidden, sizes.mlp),
    }

    def gains() -> Tensor:
        return plain("F32", rng.uniform(0.5, 1.5, sizes.hidden))

    tensors = {"token_embd.weight": tensor(embedding, (sizes.vocab, sizes.hidden), rng)}
    for layer in range(sizes.layers):
        tensors[f"blk.{layer}.attn_norm.weight"] = gains()
        for name, shape in shapes.items():
            tensors[f"blk.{layer}.{name}.weight"] = tensor(kind_of(f"blk.{layer}.{name}.weight"), shape, rng)
        tensors[f"blk.{layer}.ffn_norm.weight"] = gains()
    tensors["output_norm.weight"] = gains()
    if not tied:
        tensors["output.weight"] = tensor(embedding, (sizes.vocab, sizes.hidden), rng)
    return Parts(metadata | dict(changes or {}), tensors)
