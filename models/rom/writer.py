"""The ROM images of a quantized model, in the order in which the hardware reads them (docs/rom-format.md)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from etchproof.checkpoint.linears import LINEARS
from etchproof.errors import InputError
from etchproof.quantize.quantized_model import QuantizedMatrix, QuantizedModel
from etchproof.render.images import Image
from models import chip
from models.chip import MODULES, ChipPlan, LinearPlan
from models.numerics import params, tables


def images(model: QuantizedModel, plan: ChipPlan) -> Iterator[Image]:
    """Every image of the chip, one after the other, so that only one is in memory at a time."""
    embedding = model.embedding
    blocks, lanes = plan.blocks(plan.hidden_size), plan.tile_rows
    codes = _offset(padded(embedding.codes, (plan.vocab_size, blocks * lanes)), embedding.bits)
    yield Image(-1, "embed_tokens.codes", embedding.bits, codes.reshape(plan.vocab_size, blocks, lanes))
    group = blocks * lanes if embedding.group_size >= plan.hidden_size else embedding.group_size
    groups = -(-blocks * lanes // group)
    yield Image(-1, "embed_tokens.scales", 16, padded(embedding.scales, (plan.vocab_size, groups)))
    yield from linear_images(-1, model.lm_head, plan.lm_head)
    yield _gains(-1, "final_norm", model.final_norm.values, plan)
    cos, sin = tables.rope_tables(model.config, plan.context)
    yield Image(-1, "rope.cos", 16, cos)
    yield Image(-1, "rope.sin", 16, sin)
    yield _params(-1, params.top_params(model))
    for index, layer in enumerate(model.layers):
        linears = plan.linears(index)
        for name in LINEARS:
            yield from linear_images(index, layer.linears[name], linears[name])
        yield _gains(index, "attn_norm", layer.attn_norm.values, plan)
        yield _gains(index, "mlp_norm", layer.mlp_norm.values, plan)
        yield _params(index, params.layer_params(model, index))


def _offset(codes: npt.NDArray[np.int8], bits: int) -> npt.NDArray[np.uint8]:
    """Codes as they are etched, in offset binary."""
    return codes.view(np.uint8) + np.uint8(1 << (bits - 1))  # modulo 256


def padded(array: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Zeros after the end of each axis."""
    if array.shape == shape:
        return array
    result = np.zeros(shape, dtype=array.dtype)
    result[tuple(slice(size) for size in array.shape)] = array
    return result


def tiled(array: npt.NDArray[Any], rows: int, inputs: int, blocks: int, chunks: int) -> npt.NDArray[Any]:
    """(rows, inputs) -> (blocks * chunks, rows of a block, inputs of a chunk)."""
    whole = padded(array, (blocks * rows, chunks * inputs))
    return whole.reshape(blocks, rows, chunks, inputs).swapaxes(1, 2).reshape(-1, rows, inputs)


def untiled(words: npt.NDArray[Any], blocks: int, chunks: int, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """The inverse of ``tiled``, without the padding: an array of that shape."""
    rows, inputs = words.shape[1:]
    whole = words.reshape(blocks, chunks, rows, inputs).swapaxes(1, 2).reshape(blocks * rows, chunks * inputs)
    return whole[: shape[0], : shape[1]]


def linear_images(layer: int, matrix: QuantizedMatrix, plan: LinearPlan) -> Iterator[Image]:
    """The images of one linear."""
    rows, inputs, blocks, chunks = plan.tile_rows, plan.tile_inputs, plan.blocks, plan.chunks
    codes = tiled(matrix.codes, rows, inputs, blocks, chunks)
    yield Image(layer, f"{plan.name}.codes", matrix.bits, _offset(codes, matrix.bits))
    if plan.group_size <= inputs:
        scales = tiled(matrix.scales, rows, inputs // plan.group_size, blocks, chunks)
    else:
        scales = tiled(matrix.scales, rows, 1, blocks, plan.scale_depth // blocks)
    yield Image(layer, f"{plan.name}.scales", chip.SCALE_BITS, scales)
    if matrix.bias is not None:
        yield Image(
            layer, f"{plan.name}.bias", 32, padded(matrix.bias, (blocks * rows,)).reshape(blocks, rows)
        )


def _gains(layer: int, name: str, values: npt.NDArray[np.int16], plan: ChipPlan) -> Image:
    blocks, lanes = plan.blocks(plan.hidden_size), plan.tile_rows
    return Image(layer, f"{name}.gains", 16, padded(values, (blocks * lanes,)).reshape(blocks, lanes))


def _params(layer: int, words: dict[str, int]) -> Image:
    return Image(layer, "params", 32, np.array(list(words.values()), dtype=np.int32))


_SITE = re.compile(r"^(?P<tensor>[\w.]+)\[(?P<index>\d+(?:,\d+)*)\]\^(?P<bit>\d+)$")
_LAYER: Final = re.compile(r"^model\.layers\.(\d+)\.(.+)$")
_NORMS: Final = {"input_layernorm": "attn_norm", "post_attention_layernorm": "mlp_norm"}


def site(text: str, plan: ChipPlan) -> tuple[int, str, tuple[int, ...], int]:
    """Where a weight's bit is etched: ``model.layers.2.mlp.down_proj[17,5]^1`` -> (layer, image, index, bit).

    Tensors: a linear's Hugging Face module name with [row, input] (codes), the same with ``.scales`` and
    [row, group], with ``.bias`` and [row]; ``model.embed_tokens`` and ``lm_head`` likewise; the norms
    (``model.norm``, ``model.layers.N.input_layernorm`` ...) with [element]; ``rope.cos`` and ``rope.sin`` with
    [position, pair], in every layer's copy; ``params`` and ``model.layers.N.params`` with [word].

    Raises:
        InputError: no such tensor, element or bit on this chip.
    """
    match = _SITE.match(text)
    if match is None:
        raise InputError(
            f"{text!r} is no site",
            key="--inject",
            hint="write rom:TENSOR[INDEX]^BIT, such as rom:lm_head[3,7]^0",
        )
    tensor, bit = match["tensor"], int(match["bit"])
    index = tuple(int(part) for part in match["index"].split(","))
    layer, module = -1, tensor
    if inner := _LAYER.match(tensor):
        layer, module = int(inner[1]), inner[2]
        if layer >= plan.n_layers:
            raise InputError(
                f"layer {layer} of {plan.n_layers}", key=f"--inject {text}", hint="layers count from 0"
            )
    image, address, limits, bits = _address(text, layer, module, index, plan)
    if any(i >= limit for i, limit in zip(index, limits, strict=True)):
        shape = ",".join(map(str, limits))
        raise InputError(f"element is outside [{shape}]", key=f"--inject {text}", hint="indices count from 0")
    if bit >= bits:
        raise InputError(f"bit {bit} of {bits}", key=f"--inject {text}", hint="bit 0 is the lowest")
    return layer, image, address, bit


def _address(
    text: str, layer: int, module: str, index: tuple[int, ...], plan: ChipPlan
) -> tuple[str, tuple[int, ...], tuple[int, ...], int]:
    """(image, index in it, size of each of the tensor's axes, bits of an element)."""
    lanes, inputs = plan.tile_rows, plan.tile_inputs
    base, part = _split(module)
    norm = _NORMS.get(base) if layer >= 0 else {"model.norm": "final_norm"}.get(base)

    def wants(count: int) -> None:
        if len(index) != count:
            raise InputError(f"has {len(index)} indices, expected {count}", key=f"--inject {text}")

    if module == "params":
        wants(1)
        return "params", index, (len(params.LAYER_WORDS if layer >= 0 else params.TOP_WORDS),), 32
    if layer < 0 and module in ("rope.cos", "rope.sin"):
        wants(2)
        return module, index, (plan.context, plan.head_dim // 2), 16
    if norm is not None and not part:
        wants(1)
        return f"{norm}.gains", (index[0] // lanes, index[0] % lanes), (plan.hidden_size,), 16
    if layer < 0 and base == "model.embed_tokens" and part in ("", "scales"):
        wants(2)
        row, element = index
        if not part:
            address = (row, element // lanes, element % lanes)
            return "embed_tokens.codes", address, (plan.vocab_size, plan.hidden_size), plan.embedding.bits
        groups = -(-plan.hidden_size // plan.embedding.group_size)
        return "embed_tokens.scales", (row, element), (plan.vocab_size, groups), 16
    linears = plan.linears(layer) if layer >= 0 else {"lm_head": plan.lm_head}
    linear = next((linears[n] for n in linears if base == (f"{MODULES[n]}.{n}" if layer >= 0 else n)), None)
    if linear is None or part not in ("", "scales", "bias") or (part == "bias" and not linear.has_bias):
        raise InputError(
            "no such tensor in this chip's ROM", key=f"--inject {text}", hint="use Hugging Face names"
        )
    wants(1 if part == "bias" else 2)
    block, lane = index[0] // lanes, index[0] % lanes
    if part == "bias":
        return f"{linear.name}.bias", (block, lane), (linear.rows,), 32
    if not part:
        address = (block * linear.chunks + index[1] // inputs, lane, index[1] % inputs)
        return f"{linear.name}.codes", address, (linear.rows, linear.cols), linear.bits
    limits = (linear.rows, -(-linear.cols // linear.group_size))
    per_word = linear.groups_per_word
    per_row = linear.scale_depth // linear.blocks
    return (
        f"{linear.name}.scales",
        (block * per_row + index[1] // per_word, lane, index[1] % per_word),
        limits,
        16,
    )


def _split(module: str) -> tuple[str, str]:
    """A trailing ``.scales`` or ``.bias`` apart from the module's name."""
    for part in ("scales", "bias"):
        if module.endswith(f".{part}"):
            return module.removesuffix(f".{part}"), part
    return module, ""
