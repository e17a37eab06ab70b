"""ep_lora with its ep_linear against Python's integers (docs/numerics.md sections 4 and 14)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from etchproof.render.images import Image
from models.lora import NO_SLOT
from models.rom import writer
from tests.rtl.cases import linear
from tests.rtl.harness import Case, Integers, Stimulus, ctl, extremes, lanes

VECTORS = 60
NONE, CLEAR, SECTION, WRITE_A, WRITE_B = range(5)
"""ep_pkg::lora_op_e."""


@dataclass(frozen=True)
class Adapter:
    """What a slot holds for the linear under test."""

    a: Integers  # (rank, cols)
    b: Integers  # (rows, rank)
    a_shift: int
    b_shift: int

    @property
    def rank(self) -> int:
        return len(self.a)


@dataclass(frozen=True)
class Shape:
    """A linear with slots; ``ranks`` of the slots in turn, 0 for one that adapts nothing here.

    ``content``: of A and B; "lowest" makes all of them, and every input, -2^15, so that h saturates and d is largest.
    """

    base: linear.Shape
    slots: int
    max_rank: int
    ranks: tuple[int, ...]
    number: int = 0  # of the linear in its layer
    content: Literal["random", "lowest"] = "random"

    @property
    def max_b_shift(self) -> int:
        return 30 - (self.max_rank - 1).bit_length()


SHAPES = (
    Shape(linear.Shape("fine", 33, 100, 6, 16, (16, 64)), 4, 16, (1, 2, 5, 16)),
    Shape(linear.Shape("one-rank", 3, 11, 8, None, (4, 16), spare_blocks=1), 1, 1, (1,), number=6),
    Shape(linear.Shape("one-row-one-input", 1, 1, 3, 16, (4, 16)), 2, 3, (3, 1)),
    Shape(
        linear.Shape("act8-bias", 18, 40, 3, 16, (8, 16), act=8, out=8, bias=True), 15, 3, (1, 2, 3, 0) * 3
    ),
    Shape(linear.Shape("lanes-are-inputs", 35, 64, 6, 32, (32, 32)), 3, 7, (7, 0, 6), number=3),
    Shape(linear.Shape("coarse-bias", 18, 70, 6, 32, (8, 16), bias=True), 4, 9, (9, 4, 1, 0)),
    Shape(linear.Shape("largest", 6, 40, 8, 16, (4, 32), codes="lowest"), 2, 128, (128, 127), 1, "lowest"),
    Shape(linear.Shape("large-rank", 20, 33, 4, None, (16, 64)), 2, 100, (100, 63)),
)


def adapters(shape: Shape, draw: np.random.Generator) -> list[Adapter | None]:
    """One for each slot: shifts of 0, the largest, and such under which h fits or saturates."""
    rows, cols = shape.base.rows, shape.base.cols
    found: list[Adapter | None] = []
    for slot in range(shape.slots):
        rank = shape.ranks[slot] if slot < len(shape.ranks) else 0
        if not rank:
            found.append(None)
            continue
        if shape.content == "lowest":
            a, b = np.full((rank, cols), -(2**15)), np.full((rows, rank), -(2**15))
        else:
            a, b = extremes(draw, (rank, cols), 16)[::-1], extremes(draw, (rows, rank), 16)[::-1]
            a[-1], b[:, -1] = draw.integers(-(2**15), 2**15, cols), draw.integers(-(2**15), 2**15, rows)
        fitting = shape.base.act - 1 + (cols - 1).bit_length()
        a_shift = (max(0, fitting - 4), fitting, 0, 62)[slot % 4]
        b_shift = (shape.max_b_shift, 0, shape.max_b_shift // 2, 3)[slot % 4]
        found.append(Adapter(a.astype(np.int64), b.astype(np.int64), a_shift, b_shift))
    return found


def products(adapter: Adapter, x: Integers) -> tuple[list[int], list[int]]:
    """(h, d) of one input vector."""
    h = []
    for row in adapter.a.tolist():
        total = sum(a * k for a, k in zip(row, x.tolist(), strict=True))
        rounded = (total + (1 << adapter.a_shift >> 1)) >> adapter.a_shift
        h.append(max(-(2**15), min(2**15 - 1, rounded)))
    return h, [sum(b * k for b, k in zip(row, h, strict=True)) for row in adapter.b.tolist()]


def _words(values: Integers, blocks: int, width: int) -> Integers:
    """(count, size) -> (count, blocks, width), zeros after the end."""
    padded = np.zeros((len(values), blocks * width), np.int64)
    padded[:, : values.shape[1]] = values
    return padded.reshape(len(values), blocks, width)


Program = list[tuple[list[int], Integers]]


def _section(shape: Shape, slot: int, adapter: Adapter, number: int, select: int) -> Program:
    """The operations that write one linear of one slot."""
    width = shape.base.tile[0]
    in_blocks, blocks = -(-shape.base.cols // width), -(-shape.base.rows // width)
    zeros = np.zeros(width, np.int64)
    head = [slot, number, adapter.rank, adapter.a_shift, adapter.b_shift]
    program: Program = [([SECTION, *head, 0, select], zeros)]
    a = _words(adapter.a, in_blocks, width).reshape(-1, width)
    b = _words(adapter.b.T, blocks, width).transpose(1, 0, 2).reshape(-1, width)
    for op, words in ((WRITE_A, a), (WRITE_B, b)):
        program += [([op, slot, number, 0, 0, 0, index, select], word) for index, word in enumerate(words)]
    return program


def _noise(shape: Shape, draw: np.random.Generator) -> Program:
    """Loads that leave the slots of the vectors alone: other linears, other layers, the last slot."""
    rows, cols = shape.base.rows, shape.base.cols
    other = Adapter(draw.integers(-99, 99, (1, cols)), draw.integers(-99, 99, (rows, 1)), 1, 1)
    program: Program = []
    for slot in range(shape.slots):
        program += _section(shape, slot, other, (shape.number + 1) % 7, 1)
        program += _section(shape, slot, other, shape.number, 0)
        program += [([CLEAR, slot, 0, 0, 0, 0, 0, 0], np.zeros(shape.base.tile[0], np.int64))]
    if shape.slots > 1:
        program += _section(shape, shape.slots - 1, other, shape.number, 1)
        program += [([CLEAR, shape.slots - 1, 0, 0, 0, 0, 0, 1], np.zeros(shape.base.tile[0], np.int64))]
    return program


def _case(shape: Shape) -> Case:
    base, plan = shape.base, shape.base.plan

    def make(number: int, draw: np.random.Generator) -> Stimulus:
        held = adapters(shape, draw)
        # A rank left behind, then emptied: a clear must reach every slot that it names.
        ahead: Program = []
        for slot, adapter in enumerate(held):
            left = adapter or Adapter(np.ones((1, base.cols)), np.ones((base.rows, 1)), 0, 0)
            ahead += _section(shape, slot, left, shape.number, 1)
            if adapter is None:
                ahead.append(
                    ([CLEAR, slot, 6 - shape.number, 0, 0, 0, 0, 1], np.zeros(base.tile[0], np.int64))
                )
        program = ahead + _noise(shape, draw)
        # The last slot is loaded all the time, so no vector may use it, unless there is but one.
        usable = [NO_SLOT, *range(max(1, shape.slots - 1)), *([shape.slots] if shape.slots < NO_SLOT else [])]
        m, x, _, bias_shift = linear.drawn(base, draw)
        x = np.resize(x, (VECTORS, base.cols))
        if shape.content == "lowest":
            x[:] = -(2**15)
            x[1::7] = 2**15 - 1
        bias_shift = list(np.resize(bias_shift, VECTORS))
        slots = [usable[i % len(usable)] if i < 30 else int(draw.choice(usable)) for i in range(VECTORS)]
        accs, hs, ds, latency = [], [], [], []
        for slot, row, b in zip(slots, x, bias_shift, strict=True):
            one = linear.accumulator(linear.replace(m, bias=None), row[None])[0]
            acc = [int(v) for v in one]
            if m.bias is not None:
                acc = [v + (int(w) << int(b)) for v, w in zip(acc, m.bias, strict=True)]
            adapter = held[slot] if slot < shape.slots else None
            h, d, extra = [0], [0], 0
            if adapter is not None:
                h, d = products(adapter, row)
                acc = [v + (w << adapter.b_shift) for v, w in zip(acc, d, strict=True)]
                extra = adapter.rank * (-(-base.cols // base.tile[0]) + plan.blocks) + 1
            assert all(abs(v) < 1 << 62 for v in acc)
            accs.append(acc)
            hs.append(np.array(h))
            ds.append(np.array(d))
            latency.append(plan.depth + 3 + extra)
        shift = linear.shifts(np.array(accs), base.out, draw)
        limit = 1 << (base.out - 1)
        ys = [
            np.array([max(-limit, min(limit - 1, (v + (1 << s >> 1)) >> s)) for v in acc])
            for acc, s in zip(accs, shift, strict=True)
        ]
        blocks = plan.chunks * plan.tile_inputs // plan.tile_rows
        images = [
            *writer.linear_images(number, m, plan),
            lanes(number, "x", x, blocks, plan.tile_rows, base.act),
            ctl(number, list(zip(slots, shift, bias_shift, strict=True))),
            Image(number, "op", 32, np.array([words for words, _ in program], np.int32)),
            Image(number, "data", 16, np.array([data for _, data in program]).astype(np.int16)),
        ]
        assert (len(program), len(ahead)) == _lengths(shape)
        return Stimulus(images, {"y": ys, "h": hs, "d": ds}, latency, prep=2)

    ops, ahead = _lengths(shape)
    params = {
        "Vectors": VECTORS,
        "Ops": ops,
        "Ahead": ahead,
        "Linear": shape.number,
        "Slots": shape.slots,
        "MaxRank": shape.max_rank,
        "Rows": base.rows,
        "Cols": base.cols,
        "Bits": base.bits,
        "GroupSize": plan.group_size,
        "TileRows": plan.tile_rows,
        "TileInputs": plan.tile_inputs,
        "ActW": base.act,
        "OutW": base.out,
        "PartW": plan.part_bits,
        "HasBias": int(base.bias),
        "OutBlocks": plan.blocks + base.spare_blocks,
    }
    return Case("lora", base.name, params, make)


def _lengths(shape: Shape) -> tuple[int, int]:
    """Operations of the program, and of its part ahead of the vectors."""
    width = shape.base.tile[0]
    per_rank = -(-shape.base.cols // width) + -(-shape.base.rows // width)
    ranks = [shape.ranks[slot] if slot < len(shape.ranks) else 0 for slot in range(shape.slots)]
    ahead = sum(1 + (rank or 1) * per_rank + (rank == 0) for rank in ranks)
    noise = shape.slots * (2 * (1 + per_rank) + 1) + (2 + per_rank if shape.slots > 1 else 0)
    return ahead + noise, ahead


CASES = tuple(_case(shape) for shape in SHAPES)
