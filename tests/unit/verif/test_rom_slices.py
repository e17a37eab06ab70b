"""What the ROM test port must answer, worked out from files: slices, signatures, and the names of bits that differ."""

from __future__ import annotations

import numpy as np
import pytest

from etchproof.errors import InputError
from etchproof.render.images import ImageSet, write_images
from models import chip
from models.rom import units as rom_units
from models.rom import writer
from tests.render.designs import DESIGNS
from tests.unit.models.conftest import drawn_model
from verif.rom_port.units import (
    POLYNOMIAL,
    SEED,
    RomUnit,
    differing_bits,
    file_slices,
    signature,
)
from verif.rom_port.units import rom_units as units_on_disk

Etched = tuple[chip.ChipPlan, ImageSet, tuple[RomUnit, ...]]


@pytest.fixture(scope="module")
def etched(tmp_path_factory: pytest.TempPathFactory) -> Etched:
    """Groups finer than the tile, as wide, coarser, whole rows; biases; short last blocks; an odd number of pairs."""
    model = drawn_model()
    plan = chip.plan(model.config, model.recipe)
    images = write_images(tmp_path_factory.mktemp("rom"), writer.images(model, plan))
    return plan, images, tuple(units_on_disk(plan, images))


def step(state: int, slice_: int) -> int:
    """One clock of the MISR, bit by bit: a shift register with taps, and a slice added to it."""
    taps = [bit for bit in range(32) if POLYNOMIAL >> bit & 1]
    out = state >> 31
    bits = [0, *(state >> bit & 1 for bit in range(31))]
    for tap in taps:
        bits[tap] ^= out
    return sum((bit ^ (slice_ >> place & 1)) << place for place, bit in enumerate(bits))


class TestSignature:
    def test_by_hand(self) -> None:
        """All ones: times x is fffffffe plus the polynomial."""
        none = np.zeros(0, np.uint32)
        assert signature(none) == SEED == 0xFFFFFFFF
        assert signature(np.array([0], np.uint32)) == 0xFFFFFFFE ^ 0x04C11DB7 == 0xFB3EE249
        assert signature(np.array([0xFB3EE249], np.uint32)) == 0
        # From 0 on, a lone 1 goes up bit by bit, and as x^32 becomes the polynomial.
        cleared = [0xFB3EE249, 1]
        assert signature(np.array([*cleared, *[0] * 31], np.uint32)) == 1 << 31
        assert signature(np.array([*cleared, *[0] * 32], np.uint32)) == 0x04C11DB7

    @pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 9, 255, 256, 1000])
    def test_is_the_registers(self, count: int) -> None:
        words = np.random.default_rng(count).integers(0, 1 << 32, count, dtype=np.uint32)
        state = SEED
        for word in words.tolist():
            state = step(state, word)
        assert signature(words) == state

    def test_any_fault_within_one_slice_shows(self) -> None:
        words = np.random.default_rng(3).integers(0, 1 << 32, 37, dtype=np.uint32)
        good = signature(words)
        faults = [1 << bit for bit in range(32)] + [0xFFFFFFFF, POLYNOMIAL, 0x80000001]
        for place in range(len(words)):
            for fault in faults:
                changed = words.copy()
                changed[place] ^= np.uint32(fault)
                assert signature(changed) != good

    def test_words_in_another_order(self) -> None:
        words = np.random.default_rng(4).integers(0, 1 << 32, 16, dtype=np.uint32)
        assert signature(words[::-1].copy()) != signature(words)


class TestUnits:
    def test_are_those_that_are_rendered(self, etched: Etched) -> None:
        """Two ways to the same numbers: from the files that there are, and from the plan."""
        plan, _, units = etched
        stages = [rom_units.front_roms(plan)]
        stages += [rom_units.layer_roms(plan, kind) for kind in plan.layers]
        stages.append(rom_units.tail_roms(plan))
        planned = {
            32 * stage + number: (unit.name, unit.words, unit.slices)
            for stage, roms in enumerate(stages)
            for number, unit in enumerate(roms)
            if unit.words
        }
        assert {unit.number: (unit.image.name, unit.words, unit.slices) for unit in units} == planned

    def test_every_image_has_one(self, etched: Etched) -> None:
        plan, images, units = etched
        assert {unit.image for unit in units} == set(images.images)
        assert len(units) == len(images.images) + 2 * (plan.n_layers - 1)  # the tables, in each layer

    @pytest.mark.parametrize("name", DESIGNS)
    def test_numbers_fit_the_port(self, name: str) -> None:
        plan = chip.plan(*DESIGNS[name])
        assert plan.n_layers + 2 <= 1 << rom_units.STAGE_BITS
        for roms in (rom_units.front_roms(plan), rom_units.layer_roms(plan, 0), rom_units.tail_roms(plan)):
            assert len(roms) <= 1 << rom_units.ROM_BITS
            assert all(unit.words < 1 << 32 and unit.slices < 1 << 16 for unit in roms)


class TestSlices:
    def test_are_the_files_bytes(self, etched: Etched) -> None:
        """Codes fill whole slices; three pairs of a table do not: the last slice ends in zeros."""
        _, images, units = etched
        by_name = {unit.name: unit for unit in units}
        codes = by_name["layer 1 q_proj.codes"]
        assert file_slices(images, codes).tobytes() == images.path(codes.image).read_bytes()
        table = by_name["layer 0 rope.cos"]
        slices = file_slices(images, table)
        stored = np.fromfile(images.path(table.image), "<u2").reshape(table.image.shape)
        assert slices.shape == (table.image.shape[0], 2) and table.image.shape[1] == 3
        assert (slices[:, 0] == stored[:, 0] + (stored[:, 1].astype(np.uint32) << 16)).all()
        assert (slices[:, 1] == stored[:, 2]).all()

    def test_a_file_of_another_content(self, etched: Etched) -> None:
        _, images, units = etched
        unit = next(unit for unit in units if unit.name == "layer 1 down_proj.codes")
        path = images.path(unit.image)
        kept = path.read_bytes()
        path.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
        with pytest.raises(InputError, match="does not have the hash of its name"):
            file_slices(images, unit)
        path.write_bytes(kept)


SITES = {
    "model.layers.1.self_attn.q_proj[29,39]^2": "layer 1 q_proj.codes) word 11 row 29 input 39 bit 2",
    "model.layers.0.mlp.down_proj[17,51]^0": "layer 0 down_proj.codes) word 11 row 17 input 51 bit 0",
    "model.layers.0.mlp.down_proj.scales[17,1]^15": "layer 0 down_proj.scales) word 5 row 17 group 1 bit 15",
    "model.layers.1.self_attn.k_proj.scales[5,2]^3": "layer 1 k_proj.scales) word 2 row 5 group 2 bit 3",
    "model.layers.1.self_attn.o_proj.bias[33]^31": "layer 1 o_proj.bias) word 4 row 33 bit 31",
    "model.layers.1.post_attention_layernorm[21]^7": "layer 1 mlp_norm.gains) word 2 element 21 bit 7",
    "lm_head[36,17]^1": "lm_head.codes) word 13 row 36 input 17 bit 1",
    "model.norm[39]^0": "final_norm.gains) word 4 element 39 bit 0",
    "model.embed_tokens[30,25]^7": "embed_tokens.codes) word 30 element 25 bit 7",
    "model.embed_tokens.scales[30,2]^9": "embed_tokens.scales) word 30 group 2 bit 9",
}


class TestNames:
    @pytest.mark.parametrize("site", SITES)
    def test_of_a_bit(self, etched: Etched, site: str) -> None:
        """Where --inject puts a bit is where a difference is named."""
        plan, images, units = etched
        layer, name, index, bit = writer.site(site, plan)
        unit = next(unit for unit in units if (unit.image.layer, unit.image.name) == (layer, name))
        expected = file_slices(images, unit)
        flat = (
            int(np.ravel_multi_index(index[1:], unit.image.shape[1:]))
            * 8
            * np.dtype(unit.image.dtype).itemsize
        )
        got = expected.copy()
        got[index[0], (flat + bit) // 32] ^= np.uint32(1 << (flat + bit) % 32)
        (named,) = differing_bits(plan, unit, got, expected)
        was = int(expected[index[0], (flat + bit) // 32]) >> (flat + bit) % 32 & 1
        assert named == f"unit {unit.number:#x} ({SITES[site]}: {1 - was} in the chip, {was} in the file"

    def test_of_tables_words_and_what_lies_beyond(self, etched: Etched) -> None:
        plan, images, units = etched
        by_name = {unit.name: unit for unit in units}

        def named(name: str, word: int, slice_: int, mask: int) -> list[str]:
            expected = file_slices(images, by_name[name])
            got = expected.copy()
            got[word, slice_] ^= np.uint32(mask)
            return [
                text.partition(") ")[2].partition(":")[0]
                for text in differing_bits(plan, by_name[name], got, expected)
            ]

        assert named("layer 1 rope.sin", 7, 1, 0x1) == ["word 7 pair 2 bit 0"]
        assert named("layer 1 params", 5, 0, 0x11) == ["word 5 value bit 0", "word 5 value bit 4"]
        assert named("layer 1 rope.sin", 7, 1, 0x10000) == ["word 7 element 3, beyond the word's end, bit 0"]
