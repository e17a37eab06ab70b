"""Toggles that follow from the mask: widths of the ROM test, and columns of ROMs that hold one value in all rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product

import numpy as np

from etchproof.checkpoint.linears import LINEARS
from etchproof.coverage.exclusions import SignalExclusion
from etchproof.coverage.toggles import Edge
from etchproof.render.images import ImageSet, load_image
from models.chip import ChipPlan
from models.rom.units import front_roms, layer_roms, tail_roms
from verif.coverage.unreachable import bits_above, never_set, unreachable
from verif.rom_port.units import FRONT, LAYER, TAIL, RomUnit, file_slices, rom_units


def rom_test(plan: ChipPlan, images: ImageSet) -> Iterator[SignalExclusion]:
    """What a station and its ROMs say to each other is as wide as the largest chip's."""
    units = tuple(rom_units(plan, images))
    front = [unit for unit in units if unit.stage == 0]
    tail = [unit for unit in units if unit.stage == plan.n_layers + 1]
    layers = [unit for unit in units if 0 < unit.stage <= plan.n_layers]
    reason = "of the words and slices that the ROMs of this stage have"
    for file, struct, held, names in (
        ("ep_chip.sv", "rom_read", front, FRONT),
        ("ep_embedding.sv", "rom_read_i", front, FRONT),
        ("ep_layer_*.sv", "rom_read", layers, LAYER),
        ("ep_rope_table.sv", "rom_read_i", layers, LAYER),
        ("ep_tail.sv", "rom_read", tail, TAIL),
        ("ep_param_rom.sv", "rom_read_i", [*front, *layers], LAYER),
        ("ep_linear.sv", "rom_read_i", [*layers, *tail], LAYER),
        ("ep_rmsnorm.sv", "rom_read_i", [*layers, *tail], LAYER),
        ("ep_rom_station.sv", "read_o", units, LAYER),
    ):
        words, slices = max(unit.words for unit in held), max(unit.slices for unit in held)
        yield from unreachable(file, f"{struct}.word", reason, bits=bits_above(words, 32))
        yield from unreachable(file, f"{struct}.slice", reason, bits=bits_above(slices - 1, 16))
        yield from unreachable(file, f"{struct}.rom", reason, bits=bits_above(len(names) - 1, 5))
    words = max(unit.words for unit in [*layers, *tail])
    yield from unreachable("ep_linear.sv", "rom_word", reason, bits=bits_above(words, 32))
    station = "ep_rom_station.sv"
    table = [*front_roms(plan), *tail_roms(plan)]
    for kind in range(len(plan.layer_kinds)):
        table += layer_roms(plan, kind)
    yield from unreachable(station, "rom_words", reason, bits=never_set([unit.words for unit in table]))
    yield from unreachable(station, "rom_slices", reason, bits=never_set([unit.slices for unit in table]))
    yield from _slices(plan, images, units)


def _slices(plan: ChipPlan, images: ImageSet, units: tuple[RomUnit, ...]) -> Iterator[SignalExclusion]:
    """A bit that is 0 in every slice of a ROM stays 0 at its port: it gives 0, too, when another ROM is read."""
    held = {unit.number: np.bitwise_or.reduce(file_slices(images, unit), axis=None) for unit in units}

    def ones(names: Iterable[str], stages: Iterable[int]) -> int:
        wanted, places = set(names), set(stages)
        return int(
            np.bitwise_or.reduce(
                [held[unit.number] for unit in units if unit.image.name in wanted and unit.stage in places]
            )
        )

    def parts(*linears: str) -> list[str]:
        return [f"{linear}.{part}" for linear in linears for part in ("codes", "scales", "bias")]

    first, last = range(1), range(plan.n_layers + 1, plan.n_layers + 2)
    inner, every = range(1, plan.n_layers + 1), range(plan.n_layers + 2)
    norms = ("attn_norm.gains", "mlp_norm.gains", "final_norm.gains")
    tables = ("rope.cos", "rope.sin")
    embedding = ("embed_tokens.codes", "embed_tokens.scales")
    for file, signal, names, stages in (
        ("ep_chip.sv", "embed_tokens_slice", embedding, first),
        ("ep_embedding.sv", "rom_slice_o", embedding, first),
        ("ep_chip.sv", "params_slice", ("params",), first),
        ("ep_layer_*.sv", "params_slice", ("params",), inner),
        ("ep_param_rom.sv", "rom_slice_o", ("params",), every),
        ("ep_layer_*.sv", "attn_norm_slice", norms[:1], inner),
        ("ep_layer_*.sv", "mlp_norm_slice", norms[1:2], inner),
        ("ep_tail.sv", "final_norm_slice", norms[2:], last),
        ("ep_rmsnorm.sv", "rom_slice_o", norms, every),
        ("ep_layer_*.sv", "rope_slice", tables, inner),
        ("ep_rope_table.sv", "rom_slice_o", tables, inner),
        *(("ep_layer_*.sv", f"{name}_slice", parts(name), inner) for name in LINEARS),
        ("ep_tail.sv", "lm_head_slice", parts("lm_head"), last),
        ("ep_linear.sv", "rom_slice_o", parts(*LINEARS, "lm_head"), every),
    ):
        value = ones(names, stages)
        zero = tuple(bit for bit in range(32) if not value >> bit & 1)
        yield from unreachable(file, signal, "0 in every slice of these ROMs", bits=zero)


def rope_table(images: ImageSet) -> Iterator[SignalExclusion]:
    """The cosine of a slow pair never turns negative in a short context: what a column holds is in the image."""
    reason = "the table holds the same bit for every position of this context"
    for image, places in (
        ("rope.cos", (("ep_rope_table.sv", "cos_o"), ("ep_rope.sv", "cos_i"), ("ep_layer_*.sv", "cosine"))),
        ("rope.sin", (("ep_rope_table.sv", "sin_o"), ("ep_rope.sv", "sin_i"), ("ep_layer_*.sv", "sine"))),
    ):
        table = load_image(images, images.find(-1, image))
        for pair, column in enumerate(table.T):
            never, always = never_set(column.tolist(), 16), never_set((~column).tolist(), 16)
            edges: tuple[tuple[tuple[int, ...], Edge | None], ...] = ((never, None), (always, "fall"))
            for (file, signal), (bits, edge) in product(places, edges):
                if bits:
                    yield SignalExclusion(
                        file=file,
                        signals=(signal,),
                        elements=(pair,),
                        bits=bits,
                        edge=edge,
                        tag="unreachable",
                        reason=reason,
                    )
