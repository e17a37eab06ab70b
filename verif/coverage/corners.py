"""Weights for the corners: integers, in the formats of a checkpoint, with which every rounding meets every case.

A trained checkpoint with headroom never saturates, and half of a sum that loses twenty bits is rare. The fabric does
not depend on weights, so it is run with these too. Everything that is drawn stands in ROM images alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from etchproof.checkpoint.linears import INPUTS
from etchproof.contract.taps import TapKey
from etchproof.coverage.corner_tokens import corner_tokens
from etchproof.fixed_point import round_shift
from etchproof.quantize.quantized_model import QuantizedGains, QuantizedLayer, QuantizedMatrix, QuantizedModel
from models.chip import LOGIT_BITS, ChipPlan
from models.golden import Golden
from models.numerics.params import NORM_FRAC, layer_params, top_params
from verif.coverage.edges import edge_model
from verif.coverage.norm import Norm

NORM_SHIFT = 18  # leaves gains of 2**14 four bits that are lost: half of them is one in sixteen
FINE_SHIFT = 42  # less the bits of an output: gains of 15 bits that do not saturate beside a value of 26 bits
LOUD = 0.6  # spread of an output, as part of its range: some of it saturates
QUIET_SPREAD = {"q_proj": 4.0, "k_proj": 4.0, "v_proj": 0.5}
EDGES = 4  # seeds that this divides draw values at the ends of their ranges (verif.coverage.edges)
GREAT = (
    3  # of the others, these draw great residuals, which a norm shifts right (docs/numerics.md, section 3)
)
QUIET = (
    2  # of the others, these draw small queries and keys in the last layer: scores that differ by half a unit
)
SILENT = 0.1  # of the embedding's rows: all zero, so that the first norm has nothing but its epsilon
DIFFERENT = 0.05  # of the head's codes: its rows are nearly one, so that all are negative, or equal


def corner_model(model: QuantizedModel, plan: ChipPlan, seed: int) -> QuantizedModel:
    """The model with other weights and fractional bits; architecture, formats and so the fabric are the same."""
    if seed % EDGES == 0:
        return edge_model(model, plan, seed)
    rng = np.random.default_rng(seed)
    is_great, quiet = seed % GREAT == 0, plan.n_layers - 1 if seed % QUIET == 0 else None
    layers = tuple(
        _layer(layer, plan, index, rng, is_great=is_great, is_quiet=index == quiet)
        for index, layer in enumerate(model.layers)
    )
    frac = {"final_norm": plan.act_bits - 4, "logits": 10}
    head = _matrix(model.lm_head, plan.act_bits, LOGIT_BITS, frac["final_norm"], frac["logits"], rng)
    same = np.broadcast_to(head.codes[:1], head.codes.shape)
    different = rng.random(head.codes.shape) < DIFFERENT
    different[-1] |= rng.random(head.codes.shape[1]) < 8 * DIFFERENT  # wins more often than others
    silent = rng.random((model.embedding.scales.shape[0], 1)) < SILENT
    drawn = replace(
        model,
        embedding=replace(model.embedding, scales=np.where(silent, np.uint16(0), model.embedding.scales)),
        layers=layers,
        final_norm=_gains(
            model.final_norm, frac["final_norm"], rng, FINE_SHIFT - plan.act_bits if is_great else NORM_SHIFT
        ),
        lm_head=replace(head, codes=np.where(different, head.codes, same)),
        frac=frac,
    )
    return _shown(drawn, plan, corner_tokens(plan.vocab_size, plan.context, seed)) if is_great else drawn


def _shown(model: QuantizedModel, plan: ChipPlan, sequences: Sequence[tuple[int, ...]]) -> QuantizedModel:
    """The model with some gains by which the last bits of a norm are seen, where some gains do that.

    Beside a sum of squares of 46 bits and more, epsilon moves a reciprocal square root in its last bits alone, and a
    tie of ``u`` is a bit of 29. A gain of random bits shows either in one output of thousands; some gain puts a value
    of these very sequences so near to where the rounding steps that it does for certain.
    """

    def norm(of: QuantizedModel, key: TapKey) -> Norm:
        session = Golden(of).session()
        return Norm(
            np.concatenate([session.predict(tokens, True)[key] for tokens in sequences]), plan.norm_epsilon
        )

    first, shift = model.layers[0], layer_params(model, 0)["mlp_norm.shift"]
    read = norm(model, (0, "attn_residual"))
    gains, kept = first.mlp_norm, set[int]()
    exponents = read.wrong_exponents(plan.tile_rows).values()
    for wrong in (read.unit(1), *map(read.unit_at, exponents), read.unit_tie_down()):
        gains = _searched(gains, read.unit(), wrong, shift, plan, kept)
    model = replace(model, layers=(replace(first, mlp_norm=gains), *model.layers[1:]))
    read = norm(model, (plan.n_layers - 1, "mlp_residual"))
    gains = _searched(
        model.final_norm,
        read.unit(),
        read.unit_tie_down(),
        top_params(model)["final_norm.shift"],
        plan,
        set(),
    )
    return replace(model, final_norm=gains)


def _searched(
    gains: QuantizedGains, right: Tensor, wrong: Tensor, shift: int, plan: ChipPlan, kept: set[int]
) -> QuantizedGains:
    """Gains of which one makes another output of a right and a wrong ``u``, (T, H) each; the same if none does.

    Args:
        kept: elements whose gain stays; the one that is chosen is added.
    """
    tokens, elements = torch.nonzero(right != wrong, as_tuple=True)
    order = right[tokens, elements].abs().argsort(stable=True)
    for token, element in zip(tokens[order].tolist(), elements[order].tolist(), strict=True):
        if element in kept:
            continue
        pair = torch.stack((right[token, element], wrong[token, element]))
        largest = (1 << (shift + plan.act_bits - 1)) // max(1, int(pair.abs().max()))  # kept from saturation
        candidates = torch.arange(1, max(2, min(largest, 1 << 15)))
        outputs = round_shift(pair[:, None] * candidates, shift)
        if (seen := torch.nonzero(outputs[0] != outputs[1])).numel():
            values = gains.values.copy()
            values[element] = int(candidates[seen[-1]])
            kept.add(element)
            return replace(gains, values=values)
    return gains


def _layer(
    layer: QuantizedLayer,
    plan: ChipPlan,
    index: int,
    rng: np.random.Generator,
    *,
    is_great: bool,
    is_quiet: bool,
) -> QuantizedLayer:
    is_fine = is_great and index == 0
    frac = {
        **_frac(plan, (10 if is_fine else 16, 16) if is_great else (6, 6)),
        **(_quiet_frac(plan) if is_quiet else {}),
    }
    linears = {
        name: _matrix(
            matrix,
            plan.act_bits,
            plan.linears(index)[name].out_bits,
            frac[INPUTS[name]],
            frac[name],
            rng,
            QUIET_SPREAD.get(name) if is_quiet else None,
        )
        for name, matrix in layer.linears.items()
    }
    if is_fine:
        linears["o_proj"] = _two_great(linears["o_proj"], plan.tile_rows)
    return replace(
        layer,
        linears=linears,
        attn_norm=_gains(layer.attn_norm, frac["attn_norm"], rng),
        mlp_norm=_gains(
            layer.mlp_norm, frac["mlp_norm"], rng, FINE_SHIFT - plan.act_bits if is_fine else NORM_SHIFT
        ),
        frac=frac,
    )


def _frac(plan: ChipPlan, added: tuple[int, int]) -> Mapping[str, int]:
    """Gates reach beyond 16, the end of the sigmoid's table; what follows a product has less range than the product.

    Args:
        added: bits before the point, the sign among them, of what attention adds to the residual, and of what the MLP
            does: with 10 a norm's block exponent is 0 or 1, with 16 the sum reaches the ends of 32 bits.
    """
    act, kv = plan.act_bits, plan.kv_bits
    return {
        "attn_norm": act - 4,
        "q_proj": act - 2,
        "k_proj": act - 2,
        "v_proj": kv - 4,
        "k_rope": kv - 2,
        "attn_out": act - 2,
        "o_proj": act - added[0],
        "mlp_norm": act - 4,
        "gate_proj": act - 6,
        "up_proj": act - 6,
        "swiglu": act - 2,
        "down_proj": act - added[1],
    }


def _quiet_frac(plan: ChipPlan) -> Mapping[str, int]:
    """Scores differ by half a unit of the softmax; gates are below 1, between entries of the sigmoid's table.

    Values are small integers, and their means have so many bits after the point that the last of a sum is seen.
    """
    small = {"q_proj": 2, "k_proj": 2, "k_rope": 2, "v_proj": 0, "attn_out": 14}
    return {**small, "gate_proj": plan.act_bits - 1}


def _matrix(
    matrix: QuantizedMatrix,
    in_bits: int,
    out_bits: int,
    frac_in: int,
    frac_out: int,
    rng: np.random.Generator,
    spread_out: float | None = None,
) -> QuantizedMatrix:
    """Codes and scales are few powers of two, so that a sum's low bits are often zero, or half of what is lost.

    Where the output is wider than the input, scales are odd: else nothing would be lost.

    Args:
        spread_out: of an output; by default some saturate.
    """
    top = 1 << (matrix.bits - 1)
    codes = rng.choice(np.array([-top, -top // 2, 0, top // 2], dtype=np.int8), size=matrix.codes.shape)
    choice = np.array([4, 8] if out_bits <= in_bits else range(1, 512, 2), dtype=np.uint16)
    scales = rng.choice(choice, size=matrix.scales.shape)
    spread = 2 ** (in_bits - 1) / 2 * (0.6 * top) * float(choice.mean()) * math.sqrt(matrix.cols)
    shift = max(1, round(math.log2(spread / (spread_out or LOUD * 2 ** (out_bits - 1)))))
    return replace(matrix, codes=codes, scales=scales, exponent=shift - frac_in + frac_out)


def _two_great(matrix: QuantizedMatrix, lanes: int) -> QuantizedMatrix:
    """The first and the last output of a block are four times the others.

    A sum of squares is so small that epsilon counts beside it, and its largest element is in either of the lanes.
    """
    scales = matrix.scales // 4
    great = [0, lanes - 1]
    scales[great] = matrix.scales[great]
    return replace(matrix, scales=scales)


def _gains(
    gains: QuantizedGains, frac: int, rng: np.random.Generator, shift: int = NORM_SHIFT
) -> QuantizedGains:
    values = rng.choice([-1, 1], size=gains.values.shape) << rng.integers(2, 15, size=gains.values.shape)
    return replace(gains, values=values.astype(np.int16), exponent=shift - NORM_FRAC + frac)
