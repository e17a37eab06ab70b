"""The protocols of host port and load port and their codes, without a simulator (docs/adapters.md, "On the chip").

The testbench, its reference model and what a run has to do (``verif.scenarios.stimulus``) share this; the RTL says
it a second time, and ``models.lora`` writes frames without it.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from etchproof.checkpoint.linears import LINEARS

MAGIC: Final = 0x41524F4C
HEADER_WORDS: Final = 3  # magic, slot, length
MAX_A_SHIFT: Final = 62
NO_SLOT: Final = 15
"""The slot of a sequence without an adapter."""


class Op(IntEnum):
    """ep_pkg::op_e: what a request on the host port asks for."""

    NEXT = 0
    FIRST = 1
    CLOSE = 2


class Status(IntEnum):
    """ep_pkg::status_e."""

    OK = 0
    BAD_TOKEN = 1
    CONTEXT_FULL = 2
    NO_SEQUENCE = 3
    BAD_SLOT = 4
    EMPTY_SLOT = 5
    BAD_OP = 6


class LoadStatus(IntEnum):
    """ep_pkg::load_status_e."""

    OK = 0
    BAD_HEADER = 1
    BAD_SLOT = 2
    SLOT_BUSY = 3
    PARTIAL = 4
    OVERLONG = 5
    BAD_SECTION = 6
    CHECKSUM = 7


Ranks = Mapping[tuple[int, str], int]
"""Of each linear that an adapter adapts, by (layer, linear)."""

Words = NDArray[np.uint32]


def payload(words: Words) -> bytes:
    """What a frame says of an adapter, whatever its slot."""
    return words[HEADER_WORDS:-1].astype("<u4").tobytes()


def frame_status(plan: Any, words: Words) -> tuple[LoadStatus, int]:
    """What is answered to a frame where no sequence holds its slot, and the slot that the answer names.

    The slot is ``NO_SLOT`` where the frame names none of the chip: such a frame changes nothing.
    """
    if words[0] != MAGIC:
        return LoadStatus.BAD_HEADER, NO_SLOT
    if len(words) == 1:
        return LoadStatus.PARTIAL, NO_SLOT
    slot = int(words[1])
    if slot >= plan.lora_slots:
        return LoadStatus.BAD_SLOT, NO_SLOT
    return read_sections(plan, words)[0], slot


def read_sections(plan: Any, words: Words) -> tuple[LoadStatus, dict[tuple[int, str], int]]:
    """What becomes of a frame for a free slot, and the rank of each linear that it has.

    Words are judged in the order in which they come, each for what it says before whether it is the last.
    """
    ranks: dict[tuple[int, str], int] = {}
    last = len(words) - 1

    def ended(at: int) -> bool:
        return at >= last

    if ended(1) or ended(2):
        return LoadStatus.PARTIAL, ranks
    at, end = HEADER_WORDS, HEADER_WORDS + int(words[2])  # the checksum's place
    while at < end:
        head = int(words[at])
        linear, rank, layer = head >> 24, head >> 16 & 0xFF, head & 0xFFFF
        if (
            linear >= len(LINEARS)
            or layer >= plan.n_layers
            or (layer, LINEARS[linear]) in ranks
            or not 1 <= rank <= plan.lora_max_rank
        ):
            return LoadStatus.BAD_SECTION, ranks
        shape = plan.linears(layer)[LINEARS[linear]]
        blocks = -(-shape.cols // plan.tile_rows) + -(-shape.rows // plan.tile_rows)
        after = at + 2 + rank * blocks * plan.tile_rows // 2
        if after > end:
            return LoadStatus.BAD_SECTION, ranks
        if ended(at):
            return LoadStatus.PARTIAL, ranks
        shifts = int(words[at + 1])
        if shifts >> 16 or shifts & 0xFF > MAX_A_SHIFT or shifts >> 8 > plan.max_b_shift:
            return LoadStatus.BAD_SECTION, ranks
        if ended(after - 1):
            return LoadStatus.PARTIAL, ranks
        ranks[layer, LINEARS[linear]] = rank
        at = after
    if last < end:
        return LoadStatus.PARTIAL, ranks
    if last > end:
        return LoadStatus.OVERLONG, ranks
    if zlib.crc32(words[:end].astype("<u4").tobytes()) != int(words[end]):
        return LoadStatus.CHECKSUM, ranks
    return LoadStatus.OK, ranks
