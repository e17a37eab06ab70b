"""The chip's ROMs as its test port shows them, worked out from the ROM files on disk (docs/rom-format.md, "Read back").

It shares nothing with ``models.rom.units``, after which the chip is rendered, nor with the writer of the files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from etchproof.checkpoint.linears import LINEARS
from etchproof.render.images import ImageSet, StoredImage, load_image
from models.chip import ChipPlan
from verif.rom_port.port import RomRange

Slices = NDArray[np.uint32]

MAX_SLICES: Final = 1 << 20
"""That one range brings."""


class RomOp(IntEnum):
    """ep_pkg::rom_op_e: what is asked of the ROM test port."""

    READ = 0
    SIGNATURE = 1


class RomStatus(IntEnum):
    """ep_pkg::rom_status_e."""

    OK = 0
    BAD_UNIT = 1
    BAD_WORD = 2
    BUSY = 3


FRONT: Final = ("embed_tokens.codes", "embed_tokens.scales", "params")
LAYER: Final = (
    *(f"{linear}.{part}" for linear in LINEARS for part in ("codes", "scales", "bias")),
    *("attn_norm.gains", "mlp_norm.gains", "rope.cos", "rope.sin", "params"),
)
TAIL: Final = ("lm_head.codes", "lm_head.scales", "lm_head.bias", "final_norm.gains")
"""The ROMs of the stages by their numbers; a bias is only where its image is."""

TABLES: Final = ("rope.cos", "rope.sin")
"""Images of no layer that each layer holds a copy of."""


@dataclass(frozen=True)
class RomUnit:
    """One ROM of the chip.

    Attributes:
        number: 32 * stage + ROM of the stage, as the port takes it.
        stage: 0 before the layers, 1 + l for layer l, then the tail.
        image: what it was etched from.
    """

    number: int
    stage: int
    image: StoredImage

    @property
    def words(self) -> int:
        return self.image.shape[0]

    @property
    def word_bytes(self) -> int:
        return int(np.prod(self.image.shape[1:], dtype=int)) * np.dtype(self.image.dtype).itemsize

    @property
    def slices(self) -> int:
        """Slices of a word."""
        return -(-self.word_bytes // 4)

    @property
    def name(self) -> str:
        """Where it is and what it holds."""
        inside = self.image.layer >= 0 or self.image.name in TABLES
        return f"layer {self.stage - 1} {self.image.name}" if inside else self.image.name

    def __str__(self) -> str:
        return f"unit {self.number:#x} ({self.name})"


def rom_units(plan: ChipPlan, images: ImageSet) -> Iterator[RomUnit]:
    """Every ROM of the chip, in the order of their numbers."""
    stages = (FRONT, *(LAYER for _ in range(plan.n_layers)), TAIL)
    known = {(image.layer, image.name): image for image in images.images}
    for stage, names in enumerate(stages):
        for rom, name in enumerate(names):
            layer = stage - 1 if names is LAYER and name not in TABLES else -1
            if image := known.get((layer, name)):
                yield RomUnit(32 * stage + rom, stage, image)


def file_slices(images: ImageSet, unit: RomUnit) -> Slices:
    """(words, slices): what the ROM must answer, from the file, which is read and checked against its hash.

    Raises:
        InputError: the file is missing or has another content than its name says.
    """
    content = load_image(images, unit.image)
    padded = np.zeros((unit.words, 4 * unit.slices), np.uint8)
    padded[:, : unit.word_bytes] = content.reshape(unit.words, -1).view(np.uint8)
    return padded.view("<u4")


def whole(unit: RomUnit, stall_seed: int = 0) -> tuple[RomRange, ...]:
    """Every word of a ROM, in ranges that memory can hold, then its signature.

    Args:
        stall_seed: of random stalls before answers are taken; 0 for none.
    """
    step = max(1, MAX_SLICES // unit.slices)
    reads = (
        RomRange(RomOp.READ, unit.number, word, min(step, unit.words - word), stall_seed)
        for word in range(0, unit.words, step)
    )
    return (*reads, RomRange(RomOp.SIGNATURE, unit.number, 0, 1, stall_seed))


POLYNOMIAL: Final = 0x04C11DB7  # of CRC-32; x^32 is implied
SEED: Final = 0xFFFFFFFF


def signature(slices: Slices) -> int:
    """The MISR's state after all slices: from ``SEED`` on, times x modulo the polynomial, plus the slice.

    As a polynomial in x that is linear, so neighbours are folded into one, level by level: of n values a, b, c, d, ...
    remain n / 2, a x + b, c x + d, ..., and x^2 takes the place of x.
    """
    values = np.concatenate([[np.uint32(SEED)], slices.reshape(-1)]).astype(np.uint32)
    times = np.array([1 << (bit + 1) for bit in range(31)] + [POLYNOMIAL], np.uint32)  # x times each bit
    while len(values) > 1:
        if len(values) % 2:  # leading zeros change nothing
            values = np.concatenate([np.zeros(1, np.uint32), values])
        values = _multiplied(values[0::2], times) ^ values[1::2]
        times = _multiplied(times, times)
    return int(values[0])


def _multiplied(values: Slices, times: Slices) -> Slices:
    """Values times a constant, given as its product with each bit; by a table for each byte."""
    result = np.zeros_like(values)
    for byte in range(4):
        table = np.zeros(256, np.uint32)
        for bit in range(8):
            table[1 << bit : 2 << bit] = table[: 1 << bit] ^ times[8 * byte + bit]
        result ^= table[values >> np.uint32(8 * byte) & np.uint32(0xFF)]
    return result


def differing_bits(plan: ChipPlan, unit: RomUnit, got: Slices, expected: Slices) -> Iterator[str]:
    """The bits in which slices (words, slices) differ, one after the other, each by its name."""
    size = 8 * np.dtype(unit.image.dtype).itemsize
    for word, slice_ in np.argwhere(got != expected).tolist():
        wrong = int(got[word, slice_] ^ expected[word, slice_])
        for position in range(32):
            if wrong >> position & 1:
                element, bit = (32 * slice_ + position) // size, (32 * slice_ + position) % size
                file = int(expected[word, slice_]) >> position & 1
                yield (
                    f"{unit} word {word} {_place(plan, unit, word, element)} bit {bit}: "
                    f"{1 - file} in the chip, {file} in the file"
                )


def _place(plan: ChipPlan, unit: RomUnit, word: int, element: int) -> str:
    """An element of a word, as the tables of docs/rom-format.md say what it is."""
    inside: tuple[Any, ...] = unit.image.shape[1:]
    if element >= np.prod(inside, dtype=int):
        return f"element {element}, beyond the word's end,"
    index = [int(i) for i in np.unravel_index(element, inside)] if inside else []
    owner, _, kind = unit.image.name.partition(".")
    lanes = plan.tile_rows
    if owner in (*LINEARS, "lm_head"):
        linear = plan.lm_head if owner == "lm_head" else plan.linears(unit.stage - 1)[owner]
        if kind == "bias":
            return f"row {word * lanes + index[0]}"
        if kind == "codes":
            row = word // linear.chunks * lanes + index[0]
            return f"row {row} input {word % linear.chunks * plan.tile_inputs + index[1]}"
        per_row = linear.scale_depth // linear.blocks
        row = word // per_row * lanes + index[0]
        return f"row {row} group {word % per_row * inside[1] + index[1]}"
    if owner == "embed_tokens":
        return f"element {index[0] * lanes + index[1]}" if kind == "codes" else f"group {index[0]}"
    if kind == "gains":
        return f"element {word * lanes + index[0]}"
    return f"pair {index[0]}" if owner == "rope" else "value"
