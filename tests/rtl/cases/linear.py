"""ep_linear against models.golden.Linear (docs/numerics.md section 4)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from etchproof.quantize.quantized_model import QuantizedMatrix
from models.chip import LinearPlan
from models.golden import Linear
from models.rom import writer
from tests.rtl.harness import Case, Integers, Stimulus, ctl, extremes, lanes

VECTORS = 40
BIAS_SHIFTS = (0, 1, 7, 15)


@dataclass(frozen=True)
class Shape:
    """One linear; ``group`` None is a whole row, ``lowest`` makes every code -2^(bits-1) and every scale 65535."""

    name: str
    rows: int
    cols: int
    bits: int
    group: int | None
    tile: tuple[int, int]
    act: int = 16
    out: int = 16
    bias: bool = False
    spare_blocks: int = 0
    codes: Literal["random", "lowest"] = "random"
    part: int = 32

    @property
    def plan(self) -> LinearPlan:
        whole = self.group is None or self.group >= self.cols
        padded = -(-self.cols // self.tile[1]) * self.tile[1]
        return LinearPlan(
            name="linear",
            rows=self.rows,
            cols=self.cols,
            bits=self.bits,
            group_size=padded if whole or self.group is None else self.group,
            out_bits=self.out,
            has_bias=self.bias,
            tile_rows=self.tile[0],
            tile_inputs=self.tile[1],
            act_bits=self.act,
        )


SHAPES = (
    Shape("fine", 33, 100, 6, 16, (16, 64)),
    Shape("fine-group-is-tile", 5, 20, 3, 16, (4, 16)),
    Shape("group-is-tile", 20, 130, 4, 64, (16, 64), spare_blocks=2),
    Shape("coarse-short-last-group", 10, 300, 8, 128, (8, 32)),
    Shape("row", 7, 172, 4, None, (4, 64)),
    Shape("row-one-word", 3, 11, 8, None, (4, 16)),
    Shape("one-row-one-input", 1, 1, 3, 16, (4, 16)),
    Shape("exact-sizes", 32, 128, 8, 128, (16, 128)),
    Shape("lanes-are-inputs", 35, 64, 6, 32, (32, 32)),
    Shape("act8-bias", 18, 40, 3, 16, (8, 16), act=8, out=8, bias=True),
    Shape("act8-logits", 21, 16, 8, 16, (16, 16), act=8),
    Shape("out8", 40, 64, 6, 32, (32, 64), out=8),
    Shape("coarse-bias", 18, 70, 6, 32, (8, 16), bias=True),
    Shape("row-bias", 9, 50, 3, None, (4, 32), bias=True, spare_blocks=1),
    Shape("lowest-fine", 6, 40, 8, 16, (4, 32), codes="lowest"),
    Shape("lowest-part32", 5, 384, 8, None, (4, 128), codes="lowest"),
    Shape("lowest-part64", 5, 512, 8, None, (4, 128), codes="lowest", part=64),
    Shape("part64", 6, 700, 8, None, (4, 64), part=64),
    Shape("lowest-act8", 6, 40, 3, 16, (4, 16), act=8, out=8, codes="lowest"),
)


def matrix(shape: Shape, draw: np.random.Generator) -> QuantizedMatrix:
    """Every code, every scale from 0 to 65535; rows 0 and 1 pass x[0] and -x[0], so that their ties are seen."""
    group = shape.plan.group_size if shape.plan.group_size < shape.cols else shape.cols
    low = -(1 << (shape.bits - 1))
    groups = -(-shape.cols // group)
    if shape.codes == "lowest":
        codes = np.full((shape.rows, shape.cols), low)
        scales = np.full((shape.rows, groups), 65535)
    else:
        codes = draw.integers(low, -low, (shape.rows, shape.cols))
        scales = draw.integers(0, 65536, (shape.rows, groups)) >> draw.integers(0, 12, (shape.rows, groups))
        if shape.rows > 2:
            codes[:2], scales[:2] = 0, 1
            codes[0, 0], codes[1, 0] = 1, -1
            scales[2] = 65535
    bias = None
    if shape.bias:
        bias = draw.integers(-(2**31), 2**31, shape.rows).astype(np.int32)
        bias[:2] = 0
        bias[2:4] = -(2**31), 2**31 - 1
    return QuantizedMatrix(shape.bits, group, codes.astype(np.int8), scales.astype(np.uint16), 0, bias)


def accumulator(m: QuantizedMatrix, x: Integers) -> Integers:
    """The accumulator before rounding, in 64-bit integers, bias shift 0."""
    scales = np.repeat(m.scales.astype(np.int64), m.group_size, axis=1)[:, : m.cols]
    acc = x.astype(np.int64) @ (scales * m.codes).T
    return acc if m.bias is None else acc + m.bias.astype(np.int64)


def shifts(acc: Integers, out: int, draw: np.random.Generator) -> list[int]:
    """For each vector a shift: 0, 1, 62, one under which most outputs fit, and around it."""
    fitting = [max(0, int(np.abs(row).max()).bit_length() - out + 1) for row in acc]
    return [
        (0, 1, 2, 3, 62, f, max(0, f - 2), min(62, f + int(draw.integers(0, 8))))[i % 8]
        for i, f in enumerate(fitting)
    ]


def _inputs(shape: Shape, draw: np.random.Generator) -> Integers:
    x = extremes(draw, (VECTORS, shape.cols), shape.act)
    x[20:28] = draw.integers(-9, 10, (8, shape.cols))  # with shifts 1 to 3: ties of both signs
    return x


def drawn(shape: Shape, draw: np.random.Generator) -> tuple[QuantizedMatrix, Integers, list[int], list[int]]:
    """The matrix, the inputs, and each vector's shift and bias shift."""
    m, x = matrix(shape, draw), _inputs(shape, draw)
    bias_shifts = [BIAS_SHIFTS[i // 8 % 4] if shape.bias else 0 for i in range(VECTORS)]
    return m, x, shifts(accumulator(m, x), shape.out, draw), bias_shifts


def _case(shape: Shape) -> Case:
    plan = shape.plan
    assert plan.max_acc < 1 << 63
    assert plan.part_bits == shape.part

    def make(number: int, draw: np.random.Generator) -> Stimulus:
        m, x, shift, bias_shift = drawn(shape, draw)
        y = [
            Linear(replace(m, bias_shift=b), s, shape.out, shape.act)(torch.from_numpy(row[None]))[0].numpy()
            for row, s, b in zip(x, shift, bias_shift, strict=True)
        ]
        blocks = plan.chunks * plan.tile_inputs // plan.tile_rows
        images = [
            *writer.linear_images(number, m, plan),
            lanes(number, "x", x, blocks, plan.tile_rows, shape.act),
            ctl(number, list(zip(shift, bias_shift, strict=True))),
        ]
        return Stimulus(images, {"y": y}, [plan.blocks * plan.chunks + 3] * VECTORS)

    params = {
        "Vectors": VECTORS,
        "Rows": shape.rows,
        "Cols": shape.cols,
        "Bits": shape.bits,
        "GroupSize": plan.group_size,
        "TileRows": plan.tile_rows,
        "TileInputs": plan.tile_inputs,
        "ActW": shape.act,
        "OutW": shape.out,
        "PartW": plan.part_bits,
        "HasBias": int(shape.bias),
        "OutBlocks": plan.blocks + shape.spare_blocks,
    }
    return Case("linear", shape.name, params, make)


CASES = tuple(_case(shape) for shape in SHAPES)
