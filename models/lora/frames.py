"""How an adapter enters the chip: the frame that the host writes to the load port, and where its elements come to lie.

docs/adapters.md, "On the chip", defines the frame; ``hw/ep_lora_load.sv`` takes it apart.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from etchproof.checkpoint.linears import LINEARS
from etchproof.errors import InputError
from etchproof.quantize.quantized_model import AdapterMatrix, QuantizedAdapter
from models.chip import ChipPlan, LinearPlan

MAGIC: Final = 0x41524F4C  # "LORA", little endian
NO_SLOT: Final = 15  # of a sequence without an adapter
MAX_A_SHIFT: Final = 62
FRAME_WORDS: Final = 4  # of a frame beside its sections: magic, slot, length, checksum
SECTION_WORDS: Final = 2  # of a section beside its elements

Words = npt.NDArray[np.uint32]


def section_words(linear: LinearPlan, rank: int) -> int:
    """Words of a frame that one linear of an adapter takes."""
    return SECTION_WORDS + rank * (linear.in_blocks + linear.blocks) * linear.tile_rows // 2


def load_frame(plan: ChipPlan, adapter: QuantizedAdapter, slot: int) -> Words:
    """The 32-bit words that write ``adapter`` into ``slot``; linears in the order of layers and ``LINEARS``.

    Raises:
        InputError: the chip has no such slot, or a matrix does not fit the chip: its shape, rank or shifts.
    """
    where = adapter.name
    if not 0 <= slot < plan.lora_slots:
        raise InputError(f"{slot} is not below the chip's {plan.lora_slots}", source=where, key="slot")
    payload: list[Words] = []
    for (layer, name), matrix in sorted(adapter.linears.items(), key=_order):
        if not 0 <= layer < plan.n_layers or name not in LINEARS:
            raise InputError("no such linear on the chip", source=where, key=f"layer {layer} {name}")
        linear = plan.linears(layer)[name]
        _check(matrix, linear, plan, f"{where}: layer {layer} {name}")
        payload.append(section(linear, layer, matrix))
    return frame(slot, payload)


def frame(slot: int, sections: Sequence[Words]) -> Words:
    """Sections as a frame: header before, checksum after; nothing is checked."""
    payload = np.concatenate(sections) if sections else np.zeros(0, np.uint32)
    words = np.concatenate([np.array([MAGIC, slot, len(payload)], np.uint32), payload])
    return np.append(words, checksum(words))


def checksum(words: Words) -> np.uint32:
    """CRC-32 (IEEE 802.3) over the words' bytes, little endian."""
    return np.uint32(zlib.crc32(words.astype("<u4").tobytes()))


def section(linear: LinearPlan, layer: int, matrix: AdapterMatrix) -> Words:
    """One linear of an adapter: two header words, then A by rank and block of inputs, B by block of rows and rank."""
    rank, lanes = matrix.rank, linear.tile_rows
    head = [LINEARS.index(linear.name) << 24 | rank << 16 | layer, matrix.b_shift << 8 | matrix.a_shift]
    a = np.zeros((rank, linear.in_blocks * lanes), np.int16)
    a[:, : linear.cols] = matrix.a
    b = np.zeros((linear.blocks * lanes, rank), np.int16)
    b[: linear.rows] = matrix.b
    ordered = b.reshape(linear.blocks, lanes, rank).transpose(0, 2, 1)  # (blocks, rank, lanes)
    elements = np.concatenate([a.ravel(), ordered.ravel()]).astype("<i2")
    return np.concatenate([np.array(head, np.uint32), elements.view("<u4").astype(np.uint32)])


def frame_ranks(plan: ChipPlan, words: Words) -> dict[tuple[int, str], int]:
    """Rank of each (layer, linear) of a frame that the chip accepts."""
    ranks: dict[tuple[int, str], int] = {}
    at, end = 3, len(words) - 1
    while at < end:
        head = int(words[at])
        layer, name, rank = head & 0xFFFF, LINEARS[head >> 24], head >> 16 & 0xFF
        ranks[layer, name] = rank
        at += section_words(plan.linears(layer)[name], rank)
    return ranks


def sram_site(
    plan: ChipPlan, slot: int, linear: LinearPlan, rank: int, matrix: Literal["A", "B"], row: int, col: int
) -> tuple[int, int]:
    """(word, lane) of an element in its linear's SRAM: A is (rank, cols), B is (rows, rank)."""
    lanes = linear.tile_rows
    if matrix == "A":
        base = slot * plan.lora_max_rank * linear.in_blocks
        return base + row * linear.in_blocks + col // lanes, col % lanes
    base = slot * plan.lora_max_rank * linear.blocks
    return base + row // lanes * rank + col, row % lanes


def _order(item: tuple[tuple[int, str], Any]) -> tuple[int, int]:
    (layer, name), _ = item
    return layer, LINEARS.index(name) if name in LINEARS else len(LINEARS)


def _problems(matrix: AdapterMatrix, linear: LinearPlan, plan: ChipPlan) -> Iterator[str]:
    rank = matrix.rank
    if not 1 <= rank <= plan.lora_max_rank:
        yield f"rank {rank} is outside 1 .. {plan.lora_max_rank}"
    if matrix.a.shape != (rank, linear.cols) or matrix.b.shape != (linear.rows, rank):
        yield f"A {matrix.a.shape} and B {matrix.b.shape} do not fit ({linear.rows}, {linear.cols})"
    if not 0 <= matrix.a_shift <= MAX_A_SHIFT:
        yield f"a_shift {matrix.a_shift} is outside 0 .. {MAX_A_SHIFT}"
    if not 0 <= matrix.b_shift <= plan.max_b_shift:
        yield f"b_shift {matrix.b_shift} is outside 0 .. {plan.max_b_shift}"


def _check(matrix: AdapterMatrix, linear: LinearPlan, plan: ChipPlan, where: str) -> None:
    for problem in _problems(matrix, linear, plan):
        raise InputError(problem, source=where)
