"""The integers of a quantized model held against the files that they were made from, by docs/numerics.md section 12.

Golden model and chip are made from the same integers, so neither says whether those are right. This is a second look:
tensors and keys are taken from the files again, past everything that imports them, and each integer has to be what the
page says of it. It says so by what a right one fulfils, not by computing it the way the quantizer does: a code is
within half a step of its weight, a scale is the nearest to its group's largest weight, an exponent is the largest that
fits, and so on, in float64 that holds each of these terms exactly.

The codes of GPTQ do not follow from the weights alone; of them only the range is checked.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from etchproof.adapter import Adapter
from etchproof.adapter.config import CONFIG_FILE as ADAPTER_CONFIG
from etchproof.adapter.load import WEIGHTS_FILE as ADAPTER_WEIGHTS
from etchproof.checkpoint import Checkpoint
from etchproof.checkpoint.linears import INPUTS, LINEARS, module_name
from etchproof.checkpoint.safetensors_file import open_safetensors
from etchproof.files.json_file import read_json_object
from etchproof.float_model.llama import FloatModel
from etchproof.quantize.audit_gguf import GgufTensors
from etchproof.quantize.calibrate import CalibrationText, calibrate, calibration_text
from etchproof.quantize.quantized_model import (
    AdapterMatrix,
    QuantizedAdapter,
    QuantizedGains,
    QuantizedMatrix,
    QuantizedModel,
)

Float64s = npt.NDArray[np.float64]
Span = tuple[float, float]

_TIED: Final = ("model.embed_tokens.weight", "lm_head.weight")
_SMALL: Final = 1 << 28
"""Weights of a model of which the float model is held whole, in float64; a larger one is calibrated layer by layer."""
_BLOCK: Final = 1 << 22
_LARGEST_SCALE: Final = 2**16 - 1
_LARGEST_16: Final = 2**15 - 1

_KEYS: Final = {
    "hidden_size": "hidden_size",
    "intermediate_size": "intermediate_size",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "num_key_value_heads": "n_kv_heads",
    "head_dim": "head_dim",
    "vocab_size": "vocab_size",
    "max_position_embeddings": "context",
    "rms_norm_eps": "rms_norm_eps",
    "tie_word_embeddings": "tie_word_embeddings",
    "attention_bias": "attention_bias",
    "mlp_bias": "mlp_bias",
}
"""Keys of config.json, and how the resolved architecture calls them."""
_SCALING_KEYS: Final = (
    *("factor", "low_freq_factor", "high_freq_factor"),
    "original_max_position_embeddings",
)


class Files:
    """The tensors of a checkpoint's or an adapter's folder, as its files hold them."""

    def __init__(self, folder: Path, pattern: str) -> None:
        self._held: dict[str, Path] = {}
        for path in sorted(folder.glob(pattern)):
            with open_safetensors(path) as file:
                self._held |= dict.fromkeys(file.keys(), path)

    def __contains__(self, name: str) -> bool:
        return name in self._held

    def tensor(self, name: str) -> Tensor:
        """One tensor as float32."""
        with open_safetensors(self._held[name]) as file:
            found: Tensor = file.get_tensor(name)
        return found.to(torch.float32)

    def read(self, name: str) -> Float64s:
        """The same in float64."""
        found: Float64s = self.tensor(name).numpy().astype(np.float64)
        return found


def audit(
    model: QuantizedModel,
    checkpoint: Checkpoint,
    adapters: Sequence[tuple[Adapter, QuantizedAdapter]] = (),
    text: CalibrationText | None = None,
) -> Iterator[str]:
    """Everything in which a quantized model and its adapters are not what the files and the recipe say.

    Args:
        checkpoint: that the model was quantized from.
        adapters: each as it was read, and its integers.
        text: the calibration text, where it is known already.

    Raises:
        InputError: a file cannot be read.
    """
    files: Files | GgufTensors
    if checkpoint.gguf is None:
        yield from _keys(model, checkpoint.path)
        files = Files(checkpoint.path, "*.safetensors")
    else:
        files = GgufTensors(checkpoint.path, model.config)
        yield from files.keys()
    tied = model.config.tie_word_embeddings
    embedding, head = _TIED
    yield from _matrix(model, "embedding", model.embedding, files.read(embedding), (16, 46), embedding=True)
    yield from _matrix(model, "lm_head", model.lm_head, files.read(embedding if tied else head), (-16, 46))
    for layer, quantized in enumerate(model.layers):
        for name in LINEARS:
            module = module_name(layer, name)
            matrix = quantized.linears[name]
            yield from _matrix(model, module, matrix, files.read(f"{module}.weight"), (-16, 46))
            bias = files.read(f"{module}.bias") if f"{module}.bias" in files else None
            yield from _bias(module, matrix, bias, quantized.frac[INPUTS[name]])
        prefix = f"model.layers.{layer}"
        for norm, gains in (
            (f"{prefix}.input_layernorm", quantized.attn_norm),
            (f"{prefix}.post_attention_layernorm", quantized.mlp_norm),
        ):
            yield from _gains(norm, gains, files.read(f"{norm}.weight"))
    yield from _gains("model.norm", model.final_norm, files.read("model.norm.weight"))

    text = text or calibration_text(checkpoint, model.recipe)
    weights = sum(math.prod(shape) for shape in checkpoint.weights.shapes.values())
    whole = weights <= _SMALL
    ranges = _ranges(model, files, text.tokens) if whole else calibrate(checkpoint, text)
    yield from _fracs(model, ranges)
    for adapter, integers in adapters:
        yield from _adapter(model, files if whole else None, text.tokens, adapter, integers)


def _keys(model: QuantizedModel, folder: Path) -> Iterator[str]:
    """What config.json says in so many words."""
    said, config = read_json_object(folder / "config.json"), model.config
    for key, name in _KEYS.items():
        if said.get(key) is not None and said[key] != getattr(config, name):
            yield f"config.json: {key} is {said[key]}, the model was made with {getattr(config, name)}"
    rope = {**(said.get("rope_scaling") or {}), **(said.get("rope_parameters") or {})}
    theta = rope.get("rope_theta", said.get("rope_theta"))
    if theta is not None and theta != config.rope.theta:
        yield f"config.json: rope_theta is {theta}, the model was made with {config.rope.theta}"
    for key in _SCALING_KEYS:
        found = getattr(config.rope.scaling, key, None)
        if rope.get(key) is not None and found is not None and found != rope[key]:
            yield f"config.json: {key} of RoPE is {rope[key]}, the model was made with {found}"


def _matrix(
    model: QuantizedModel,
    name: str,
    matrix: QuantizedMatrix,
    weight: Float64s,
    span: tuple[int, int],
    *,
    embedding: bool = False,
) -> Iterator[str]:
    """Codes, scales and exponent of one matrix, by blocks of rows."""
    if weight.shape != matrix.codes.shape:
        yield f"{name}: {list(matrix.codes.shape)} codes of {list(weight.shape)} weights"
        return
    gptq = model.recipe.method == "gptq" and not embedding
    clipped = gptq and model.recipe.gptq.clip
    top, size, groups = 2 ** (matrix.bits - 1) - 1, matrix.group_size, matrix.scales.shape[1]
    if groups != -(-matrix.cols // size):
        yield f"{name}: {groups} scales in a row of {matrix.cols} weights in groups of {size}"
        return
    largest = 0.0
    for start in range(0, matrix.rows, max(1, _BLOCK // matrix.cols)):
        rows = slice(start, start + max(1, _BLOCK // matrix.cols))
        padded = np.zeros((len(weight[rows]), groups * size))
        padded[:, : matrix.cols] = weight[rows]
        most = np.abs(padded).reshape(len(padded), groups, size).max(axis=2)  # (block, groups)
        largest = max(largest, float(most.max(initial=0)))
        scales = matrix.scales[rows].astype(np.float64)
        reach = 2 * np.ldexp(most, matrix.exponent)
        low, high = (2 * scales - 1) * top, (2 * scales + 1) * top
        wrong = np.where(
            most == 0, scales != 0, (scales < 1) | (reach >= high) | ((reach < low) & (scales > 1))
        )
        if not clipped and wrong.any():
            row, group = np.argwhere(wrong)[0]
            yield f"{name}: row {start + row} group {group} has scale {int(scales[row, group])}, not the nearest"
            return
        step = np.repeat(np.ldexp(scales, -matrix.exponent), size, axis=1)[:, : matrix.cols]
        codes = matrix.codes[rows].astype(np.float64)
        off = weight[rows] - codes * step  # exact: see the module's docstring
        beyond = (np.abs(codes) == top) & (np.sign(off) == np.sign(codes))
        wrong = (2 * np.abs(off) > step) | ((2 * np.abs(off) == step) & (codes % 2 == 1) & (step > 0))
        wrong = np.where(step == 0, codes != 0, wrong & ~beyond)
        wrong = (np.abs(codes) > top) | (wrong & (not gptq))
        if wrong.any():
            row, col = np.argwhere(wrong)[0]
            yield f"{name}: code {int(codes[row, col])} at [{start + row},{col}] is not the nearest to its weight"
            return
    if not clipped:
        yield from _exponent(name, matrix.exponent, largest / top, _LARGEST_SCALE, span)


def _exponent(name: str, exponent: int, largest: float, limit: int, span: tuple[int, int]) -> Iterator[str]:
    """Whether it is the largest with which the largest value rounds to at most the limit."""
    fits = largest * 2.0**exponent < limit + 0.5
    more = exponent < span[1] and largest * 2.0 ** (exponent + 1) < limit + 0.5
    if not span[0] <= exponent <= span[1] or not fits or more:
        yield f"{name}: exponent {exponent} is not the largest that holds {largest:.6g}"


def _gains(name: str, gains: QuantizedGains, weight: Float64s) -> Iterator[str]:
    scaled = weight * math.sqrt(len(weight))
    wanted = np.rint(scaled * 2.0**gains.exponent)
    if gains.values.shape != wanted.shape or (gains.values != wanted).any():
        yield f"{name}: gains that are not the nearest"
    yield from _exponent(name, gains.exponent, float(np.abs(scaled).max()), _LARGEST_16, (-16, 30))


def _bias(name: str, matrix: QuantizedMatrix, bias: Float64s | None, frac: int) -> Iterator[str]:
    if (bias is None) != (matrix.bias is None):
        yield f"{name}: a bias {'was lost' if matrix.bias is None else 'that no file has'}"
    elif bias is not None:
        assert matrix.bias is not None
        wanted = np.rint(np.ldexp(bias, matrix.exponent + frac - matrix.bias_shift))
        if (matrix.bias != wanted).any():
            yield f"{name}: a bias that is not the nearest"
        finer = np.rint(np.ldexp(bias, matrix.exponent + frac - matrix.bias_shift + 1))
        if matrix.bias_shift > 0 and np.abs(finer).max() < 2**31:
            yield f"{name}: a bias with shift {matrix.bias_shift}, more than it takes"


def _ranges(
    model: QuantizedModel, files: Files | GgufTensors, text: Tensor, adapter: Adapter | None = None
) -> Mapping[tuple[int, str], float]:
    """The largest magnitude of each tap of the float model, whose weights are the files'."""
    largest: dict[tuple[int, str], float] = {}

    def see(layer: int, tap: str, value: Tensor) -> None:
        largest[layer, tap] = max(largest.get((layer, tap), 0.0), float(value.abs().max()))

    reference = FloatModel(model.config, files.tensor, torch.float64, adapter)
    for sequence in text:
        reference.forward(sequence, see)
    return largest


def _fracs(model: QuantizedModel, ranges: Mapping[tuple[int, str], float]) -> Iterator[str]:
    """The table of section 12.1."""
    recipe, config = model.recipe, model.config
    wide, kv = recipe.activation_bits, recipe.kv_bits
    kappa = 15 - math.floor(math.log2(math.log2(math.e) / math.sqrt(config.head_dim)))

    def below(total: int) -> Span:
        return total - 62, total

    def check(layer: int, tap: str, found: int, width: int, spans: Sequence[Span], *of: str) -> Iterator[str]:
        most = max(ranges[layer, name] for name in of or (tap,))
        want = 24.0
        if most > 0:
            bits, exponent = math.frexp(recipe.headroom * most)
            want = min(max(width - 1 - (exponent - (bits == 0.5)), -8), 24)
        low, high = max(span[0] for span in spans), min(span[1] for span in spans)
        if found != min(max(want, low), high):
            where = f"layer {layer} {tap}" if layer >= 0 else tap
            yield f"{where}: {found} fractional bits for values of up to {most:.6g}, expected {want:.0f}"

    for layer, quantized in enumerate(model.layers):
        frac, e = quantized.frac, {name: matrix.exponent for name, matrix in quantized.linears.items()}
        x, h = frac["attn_norm"], frac["mlp_norm"]
        rows: tuple[tuple[str, int, tuple[Span, ...], tuple[str, ...]], ...] = (
            ("attn_norm", wide, (below(29 + quantized.attn_norm.exponent),), ()),
            ("q_proj", wide, (below(e["q_proj"] + x),), ("q_proj", "q_rope")),
            ("k_proj", wide, (below(e["k_proj"] + x),), ()),
            ("v_proj", kv, (below(e["v_proj"] + x),), ()),
            (
                "k_rope",
                kv,
                (
                    below(14 + frac["k_proj"]),
                    (16 - kappa - frac["q_proj"], 78 - kappa - frac["q_proj"]),
                ),
                (),
            ),
            ("attn_out", wide, (below(46 + frac["v_proj"]),), ()),
            ("o_proj", wide, (below(e["o_proj"] + frac["attn_out"]), (-15, 16)), ()),
            ("mlp_norm", wide, (below(29 + quantized.mlp_norm.exponent),), ()),
            ("gate_proj", wide, (below(e["gate_proj"] + h), (-8, 16)), ()),
            ("up_proj", wide, (below(e["up_proj"] + h),), ()),
            ("swiglu", wide, (below(20 + frac["gate_proj"] + frac["up_proj"]),), ()),
            ("down_proj", wide, (below(e["down_proj"] + frac["swiglu"]), (-15, 16)), ()),
        )
        for tap, width, spans, of in rows:
            yield from check(layer, tap, frac[tap], width, spans, *of)
    norm = model.frac["final_norm"]
    yield from check(-1, "final_norm", norm, wide, [below(29 + model.final_norm.exponent)])
    yield from check(-1, "logits", model.frac["logits"], 16, [below(model.lm_head.exponent + norm)])


def _adapter(
    model: QuantizedModel,
    base: Files | GgufTensors | None,
    text: Tensor,
    adapter: Adapter,
    integers: QuantizedAdapter,
) -> Iterator[str]:
    """Section 14.1; without ``base`` nothing is said of h's fractional bits."""
    said = read_json_object(adapter.path / ADAPTER_CONFIG)
    files = Files(adapter.path, ADAPTER_WEIGHTS)
    if integers.linears.keys() != adapter.linears.keys():
        yield f"{adapter.name}: other linears are adapted than its files say"
        return
    own = {}
    for key, lora in adapter.linears.items():
        a, b = (files.tensor(f"base_model.model.{lora.module}.lora_{part}.weight") for part in "AB")
        own[key] = replace(lora, A=a, B=b, scaling=_scaling(said, lora.alpha, len(a)))
    ranges = None if base is None else _ranges(model, base, text, replace(adapter, linears=own))
    for (layer, name), matrix in integers.linears.items():
        where = f"{adapter.name}: layer {layer} {name}"
        lora, quantized = own[layer, name], model.layers[layer]
        frac, exponent = quantized.frac[INPUTS[name]], quantized.linears[name].exponent
        first: Float64s = lora.A.numpy().astype(np.float64)
        second: Float64s = lora.scaling * lora.B.numpy().astype(np.float64)
        for part, found, wanted, unit in (
            ("lora_A", matrix.a, first, matrix.a_exponent),
            ("lora_B", matrix.b, second, matrix.b_exponent),
        ):
            if found.shape != wanted.shape or (found != np.rint(np.ldexp(wanted, unit))).any():
                yield f"{where}: {part} is not the nearest to the file's" + (", scaled" * (part == "lora_B"))
        yield from _exponent(
            f"{where} lora_A", matrix.a_exponent, float(np.abs(first).max(initial=0)), _LARGEST_16, (-16, 46)
        )
        yield from _shifts(where, matrix, frac, exponent, float(np.abs(second).max(initial=0)))
        if ranges is not None:
            tap = (layer, f"{name}.lora_a")
            yield from _h_frac(where, model, matrix, frac, exponent, ranges[tap], second)


def _scaling(said: Mapping[str, Any], alpha: float, rank: int) -> float:
    """PEFT's; a pattern of alphas is resolved by whoever read the adapter."""
    if not said.get("alpha_pattern"):
        alpha = float(said["lora_alpha"])
    return alpha / (math.sqrt(rank) if said.get("use_rslora") else rank)


def _shifts(where: str, matrix: AdapterMatrix, frac: int, exponent: int, largest: float) -> Iterator[str]:
    if matrix.a_shift != matrix.a_exponent + frac - matrix.h_frac:
        yield f"{where}: a_shift is {matrix.a_shift}"
    if matrix.b_shift != exponent + frac - matrix.h_frac - matrix.b_exponent:
        yield f"{where}: b_shift is {matrix.b_shift}"
    if matrix.b_shift > 0:  # where it is 0, the exponent may have been lowered to make it so
        yield from _exponent(f"{where} lora_B", matrix.b_exponent, largest, _LARGEST_16, (-16, 46))


def _h_frac(
    where: str,
    model: QuantizedModel,
    matrix: AdapterMatrix,
    frac: int,
    exponent: int,
    most: float,
    b: Float64s,
) -> Iterator[str]:
    """Of A x, whose width is 16; lowered where the product would be finer than the accumulator."""
    want = 24
    if most > 0:
        bits, power = math.frexp(model.recipe.headroom * most)
        want = min(max(15 - (power - (bits == 0.5)), -8), 24)
    low, high = matrix.a_exponent + frac - 62, matrix.a_exponent + frac
    want = min(max(want, low), high)
    largest, unit = float(np.abs(b).max(initial=0)), 46
    while unit > -16 and largest * 2.0**unit >= _LARGEST_16 + 0.5:
        unit -= 1
    surplus = max(0, want + unit - exponent - frac)
    want = max(want - surplus // 2, low) if surplus else want
    if matrix.h_frac != want:
        yield f"{where}: {matrix.h_frac} fractional bits of A x of up to {most:.6g}, expected {want}"
