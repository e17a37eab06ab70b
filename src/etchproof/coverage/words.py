"""Words of the mask ROM that the simulated chip is shown to have read (docs/coverage.md)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from etchproof.contract.mask import Bits
from etchproof.coverage.proven import Proven


def words_read(proven: Proven, word: Sequence[int]) -> tuple[Bits, Bits]:
    """For each ROM word of a part: whether a bit of it is proven, and whether any stimulus can show a bit of it.

    A word that holds a proven bit was read by the part's unit, for the rows and inputs of its tile: inverting the bit
    would have changed a compared tap.

    Args:
        word: elements of a word along each axis of the part; the last word of an axis may be shorter.
    """
    visible = ~proven.redundant
    return _any(proven.bits, word), _any(visible, word)


def _any(bits: Bits, word: Sequence[int]) -> Bits:
    """Whether any bit of each word is set: (*elements, bits) -> (*words)."""
    found: Bits = np.asarray(bits.any(axis=-1))
    for axis, size in enumerate(word):
        found = np.logical_or.reduceat(found, np.arange(0, found.shape[axis], size), axis=axis)
    return found
