"""What the mask holds, as ROM bit observability sees it: matrices, gains and rows, each with the taps around it.

A project says which ROMs its chip has (``[coverage] rom`` of ``etchproof.toml``); nothing here computes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from etchproof.contract.taps import TapKey

Array = npt.NDArray[Any]
Words = Mapping[str, tuple[int, ...]]
SCALE_BITS = 16
GAIN_BITS = 16
BIAS_BITS = 32


@dataclass(frozen=True)
class RomMatrix:
    """A ROM linear: y = sat(rs(sum over groups of S * (C . x) + B * 2**bias_shift, shift), out_bits).

    Attributes:
        site: its name in ``--inject``, "model.layers.0.self_attn.q_proj".
        source: the tap that it reads, x.
        result: the tap that it makes, y.
        bits: of a code.
        codes: (rows, cols) int8.
        scales: (rows, groups) uint16, a group being ``group_size`` consecutive inputs.
        bias: (rows,) int32, or None.
        of_token: the vocabulary's size where ``source`` depends on the token alone, as before the first attention; else
            None.
        words: elements of a ROM word along the axes of "codes", "scales" and "bias".
    """

    site: str
    source: TapKey
    result: TapKey
    bits: int
    group_size: int
    codes: npt.NDArray[np.int8]
    scales: npt.NDArray[np.uint16]
    bias: npt.NDArray[np.int32] | None
    bias_shift: int
    shift: int
    out_bits: int
    of_token: int | None = None
    words: Words = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return int(self.codes.shape[0])

    @property
    def cols(self) -> int:
        return int(self.codes.shape[1])

    @property
    def groups(self) -> int:
        return int(self.scales.shape[1])


@dataclass(frozen=True)
class RomGains:
    """Gains of a norm: x = sat(rs(u * g, shift), out_bits), u made from the source tap by ``normalize``.

    Attributes:
        values: (hidden,) int16.
        normalize: source tap (tokens, hidden) -> u, int64.
        of_token: as in ``RomMatrix``.
        words: likewise of "gains".
    """

    site: str
    source: TapKey
    result: TapKey
    values: npt.NDArray[np.int16]
    shift: int
    out_bits: int
    normalize: Callable[[Array], Array]
    of_token: int | None = None
    words: Words = field(default_factory=dict)


@dataclass(frozen=True)
class RomRows:
    """An embedding: r = sat(rs(S * C, shift), out_bits), the row being that of the token; ``words`` as of a matrix."""

    site: str
    result: TapKey
    bits: int
    group_size: int
    codes: npt.NDArray[np.int8]
    scales: npt.NDArray[np.uint16]
    shift: int
    out_bits: int
    words: Words = field(default_factory=dict)


Rom = RomMatrix | RomGains | RomRows
