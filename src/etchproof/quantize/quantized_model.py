"""The quantized model and its adapters: what the quantizer hands to the golden model, the ROM images and the report.

Plain frozen records of integers (docs/numerics.md sections 1 and 14); nothing here computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from etchproof.checkpoint import ModelConfig
from etchproof.checkpoint.linears import module_name
from etchproof.quantize.recipe import Recipe

RESIDUAL_FRAC = 16
"""Fractional bits of the residual stream (docs/numerics.md section 1)."""


@dataclass(frozen=True)
class QuantizedMatrix:
    """One ROM matrix: weight[o, k] = scales[o, k // group_size] * codes[o, k] * 2**-exponent."""

    bits: int
    group_size: int  # consecutive inputs that share a scale; the columns' count for a whole row
    codes: npt.NDArray[np.int8]  # (rows, cols), two's complement of `bits` bits
    scales: npt.NDArray[np.uint16]  # (rows, ceil(cols / group_size))
    exponent: int  # e of docs/numerics.md section 1
    bias: npt.NDArray[np.int32] | None = None  # (rows,)
    bias_shift: int = 0

    @property
    def rows(self) -> int:
        return int(self.codes.shape[0])

    @property
    def cols(self) -> int:
        return int(self.codes.shape[1])


@dataclass(frozen=True)
class QuantizedGains:
    """RMSNorm gains: gain[k] * sqrt(hidden) = values[k] * 2**-exponent (docs/numerics.md section 3)."""

    values: npt.NDArray[np.int16]  # (hidden,)
    exponent: int


@dataclass(frozen=True)
class QuantizedLayer:
    """One decoder layer."""

    linears: Mapping[str, QuantizedMatrix]  # by the names of etchproof.checkpoint.linears.LINEARS
    attn_norm: QuantizedGains
    mlp_norm: QuantizedGains
    frac: Mapping[str, int]  # fractional bits by tap: FRAC_TAPS


FRAC_TAPS = (
    "attn_norm",
    "q_proj",  # also of q_rope
    "k_proj",
    "v_proj",
    "k_rope",
    "attn_out",
    "o_proj",
    "mlp_norm",
    "gate_proj",
    "up_proj",
    "swiglu",
    "down_proj",
)
"""The taps of a layer whose fractional bits calibration chooses."""


@dataclass(frozen=True)
class QuantizedModel:
    """A checkpoint under a recipe, in integers."""

    config: ModelConfig
    recipe: Recipe
    checkpoint_sha256: str
    embedding: QuantizedMatrix  # (vocab_size, hidden)
    layers: tuple[QuantizedLayer, ...]
    final_norm: QuantizedGains
    lm_head: QuantizedMatrix  # (vocab_size, hidden)
    frac: Mapping[str, int]  # "final_norm", "logits"


@dataclass(frozen=True, eq=False)
class AdapterMatrix:
    """What an adapter adds to one linear: d * 2**b_shift to its accumulator, d = b h, h = sat(rs(a x, a_shift), 16).

    The arrays are made read-only.
    """

    a: npt.NDArray[np.int16]  # (r, cols); A = a * 2**-a_exponent
    b: npt.NDArray[np.int16]  # (rows, r); scaling * B = b * 2**-b_exponent
    a_shift: int  # 0 .. 62
    b_shift: int  # 0 .. the chip's limit
    a_exponent: int
    b_exponent: int
    h_frac: int  # fractional bits of h

    def __post_init__(self) -> None:
        for array in (self.a, self.b):
            array.setflags(write=False)

    @property
    def rank(self) -> int:
        return int(self.a.shape[0])


@dataclass(frozen=True, eq=False)
class QuantizedAdapter:
    """An adapter in integers, for the model under the recipe that it was quantized with."""

    name: str
    sha256: str  # of the adapter's files
    linears: Mapping[
        tuple[int, str], AdapterMatrix
    ]  # by layer and linear, in dataflow order; the adapted ones

    @property
    def ranks(self) -> dict[tuple[int, str], int]:
        """The rank of each adapted linear."""
        return {key: matrix.rank for key, matrix in self.linears.items()}

    @property
    def module_ranks(self) -> dict[str, int]:
        """The rank of each adapted linear, by its Hugging Face name."""
        return {module_name(*key): rank for key, rank in self.ranks.items()}
