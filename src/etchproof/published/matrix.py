"""A matrix as a model was published: codes, scales and minimums, exact, whatever the format of its file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class PublishedMatrix:
    """weight[o, k] = scales[o, g] * codes[o, k] + minimums[o, g], exactly, with g = k // group_size, or groups[k] where
    given.

    Attributes:
        form: the format's name in its file, such as "Q4_1".
        bits: of a code.
        group_size: consecutive inputs that share a scale.
        codes: (rows, cols) int8, -2**(bits - 1) .. 2**(bits - 1) - 1; an unsigned code of the file less 2**(bits - 1).
        scales: (rows, groups) float64, exact.
        minimums: (rows, groups) float64, exact, of the signed codes above; None for a symmetric format.
        groups: (cols,) the group of each input, where they are not consecutive (GPTQ's g_idx).
    """

    form: str
    bits: int
    group_size: int
    codes: npt.NDArray[np.int8]
    scales: npt.NDArray[np.float64]
    minimums: npt.NDArray[np.float64] | None = None
    groups: npt.NDArray[np.int64] | None = None
