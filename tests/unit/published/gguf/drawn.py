"""Blocks of every type with every code, and scales of every kind that fp16 has."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

QUANTIZED: Final = {
    **{"Q4_0": (2, 32, 18), "Q4_1": (3, 32, 20), "Q5_0": (6, 32, 22), "Q5_1": (7, 32, 24), "Q8_0": (8, 32, 34)},
    **{"Q3_K": (11, 256, 110), "Q4_K": (12, 256, 144), "Q5_K": (13, 256, 176), "Q6_K": (14, 256, 210)},
}  # fmt: skip
"""ggml's number, values of a block, and its bytes."""

HALVES: Final = {
    **dict.fromkeys(("Q4_0", "Q5_0", "Q8_0"), (0,)),
    **dict.fromkeys(("Q4_1", "Q5_1", "Q4_K", "Q5_K"), (0, 2)),
    **{"Q3_K": (108,), "Q6_K": (208,)},
}
"""Where the fp16 numbers of a block are."""

AWKWARD: Final = np.array(
    [0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x0400, 0x7BFF, 0xFBFF, 0x3C00, 0x2E66], "<u2"
)
"""Zero of both signs, the least and largest subnormal, the least normal, the largest of both signs, 1, and 0.1."""


def blocks(name: str, count: int, seed: int) -> npt.NDArray[np.uint8]:
    """(count, bytes) random ones whose fp16 numbers are finite, the first few of them awkward."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, 256, (count, QUANTIZED[name][2]), dtype=np.uint8)
    if name == "Q8_0":  # 256 codes: chance would leave some out
        drawn[:, 2:] = rng.permutation(np.resize(np.arange(256), count * 32)).reshape(count, 32)
    for at in HALVES[name]:
        halves = rng.integers(0, 1 << 16, count, dtype=np.uint16)
        halves = np.where(halves & 0x7C00 == 0x7C00, halves ^ 0x4000, halves).astype("<u2")
        awkward = rng.permutation(AWKWARD)[:count]
        halves[: len(awkward)] = awkward
        drawn[:, at : at + 2] = halves.view(np.uint8).reshape(count, 2)
    return drawn
