"""Weights for the corners: integers, in the formats of a checkpoint, with which every rounding meets every case.

A trained checkpoint with headroom never saturates, and half of a sum that loses twenty bits is rare. The fabric does
not depend on weights, so it is run with these too. Everything that is drawn stands in ROM images alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from etchproof.checkpoint.linears import INPUTS
from etchproof.quantize.quantized_model import QuantizedGains, QuantizedLayer, QuantizedMatrix, QuantizedModel
from models.chip import LOGIT_BITS, ChipPlan
from models.numerics.params import NORM_FRAC

NORM_SHIFT = 18  # leaves gains of 2**14 four bits that are lost: half of them is one in sixteen
LOUD = 0.6  # spread of an output, as part of its range: some of it saturates
GREAT = (
    3  # seeds that this divides draw great residuals, which a norm shifts right (docs/numerics.md, section 3)
)
SILENT = 0.1  # of the embedding's rows: all zero, so that the first norm has nothing but its epsilon
DIFFERENT = 0.05  # of the head's codes: its rows are nearly one, so that all are negative, or equal


def corner_model(model: QuantizedModel, plan: ChipPlan, seed: int) -> QuantizedModel:
    """The model with other weights and fractional bits; architecture, formats and so the fabric are the same."""
    rng = np.random.default_rng(seed)
    layers = tuple(
        _layer(layer, plan, index, rng, is_great=seed % GREAT == 0)
        for index, layer in enumerate(model.layers)
    )
    frac = {"final_norm": plan.act_bits - 4, "logits": 10}
    head = _matrix(model.lm_head, plan.act_bits, LOGIT_BITS, frac["final_norm"], frac["logits"], rng)
    same = np.broadcast_to(head.codes[:1], head.codes.shape)
    different = rng.random(head.codes.shape) < DIFFERENT
    different[-1] |= rng.random(head.codes.shape[1]) < 8 * DIFFERENT  # wins more often than others
    silent = rng.random((model.embedding.scales.shape[0], 1)) < SILENT
    return replace(
        model,
        embedding=replace(model.embedding, scales=np.where(silent, np.uint16(0), model.embedding.scales)),
        layers=layers,
        final_norm=_gains(model.final_norm, frac["final_norm"], rng),
        lm_head=replace(head, codes=np.where(different, head.codes, same)),
        frac=frac,
    )


def _layer(
    layer: QuantizedLayer, plan: ChipPlan, index: int, rng: np.random.Generator, *, is_great: bool
) -> QuantizedLayer:
    frac = _frac(plan, (9 if index == 0 else 16, 16) if is_great else (6, 6))
    return replace(
        layer,
        linears={
            name: _matrix(
                matrix,
                plan.act_bits,
                plan.linears(index)[name].out_bits,
                frac[INPUTS[name]],
                frac[name],
                rng,
            )
            for name, matrix in layer.linears.items()
        },
        attn_norm=_gains(layer.attn_norm, frac["attn_norm"], rng),
        mlp_norm=_gains(layer.mlp_norm, frac["mlp_norm"], rng),
        frac=frac,
    )


def _frac(plan: ChipPlan, added: tuple[int, int]) -> Mapping[str, int]:
    """Gates reach beyond 16, the end of the sigmoid's table; what follows a product has less range than the product.

    Args:
        added: bits before the point, the sign among them, of what attention adds to the residual, and of what the MLP
            does: with 9 a norm's block exponent is 0 or 1, with 16 the sum reaches the ends of 32 bits.
    """
    act, kv = plan.act_bits, plan.kv_bits
    return {
        "attn_norm": act - 4,
        "q_proj": act - 2,
        "k_proj": act - 2,
        "v_proj": kv - 4,
        "k_rope": kv - 1,
        "attn_out": act - 2,
        "o_proj": act - added[0],
        "mlp_norm": act - 4,
        "gate_proj": act - 6,
        "up_proj": act - 6,
        "swiglu": act - 2,
        "down_proj": act - added[1],
    }


def _matrix(
    matrix: QuantizedMatrix,
    in_bits: int,
    out_bits: int,
    frac_in: int,
    frac_out: int,
    rng: np.random.Generator,
) -> QuantizedMatrix:
    """Codes and scales are few powers of two, so that a sum's low bits are often zero, or half of what is lost.

    Where the output is wider than the input, scales are odd: else nothing would be lost.
    """
    top = 1 << (matrix.bits - 1)
    codes = rng.choice(np.array([-top, -top // 2, 0, top // 2], dtype=np.int8), size=matrix.codes.shape)
    choice = np.array([4, 8] if out_bits <= in_bits else range(1, 512, 2), dtype=np.uint16)
    scales = rng.choice(choice, size=matrix.scales.shape)
    spread = 2 ** (in_bits - 1) / 2 * (0.6 * top) * float(choice.mean()) * math.sqrt(matrix.cols)
    shift = max(1, round(math.log2(spread / (LOUD * 2 ** (out_bits - 1)))))
    return replace(matrix, codes=codes, scales=scales, exponent=shift - frac_in + frac_out)


def _gains(gains: QuantizedGains, frac: int, rng: np.random.Generator) -> QuantizedGains:
    values = rng.choice([-1, 1], size=gains.values.shape) << rng.integers(2, 15, size=gains.values.shape)
    return replace(gains, values=values.astype(np.int16), exponent=NORM_SHIFT - NORM_FRAC + frac)
