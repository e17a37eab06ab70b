"""ep_rmsnorm against models.numerics.ops.rms_norm (docs/numerics.md section 3)."""

from __future__ import annotations

import numpy as np
import torch

from etchproof.render.images import Image
from models.numerics import ops, tables
from tests.rtl.harness import Case, Integers, Stimulus, ctl, extremes, lanes

DRAWN, ENTRIES = 240, 192
VECTORS = DRAWN + ENTRIES
POWERS, POWERS_AT = (31, 30, 28, 26, 24), 24
SIZES = (  # size, lanes, eps, activation bits, spare blocks
    (48, 16, 1e-5, 16, 0),
    (13, 4, 0.0, 16, 1),
    (1, 4, 0.0, 16, 0),
    (64, 8, 1e-6, 8, 0),
    (100, 32, 0.0, 16, 0),
    (259, 4, 1e-5, 16, 3),
    (16, 16, 1.0, 8, 0),
)


def inputs(size: int, draw: np.random.Generator) -> Integers:
    """Residual vectors: zero, both ends, one huge element alone and among ones, tiny elements, any magnitude."""
    r = extremes(draw, (VECTORS, size), 32)
    r[5:9] = 0
    r[5, size // 2], r[6, 0], r[7, -1] = -(2**31), 2**31 - 1, 1
    r[8] = 1
    r[9, 0] = -(2**31)
    r[9, 1:] = 1
    r[10:30] = draw.integers(-3, 4, (20, size))
    for i, exponent in enumerate(POWERS):  # |-2^k| has k + 1 bits: what rounds to 0 after it is what counts
        r[POWERS_AT + i] = draw.integers(-(1 << exponent - 22), 1 << exponent - 22, size)
        r[POWERS_AT + i, 0] = -(1 << exponent)
    scale = draw.integers(1, 32, (DRAWN - 30, 1))
    r[30:DRAWN] = draw.integers(-(2**31), 2**31, (DRAWN - 30, size)) >> scale
    alone = np.arange(30, DRAWN, 3)  # the sum of squares of a single element: any mantissa
    r[alone, 1:] = 0
    r[DRAWN:] = 0  # one vector for each entry of RSQRT
    r[DRAWN:, 0] = np.sqrt((np.arange(ENTRIES) + 64.5) * 2**20)
    return r


def squares(r: Integers, epsilon: int) -> Integers:
    """v of section 3, in Python's integers."""
    result = []
    for row in r.tolist():
        s = max(0, max(map(abs, row)).bit_length() - 24)
        q = [(value + (1 << s >> 1)) >> s for value in row]
        result.append(max(1, sum(value * value for value in q) + (epsilon >> 2 * s)))
    return np.array(result)


def _case(size: int, width: int, eps: float, bits: int, spare: int) -> Case:
    blocks = -(-size // width)
    epsilon = tables.norm_epsilon(size, eps)

    def make(number: int, draw: np.random.Generator) -> Stimulus:
        r = inputs(size, draw)
        gains = draw.integers(-(2**15), 2**15, size)
        gains[0] = -(2**15)
        gains[-1] = 2**15 - 1
        fitting = 29 + 15 - bits + 1
        shift = [(0, fitting, fitting + 3, fitting - 2, 62, 1, fitting + 1)[i % 7] for i in range(VECTORS)]
        shift[POWERS_AT : POWERS_AT + len(POWERS)] = [max(0, 24 - bits)] * len(POWERS)
        y = [
            ops.rms_norm(torch.from_numpy(row[None]), torch.from_numpy(gains), epsilon, s, bits)[0].numpy()
            for row, s in zip(r, shift, strict=True)
        ]
        padded = np.zeros(blocks * width, np.int16)
        padded[:size] = gains
        images = [
            Image(number, "norm.gains", 16, padded.reshape(blocks, width)),
            lanes(number, "r", r, blocks, width, 32),
            ctl(number, [[s] for s in shift]),
        ]
        return Stimulus(images, {"y": y}, [3 * blocks + 4] * VECTORS)

    params = {
        "Vectors": VECTORS,
        "Size": size,
        "Blocks": blocks,
        "Lanes": width,
        "ActW": bits,
        "Epsilon": epsilon,
        "OutBlocks": blocks + spare,
    }
    return Case("rmsnorm", f"{size}-of-{width}-lanes-a{bits}", params, make)


CASES = tuple(_case(*size) for size in SIZES)
