"""Code that a reference chip cannot reach, or that another gate stands for, worked out from its plan and its mask.

docs/coverage.md, "Toggles", says why each kind is left out. Everything here follows from shapes and widths, from the
words of the mask, or from a bound of docs/numerics.md; nothing was read off a run. What is called unreachable must
never be passed: sign-off takes a point that was for a fault of the chip or of this file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from etchproof.checkpoint.linears import LINEARS
from etchproof.coverage.exclusions import Exclusion, SignalExclusion, Tag
from etchproof.render.images import ImageSet
from models.chip import ChipPlan
from verif.coverage.mask_toggles import rom_test, rope_table
from verif.coverage.unreachable import (
    bits_above,
    bits_from,
    never_falls,
    never_set,
    only_values,
    unreachable,
)
from verif.protocol import NO_SLOT, LoadStatus, Status

WEIGHT_LARGEST: Final = 1 << 20  # of softmax: exp2(0), docs/numerics.md section 7.1
RECIPROCAL_BITS: Final = 29  # of a reciprocal or reciprocal root: sections 3.1 and 8.1
SEED_ZEROS: Final = 14  # low bits of what a table gives as the first guess
NORM_MAGNITUDE: Final = 1 << 24  # of an element of a norm that is squared, section 3
CHAIN_KIND_ASKED: Final = 2  # ep_pkg::CHAIN_SIGNATURE, the largest kind of a request


def exclusions(plan: ChipPlan, images: ImageSet) -> tuple[Exclusion | SignalExclusion, ...]:
    """What ``etchproof.toml`` names: of the chip with that mask."""
    return (
        *_branches(plan),
        *_simulation(plan),
        *_memories(plan),
        *_constants(),
        *_padding(plan),
        *_positions_and_tokens(plan),
        *_statuses(),
        *_arithmetic(plan),
        *rom_test(plan, images),
        *rope_table(images),
        *(_adapters(plan) if plan.lora_slots else _no_adapters()),
    )


def _branches(plan: ChipPlan) -> Iterator[Exclusion]:
    """Ways that the shapes of this chip do not go: each is left by a condition over its parameters."""

    def branch(file: str, what: str, text: str, tag: Tag, reason: str) -> Exclusion:
        return Exclusion(file=file, kinds=("branch",), what=what, text=text, tag=tag, reason=reason)

    linears = [linear for linears in plan.layer_kinds for linear in linears]
    if not any(linear.has_bias for linear in linears):
        reason = "no linear of this chip has a bias"
        yield branch("ep_linear.sv", "if", "if (HasBias) *", "unsupported", reason)
        yield branch("ep_linear.sv", "if", "end else if (HasBias *", "unsupported", reason)
        yield branch("ep_linear.sv", "cond_then", "sum = HasBias ? *", "unsupported", reason)
    fine = {linear.group_size <= linear.tile_inputs for linear in (*linears, plan.lm_head)}
    if len(fine) == 1:
        other = "cond_else" if fine == {True} else "cond_then"
        reason = "the groups of all linears are on the same side of a tile's length"
        yield branch("ep_linear.sv", other, "mac_scale_addr_q <= Fine ? *", "unsupported", reason)
    if plan.padded_blocks(plan.q_size) * plan.tile_rows == plan.q_size:
        reason = "the heads fill whole tiles: no lane is padding, and the loop's bounds are constants"
        yield branch(
            "ep_attention.sv", "else", "if (b * Lanes + i < Heads * HeadDim) begin", "unreachable", reason
        )
    if plan.context * WEIGHT_LARGEST < 1 << 32:
        reason = "the sum of softmax weights stays below 32 bits in this context"
        yield branch("ep_attention.sv", "else", "if (sum_length <= 7'd32) *", "unreachable", reason)
    if plan.norm_epsilon:
        reason = "the sum of squares is zero only for a zero vector with an epsilon of zero, and this epsilon is not"
        yield branch("ep_rmsnorm.sv", "if", "if (v == 64'd0) *", "unreachable", reason)
    groups = -(-plan.blocks(plan.hidden_size) * plan.tile_rows // plan.embedding.group_size)
    if groups % 2 == 0:
        reason = "a slice of the ROM test holds two scales, and an embedding row has an even number of them"
        yield branch("ep_embedding.sv", "else", "if (at < Groups) *", "unreachable", reason)
    if plan.lora_slots:
        reason = (
            "the unit's clock runs only in a sequence with an adapter, whose slot the host port has checked"
        )
        yield branch("ep_lora.sv", "cond_else", "else rank_q <= *", "unreachable", reason)
    else:
        reason = "this chip takes no adapters: every sequence is without one"
        yield branch("ep_host_port.sv", "cond_then", "held_o = *", "unsupported", reason)
        yield branch(
            "ep_host_port.sv", "if", "else if (tok_slot_i != NoSlot && !slot_valid_i*", "unsupported", reason
        )
        yield branch("ep_linear.sv", "if", "if (HasLora && lora_on_i) *", "unsupported", reason)
        reason = "without adapters nothing but the ROM test wakes its clock, which waits for a request and for the host"
        yield branch("ep_rom_port.sv", "else", "if (rt_valid_i) begin", "unreachable", reason)
        yield branch("ep_rom_port.sv", "else", "if (rtr_ready_i) begin", "unreachable", reason)


def _simulation(plan: ChipPlan) -> Iterator[SignalExclusion]:
    """What only taps and linters look at, or the simulation drives."""

    def entry(file: str, signals: str, reason: str) -> SignalExclusion:
        return SignalExclusion(
            file=file, signals=tuple(signals.split()), tag="simulation-only", reason=reason
        )

    yield entry("*", "load_i", "rises once and loads the images")
    yield entry("*", "*unused_*", "drives nothing; it tells linters that something is not read")
    yield entry("ep_layer_*.sv", "tap_layer visible attn_residual mlp_residual", "for taps alone")
    yield entry("ep_tail.sv", "token", "for a tap alone")
    if plan.lora_slots:
        yield entry("ep_lora.sv", "sram_i", "rises once and shows the SRAMs to the simulation")
        yield entry("ep_lora.sv", "rank_o h_o", "for taps alone")
        yield entry("ep_layer_*.sv", "*_lora_rank *_lora_a", "for taps alone")


def _memories(plan: ChipPlan) -> Iterator[SignalExclusion]:
    """Arrays of words that are addressed: their rows are bins of covergroups, their columns toggle at the ports."""

    def memory(file: str, signals: str, reason: str, *covered_by: str) -> SignalExclusion:
        return SignalExclusion(
            file=file, signals=tuple(signals.split()), tag="external", covered_by=covered_by, reason=reason
        )

    mask = (
        "mask ROM, which never changes; that each of its bits is seen is what ROM bit observability measures"
    )
    yield memory("ep_linear.sv", "codes scales", mask, "rom_observability", "rom_words")
    yield memory("ep_embedding.sv", "codes scales", mask, "rom_observability", "rom_words")
    yield memory("ep_rmsnorm.sv", "gains", mask, "rom_observability", "rom_words")
    yield memory(
        "ep_rope_table.sv",
        "cos_rom sin_rom",
        "table ROM; each row is a bin",
        "covergroup.tables",
        "rom_readback",
    )
    yield memory(
        "ep_attention.sv",
        "k_cache v_cache scores_o weights_o",
        "memories with a row for each position; each row is written and read, and each column holds both values",
        "covergroup.kv_rows",
        "covergroup.kv_columns",
    )
    yield memory(
        "ep_layer_*.sv",
        "scores softmax",
        "the same rows of scores and weights, on their way to a tap",
        "covergroup.kv_rows",
    )
    if any(linear.has_bias for linears in plan.layer_kinds for linear in linears):
        yield memory("ep_linear.sv", "bias", mask, "rom_observability", "rom_words")
    else:
        yield SignalExclusion(
            file="ep_linear.sv",
            signals=("bias",),
            tag="unsupported",
            reason="no linear of this chip has a bias: the memory is not there in silicon",
        )
    if plan.lora_slots:
        yield memory(
            "ep_lora.sv", "a_mem b_mem", "SRAM; each row is written and read", "covergroup.lora_sram"
        )
        yield memory(
            "ep_lora.sv",
            "ranks_q a_shifts_q b_shifts_q",
            "a row for each slot; each slot ran with each rank in each linear, and shifts reach both ends",
            "covergroup.lora_ranks",
            "covergroup.lora_adapters",
        )


def _constants() -> Iterator[SignalExclusion]:
    """Words of the params ROM stand from power-up on."""
    for file, signals in {
        "ep_param_rom.sv": "word_o",
        "ep_chip.sv": "word",
        "ep_layer_*.sv": "word",
        "ep_tail.sv": "norm_shift_i head_shift_i",
        "ep_embedding.sv": "shift_i",
        "ep_linear.sv": "shift_i bias_shift_i",
        "ep_rmsnorm.sv": "shift_i",
        "ep_rope.sv": "shift_i",
        "ep_attention.sv": "softmax_shift_i out_shift_i",
        "ep_residual.sv": "attn_shift_i mlp_shift_i",
        "ep_swiglu.sv": "gate_shift_i shift_i",
    }.items():
        yield SignalExclusion(
            file=file,
            signals=tuple(signals.split()),
            tag="external",
            covered_by=("rom_readback", "rom_signature"),
            reason="a word of the params ROM, which never changes; each is read back and compared with the file",
        )


def _padding(plan: ChipPlan) -> Iterator[SignalExclusion]:
    """Vectors are held in blocks of lanes, and those that feed a linear in whole tiles; what is beyond stays 0."""
    hidden, ffn, query = plan.hidden_size, plan.intermediate_size, plan.q_size
    key_value, vocab = plan.kv_size, plan.vocab_size

    def blocks(*sizes: int) -> list[tuple[int, int]]:
        return [(plan.blocks(size), size) for size in sizes]

    def padded(*sizes: int) -> list[tuple[int, int]]:
        return [(plan.padded_blocks(size), size) for size in sizes]

    lanes = [(plan.tile_rows, max(min(hidden, plan.tile_rows), 1))]
    outputs = [*blocks(query, key_value, hidden, vocab), *padded(ffn)]
    reason = (
        "padding of a vector to whole blocks of lanes, or to a linear's whole tiles: zero by construction"
    )
    for file, signals, filled in (
        ("ep_chip.sv", "embedding", blocks(hidden)),
        ("ep_chip.sv", "stream*_data", lanes),
        ("ep_embedding.sv", "row_o", blocks(hidden)),
        ("ep_embedding.sv", "data_o", lanes),
        ("ep_layer_*.sv", "residual o_proj down_proj", blocks(hidden)),
        ("ep_layer_*.sv", "in_data_i out_data_o", lanes),
        ("ep_layer_*.sv", "attn_norm mlp_norm", padded(hidden)),
        ("ep_layer_*.sv", "q_proj", blocks(query)),
        ("ep_layer_*.sv", "k_proj v_proj", blocks(key_value)),
        ("ep_layer_*.sv", "attn_out", padded(query)),
        ("ep_layer_*.sv", "gate_proj up_proj swiglu", padded(ffn)),
        ("ep_tail.sv", "residual", blocks(hidden)),
        ("ep_tail.sv", "in_data_i", lanes),
        ("ep_tail.sv", "final_norm", padded(hidden)),
        ("ep_tail.sv", "logits", blocks(vocab)),
        ("ep_argmax.sv", "logits_i", blocks(vocab)),
        ("ep_residual.sv", "attn_y_i mlp_y_i r_o", blocks(hidden)),
        ("ep_residual.sv", "write_data_i", lanes),
        ("ep_rmsnorm.sv", "r_i", blocks(hidden)),
        ("ep_rmsnorm.sv", "y_o", padded(hidden)),
        ("ep_rope.sv", "x_i", blocks(query, key_value)),
        ("ep_attention.sv", "v_i", blocks(key_value)),
        ("ep_attention.sv", "y_o", padded(query)),
        ("ep_swiglu.sv", "gate_i up_i y_o", padded(ffn)),
        ("ep_linear.sv", "x_i", padded(hidden, query, ffn)),
        ("ep_linear.sv", "x_q", [(plan.tile_inputs, max(hidden, query, ffn))]),
        ("ep_linear.sv", "y_o", outputs),
        ("ep_linear.sv", "acc_q", [(plan.tile_rows, max(hidden, query, ffn, vocab))]),
    ):
        yield from unreachable(file, signals, reason, filled=filled)
    if plan.lora_slots:
        products = blocks(hidden, query, key_value, ffn)
        for name in LINEARS:
            rows = next(linear.rows for linear in plan.layer_kinds[0] if linear.name == name)
            yield from unreachable("ep_layer_*.sv", f"{name}_lora_b", reason, filled=blocks(rows))
        yield from unreachable("ep_lora.sv", "x_i", reason, filled=padded(hidden, query, ffn))
        yield from unreachable("ep_lora.sv", "d_o", reason, filled=products)
        yield from unreachable("ep_linear.sv", "lora_i", reason, filled=[*products, (1, plan.tile_rows)])


def _positions_and_tokens(plan: ChipPlan) -> Iterator[SignalExclusion]:
    """32 bits on the host port and along the pipeline, of which a chip of this size uses a few."""
    reason = "a position of this context, or the tokens that a sequence holds"
    for file, signals, largest in (
        ("ep_host_port.sv", "rsp_pos_o pos_o next_pos_q pos", plan.context),
        ("ep_chip.sv", "rsp_pos_o pos stream0_pos", plan.context),
        ("ep_layer_*.sv", "in_pos_i", plan.context),
        ("ep_stage_ctrl.sv", "in_tag_i", plan.context),
        ("ep_stage_ctrl.sv", "tag_o", plan.context - 1),
        ("ep_layer_*.sv", "pos out_pos_o", plan.context - 1),
        ("ep_attention.sv", "pos_i", plan.context - 1),
        ("ep_rope_table.sv", "pos_i", plan.context - 1),
        ("ep_tail.sv", "in_pos_i pos", plan.context - 1),
        *(("ep_chip.sv", f"stream{index + 1}_pos", plan.context - 1) for index in range(plan.n_layers)),
    ):
        yield from unreachable(file, signals, reason, bits=bits_above(largest, 32))
    reason = "a token that the chip answers is of its vocabulary"
    for file, signals in (
        ("ep_argmax.sv", "token_o token_d"),
        ("ep_tail.sv", "out_token_o"),
        ("ep_chip.sv", "result_token rsp_token_o"),
        ("ep_host_port.sv", "result_token_i rsp_token_o"),
    ):
        yield from unreachable(file, signals, reason, bits=bits_above(plan.vocab_size - 1, 32))


def _statuses() -> Iterator[SignalExclusion]:
    reason = "an enumeration of fewer values than its vector holds"
    tokens = bits_above(max(Status), 4)
    yield from unreachable("ep_host_port.sv", "status rsp_status_o", reason, bits=tokens)
    yield from unreachable("ep_chip.sv", "rsp_status_o", reason, bits=tokens)
    asked = bits_above(CHAIN_KIND_ASKED, 3)
    reason = "what the ROM test port sends along the chain is a request, never an answer"
    yield from unreachable("ep_chip.sv", "rom_request.kind", reason, bits=asked)
    yield from unreachable("ep_rom_port.sv", "chain_o.kind", reason, bits=asked)


def _arithmetic(plan: ChipPlan) -> Iterator[SignalExclusion]:
    """Unsigned intermediate results in containers of 32 or 64 bits; signed ones use all of theirs."""
    attention, norm = "ep_attention.sv", "ep_rmsnorm.sv"
    weights = WEIGHT_LARGEST * plan.context
    reason = (
        "a softmax weight is at most 2**20, and a sum has one for each position (docs/numerics.md section 7)"
    )
    yield from unreachable(attention, "weights", reason, bits=bits_above(WEIGHT_LARGEST, 32))
    yield from unreachable(attention, "sum_q", reason, bits=bits_above(weights, 64))
    yield from unreachable(attention, "sum_length", reason, bits=bits_above(weights.bit_length(), 7))
    # The largest score has the largest weight, so that a sum is as long as that, or longer.
    lengths = range(WEIGHT_LARGEST.bit_length(), weights.bit_length() + 1)
    for stage in ("seed", "refine", "scale"):
        yield from only_values(attention, f"{stage}_length_q", reason, lengths, 7)
    low = tuple(range(max(0, 32 - weights.bit_length())))
    reason = "a mantissa is a sum that is shifted up: at its low end are zeros"
    yield from unreachable(attention, "mantissa seed_mantissa_q refine_mantissa_q", reason, bits=low)
    reason = "a mantissa is shifted so that its top bit is set (docs/numerics.md section 8.1)"
    for stage in ("seed", "refine"):
        yield never_falls(attention, f"{stage}_mantissa_q", reason, 31)
    reason = "a mantissa's reciprocal has 29 bits (docs/numerics.md sections 3.1 and 8.1)"
    yield from unreachable(attention, "refine_y_q scale_y_q", reason, bits=bits_from(RECIPROCAL_BITS, 64))
    yield from unreachable(norm, "y_q refined", reason, bits=bits_from(RECIPROCAL_BITS, 64))
    for file, signals in ((attention, "seed_y_q refine_y_q scale_y_q"), (norm, "y_q refined")):
        yield never_falls(
            file, signals, "a reciprocal is at least one half of its range", RECIPROCAL_BITS - 1
        )
    seed = (*range(SEED_ZEROS), *bits_from(RECIPROCAL_BITS, 64))
    yield from unreachable(attention, "seed_y_q", "an entry of the table, shifted", bits=seed)
    squares = plan.hidden_size * NORM_MAGNITUDE**2
    reason = "elements of a norm are at most 2**24, and their squares are added (docs/numerics.md section 3)"
    yield from unreachable(norm, "sum_q v", reason, bits=bits_above(squares + plan.norm_epsilon, 64))
    length = (squares + plan.norm_epsilon).bit_length()
    lengths = range(0, length + 2, 2)  # of 0, before the first norm, to the even number above the longest
    yield from unreachable(norm, "even_length", reason, bits=never_set(lengths, 7))
    yield from unreachable(norm, "half_n_q", reason, bits=never_set([even // 2 for even in lengths], 6))
    shifts = range(32 - NORM_MAGNITUDE.bit_length() + 2)  # of 24 bits and less, to 32
    yield from unreachable(norm, "norm_shift", "a residual has 32 bits", bits=never_set(shifts, 6))


def _no_adapters() -> Iterator[SignalExclusion]:
    """The load port of a chip without slots is tied off, and every sequence is without one."""
    reason = "this chip takes no adapters"
    for file, signals in {
        "ep_chip.sv": "ld_* ldr_valid_o ldr_ready_i ldr_status_o",
        "ep_host_port.sv": "slot_valid_i held_o",
        "ep_linear.sv": "lora_on_i lora_shift_i lora_i",
    }.items():
        yield SignalExclusion(file=file, signals=tuple(signals.split()), tag="unsupported", reason=reason)
    for bit in range(NO_SLOT.bit_length()):  # no slot is the number of which all bits are set
        yield never_falls("ep_chip.sv", "ldr_slot_o", reason, bit)
        yield never_falls("ep_host_port.sv", "slot_o slot_d", reason, bit)


def _adapters(plan: ChipPlan) -> Iterator[SignalExclusion]:
    """Slots, ranks and counts on the way from the load port to the SRAMs."""
    reason, loads = "an enumeration of fewer values than its vector holds", bits_above(max(LoadStatus), 4)
    yield from unreachable("ep_chip.sv", "ldr_status_o", reason, bits=loads)
    yield from unreachable("ep_lora_load.sv", "status ldr_status_o", reason, bits=loads)
    reason = "a slot that the chip does not have"
    slots = bits_from(plan.lora_slots, 16)
    yield from unreachable("ep_chip.sv", "slot_held slot_valid", reason, bits=slots)
    yield from unreachable("ep_host_port.sv", "slot_valid_i held_o", reason, bits=slots)
    yield from unreachable("ep_lora_load.sv", "held_i slot_valid_o", reason, bits=slots)
    reason = "the rank of a section that was taken"
    ranks = bits_above(plan.lora_max_rank, 8)
    yield from unreachable("ep_lora.sv", "rank_q", reason, bits=ranks)
    most = max(
        max(linear.in_blocks, linear.blocks) for linears in plan.layer_kinds for linear in linears
    )  # words of a matrix, for one rank
    reason = "words of a section: its rank is a byte, its linear is one of the chip's"
    yield from unreachable("ep_lora_load.sv", "a_words b_words", reason, bits=bits_above(255 * most, 24))
    both = max(linear.in_blocks + linear.blocks for linears in plan.layer_kinds for linear in linears)
    step = plan.tile_rows // 2  # words of a frame to a word of an SRAM
    section = 2 + 255 * step * both
    low = never_set([2 | step * words for words in range(max(step, 4))], step.bit_length() - 1)
    head = (*low, *bits_above(section, 32))
    yield from unreachable("ep_lora_load.sv", "head_words", reason, bits=head)
    index = tuple(bits_above(plan.lora_max_rank * most, 24))
    for file, signals in (
        ("ep_lora_load.sv", "index_q load_index_q load_o.index"),
        ("ep_chip.sv", "lora_load.index"),
        ("ep_layer_*.sv", "lora_load_i.index"),
        ("ep_lora.sv", "load_i.index"),
    ):
        yield SignalExclusion(
            file=file,
            signals=tuple(signals.split()),
            bits=index,
            tag="low-risk",
            reason="beyond the largest matrix only a frame that is swallowed counts on, and nothing is written then",
        )
