"""A LoRA adapter in integers beside a quantized model (docs/numerics.md section 14)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from etchproof.adapter import Adapter, LoraLinear
from etchproof.adapter.config import CONFIG_FILE
from etchproof.adapter.load import WEIGHTS_FILE
from etchproof.checkpoint import Checkpoint
from etchproof.checkpoint.linears import INPUTS
from etchproof.errors import InputError
from etchproof.quantize.calibrate import (
    CalibrationText,
    FloatLinears,
    calibration_text,
    embed,
    layer_gains,
)
from etchproof.quantize.frac import SHIFT_MAX, calibrated_frac
from etchproof.quantize.layerwise import run_layer
from etchproof.quantize.matrix import EXPONENT_RANGE, choose_exponent
from etchproof.quantize.quantized_model import AdapterMatrix, QuantizedAdapter, QuantizedModel

ADAPTER_BITS: Final = 16
"""Of a, b and h."""

_LIMIT: Final = 2 ** (ADAPTER_BITS - 1) - 1
_SUM_BITS: Final = 60  # |d * 2^b_shift| <= 2^60
_PRODUCT_BITS: Final = 2 * (ADAPTER_BITS - 1)  # |b h| <= 2^30

AdapterRanges = Mapping[tuple[int, str], float]
"""The largest magnitude of A x of each adapted linear, by (layer, linear)."""


def max_b_shift(max_rank: int) -> int:
    """The largest b_shift with which the sum of a chip's ranks cannot pass 2^60."""
    return _SUM_BITS - _PRODUCT_BITS - (max_rank - 1).bit_length()


def quantize_adapter(
    model: QuantizedModel,
    adapter: Adapter,
    checkpoint: Checkpoint,
    *,
    progress: Callable[[str], None] | None = None,
    text: CalibrationText | None = None,
) -> QuantizedAdapter:
    """Round an adapter for the chip of a quantized model.

    The float model with the adapter on says how large A x gets on the recipe's calibration text; the result is a
    function of the contents of checkpoint, recipe and adapter alone. Memory holds one float32 matrix of the model at a
    time, except that sampling the text holds the whole float model.

    Args:
        checkpoint: that the model was quantized from.
        progress: is handed a line for each stage and layer.
        text: the recipe's calibration text, where it is known already.

    Raises:
        InputError: the chip takes no adapters or none of that rank, or a magnitude is beyond the arithmetic.
    """
    say = progress or (lambda line: None)
    _check(model, adapter)
    if text is None:
        if model.recipe.calibration.source == "sampled":
            say("sampling the calibration text")
        text = calibration_text(checkpoint, model.recipe)
    largest = adapter_ranges(checkpoint, adapter, text, say)
    return QuantizedAdapter(
        adapter.name,
        adapter.sha256,
        {
            (layer, name): _round(model, adapter, layer, name, lora, largest[layer, name])
            for (layer, name), lora in adapter.linears.items()
        },
    )


def adapter_ranges(
    checkpoint: Checkpoint,
    adapter: Adapter,
    text: CalibrationText,
    progress: Callable[[str], None] | None = None,
) -> AdapterRanges:
    """The largest |A x| of each adapted linear in the float model with the adapter on, in float64, layer by layer."""
    config = checkpoint.config
    largest: dict[tuple[int, str], float] = {}
    last = max(layer for layer, _ in adapter.linears)
    x = embed(checkpoint, text.tokens)  # (B, T, hidden)
    for layer in range(last + 1):
        if progress:
            progress(f"calibrating layer {layer + 1} of {last + 1} with {adapter.name}")
        base = FloatLinears(checkpoint, layer)

        def linear(tap: str, value: Tensor, layer: int = layer, base: FloatLinears = base) -> Tensor:
            lora = adapter.linears.get((layer, tap))
            y = base(tap, value)
            if lora is None:
                return y
            h = value @ lora.A.double().T  # (B, T, r)
            largest[layer, tap] = float(h.abs().max())
            return y + lora.scaling * (h @ lora.B.double().T)

        attn_gain, mlp_gain = layer_gains(checkpoint, layer)
        x = run_layer(config, x, attn_gain, mlp_gain, linear, lambda tap, value: None)
    return largest


def _check(model: QuantizedModel, adapter: Adapter) -> None:
    """The chip has slots, room for each rank, and these linears."""
    lora = model.recipe.lora
    if lora.slots == 0:
        raise InputError(
            "is 0: this chip takes no adapters",
            source=model.recipe.source,
            key="lora.slots",
            hint="choose 1 or more",
        )
    for (layer, name), linear in adapter.linears.items():
        base = model.layers[layer].linears[name]
        shape = [linear.B.shape[0], linear.A.shape[1]]
        if shape != [base.rows, base.cols]:
            raise InputError(
                f"adapts a linear of shape {shape}, but that of {model.config.name} is {[base.rows, base.cols]}",
                source=adapter.path / WEIGHTS_FILE,
                key=linear.module,
                hint="give an adapter of this model",
            )
        if linear.r > lora.max_rank:
            raise InputError(
                f"has rank {linear.r}, above the chip's maximum of {lora.max_rank}",
                source=adapter.path / CONFIG_FILE,
                key=linear.module,
                hint=f"raise lora.max_rank of {model.recipe.source}",
            )


def _round(
    model: QuantizedModel, adapter: Adapter, layer: int, name: str, lora: LoraLinear, largest: float
) -> AdapterMatrix:
    """A and scaling * B as integers, and the shifts between them."""
    base, frac = model.layers[layer].linears[name], model.layers[layer].frac[INPUTS[name]]

    def refused(problem: str, part: str) -> InputError:
        return InputError(
            problem,
            source=adapter.path / WEIGHTS_FILE,
            key=f"{lora.module}.{part}",
            hint="trained adapters are far smaller: is it damaged, or its lora_alpha wrong?",
        )

    a, b = _float64(lora.A), lora.scaling * _float64(lora.B)  # (r, cols), (rows, r)
    exponents, magnitude = [], 0.0
    for part, values in (("lora_A", a), ("lora_B", b)):
        magnitude = float(np.abs(values).max(initial=0))
        exponent = choose_exponent(magnitude, 1, _LIMIT, EXPONENT_RANGE)
        if exponent is None:
            limit = (_LIMIT + 0.5) * 2.0 ** -EXPONENT_RANGE[0]
            scaled = " with its scaling" if part == "lora_B" else ""
            raise refused(f"holds {magnitude:.9g}{scaled}, expected less than {limit:.9g}", part)
        exponents.append(exponent)
    a_exponent, b_exponent = exponents

    # a_shift = a_exponent + frac - h_frac in 0 .. 62
    low, high = a_exponent + frac - SHIFT_MAX, a_exponent + frac
    h_frac = min(max(calibrated_frac(ADAPTER_BITS, largest, model.recipe.headroom), low), high)
    b_shift = base.exponent + frac - b_exponent - h_frac
    if b_shift < 0:  # the sum would be finer than the accumulator: h and b each give up half of those bits
        surplus = -b_shift
        h_frac = max(h_frac - surplus // 2, low)
        b_exponent = base.exponent + frac - h_frac
        b_shift = 0
    limit = max_b_shift(model.recipe.lora.max_rank)
    if b_shift > limit:
        raise refused(
            f"holds {magnitude:.6g} with its scaling: one of its units is 2^{b_shift} of the accumulator's, more than "
            f"2^{limit}",
            "lora_B",
        )
    return AdapterMatrix(
        a=_rounded(a, a_exponent),
        b=_rounded(b, b_exponent),
        a_shift=a_exponent + frac - h_frac,
        b_shift=b_shift,
        a_exponent=a_exponent,
        b_exponent=b_exponent,
        h_frac=h_frac,
    )


def _float64(values: Tensor) -> npt.NDArray[np.float64]:
    return values.to(torch.float64).numpy()


def _rounded(values: npt.NDArray[np.float64], exponent: int) -> npt.NDArray[np.int16]:
    """To nearest, ties to even."""
    return np.rint(np.ldexp(values, exponent)).astype(np.int16)
