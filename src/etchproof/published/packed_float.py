"""compressed-tensors' block formats: NVFP4, MXFP4 and MXFP6, their elements packed into bytes along the inputs.

The rule is the library's: ``weight[o, k] = element[o, k] * scale[o, g] / global_scale``, the last in NVFP4 alone
(docs/published.md, "compressed-tensors, block formats").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from etchproof.errors import shown
from etchproof.published.block_scaled import MXFP4, MXFP6_E2M3, NVFP4, BlockFormat, BlockScaled
from etchproof.published.matrix import PublishedMatrix
from etchproof.published.packing import bytes_of, unpack
from etchproof.published.stored import Keys, Linear


@dataclass(frozen=True)
class Layout:
    """How one of the library's formats stores a block format.

    Attributes:
        blocks: the format.
        strategy: as the config names it.
        scale_dtype: of the scales, as safetensors writes it.
        torch_dtype: of the scales, as the config names it.
    """

    blocks: BlockFormat
    strategy: str
    scale_dtype: str
    torch_dtype: str


LAYOUTS: Final = {
    "nvfp4-pack-quantized": Layout(NVFP4, "tensor_group", "F8_E4M3", "float8_e4m3fn"),
    "mxfp4-pack-quantized": Layout(MXFP4, "group", "U8", "uint8"),
    "mxfp6-pack-quantized": Layout(MXFP6_E2M3, "group", "U8", "uint8"),
}
"""By the name of the library's format."""


def check_weights(weights: Keys, form: str) -> tuple[int, int]:
    """Bits of an element and inputs of a block.

    Args:
        weights: of one scheme of the config; the keys of the format are taken.
        form: one of ``LAYOUTS``.

    Raises:
        InputError: a key asks for another format.
    """
    layout = LAYOUTS[form]
    blocks = layout.blocks
    weights.word("type", of=("float",))
    weights.whole("num_bits", of=(blocks.element.bits,))
    weights.word("strategy", of=(layout.strategy,))
    weights.whole("group_size", of=(blocks.size,))
    if not weights.flag("symmetric"):
        weights.refuse(f"is false: {blocks.name} has no zeros", "symmetric")
    weights.word("scale_dtype", of=(f"torch.{layout.torch_dtype}", layout.torch_dtype), default="")
    order = weights.take("actorder")
    if order not in (None, False, "weight", "static"):
        weights.refuse(
            f"is {shown(order)}, expected weight or static: blocks are of consecutive inputs", "actorder"
        )
    return blocks.element.bits, blocks.size


def read_blocks(
    linear: Linear, form: str, shape: tuple[int, int], *, input_scale: bool = False
) -> PublishedMatrix:
    """One linear.

    Args:
        linear: its tensors.
        form: one of ``LAYOUTS``.
        shape: (rows, cols), outputs and inputs.
        input_scale: whether there may be a scale of the inputs beside; it changes no code.

    Raises:
        InputError: a tensor is missing, surplus, of another shape or dtype, or holds a number that means nothing.
    """
    layout, (rows, cols) = LAYOUTS[form], shape
    blocks = layout.blocks
    names = ["weight_packed", "weight_scale", *(["weight_global_scale"] if blocks.divided else [])]
    linear.only((*names, *(["input_global_scale"] if input_scale else [])), f"this {form} scheme")
    bits, size = blocks.element.bits, blocks.size
    if cols % size:
        linear.refuse(f"cannot hold {cols} inputs: {blocks.name} has blocks of {size}", "weight_packed")
    of = f"as {cols} inputs of {bits} bits are packed"
    packed = linear.integers("weight_packed", (rows, bytes_of(cols, bits)), of, ("U8",))
    scales = linear.scales(
        "weight_scale", (rows, cols // size), f"blocks of {size} inputs", layout.scale_dtype, blocks.scale
    )
    divisor = _divisor(linear) if blocks.divided else 1.0
    matrix = BlockScaled(blocks, unpack(packed, bits), scales, divisor)
    return matrix.published(f"compressed-tensors {form}")


def _divisor(linear: Linear) -> float:
    """The number by which the whole matrix is divided."""
    name = "weight_global_scale"
    if (dtype := linear.dtype(name)) not in (None, "F32"):
        linear.refuse(f"has dtype {dtype}, expected F32", name)
    found = float(linear.floats(name, (1,), "one number for the matrix")[0])
    if found <= 0:
        linear.refuse(f"is {found:.9g}, expected more than 0: the whole matrix is divided by it", name)
    return found
