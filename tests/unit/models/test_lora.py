"""Frames of adapters, where their elements lie, and what they cost in cycles."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from etchproof.errors import InputError
from etchproof.quantize.quantized_model import AdapterMatrix, QuantizedAdapter
from etchproof.quantize.recipe import Lora
from models import chip, lora
from models.cycles import layer_cycles, load_cycles, lora_cycles, token_cycles
from tests.unit.models.conftest import CONFIG, recipe

PLAN = chip.plan(CONFIG, recipe(lora=Lora(slots=3, max_rank=5)))
LINEARS = PLAN.linears(0)


def matrix(name: str, rank: int, *, a_shift: int = 7, b_shift: int = 9, cols: int = 0) -> AdapterMatrix:
    """Elements that tell where they come from."""
    linear = LINEARS[name]
    a = np.arange(rank * (linear.cols + cols), dtype=np.int16).reshape(rank, -1) - 60
    b = 1000 + np.arange(linear.rows * rank, dtype=np.int16).reshape(-1, rank)
    return AdapterMatrix(a, b, a_shift, b_shift, 0, 0, 0)


def adapter(**linears: AdapterMatrix) -> QuantizedAdapter:
    """Of layer 1."""
    return QuantizedAdapter("toy", "", {(1, name): m for name, m in linears.items()})


def test_a_frame_by_hand() -> None:
    """o_proj of the toy: 40 rows and 30 inputs in lanes of 8, so 5 and 4 blocks, the last of the inputs short."""
    linear, m = LINEARS["o_proj"], matrix("o_proj", 2)
    assert (linear.rows, linear.cols, linear.tile_rows) == (40, 30, 8)
    words = [int(word) for word in lora.load_frame(PLAN, adapter(o_proj=m), 2)]
    elements = [e for word in words[5:-1] for e in (word & 0xFFFF, word >> 16)]
    signed = [e - 2**16 if e >= 2**15 else e for e in elements]
    assert words[:5] == [0x41524F4C, 2, 2 + 2 * (4 + 5) * 4, 3 << 24 | 2 << 16 | 1, 9 << 8 | 7]
    a = [*m.a[0].tolist(), 0, 0, *m.a[1].tolist(), 0, 0]
    b = [m.b[row, j] for block in range(5) for j in range(2) for row in range(block * 8, block * 8 + 8)]
    assert signed == a + b
    content = b"".join(word.to_bytes(4, "little") for word in words[:-1])
    assert words[-1] == zlib.crc32(content)


def test_sections_go_by_layer_and_linear() -> None:
    held = {
        (1, "q_proj"): matrix("q_proj", 1),
        (0, "up_proj"): matrix("up_proj", 3),
        (0, "k_proj"): matrix("k_proj", 5),
    }
    words = lora.load_frame(PLAN, QuantizedAdapter("toy", "", held), 0)
    assert list(lora.frame_ranks(PLAN, words).items()) == [
        ((0, "k_proj"), 5),
        ((0, "up_proj"), 3),
        ((1, "q_proj"), 1),
    ]
    assert len(words) == lora.FRAME_WORDS + sum(
        lora.section_words(LINEARS[name], m.rank) for (_, name), m in held.items()
    )


def test_an_adapter_without_linears() -> None:
    words = lora.load_frame(PLAN, adapter(), 1)
    assert words.tolist()[:3] == [lora.MAGIC, 1, 0]
    assert len(words) == lora.FRAME_WORDS
    assert lora.frame_ranks(PLAN, words) == {}


@pytest.mark.parametrize("name", ["q_proj", "down_proj"])
@pytest.mark.parametrize("slot", [0, 2])
def test_sites_follow_the_order_of_the_frame(name: str, slot: int) -> None:
    """Words of a matrix go to consecutive words of its SRAM, from the slot's first on."""
    linear, m = LINEARS[name], matrix(name, 3)
    words = lora.section(linear, 0, m)[lora.SECTION_WORDS :].astype("<u4").view("<i2").reshape(-1, 8)
    a_words = 3 * linear.in_blocks
    sides = (("A", m.a, words[:a_words], linear.in_blocks), ("B", m.b, words[a_words:], linear.blocks))
    for side, values, sram, blocks in sides:
        for (row, col), value in np.ndenumerate(values):
            word, lane = lora.sram_site(PLAN, slot, linear, 3, side, row, col)  # type: ignore[arg-type]
            assert sram[word - slot * 5 * blocks, lane] == value


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ({(1, "q_proj"): matrix("q_proj", 6)}, r"toy: layer 1 q_proj.*rank 6 is outside 1 \.\. 5"),
        ({(2, "q_proj"): matrix("q_proj", 1)}, "layer 2 q_proj.*no such linear"),
        ({(1, "lm_head"): matrix("q_proj", 1)}, "layer 1 lm_head.*no such linear"),
        ({(1, "q_proj"): matrix("q_proj", 1, cols=1)}, r"A \(1, 41\) and B \(30, 1\) do not fit \(30, 40\)"),
        ({(1, "q_proj"): matrix("q_proj", 1, a_shift=63)}, r"a_shift 63 is outside 0 \.\. 62"),
        ({(1, "q_proj"): matrix("q_proj", 1, b_shift=28)}, r"b_shift 28 is outside 0 \.\. 27"),
    ],
)
def test_what_does_not_fit_the_chip_is_refused(held: dict[tuple[int, str], AdapterMatrix], said: str) -> None:
    with pytest.raises(InputError, match=said):
        lora.load_frame(PLAN, QuantizedAdapter("toy", "", held), 0)


@pytest.mark.parametrize("slot", [-1, 3])
def test_a_slot_that_the_chip_has_not_is_refused(slot: int) -> None:
    with pytest.raises(InputError, match=r"slot.*is not below the chip's 3"):
        lora.load_frame(PLAN, adapter(), slot)


class TestCycles:
    def test_an_adapted_linear(self) -> None:
        assert lora_cycles(LINEARS["o_proj"], 3) == 3 * (4 + 5) + 1

    def test_the_slowest_of_those_that_run_together_counts(self) -> None:
        base = layer_cycles(PLAN, 0, 0)
        k, v, o = (LINEARS[name] for name in ("k_proj", "v_proj", "o_proj"))
        alone = layer_cycles(PLAN, 0, 0, {(0, "o_proj"): 2})
        assert alone == {**base, "o_proj": base["o_proj"] + lora_cycles(o, 2)}
        both = layer_cycles(PLAN, 0, 0, {(0, "k_proj"): 5, (0, "v_proj"): 1, (1, "q_proj"): 5})
        slowest = max(k.depth + lora_cycles(k, 5), v.depth + lora_cycles(v, 1), LINEARS["q_proj"].depth) + 4
        assert both == {**base, "qkv": slowest}
        assert slowest > base["qkv"]

    def test_a_token(self) -> None:
        ranks = {(0, "o_proj"): 2, (1, "o_proj"): 4, (1, "down_proj"): 1}
        more = sum(lora_cycles(LINEARS[name], rank) for (_, name), rank in ranks.items())
        for position in (0, 7):
            assert token_cycles(PLAN, position, ranks) == token_cycles(PLAN, position) + more
        assert token_cycles(PLAN, 3, {}) == token_cycles(PLAN, 3)

    def test_a_load_takes_a_cycle_a_word(self) -> None:
        words = lora.load_frame(PLAN, adapter(o_proj=matrix("o_proj", 2)), 0)
        assert load_cycles(PLAN, words) == len(words) == 4 + 2 + 2 * 9 * 4
