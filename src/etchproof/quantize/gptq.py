"""GPTQ: codes chosen one column at a time, each column's rounding error made up for by the columns still to come.

After Frantar et al. 2022 (arXiv:2210.17323). For a linear with inputs X, the error that counts is |X (W - W')^T|^2,
whose Hessian by each row of W' is X^T X. With U the upper Cholesky factor of its inverse, rounding column j of W to q
is best made up for by subtracting (w_j - q) / U_jj * U_jk from every later column k.

Scales are chosen before any code, from the weights as they are, so groups stay as etched while columns are taken in
any order; the order here is by falling input energy, which rounds the columns that matter most while there is still
room to make up for it. They are the scales of plain rounding (docs/numerics.md section 12: GPTQ replaces only the
choice of codes), or, with the recipe's ``gptq.clip``, smaller ones where that lowers the group's weighted error.

Layers go in order, and each sees the inputs that the already rounded part of the model gives it. All arithmetic is
float64 and one machine always makes the same codes. Another machine's matrix products may differ in their last bits,
which changes a code only where it lies within about 1e-12 of a rounding border.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from etchproof.checkpoint import Checkpoint
from etchproof.checkpoint.linears import module_name
from etchproof.errors import InputError
from etchproof.quantize.calibrate import CalibrationText, bias_of, layer_gains, linear_float64, weight_of
from etchproof.quantize.layerwise import rms_norm, run_layer
from etchproof.quantize.matrix import (
    EMBEDDING_RANGE,
    choose_scales,
    dequantize,
    expand,
    quantize_matrix,
    round_codes,
    row_blocks,
    step_sizes,
)
from etchproof.quantize.quantized_model import QuantizedMatrix
from etchproof.quantize.recipe import EMBEDDING_MODULE, LM_HEAD_MODULE, MatrixFormat, Recipe

_LAZY: Final = 128  # columns after which the errors of all of them reach the later ones in one product
_CLIPS: Final = tuple(percent / 100 for percent in range(100, 48, -2))
"""Scales that the clip search tries, as parts of the scale that reaches the group's largest weight."""


@dataclass(frozen=True)
class Curvature:
    """What GPTQ knows of a linear's inputs x (n, cols)."""

    energy: npt.NDArray[np.float64]  # (cols,) mean of x^2
    order: npt.NDArray[np.intp]  # (cols,) columns in the order in which they are rounded
    factor: npt.NDArray[np.float64]  # (cols, cols) U, rows and columns in that order; upper triangular


def curvature(
    x: Tensor, damping: float, *, name: str = "a linear", source: str | Path | None = None
) -> Curvature:
    """Energies, order and factor U of inputs x (n, cols) in float64.

    ``damping`` times the mean of the Hessian's diagonal is added to the diagonal.

    Args:
        name: the linear, for messages.
        source: the recipe's file, for messages.

    Raises:
        InputError: the damped Hessian is not positive definite in float64: more damping is needed.
    """
    hessian = x.T @ x / len(x)  # (cols, cols)
    energy = hessian.diagonal().clone()  # (cols,)
    mean = float(energy.mean())
    hessian.diagonal().add_(damping * mean if mean > 0 else 1.0)
    order = torch.argsort(energy, descending=True, stable=True)
    lower, failed = torch.linalg.cholesky_ex(hessian[order][:, order])
    if not int(failed):
        factor, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(lower), upper=True)
        if not int(failed):
            return Curvature(energy.numpy(), order.numpy(), factor.numpy())
    raise InputError(
        f"is {damping:g}, too little for {name}: its calibration inputs of {len(energy)} columns are too dependent",
        source=source,
        key="gptq.damping",
        hint="raise it; 0.01 is usual",
    )


def gptq_matrix(
    weight: npt.NDArray[np.float32],
    inputs: Curvature,
    bits: int,
    group_size: int,
    *,
    clip: bool = False,
    name: str = "weight",
    source: str | Path | None = None,
) -> QuantizedMatrix:
    """Quantize a matrix (rows, cols) for inputs of known curvature; arguments and errors as for ``quantize_matrix``.

    ``clip`` searches each group's scale. Rows are independent and go by blocks, as in plain rounding.
    """
    rows, cols = weight.shape
    reach = None
    if clip:
        reach = np.empty((rows, -(-cols // group_size)), dtype=np.float32)
        for block in row_blocks(rows, cols):
            reach[block] = _clipped_reach(weight[block], inputs.energy, bits, group_size)
    scales, exponent = choose_scales(weight, bits, group_size, reach=reach, name=name, source=source)
    codes = np.empty((rows, cols), dtype=np.int8)
    for block in row_blocks(rows, cols):
        step = expand(step_sizes(scales[block], exponent), group_size, cols)  # (block, cols)
        codes[block] = _compensated_codes(weight[block].astype(np.float64), step, inputs, bits)
    return QuantizedMatrix(bits, group_size, codes, scales, exponent)


def _compensated_codes(
    weight: npt.NDArray[np.float64], step: npt.NDArray[np.float64], inputs: Curvature, bits: int
) -> npt.NDArray[np.int8]:
    """Codes (rows, cols) of a block of rows with steps (rows, cols); see the module's docstring."""
    order, factor = inputs.order, inputs.factor
    left = np.ascontiguousarray(weight[:, order].T)  # (cols, rows) what remains to be rounded, in order
    step = np.ascontiguousarray(step[:, order].T)  # (cols, rows)
    codes = np.empty(left.shape, dtype=np.int8)  # (cols, rows)
    for first in range(0, len(left), _LAZY):
        last = min(first + _LAZY, len(left))
        errors = np.empty((last - first, left.shape[1]))  # (columns of this stretch, rows)
        for j in range(first, last):
            codes[j] = round_codes(left[j], step[j], bits)
            errors[j - first] = (left[j] - codes[j] * step[j]) / factor[j, j]
            left[j + 1 : last] -= factor[j, j + 1 : last, None] * errors[j - first]
        left[last:] -= factor[first:last, last:].T @ errors
    in_place = np.empty((left.shape[1], left.shape[0]), dtype=np.int8)  # (rows, cols)
    in_place[:, order] = codes.T
    return in_place


def _clipped_reach(
    weight: npt.NDArray[np.float32], energy: npt.NDArray[np.float64], bits: int, group_size: int
) -> npt.NDArray[np.float64]:
    """The magnitude that each group's largest code should stand for, (rows, groups): the largest weight or less.

    Of the parts in ``_CLIPS`` the one with the smallest error of plain rounding, columns weighted by energy.
    """
    top = 2 ** (bits - 1) - 1
    rows, cols = weight.shape
    groups = -(-cols // group_size)
    padded = np.zeros((rows, groups * group_size))  # a short group is filled with zeros of no energy
    padded[:, :cols] = weight
    weights = padded.reshape(rows, groups, group_size)
    matters = np.zeros(groups * group_size)
    matters[:cols] = energy
    matters = matters.reshape(groups, group_size)
    largest = np.abs(weights).max(axis=2)  # (rows, groups)
    best_error = np.full((rows, groups), np.inf)
    best: npt.NDArray[np.float64] = largest.copy()
    for part in _CLIPS:
        step = (part * largest / top)[:, :, None]  # (rows, groups, 1)
        error = weights - step * round_codes(weights, np.broadcast_to(step, weights.shape), bits)
        error = (error * error * matters).sum(axis=2)  # (rows, groups)
        better = error < best_error
        best_error[better] = error[better]
        best[better] = part * largest[better]
    return best


def gptq_matrices(
    checkpoint: Checkpoint,
    recipe: Recipe,
    formats: Mapping[str, MatrixFormat],
    text: CalibrationText,
    say: Callable[[str], None],
) -> dict[str, QuantizedMatrix]:
    """Every ROM matrix by module name: linears by GPTQ on the text, the embedding (which has no inputs) to nearest.

    Raises:
        InputError: a tensor's magnitude is beyond the arithmetic, or the damping is too small.
    """
    config, knobs = checkpoint.config, recipe.gptq
    matrices: dict[str, QuantizedMatrix] = {}

    def seen(module: str, x: Tensor) -> Curvature:
        return curvature(x.flatten(0, 1), knobs.damping, name=module, source=recipe.source)

    def quantize(module: str, inputs: Curvature) -> QuantizedMatrix:
        say(f"GPTQ {module}")
        form = formats[module]
        name, weight = weight_of(checkpoint, module)
        matrices[module] = gptq_matrix(
            weight,
            inputs,
            form.bits,
            form.group_size,
            clip=knobs.clip,
            name=name,
            source=checkpoint.file_of(name),
        )
        return matrices[module]

    form = formats[EMBEDDING_MODULE]
    name, weight = weight_of(checkpoint, EMBEDDING_MODULE)
    embedding = quantize_matrix(
        weight,
        form.bits,
        form.group_size,
        span=EMBEDDING_RANGE,
        name=name,
        source=checkpoint.file_of(name),
    )
    matrices[EMBEDDING_MODULE] = embedding
    x = torch.from_numpy(dequantize(embedding))[text.tokens].double()  # (B, T, hidden)

    for layer in range(config.n_layers):
        known: tuple[Tensor, Curvature] | None = None  # linears that follow each other share their inputs

        def linear(tap: str, h: Tensor, layer: int = layer) -> Tensor:
            nonlocal known
            module = module_name(layer, tap)
            if known is None or known[0] is not h:
                known = (h, seen(module, h))
            rounded = torch.from_numpy(dequantize(quantize(module, known[1])))
            return linear_float64(h, rounded, bias_of(checkpoint, module))

        attn_gain, mlp_gain = layer_gains(checkpoint, layer)
        x = run_layer(config, x, attn_gain, mlp_gain, linear, lambda tap, value: None)
    x = rms_norm(config, x, checkpoint.tensor("model.norm.weight").double())
    quantize(LM_HEAD_MODULE, seen(LM_HEAD_MODULE, x))
    return {module: matrices[module] for module in formats}
