"""Slips in what moves: adapters and their load, host port, stages of the pipeline, test of the ROM."""

from __future__ import annotations

from typing import Final

from models.chip import ChipPlan
from verif.qualify.rtl_slips import (
    Slips,
    adapters,
    adapters_of_several_layers,
    several_blocks,
    several_slots,
    some_linear,
)

_LORA: Final = (
    ("adapter in a sequence without one", "rank_q != 8'd0 && slot_i != NoSlot", "rank_q != 8'd0"),
    (
        "slot cleared for one linear",
        "load_select_i && load_i.op == LORA_CLEAR",
        "load_here && load_i.op == LORA_CLEAR",
    ),
    ("shift of B for A", "<= load_i.a_shift;", "<= 6'(load_i.b_shift);"),
    ("h rounded down", "round_shift(acc_q, a_shift_q)", "acc_q >>> a_shift_q"),
)
_RANKS: Final = (("h of the next rank", "h_q[mac_j_q]);", "h_q[RankW'(mac_j_q + 1'b1)]);"),)
_LORA_SLOTS: Final = (
    (
        "A of the neighbour slot",
        "a_addr_q <= AAddrW'(32'(slot_i)",
        "a_addr_q <= AAddrW'((32'(slot_i) ^ 32'd1)",
    ),
    (
        "B of the neighbour slot",
        "b_addr_q <= BAddrW'(32'(slot_i)",
        "b_addr_q <= BAddrW'((32'(slot_i) ^ 32'd1)",
    ),
)
_LORA_INPUTS: Final = (("inputs of the neighbour block", "32'(x_i[block][r])", "32'(x_i[block ^ 1'b1][r])"),)
_LORA_OUTPUTS: Final = (
    (
        "B by rank and block",
        "j_q <= last_j ? '0 : j_q + 1'b1;\n          if (last_j) out_q <= out_q + 1'b1;",
        "out_q <= last_out ? '0 : out_q + 1'b1;\n          if (last_out) j_q <= j_q + 1'b1;",
    ),
)
_LORA_SHAPES: Final = (
    (
        "slots of A as far apart as of B",
        "load_i.slot) * (MaxRank * InBlocks)",
        "load_i.slot) * (MaxRank * OutBlocks)",
    ),
)
_LORA_LAYERS: Final = (
    (
        "adapter of a layer in every layer",
        "load_select_i && 32'(load_i.linear) == Linear",
        "32'(load_i.linear) == Linear",
    ),
)

_LOAD: Final = (
    ("checksum not checked", "else if (ld_data_i != ~crc_q) status = LOAD_CHECKSUM;", ""),
    ("header's lower half checked", "if (ld_data_i != LoraMagic)", "if (ld_data_i[15:0] != LoraMagic[15:0])"),
    ("slot of four bits", "if (ld_data_i >= Slots)", "if (32'(ld_data_i[3:0]) >= Slots)"),
    ("layer one past the last", "32'(head_layer) < Layers", "32'(head_layer) <= Layers"),
    ("rank 0 taken", "head_rank == 8'd0 || ", ""),
    ("section longer than its frame", "head_words > left_q ||", "1'b0 ||"),
    ("section twice", "||\n          seen_q[LayerW'(head_layer)][3'(head_linear)];", ";"),
    (
        "overlong frame taken",
        "if (!ld_last_i) status = LOAD_OVERLONG;\n        else if (ld_data_i",
        "if (ld_data_i",
    ),
    (
        "frame cut short taken",
        "ld_last_i && state_q != Checksum) status = LOAD_PARTIAL;",
        "1'b0) status = LOAD_PARTIAL;",
    ),
    ("cut short, whatever else is wrong", "if (status == LOAD_OK && ld_last_i", "if (ld_last_i"),
    ("valid whatever the status", "state_q == Checksum && status == LOAD_OK;", "state_q == Checksum;"),
    ("old adapter stays valid", "if (accept) slot_valid_o[ld_data_i[3:0]] <= 1'b0;", ""),
    (
        "A and B exchanged",
        "op_d = LORA_A;\n      MatrixB: if (last_piece) op_d = LORA_B;",
        "op_d = LORA_B;\n      MatrixB: if (last_piece) op_d = LORA_A;",
    ),
    ("scaling shifted by half", "b_shift_q <= ld_data_i[12:8];", "b_shift_q <= ld_data_i[13:9];"),
)
_LOAD_SHAPES: Final = (
    ("A of as many words as B", "32'(rank_q) * InBlocks[linear_q]", "32'(rank_q) * OutBlocks[linear_q]"),
)
_LOAD_LAYERS: Final = (("adapter of a layer in the next", "Layers'(1) << layer_q", "Layers'(2) << layer_q"),)

_HOST: Final = (
    (
        "token id without its highest bit",
        "token_o <= tok_id_i;",
        "token_o <= tok_id_i & ((32'd1 << ($clog2(Vocab) - 1)) - 32'd1);",
    ),
    ("token one past the last", "tok_id_i >= Vocab", "tok_id_i > Vocab"),
    ("context one longer", "pos >= Context", "pos > Context"),
    ("context one shorter", "pos >= Context", "pos + 32'd1 >= Context"),
    ("position not reset", "first ? 32'd0 : next_pos_q", "next_pos_q"),
    (
        "position kept over a close",
        "if (taken && close) begin\n              next_pos_q <= '0;",
        "if (taken && close) begin",
    ),
    ("sequence open after a close", "open_d = !close;", "open_d = 1'b1;"),
    (
        "token before sequence",
        "if (!open_q) status = STATUS_NO_SEQUENCE;\n        else if (bad_token) status = STATUS_BAD_TOKEN;",
        "if (bad_token) status = STATUS_BAD_TOKEN;\n        else if (!open_q) status = STATUS_NO_SEQUENCE;",
    ),
)
_HOST_NARROW: Final = (("token id of 16 bits", "tok_id_i >= Vocab", "32'(tok_id_i[15:0]) >= Vocab"),)
_HOST_SLOTS: Final = (
    ("slot of every token", "if (first) slot_d = tok_slot_i;", "slot_d = tok_slot_i;"),
    ("empty slot taken", "status = STATUS_EMPTY_SLOT;", "status = STATUS_OK;"),
    (
        "slot held a cycle late",
        "(open_d && slot_d != NoSlot) ? 16'd1 << slot_d",
        "(open_q && slot_o != NoSlot) ? 16'd1 << slot_o",
    ),
)
_HOST_SOME_SLOTS: Final = (("adapter of any slot", "!slot_valid_i[tok_slot_i]", "slot_valid_i == '0"),)

_STAGE: Final = (("a credit too few", "state_q == Receive", "state_q == Receive && !active_o"),)
_STAGE_RUN: Final = (
    (
        "step done as it starts",
        "state_q == Run && !entered_q && !busy_i[step_q]",
        "state_q == Run && !busy_i[step_q]",
    ),
    ("last step left out", "32'(step_q) == Steps - 1", "32'(step_q) == Steps - 2"),
    (
        "clock stands while sending",
        "state_q != Receive || in_block_o != '0",
        "state_q == Run || in_block_o != '0",
    ),
)
_SEND: Final = (("first block sent again", "residual[out_block]", "residual[0]"),)
_QUERIES: Final = (("queries not waited for", "|qkv_busy", "qkv_busy[1]"),)
_ROTATION: Final = (("rotation of queries not waited for", "|rope_busy", "rope_busy[1]"),)
_ADAPTER_CLOCK: Final = (
    (
        "clock of an adapter of slot 0 alone",
        "layer_active[0] && slot != NoSlot",
        "layer_active[0] && slot == 4'd0",
    ),
)
_TAIL: Final = (("blocks of the tail exchanged", "residual[in_block] <=", "residual[in_block ^ 1'b1] <="),)

_ROM_PORT: Final = (
    (
        "stage and ROM exchanged",
        "{chain_o.stage, chain_o.rom} <= rt_unit_i;",
        "{chain_o.rom, chain_o.stage} <= rt_unit_i;",
    ),
    ("neighbour word asked for", "chain_o.word <= rt_word_i;", "chain_o.word <= rt_word_i ^ 32'd1;"),
)
_STATION: Final = (
    ("signature of the last slice", "misr(signature_q, slice_i)", "misr('1, slice_i)"),
    ("signature without the last slice", "signs_q ? signature : slice_i", "signs_q ? signature_q : slice_i"),
    ("neighbour ROM", "read_o.rom <= chain_i.rom;", "read_o.rom <= chain_i.rom ^ 5'd1;"),
)
_PARAMS: Final = (
    ("neighbour word", "word_o[WordW'(rom_read_i.word)]", "word_o[WordW'(rom_read_i.word ^ 32'd1)]"),
)


def _waits_longest_for_queries(plan: ChipPlan) -> bool:
    return plan.blocks(plan.q_size) > plan.blocks(plan.kv_size)


GROUPS: Final = (
    Slips("ep_lora.sv", _LORA, adapters),
    Slips("ep_lora.sv", _RANKS, lambda plan: plan.lora_slots > 0 and plan.lora_max_rank > 1),
    Slips("ep_lora.sv", _LORA_SLOTS, several_slots),
    Slips("ep_lora.sv", _LORA_INPUTS, some_linear(lambda one: one.lora_slots > 0 and one.in_blocks > 1)),
    Slips("ep_lora.sv", _LORA_OUTPUTS, some_linear(lambda one: one.lora_max_rank > 1 and one.blocks > 1)),
    Slips(
        "ep_lora.sv",
        _LORA_SHAPES,
        some_linear(lambda one: one.lora_slots > 1 and one.in_blocks != one.blocks),
    ),
    Slips("ep_lora.sv", _LORA_LAYERS, adapters_of_several_layers),
    Slips("ep_lora_load.sv", _LOAD, adapters),
    Slips(
        "ep_lora_load.sv",
        _LOAD_SHAPES,
        some_linear(lambda one: one.lora_slots > 0 and one.in_blocks != one.blocks),
    ),
    Slips("ep_lora_load.sv", _LOAD_LAYERS, adapters_of_several_layers),
    Slips("ep_host_port.sv", _HOST),
    Slips("ep_host_port.sv", _HOST_NARROW, lambda plan: plan.vocab_size <= 1 << 16),
    Slips("ep_host_port.sv", _HOST_SLOTS, adapters),
    Slips("ep_host_port.sv", _HOST_SOME_SLOTS, several_slots),
    Slips("ep_stage_ctrl.sv", _STAGE, several_blocks),
    Slips("ep_stage_ctrl.sv", _STAGE_RUN),
    Slips("ep_layer_0.sv", _SEND, several_blocks),
    Slips("ep_layer_0.sv", _QUERIES, _waits_longest_for_queries),
    Slips("ep_layer_0.sv", _ROTATION, lambda plan: plan.n_heads > plan.n_kv_heads),
    Slips("ep_chip.sv", _ADAPTER_CLOCK, several_slots),
    Slips("ep_tail.sv", _TAIL, several_blocks),
    Slips("ep_rom_port.sv", _ROM_PORT),
    Slips("ep_rom_station.sv", _STATION),
    Slips("ep_param_rom.sv", _PARAMS),
)
