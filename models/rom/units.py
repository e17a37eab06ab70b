"""The chip's ROMs as its test port addresses them: stages along the chain, ROMs of a stage, their words and slices.

docs/rom-format.md, "Read back". Like the plan, nothing here sees a weight.
"""

from __future__ import annotations

from dataclasses import dataclass

from etchproof.checkpoint.linears import LINEARS
from models.chip import ChipPlan, LinearPlan
from models.numerics.params import LAYER_WORDS, TOP_WORDS

SLICE_BYTES = 4
STAGE_BITS, ROM_BITS = 11, 5  # of a unit's number: {stage, ROM}


@dataclass(frozen=True)
class RomUnit:
    """One ROM of a stage.

    Attributes:
        name: its image, "q_proj.codes".
        words: 0 where the chip has no such ROM.
        slices: of 32 bits, of a word.
    """

    name: str
    words: int
    slices: int


def front_roms(plan: ChipPlan) -> tuple[RomUnit, ...]:
    """The ROMs before the layers, by their numbers."""
    row = plan.blocks(plan.hidden_size) * plan.tile_rows
    group = row if plan.embedding.group_size >= plan.hidden_size else plan.embedding.group_size
    return (
        RomUnit("embed_tokens.codes", plan.vocab_size, row // SLICE_BYTES),
        RomUnit("embed_tokens.scales", plan.vocab_size, -(-2 * -(-row // group) // SLICE_BYTES)),
        RomUnit("params", len(TOP_WORDS), 1),
    )


def layer_roms(plan: ChipPlan, kind: int) -> tuple[RomUnit, ...]:
    """The ROMs of a layer of this kind, by their numbers."""
    table = -(-2 * (plan.head_dim // 2) // SLICE_BYTES)
    assert tuple(linear.name for linear in plan.layer_kinds[kind]) == LINEARS
    return (
        *(unit for linear in plan.layer_kinds[kind] for unit in _linear(linear)),
        _gains(plan, "attn_norm"),
        _gains(plan, "mlp_norm"),
        RomUnit("rope.cos", plan.context, table),
        RomUnit("rope.sin", plan.context, table),
        RomUnit("params", len(LAYER_WORDS), 1),
    )


def tail_roms(plan: ChipPlan) -> tuple[RomUnit, ...]:
    """The ROMs after the layers, by their numbers."""
    return (*_linear(plan.lm_head), _gains(plan, "final_norm"))


def _linear(linear: LinearPlan) -> tuple[RomUnit, ...]:
    codes = linear.tile_rows * linear.tile_inputs
    scales = 2 * linear.tile_rows * linear.groups_per_word
    bias_words = linear.blocks if linear.has_bias else 0
    return (
        RomUnit(f"{linear.name}.codes", linear.depth, codes // SLICE_BYTES),
        RomUnit(f"{linear.name}.scales", linear.scale_depth, scales // SLICE_BYTES),
        RomUnit(f"{linear.name}.bias", bias_words, linear.tile_rows),
    )


def _gains(plan: ChipPlan, norm: str) -> RomUnit:
    return RomUnit(f"{norm}.gains", plan.blocks(plan.hidden_size), 2 * plan.tile_rows // SLICE_BYTES)
