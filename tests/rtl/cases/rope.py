"""ep_rope against models.numerics.ops.rope, and the two small ROMs (docs/numerics.md section 5)."""

from __future__ import annotations

import numpy as np
import torch

from etchproof.render.images import Image
from models.numerics import ops
from tests.rtl.harness import Case, Stimulus, ctl, extremes, lanes

VECTORS = 80
SHAPES = (  # heads, head_dim, lanes, input bits, output bits
    (3, 6, 4, 16, 16),
    (1, 2, 4, 16, 16),
    (5, 10, 8, 16, 8),
    (2, 8, 16, 8, 8),
    (4, 14, 32, 16, 16),
    (2, 6, 4, 8, 16),
)


def _case(heads: int, dim: int, width: int, bits: int, out: int) -> Case:
    blocks = -(-heads * dim // width)

    def make(number: int, draw: np.random.Generator) -> Stimulus:
        x = extremes(draw, (VECTORS, heads * dim), bits)
        cos = extremes(draw, (VECTORS, dim // 2), 16)
        sin = extremes(draw, (VECTORS, dim // 2), 16)
        cos[30:34], sin[30:34] = 1 << 14, 0  # no turn: shift 14 gives x back
        angle = draw.random((VECTORS - 34, dim // 2)) * 2 * np.pi
        cos[34:], sin[34:] = np.floor(np.cos(angle) * 2**14 + 0.5), np.floor(np.sin(angle) * 2**14 + 0.5)
        shift = [(14, 0, 1, 14 + bits - out, 17, 62, 12)[i % 7] for i in range(VECTORS)]
        shift[30:34] = [14] * 4
        y = [
            ops.rope(
                torch.from_numpy(x[i].reshape(1, heads, dim)),
                torch.from_numpy(cos[i : i + 1]),
                torch.from_numpy(sin[i : i + 1]),
                shift[i],
                out,
            )
            .flatten()
            .numpy()
            for i in range(VECTORS)
        ]
        if out >= bits:
            assert np.array_equal(y[31], x[31])
        images = [
            lanes(number, "x", x, blocks, width, bits),
            Image(number, "cos", 16, cos.astype(np.int16)),
            Image(number, "sin", 16, sin.astype(np.int16)),
            ctl(number, [[s] for s in shift]),
        ]
        return Stimulus(images, {"y": y}, [heads + 1] * VECTORS)

    params = {
        "Vectors": VECTORS,
        "Heads": heads,
        "HeadDim": dim,
        "Lanes": width,
        "InBlocks": blocks,
        "InW": bits,
        "OutW": out,
    }
    return Case("rope", f"{heads}x{dim}-of-{width}-lanes-{bits}to{out}", params, make)


CONTEXT, PAIRS, WORDS = 37, 5, 23


def _roms(number: int, draw: np.random.Generator) -> Stimulus:
    cos, sin = (draw.integers(-(2**15), 2**15, (CONTEXT, PAIRS)).astype(np.int16) for _ in range(2))
    words = draw.integers(-(2**31), 2**31, WORDS).astype(np.int32)
    order = draw.permutation(CONTEXT)
    images = [
        Image(-1, "rope.cos", 16, cos),
        Image(-1, "rope.sin", 16, sin),
        Image(number, "params", 32, words),
        ctl(number, [[int(pos)] for pos in order]),
    ]
    turns = [np.concatenate((cos[pos], sin[pos])) for pos in order]
    return Stimulus(images, {"y": turns, "stream": [words] * CONTEXT})


CASES = (
    *(_case(*shape) for shape in SHAPES),
    Case(
        "roms",
        "rope-table-and-params",
        {"Vectors": CONTEXT, "Context": CONTEXT, "Pairs": PAIRS, "Words": WORDS},
        _roms,
    ),
)
