"""What runs over weights for the corners are fed."""

from __future__ import annotations

from typing import Final

import numpy as np

_SEQUENCES: Final = 16
_LENGTH: Final = 24


def corner_tokens(vocabulary: int, context: int, seed: int) -> list[tuple[int, ...]]:
    """Random sequences, the same for the same arguments, so that weights can be chosen for what they do to them.

    Args:
        vocabulary: number of token ids.
        context: positions of the chip; no sequence is longer.
        seed: of the weights.
    """
    drawn = np.random.default_rng(seed).integers(vocabulary, size=(_SEQUENCES, min(_LENGTH, context)))
    return [tuple(tokens) for tokens in drawn.tolist()]
