"""MXFP4 as gpt-oss packs it: blocks of 32 elements in 16 bytes along the inputs, their scales apart.

The rule is that of transformers: ``weight[o, k] = element[o, k] * 2**(scales[o, k // 32] - 127)``, the low nibble of a
byte first (docs/published.md, "MXFP4 of gpt-oss").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from etchproof.published.block_scaled import MXFP4, BlockScaled
from etchproof.published.expressions import check_expression
from etchproof.published.matrix import PublishedMatrix
from etchproof.published.packing import bytes_of, unpack
from etchproof.published.stored import Keys, Linear

if TYPE_CHECKING:
    from torch import Tensor

_LEFT_OUT: Final = "modules_to_not_convert"


@dataclass(frozen=True)
class Mxfp4:
    """What ``quantization_config`` says of an MXFP4 checkpoint.

    Attributes:
        left_out: expressions; modules that one matches up to a dot or the end, or that end in one, are not quantized.
    """

    left_out: tuple[str, ...]

    @classmethod
    def read_config(cls, keys: Keys) -> Mxfp4:
        """The scheme that the keys describe.

        Raises:
            InputError: a key is bad or unknown, or asks for what is not read here.
        """
        left_out = keys.names(_LEFT_OUT)
        for entry in left_out:
            check_expression(keys, entry, _LEFT_OUT, entry)
        keys.nothing(dequantize="the weights are no longer in the format then")
        keys.end(())
        return cls(left_out)

    def read(
        self, module: str, shape: tuple[int, int], tensors: Mapping[str, Tensor], source: Path
    ) -> PublishedMatrix:
        """One linear; arguments and errors as of ``Gptq.read``."""
        rows, cols = shape
        linear, stem = _linear(module, tensors, source)
        blocks, scales = f"{stem}_blocks", f"{stem}_scales"
        for entry in self.left_out:
            if re.match(rf"(?:{entry})(?:(?<=\.)|(?=\.|$))", module) or module.endswith(entry):
                linear.refuse(f"is left out by {entry!r} in {_LEFT_OUT}", blocks)
        Linear(module, tensors, source).only(("weight_blocks", "weight_scales"), "MXFP4")
        size, bits = MXFP4.size, MXFP4.element.bits
        if cols % size:
            linear.refuse(f"cannot hold {cols} inputs: MXFP4 has blocks of {size}", blocks)
        groups = cols // size
        packed = linear.integers(
            blocks,
            (rows, groups, bytes_of(size, bits)),
            f"as {cols} inputs of {bits} bits are packed in blocks of {size}",
            ("U8",),
        )
        held = linear.scales(scales, (rows, groups), f"blocks of {size} inputs", "U8", MXFP4.scale)
        patterns = unpack(packed.reshape(rows, -1), bits)
        return BlockScaled(MXFP4, patterns, held).published("MXFP4 of gpt-oss")


def _linear(module: str, tensors: Mapping[str, Tensor], source: Path) -> tuple[Linear, str]:
    """What the names of a linear's two tensors begin with: its parameter's name, as ``weight``, or its own.

    gpt-oss names parameters of its experts so, of which each matrix is one ("mlp.experts.gate_up_proj_blocks").

    Raises:
        InputError: there are both.
    """
    above, _, own = module.rpartition(".")
    inside, beside = Linear(module, tensors, source), Linear(above, tensors, source)
    if not above or not beside.has(f"{own}_blocks"):
        return inside, "weight"
    if inside.has("weight_blocks"):
        beside.refuse(f"is there beside {module}.weight_blocks, expected one of them", f"{own}_blocks")
    return beside, own
