"""ep_swiglu against ``ops.swiglu`` (docs/numerics.md section 9): every gate of 16 bits, every pair of 8 bits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from models.numerics import ops
from tests.rtl.harness import Case, Integers, Stimulus, ctl, extremes, lanes

LANES, BLOCKS = 16, 256
PER_VECTOR = LANES * BLOCKS


def _all_gates(draw: np.random.Generator) -> tuple[Integers, Integers, list[tuple[int, int]]]:
    """All 2^16 gates for each of: up at both ends, a small up, random ups; shifts from none to all."""
    gates = np.arange(-(2**15), 2**15)
    ups = (2**15 - 1, -(2**15), 3, None, None, None)
    words = ((4, 35), (0, 30), (6, 22), (5, 36), (24, 0), (2, 62))
    gate, up, ctls = [], [], []
    for value, word in zip(ups, words, strict=True):
        gate.append(gates)
        up.append(draw.integers(-(2**15), 2**15, gates.size) if value is None else np.full(gates.size, value))
        ctls += [word] * (gates.size // PER_VECTOR)
    return np.concatenate(gate).reshape(-1, PER_VECTOR), np.concatenate(up).reshape(-1, PER_VECTOR), ctls


def _all_pairs(draw: np.random.Generator) -> tuple[Integers, Integers, list[tuple[int, int]]]:
    """All pairs of 8-bit gates and ups, for three shifts."""
    gate, up = (x.reshape(-1, PER_VECTOR) for x in np.divmod(np.arange(2**16), 256))
    words = ((12, 27), (9, 24), (0, 20))
    ctls = [word for word in words for _ in range(len(gate))]
    return np.tile(gate, (3, 1)) - 128, np.tile(up, (3, 1)) - 128, ctls


def _few(draw: np.random.Generator) -> tuple[Integers, Integers, list[tuple[int, int]]]:
    """Vectors of 3 blocks in ports of 5."""
    gate, up = extremes(draw, (30, 12), 16), extremes(draw, (30, 12), 16)[::-1]
    return gate, up, [(i % 25, int(draw.integers(0, 63))) for i in range(30)]


def _case(
    name: str,
    vectors: int,
    blocks: int,
    spare: int,
    width: int,
    bits: int,
    drawn: Callable[..., tuple[Integers, Integers, list[tuple[int, int]]]],
) -> Case:
    def make(number: int, draw: np.random.Generator) -> Stimulus:
        gate, up, words = drawn(draw)
        y = [
            ops.swiglu(torch.from_numpy(g.copy()), torch.from_numpy(u.copy()), word[0], word[1], bits).numpy()
            for g, u, word in zip(gate, up, words, strict=True)
        ]
        images = [
            lanes(number, "gate", gate, blocks + spare, width, bits),
            lanes(number, "up", up, blocks + spare, width, bits),
            ctl(number, words),
        ]
        return Stimulus(images, {"y": y}, [blocks + 1] * vectors)

    params = {"Vectors": vectors, "Blocks": blocks, "VecBlocks": blocks + spare, "Lanes": width, "ActW": bits}
    return Case("swiglu", name, params, make)


CASES = (
    _case("all-gates", 6 * 16, BLOCKS, 0, LANES, 16, _all_gates),
    _case("all-pairs-a8", 3 * 16, BLOCKS, 0, LANES, 8, _all_pairs),
    _case("spare-blocks", 30, 3, 2, 4, 16, _few),
)
