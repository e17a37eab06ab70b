"""Weights for the corners at the ends of ranges: the last value that is kept, and the first that is clamped.

Random outputs of 16 bits seldom are one certain value. Here the inputs of a linear are saturated, so ``2^(A-1) - 1`` or
``-2^(A-1)``, and a weight is a small integer times a power of two that its shift takes off again: an output is a
multiple of ``2^(A-1)``, or of half of it, less a small number, and is often within a few units of an end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from etchproof.checkpoint.linears import INPUTS
from etchproof.coverage.corner_tokens import corner_tokens
from etchproof.quantize.quantized_model import (
    RESIDUAL_FRAC,
    QuantizedGains,
    QuantizedLayer,
    QuantizedMatrix,
    QuantizedModel,
)
from models.chip import LOGIT_BITS, ChipPlan
from models.numerics.params import NORM_FRAC
from verif.coverage.norm import Norm
from verif.coverage.round_cases import ENDS, end_values

GAIN: Final = 1 << 14
NORM_SHIFT: Final = 12  # whatever is not zero saturates, beside great values too
FINE_SHIFT: Final = (
    17  # of the first norm, whose values of 2^18 and more saturate: a gain moves them by few units
)
SCALE_BITS: Final = 15
WEIGHTS: Final = (-2, -1, 0, 1, 1, 1)
ROWS: Final = (-1, -1, 0, 0, 1)  # of the embedding: what is added later stands on either side of an end
WHOLE: Final = 16  # one row of so many
PARTS: Final = {"v_proj": 1, "gate_proj": 1, "up_proj": 1}
"""By linear, of how many bits less than the range its outputs are multiples."""


def edge_model(model: QuantizedModel, plan: ChipPlan, seed: int) -> QuantizedModel:
    """The model with other weights and fractional bits; architecture, formats and so the fabric are the same."""
    rng = np.random.default_rng(seed)
    frac = {"final_norm": plan.act_bits - 4, "logits": 10}
    fed = np.unique(np.concatenate(corner_tokens(plan.vocab_size, plan.context, seed)))
    embedding, rows = _embedding(model.embedding, fed, rng)
    layers = [_layer(layer, plan, index, rng) for index, layer in enumerate(model.layers)]
    first = _at_ends(
        _gains(layers[0].attn_norm, layers[0].frac["attn_norm"], rng, FINE_SHIFT), rows[fed], plan
    )
    layers[0] = replace(layers[0], attn_norm=first)
    return replace(
        model,
        embedding=embedding,
        layers=tuple(layers),
        final_norm=_gains(model.final_norm, frac["final_norm"], rng),
        lm_head=_matrix(model.lm_head, plan.act_bits, LOGIT_BITS, 0, frac["final_norm"], frac["logits"], rng),
        frac=frac,
    )


def _embedding(
    matrix: QuantizedMatrix, fed: npt.NDArray[np.int64], rng: np.random.Generator
) -> tuple[QuantizedMatrix, npt.NDArray[np.int64]]:
    """Small integers, to which little is missing at an end; in a few rows, the last element is 1.0 or just below.

    Args:
        fed: the tokens whose rows are read.

    Returns:
        The matrix and its values, (V, H).
    """
    rows = rng.choice(ROWS, size=matrix.codes.shape)
    rows[:, : len(ENDS)] = rng.integers(1, 1 << (matrix.bits - 2), size=(len(rows), len(ENDS)))
    scales = np.ones_like(matrix.scales)
    values = rows.copy()
    start = (matrix.cols - 1) // matrix.group_size * matrix.group_size
    for first, code, scale in ((0, 2, 1 << (RESIDUAL_FRAC - 1)), (1, 1, (1 << RESIDUAL_FRAC) - 1)):
        whole = fed[first::WHOLE]
        rows[whole, start:] = values[whole, start:] = 0
        rows[whole, -1], scales[whole, -1], values[whole, -1] = code, scale, code * scale
    return replace(matrix, codes=rows.astype(np.int8), scales=scales, exponent=RESIDUAL_FRAC), values


def _at_ends(gains: QuantizedGains, rows: npt.NDArray[np.int64], plan: ChipPlan) -> QuantizedGains:
    """Gains of which the first four put an element of some rows at an end, and one beyond it, on either side.

    Args:
        rows: (tokens, H), what the norm reads.
    """
    unit = Norm(rows, plan.norm_epsilon).unit().numpy()
    values, candidates = gains.values.copy(), np.arange(1, GAIN, dtype=np.int64)
    for element, end in enumerate(end_values(plan.act_bits)):
        outputs = (unit[:, element, None] * candidates * np.sign(end) + (1 << (FINE_SHIFT - 1))) >> FINE_SHIFT
        values[element] = candidates[(outputs == end).sum(axis=0).argmax()] * np.sign(end)
    return replace(gains, values=values)


def _layer(layer: QuantizedLayer, plan: ChipPlan, index: int, rng: np.random.Generator) -> QuantizedLayer:
    frac = _frac(plan)
    linears = {
        name: _matrix(
            matrix,
            plan.act_bits,
            plan.linears(index)[name].out_bits,
            PARTS.get(name, 0),
            frac[INPUTS[name]],
            frac[name],
            rng,
        )
        for name, matrix in layer.linears.items()
    }
    linears["q_proj"].codes[: plan.head_dim] = 0  # the first head weighs all positions alike
    linears["o_proj"].codes[1::2, : plan.head_dim] = 0  # its output, a mean, does not saturate
    return replace(
        layer,
        linears=linears,
        attn_norm=_gains(layer.attn_norm, frac["attn_norm"], rng),
        mlp_norm=_gains(layer.mlp_norm, frac["mlp_norm"], rng),
        frac=frac,
    )


def _frac(plan: ChipPlan) -> Mapping[str, int]:
    """Attention saturates at twice its values; scores are far apart.

    A gate of half its range is clamped, and its product with a half of the range saturates. What is added to the
    residual reaches the ends of its 32 bits.
    """
    act, kv = plan.act_bits, plan.kv_bits
    return {
        "attn_norm": act - 4,
        "q_proj": act - 11,
        "k_proj": kv - 4,
        "v_proj": kv - 4,
        "k_rope": kv - 4,
        "attn_out": kv - 3,
        "o_proj": act - 16,
        "mlp_norm": act - 4,
        "gate_proj": act - 6,
        "up_proj": act - 3,
        "swiglu": act - 7,
        "down_proj": act - 16,
    }


def _matrix(
    matrix: QuantizedMatrix,
    in_bits: int,
    out_bits: int,
    part: int,
    frac_in: int,
    frac_out: int,
    rng: np.random.Generator,
) -> QuantizedMatrix:
    """Codes are small integers times a power of two, scales a power of two or its neighbours."""
    unit = 1 << (matrix.bits - 2)
    codes = (rng.choice(WEIGHTS, size=matrix.codes.shape) * unit).astype(np.int8)
    scales = (1 << SCALE_BITS) + rng.integers(-1, 2, size=matrix.scales.shape)
    shift = SCALE_BITS + (matrix.bits - 2) + (in_bits - out_bits) + part
    return replace(
        matrix,
        codes=codes,
        scales=scales.astype(np.uint16),
        exponent=shift - frac_in + frac_out,
    )


def _gains(
    gains: QuantizedGains, frac: int, rng: np.random.Generator, shift: int = NORM_SHIFT
) -> QuantizedGains:
    values = rng.choice([-GAIN, GAIN], size=gains.values.shape).astype(np.int16)
    return replace(gains, values=values, exponent=shift - NORM_FRAC + frac)
