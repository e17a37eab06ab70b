"""Block formats: elements of a few bits, and one scale for each block of consecutive inputs.

``weight[o, k] = element[o, k] * scale[o, k // size] / divisor``, where the divisor is NVFP4's one float32 a tensor.
Source: OCP Microscaling Formats (MX) Specification v1.0, section 5.1 (docs/published.md, "Block formats").
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np

from etchproof.published.matrix import Codes, PublishedMatrix
from etchproof.published.minifloat import (
    E2M1,
    E2M3,
    E3M2,
    E4M3,
    E8M0,
    INT8,
    Element,
    Patterns,
    ScaleFormat,
)


@dataclass(frozen=True)
class BlockFormat:
    """What the elements and scales of a matrix are.

    Attributes:
        name: such as "MXFP4".
        element: of the elements.
        size: consecutive inputs of a block.
        scale: of the blocks' scales.
        divided: whether the whole matrix is divided by one float32.
    """

    name: str
    element: Element
    size: int
    scale: ScaleFormat
    divided: bool = False


MXFP4: Final = BlockFormat("MXFP4", E2M1, 32, E8M0)
MXFP6_E2M3: Final = BlockFormat("MXFP6 E2M3", E2M3, 32, E8M0)
MXFP6_E3M2: Final = BlockFormat("MXFP6 E3M2", E3M2, 32, E8M0)
MXINT8: Final = BlockFormat("MXINT8", INT8, 32, E8M0)
NVFP4: Final = BlockFormat("NVFP4", E2M1, 16, E4M3, divided=True)

BLOCK_FORMATS: Final = (MXFP4, MXFP6_E2M3, MXFP6_E3M2, MXINT8, NVFP4)


@dataclass(frozen=True, eq=False)
class BlockScaled:
    """A matrix in a block format, as bits.

    Attributes:
        form: the format.
        patterns: (rows, cols), of the elements.
        scales: (rows, groups), patterns of the scales, none of them NaN; the last block may be short.
        divisor: of the whole matrix, a finite float32 above 0; 1 where the format has none.
    """

    form: BlockFormat
    patterns: Patterns
    scales: Patterns
    divisor: float = 1.0

    def published(self, form: str | None = None) -> PublishedMatrix:
        """The matrix as integers and exact scales, with its patterns.

        Args:
            form: the format's name in its file; the block format's own by default.
        """
        element = self.form.element
        codes = element.integers(self.patterns)
        narrow = element.largest * 2.0**element.fraction <= 127
        held: Codes = codes.astype(np.int8) if narrow else codes.astype(np.int16)
        return PublishedMatrix(
            form=form or self.form.name,
            bits=element.bits,
            group_size=self.form.size,
            codes=held,
            scales=np.ldexp(self.form.scale.values(self.scales), -element.fraction),
            factor=1 / Fraction(self.divisor),
            element=element.name,
            patterns=self.patterns,
        )
