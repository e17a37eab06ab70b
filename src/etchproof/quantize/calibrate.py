"""Calibration: how large each tap gets, on text that the float model itself writes.

The text is sampled from the checkpoint, seeded, so nothing is downloaded and every checkpoint has some; where weights
are random, a few random tokens do as well. Only the power of two above a maximum reaches the chip
(``etchproof.quantize.frac``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from etchproof.adapter import Adapter
from etchproof.checkpoint import Checkpoint, ModelConfig
from etchproof.checkpoint.linears import module_name
from etchproof.checkpoint.tensors import EMBEDDING
from etchproof.float_model.llama import FloatModel, sample
from etchproof.quantize.layerwise import rms_norm, run_layer
from etchproof.quantize.matrix import row_blocks
from etchproof.quantize.recipe import LM_HEAD_MODULE, Recipe

Ranges = Mapping[tuple[int, str], float]
"""The largest magnitude of each tap by (layer, tap); ``scores``, ``softmax`` and ``token`` are not among them."""

_FLOAT64_WEIGHTS: Final = (
    1 << 28
)  # a larger model is sampled in float32: 2 GiB of weights at most is spent on float64
_UNRANGED: Final = frozenset({"scores", "softmax"})


@dataclass(frozen=True)
class CalibrationText:
    """Sequences of tokens, each from position 0, and the seed that they were drawn with."""

    tokens: Tensor  # (sequences, length) int64
    seed: int


def calibration_text(checkpoint: Checkpoint, recipe: Recipe) -> CalibrationText:
    """The recipe's calibration text: drawn from the checkpoint or at random, cut to the chip's context.

    A model without a BOS token starts from token 0.
    """
    config, wanted = checkpoint.config, recipe.calibration
    length = min(wanted.length, recipe.chip_context(config))
    if wanted.source == "random":
        return CalibrationText(_random_text(config, wanted.sequences, length, wanted.seed), wanted.seed)
    return CalibrationText(sample_text(checkpoint, wanted.sequences, length, wanted.seed), wanted.seed)


def sample_text(
    checkpoint: Checkpoint, sequences: int, length: int, seed: int, adapter: Adapter | None = None
) -> Tensor:
    """``sequences`` texts drawn from the checkpoint itself, (sequences, length) int64.

    They are drawn by ``etchproof.float_model.llama.sample``.

    Args:
        adapter: that is on while it writes.

    Raises:
        InputError: ``length`` is beyond the context.
    """
    config = checkpoint.config
    if config.bos_token_id is None:
        config = config.model_copy(update={"bos_token_id": 0})
    weights = sum(math.prod(shape) for shape in checkpoint.weights.shapes.values())
    dtype = torch.float64 if weights <= _FLOAT64_WEIGHTS else torch.float32
    return sample(FloatModel(config, checkpoint.tensor, dtype, adapter), sequences, length, seed)


def _random_text(config: ModelConfig, sequences: int, length: int, seed: int) -> Tensor:
    """BOS, then tokens of the whole vocabulary, all as likely: (sequences, length) int64."""
    uniforms = np.random.Generator(np.random.PCG64(seed)).random((sequences, length))
    tokens = torch.from_numpy((uniforms * config.vocab_size).astype(np.int64))
    tokens[:, 0] = config.bos_token_id or 0
    return tokens


def calibrate(
    checkpoint: Checkpoint, text: CalibrationText, progress: Callable[[str], None] | None = None
) -> Ranges:
    """The largest magnitude that each tap of the float model reaches on a text, in float64, a layer at a time."""
    config = checkpoint.config
    largest: dict[tuple[int, str], float] = {}

    def see(layer: int, tap: str, value: Tensor) -> None:
        if tap not in _UNRANGED:
            largest[layer, tap] = max(largest.get((layer, tap), 0.0), float(value.abs().max()))

    x = embed(checkpoint, text.tokens)  # (B, T, hidden)
    see(-1, "embedding", x)
    for layer in range(config.n_layers):
        if progress:
            progress(f"calibrating layer {layer + 1} of {config.n_layers}")
        linear = FloatLinears(checkpoint, layer)
        attn_gain, mlp_gain = layer_gains(checkpoint, layer)

        def see_layer(tap: str, value: Tensor, layer: int = layer) -> None:
            see(layer, tap, value)

        x = run_layer(config, x, attn_gain, mlp_gain, linear, see_layer)
    x = rms_norm(config, x, checkpoint.tensor("model.norm.weight").double())
    see(-1, "final_norm", x)
    head = torch.from_numpy(weight_of(checkpoint, LM_HEAD_MODULE)[1])  # (vocab, hidden)
    for block in row_blocks(*head.shape):
        rows = head[block].double()
        for sequence in x:  # one at a time: a vocabulary's logits of a whole text are large
            see(-1, "logits", sequence @ rows.T)
    return largest


class FloatLinears:
    """The linears of one layer in float64, each read from the checkpoint when it is used."""

    def __init__(self, checkpoint: Checkpoint, layer: int) -> None:
        self._checkpoint, self._layer = checkpoint, layer

    def __call__(self, tap: str, x: Tensor) -> Tensor:
        module = module_name(self._layer, tap)
        return linear_float64(
            x, self._checkpoint.tensor(f"{module}.weight"), bias_of(self._checkpoint, module)
        )


def linear_float64(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A linear of x (..., cols) float64 with weights (rows, cols) float32: (..., rows) float64.

    The weights become float64 by blocks of rows, so that memory never holds all of them twice as large.
    """
    parts = [
        torch.nn.functional.linear(x, weight[rows].double(), None if bias is None else bias[rows])
        for rows in row_blocks(*weight.shape)
    ]
    return torch.cat(parts, dim=-1)


def bias_of(checkpoint: Checkpoint, module: str) -> Tensor | None:
    """A linear's bias in float64, (rows,), or None where the architecture has none."""
    name = f"{module}.bias"
    return checkpoint.tensor(name).double() if name in checkpoint.weights.shapes else None


def embed(checkpoint: Checkpoint, tokens: Tensor) -> Tensor:
    """The embeddings of tokens (B, T) in float64, (B, T, hidden)."""
    return checkpoint.tensor(EMBEDDING)[tokens].double()


def layer_gains(checkpoint: Checkpoint, layer: int) -> tuple[Tensor, Tensor]:
    """RMSNorm gains before attention and before the MLP, two of (hidden,) float64."""
    prefix = f"model.layers.{layer}"
    return (
        checkpoint.tensor(f"{prefix}.input_layernorm.weight").double(),
        checkpoint.tensor(f"{prefix}.post_attention_layernorm.weight").double(),
    )


def weight_of(checkpoint: Checkpoint, module: str) -> tuple[str, npt.NDArray[np.float32]]:
    """A ROM matrix's tensor name and values, (rows, cols); a tied LM head's are the embedding's."""
    tied_head = module == LM_HEAD_MODULE and checkpoint.config.tie_word_embeddings
    name = EMBEDDING if tied_head else f"{module}.weight"
    return name, checkpoint.tensor(name).numpy()
