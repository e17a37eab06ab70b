"""A matrix as a model was published: codes, scales and minimums, exact, whatever the format of its file."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.int8] | npt.NDArray[np.int16]


@dataclass(frozen=True, eq=False)
class PublishedMatrix:
    """weight[o, k] = factor * (scales[o, g] * codes[o, k] + minimums[o, g]), exactly, with g = k // group_size, or
    groups[k] where given.

    Attributes:
        form: the format's name in its file, such as "Q4_1".
        bits: of a code as the file has it.
        group_size: consecutive inputs that share a scale.
        codes: (rows, cols) int8. Of an integer format, -2**(bits - 1) .. 2**(bits - 1) - 1; an unsigned code of the
            file less 2**(bits - 1). Of a floating-point element, the element in units of its smallest step: E2M1's are
            -12 .. 12, E2M3's -60 .. 60; E3M2's are int16, -448 .. 448. Both zeros are 0.
        scales: (rows, groups) float64, exact, of a code: of E2M1, half the block's scale.
        minimums: (rows, groups) float64, exact, of the signed codes above; None for a symmetric format.
        groups: (cols,) the group of each input, where they are not consecutive (GPTQ's g_idx).
        factor: of the whole matrix, exact; one over NVFP4's global scale, 1 for every other format.
        element: of a block format (docs/published.md), the element's format, such as "E2M1"; None for other formats.
        patterns: (rows, cols) uint8, of a block format, the bits of each element as the file has them, negative zero
            included; None for other formats.
    """

    form: str
    bits: int
    group_size: int
    codes: Codes
    scales: npt.NDArray[np.float64]
    minimums: npt.NDArray[np.float64] | None = None
    groups: npt.NDArray[np.int64] | None = None
    factor: Fraction = Fraction(1)
    element: str | None = None
    patterns: npt.NDArray[np.uint8] | None = None

    def weights(self) -> npt.NDArray[np.float64]:
        """(rows, cols) float64: exact, but for one rounding by a factor that is not 1."""
        cols = self.codes.shape[1]
        groups = np.arange(cols) // self.group_size if self.groups is None else self.groups
        found: npt.NDArray[np.float64] = self.scales[:, groups] * self.codes
        if self.minimums is not None:
            found += self.minimums[:, groups]
        if self.factor != 1:
            found *= float(self.factor.numerator)
            found /= float(self.factor.denominator)
        return found
