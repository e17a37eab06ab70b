"""Memories that a chip fills by ``$readmemh``, as ``[rom] memories`` gives them (docs/project.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt


@dataclass(frozen=True)
class Memory:
    """The content of one memory.

    Attributes:
        place: the file that the RTL names, "weights/layer0.hex".
        words: integers of any number of dimensions; the file has them in row-major order, a word on each line.
        bits: of a word, at most 64; negative words are written in two's complement.
        table: whether these are values of a function that the golden model computes by itself, such as sines, and no
            part of the model. Sign-off inverts no bit of a table: where it would be seen is not known.
    """

    place: str
    words: npt.NDArray[Any]
    bits: int
    table: bool = False
