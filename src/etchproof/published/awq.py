"""AWQ's safetensors, as its GEMM kernel takes them: codes packed along the outputs, not in their order.

The rule is AutoAWQ's: ``weight[o, k] = scales[g, o] * (code[o, k] - zero[g, o])`` with ``g = k // group_size``, zeros
stored as they are (docs/published.md, "AWQ").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from etchproof.published.matrix import PublishedMatrix
from etchproof.published.packing import WORD_BITS, Unsigned, signed, unpack
from etchproof.published.stored import Keys, Linear

if TYPE_CHECKING:
    from torch import Tensor

_BITS: Final = 4
_TOGETHER: Final = WORD_BITS // _BITS
_ORDER: Final = (0, 2, 4, 6, 1, 3, 5, 7)
"""Which of a word's eight outputs each nibble is, the lowest first."""

_TENSORS: Final = ("qweight", "qzeros", "scales")
IGNORED: Final = frozenset(
    {
        *("backend", "do_fuse", "fuse_max_seq_len", "modules_to_fuse", "exllama_config", "fusing"),
        *("n_samples", "max_seq_len", "calib_data", "quantizer", "meta", "lm_head", "true_sequential", "sym"),
    }
)
"""Keys that say how the codes were found, or which kernel runs them."""


@dataclass(frozen=True)
class Awq:
    """What ``quantization_config`` says of an AWQ checkpoint.

    Attributes:
        group_size: inputs of a group; None is all of them.
        left_out: modules whose name holds one of these are not quantized.
    """

    group_size: int | None
    left_out: tuple[str, ...]

    @classmethod
    def read_config(cls, keys: Keys) -> Awq:
        """The scheme that the keys describe.

        Raises:
            InputError: a key is missing, bad, unknown, or asks for what is not read here.
        """
        keys.whole("bits", "w_bit", of=(_BITS,))
        group_size = keys.whole("group_size", "q_group_size", least=1)
        if not keys.flag("zero_point"):
            keys.refuse("is false: AWQ without zeros has no layout that its tools agree on", "zero_point")
        keys.word("version", "format", "checkpoint_format", of=("gemm",))
        keys.word("pack_dtype", of=("int32",), default="int32")
        keys.nothing(
            desc_act="AWQ has no order of inputs", dynamic="other bits for some modules are not read"
        )
        left_out = keys.names("modules_to_not_convert")
        keys.end(IGNORED)
        return cls(None if group_size == -1 else group_size, left_out)

    def read(
        self, module: str, shape: tuple[int, int], tensors: Mapping[str, Tensor], source: Path
    ) -> PublishedMatrix:
        """One linear; arguments and errors as of ``Gptq.read``."""
        rows, cols = shape
        linear = Linear(module, tensors, source)
        for part in self.left_out:
            if part in module:
                linear.refuse(f"is left out by {part!r} in modules_to_not_convert", "qweight")
        linear.only(_TENSORS, "AWQ")
        if rows % _TOGETHER:
            linear.refuse(
                f"cannot hold {rows} outputs: {_BITS}-bit codes are packed by {_TOGETHER}", "qweight"
            )
        size = self.group_size or cols
        groups = -(-cols // size)
        of = f"as {rows} outputs of {_BITS} bits are packed for each input of {cols}"
        packed = linear.integers("qweight", (cols, rows // _TOGETHER), of)
        zeros = linear.integers(
            "qzeros", (groups, rows // _TOGETHER), "as the outputs are packed for each group"
        )
        scales = linear.floats("scales", (groups, rows), f"{groups} groups of {size} inputs").T.copy()
        zero = _outputs(zeros).T.astype(np.int64)
        return PublishedMatrix(
            form="AWQ",
            bits=_BITS,
            group_size=size,
            codes=signed(np.ascontiguousarray(_outputs(packed).T), _BITS),
            scales=scales,
            minimums=scales * ((1 << (_BITS - 1)) - zero),
        )


def _outputs(words: npt.NDArray[np.int32]) -> Unsigned:
    """Words of eight nibbles, (n, words), as outputs in their order, (n, outputs)."""
    nibbles = unpack(words, _BITS).reshape(len(words), -1, _TOGETHER)
    found = np.empty_like(nibbles)
    found[:, :, list(_ORDER)] = nibbles
    return found.reshape(len(words), -1)
