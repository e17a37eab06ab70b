"""Slips in what computes: primitives, the units of a layer, embedding and greedy token."""

from __future__ import annotations

from typing import Final

from verif.qualify.rtl_slips import (
    Slips,
    adapters,
    grouped_heads,
    several_blocks,
    several_heads,
    several_key_heads,
    some_linear,
)

_ROUND: Final = "return (x + ((n == 6'd0) ? 64'sd0 : (64'sd1 <<< (n - 6'd1)))) >>> n;"
_SATURATE: Final = "return (x >= limit) ? limit - 64'sd1 : (x < -limit) ? -limit : x;"
_PRIMITIVES: Final = (
    ("rounded down", _ROUND, "return x >>> n;"),
    ("rounded towards zero", _ROUND, "return (x < 0) ? -((-x) >>> n) : x >>> n;"),
    (
        "tie to even",
        _ROUND,
        "return (x + ((n == 6'd0) ? 64'sd0 : (64'sd1 <<< (n - 6'd1)) - 64'sd1 + ((x >>> n) & 64'sd1))) >>> n;",
    ),
    ("tie down", _ROUND, "return (x + ((n == 6'd0) ? 64'sd0 : (64'sd1 <<< (n - 6'd1)) - 64'sd1)) >>> n;"),
    (
        "tie away from zero",
        _ROUND,
        "return (x + ((n == 6'd0) ? 64'sd0 : (64'sd1 <<< (n - 6'd1)) - ((x < 0) ? 64'sd1 : 64'sd0))) >>> n;",
    ),
    (
        "largest value one low",
        _SATURATE,
        "return (x >= limit - 64'sd1) ? limit - 64'sd2 : (x < -limit) ? -limit : x;",
    ),
    (
        "smallest value one high",
        _SATURATE,
        "return (x >= limit) ? limit - 64'sd1 : (x <= -limit) ? 64'sd1 - limit : x;",
    ),
    ("no clamp above", _SATURATE, "return (x < -limit) ? -limit : x;"),
    ("no clamp below", _SATURATE, "return (x >= limit) ? limit - 64'sd1 : x;"),
    ("no clamp", _SATURATE, "return x;"),
    ("signature of another polynomial", "32'h04C11DB7", "32'h1EDC6F41"),
    (
        "signature without order",
        "{state[30:0], 1'b0} ^ (state[31] ? 32'h04C11DB7 : 32'd0) ^ slice",
        "state ^ slice",
    ),
)
_CHECKSUM: Final = (("checksum not reflected", "32'hEDB88320", "32'h04C11DB7"),)

_EMBEDDING: Final = (
    ("codes of the neighbour row", "codes[token][block_q][i]", "codes[token ^ 1'b1][block_q][i]"),
    ("scales of the neighbour row", "scales[token][(32", "scales[token ^ 1'b1][(32"),
    ("row rounded down", "round_shift(code * scale, shift_i)", "(code * scale) >>> shift_i"),
)
_EMBEDDING_GROUPS: Final = (
    (
        "scale of the next group",
        "(32'(block_q)*Lanes+i)/GroupSize",
        "((32'(block_q)*Lanes+i)/GroupSize + 1) % Groups",
    ),
)

_NORM: Final = (
    ("block exponent's threshold one high", "(length > 7'd24)", "(length > 7'd25)"),
    (
        "block exponent one low",
        "(length > 7'd24) ? 6'(length - 7'd24)",
        "(length > 7'd25) ? 6'(length - 7'd25)",
    ),
    (
        "magnitude of negatives as they stand",
        "(r_i[block][i] < 0) ? 32'(-r_i[block][i]) : 32'(r_i[block][i])",
        "32'(r_i[block][i])",
    ),
    ("magnitude of negatives left out", "32'(-r_i[block][i])", "32'd0"),
    # Another block exponent for -2^k alone, with k of 24 and more, as where the residual is clamped at -2^31.
    ("magnitude of negatives one low", "32'(-r_i[block][i])", "32'(~r_i[block][i])"),
    (
        "squares without block exponent",
        "wide_t q;\n      q = round_shift(64'(r_i[block][i]), norm_shift);",
        "wide_t q;\n      q = 64'(r_i[block][i]);",
    ),
    ("gain of the neighbour", "gains[block][i]", "gains[block][(i + 1) % Lanes]"),
    ("odd exponent of the root", "length + 7'(length[0])", "length"),
    # Two Newton steps do not mend a seed that is this far off; they would mend that of the next entry.
    ("index without its last bit", "8'(seed_mantissa[31:24]-8'd64)", "8'(seed_mantissa[31:25] - 7'd32)"),
    ("one Newton step", "Refine0, Refine1: y_q <= refined;", "Refine1: y_q <= refined;"),
)
_EPSILON: Final = (
    ("epsilon by s in place of 2s", ">> {norm_shift, 1'b0}", ">> norm_shift"),
    ("epsilon left out", "sum_q + (64'(Epsilon) >> {norm_shift, 1'b0})", "sum_q"),
)
_NORM_BLOCKS: Final = (("gains of the first block", "gains[block][i]", "gains[0][i]"),)

_LINEAR: Final = (
    ("scale of the neighbour row", "scales[scale_addr][r][g]", "scales[scale_addr][(r + 1) % TileRows][g]"),
    ("scale with a sign", "signed'({1'b0, scales[scale_addr][r][g]})", "signed'(scales[scale_addr][r][g])"),
    ("offset of the codes one low", "sum <<< (Bits - 1);", "(sum <<< (Bits - 1)) - sum;"),
    ("word of the next tile", "codes[addr][r][", "codes[AddrW'(addr + 1'b1)][r]["),
    ("shift one more", "round_shift(acc[r], shift_i)", "round_shift(acc[r], shift_i + 6'd1)"),
    ("accumulator of 32 bits", "mac[r] = sum;", "mac[r] = AccW'(signed'(sum[31:0]));"),
    (
        "done a cycle early",
        "else if (out_valid_q && out_last_q) busy_o",
        "else if (mac_valid_q && mac_last_q && 32'(mac_block_q) == Blocks - 1) busy_o",
    ),
    (
        "bubble",
        "else if (out_valid_q && out_last_q) busy_o",
        "else if (!run_q && !mac_valid_q && !out_valid_q) busy_o",
    ),
    ("word of the neighbour read back", "codes[AddrW'(rom_word)]", "codes[AddrW'(rom_word ^ 32'd1)]"),
    ("bytes of a slice in falling order", "rom_slice[8*i+:8] = 8'(codes", "rom_slice[8*(3-i)+:8] = 8'(codes"),
)
_WORD_GROUPS: Final = (
    ("scale of the next group", "scales[scale_addr][r][g]", "scales[scale_addr][r][(g + 1) % WordGroups]"),
    (
        "scales read back by group and row",
        "[RowW'(at/WordGroups)][GroupW'(at%WordGroups)]",
        "[RowW'(at%TileRows)][GroupW'(at/TileRows)]",
    ),
)
_CHUNKS: Final = (
    ("inputs of the first chunk", "x_i[32'(chunk)*ChunkBlocks+b][r]", "x_i[b][r]"),
    ("each chunk begins anew", "mac_first_q <= chunk_q == '0;", "mac_first_q <= 1'b1;"),
)
_BLOCKS: Final = (
    (
        "sum kept over blocks",
        "mac_first_q <= chunk_q == '0;",
        "mac_first_q <= chunk_q == '0 && block_q == '0;",
    ),
    ("block of the next word", "y_o[OutIndexW'(out_block_q)]", "y_o[OutIndexW'(mac_block_q)]"),
)
_ROW_GROUPS: Final = (
    (
        "scale of a row's first group",
        "32'(block_q) * RowGroups + 32'(chunk_q) / GroupChunks",
        "32'(block_q) * RowGroups",
    ),
)
_BIASES: Final = (
    ("bias left out", "HasBias ? AccW'(bias[block][r]) <<< bias_shift_i : '0", "'0"),
    ("bias of the neighbour", "bias[block][r]", "bias[block][(r + 1) % TileRows]"),
    ("bias not shifted", "AccW'(bias[block][r]) <<< bias_shift_i", "AccW'(bias[block][r])"),
)
_TERM: Final = (
    "        if (HasLora && lora_on_i) sum += lora_i[LoraBlockW'(block)][r] <<< lora_shift_i;\n      end\n"
)
_ADAPTED: Final = (
    ("adapter where it adapts nothing", "if (HasLora && lora_on_i)", "if (HasLora)"),
    ("adapter not shifted", "[LoraBlockW'(block)][r] <<< lora_shift_i", "[LoraBlockW'(block)][r]"),
)
_ADAPTED_BLOCKS: Final = (("adapter of the first block", "lora_i[LoraBlockW'(block)][r]", "lora_i[0][r]"),)
_ADAPTED_CHUNKS: Final = (
    ("adapter at each chunk", _TERM, "      end\n" + _TERM.removesuffix("      end\n")),
)

_ROPE_PAIR: Final = "low = 32'(head) * HeadDim + i;\n      high = low + HeadDim / 2;"
_ROPE_FIRST: Final = "rotated[i] = OutW'(saturate(round_shift(a * c - b * s, shift_i), OutW));\n"
_ROPE_SECOND: Final = "rotated[i+HeadDim/2] = OutW'(saturate(round_shift(b * c + a * s, shift_i), OutW));"
_ROPE: Final = (
    ("pairs interleaved", _ROPE_PAIR, "low = 32'(head) * HeadDim + 2 * i;\n      high = low + 1;"),
    (
        "rotated the other way",
        f"{_ROPE_FIRST}      {_ROPE_SECOND}",
        f"{_ROPE_FIRST.replace('-', '+')}      {_ROPE_SECOND.replace('b * c + a', 'b * c - a')}",
    ),
    (
        "cosine and sine exchanged",
        "c = 64'(cos_i[i]);\n      s = 64'(sin_i[i]);",
        "c = 64'(sin_i[i]);\n      s = 64'(cos_i[i]);",
    ),
)
_ROPE_TABLE: Final = (
    ("position one high", "pos_i[PosW-1:0]", "pos_i[PosW-1:0] + 1'b1"),
    ("sine of the cosines", "sin_rom[pos]", "cos_rom[pos]"),
)
_ROPE_PAIRS: Final = (
    (
        "frequencies in falling order",
        "c = 64'(cos_i[i]);\n      s = 64'(sin_i[i]);",
        "c = 64'(cos_i[HeadDim/2-1-i]);\n      s = 64'(sin_i[HeadDim/2-1-i]);",
    ),
)

_ATTENTION: Final = (
    ("keys in place of values", "v_cache[t][h/Groups][d]", "k_cache[t][h/Groups][d]"),
    ("values in place of keys", "k_cache[t][h/Groups][d]", "v_cache[t][h/Groups][d]"),
    ("keys into the next row", "k_cache[PosW'(pos_i)] <= k_i;", "k_cache[PosW'(pos_i + 32'd1)] <= k_i;"),
    ("values into the neighbour row", "v_cache[PosW'(pos_i)] <=", "v_cache[PosW'(pos_i ^ 32'd1)] <="),
    ("one row too few", "32'(t_q) == pos_i", "32'(t_q) + 32'd1 >= pos_i"),
    ("one row too many", "32'(t_q) == pos_i", "32'(t_q) == pos_i + 32'd1"),
    (
        "own row not weighed",
        "acc_q <= weighted(acc_q, weights, t_q);",
        "if (!last_t || pos_i == 32'd0) acc_q <= weighted(acc_q, weights, t_q);",
    ),
    ("maximum of the token before", "score(t_q), t_q == '0)", "score(t_q), pos_i == 32'd0)"),
    ("sum of the token before", "sum_q[h] <= '0;", "if (pos_i == 32'd0) sum_q[h] <= '0;"),
    ("values of the token before", "acc_q[h][d] <= '0;", "if (pos_i == 32'd0) acc_q[h][d] <= '0;"),
    ("scale a power of two", "below * 64'(Scale)", "below <<< 15"),
    ("exponent not limited", "((z >> 16) > 64'd31) ? 6'd31 : 6'(z >> 16)", "6'(z >> 16)"),
    (
        "next entry of the exponential",
        "upper = 64'(ep_tables_pkg::EXP2[8'(z[15:9])])",
        "upper = 64'(ep_tables_pkg::EXP2[8'(z[15:9])+8'd1])",
    ),
    ("exponential not interpolated", "upper - round_shift((upper - lower) * 64'(z[8:0]), 6'd9)", "upper"),
    ("exponential interpolated upwards", "t = upper - round_shift(", "t = upper + round_shift("),
    ("reciprocal: second Newton step left out", "refined(refine_y_q, refine_mantissa_q)", "refine_y_q"),
    ("reciprocal: index without its last bit", "RECIP[mantissa[30:24]]", "RECIP[mantissa[31:25]]"),
    # Moves a result by 2^-18 of its last place: seen where a sum is that near to a border of rounding.
    (
        "reduction rounded down",
        "round_shift(acc_q[head][d], 6'(length - 7'd18))",
        "acc_q[head][d] >>> (length - 7'd18)",
    ),
)
_HEADS: Final = (
    ("maximum of the first head", "max_q[h] - scores_o[t][h]", "max_q[0] - scores_o[t][h]"),
    (
        "mantissa of the next head",
        "refined(refine_y_q, refine_mantissa_q)",
        "refined(refine_y_q, seed_mantissa_q)",
    ),
    ("result of the next head", "heads_q[scale_head_q] <=", "heads_q[refine_head_q] <="),
)
_GROUPED: Final = (
    ("head map of keys interleaved", "k_cache[t][h/Groups][d]", "k_cache[t][h%KvHeads][d]"),
    ("head map of values interleaved", "v_cache[t][h/Groups][d]", "v_cache[t][h%KvHeads][d]"),
)
_KEY_HEADS: Final = (
    (
        "values interleaved by head",
        "v_i[(h*HeadDim+d)/Lanes][(h*HeadDim+d)%Lanes]",
        "v_i[(d*KvHeads+h)/Lanes][(d*KvHeads+h)%Lanes]",
    ),
)

_SWIGLU: Final = (
    (
        "gate and up exchanged",
        "gate = gate_i[OutIndexW'(block)][i];\n      up = up_i[OutIndexW'(block)][i];",
        "gate = up_i[OutIndexW'(block)][i];\n      up = gate_i[OutIndexW'(block)][i];",
    ),
    ("sigmoid not mirrored", "(gate < 0) ? 64'sh10_0000 - t : t", "t"),
    ("argument not limited", "if (a > 64'hF_FFFF) a = 64'hF_FFFF;", ""),
    ("sigmoid not interpolated", "lower + round_shift((upper - lower) * 64'(a[10:0]), 6'd11)", "lower"),
    ("sigmoid interpolated downwards", "t = lower + round_shift(", "t = lower - round_shift("),
    (
        "next entry of the sigmoid",
        "lower = 64'(ep_tables_pkg::SIGMOID[10'(a[19:11])])",
        "lower = 64'(ep_tables_pkg::SIGMOID[10'(a[19:11])+10'd1])",
    ),
    (
        "rounded before the second product",
        "64'(gate) * sigmoid(gate) * 64'(up)",
        "(round_shift(64'(gate) * sigmoid(gate), 6'd8) * 64'(up)) <<< 8",
    ),
)

_RESIDUAL: Final = (
    ("residual added twice", "64'(r_o[block][i]) + y, 32", "64'(r_o[block][i]) + 64'(r_o[block][i]) + y, 32"),
    ("residual wraps", "32'(saturate(64'(r_o[block][i]) + y, 32))", "32'(64'(r_o[block][i]) + y)"),
    (
        "shifts exchanged",
        "<<< mlp_shift_i : 64'(attn_y_i[block][i]) <<< attn_shift_i",
        "<<< attn_shift_i : 64'(attn_y_i[block][i]) <<< mlp_shift_i",
    ),
    ("addends exchanged", "mlp_q   <= start_mlp_i;", "mlp_q   <= start_attn_i;"),
    ("residual of the token before", "else if (write_i) r_o", "else if (write_i && !mlp_q) r_o"),
    ("blocks exchanged", "r_o[write_block_i]", "r_o[write_block_i ^ 1'b1]"),
)

_ARGMAX: Final = (
    ("last of equal logits", "logits_i[block_q][i] > best_d", "logits_i[block_q][i] >= best_d"),
    (
        "logits without sign",
        "logits_i[block_q][i] > best_d",
        "unsigned'(logits_i[block_q][i]) > unsigned'(best_d)",
    ),
    ("largest of the token before", "(index == 0 || logits_i", "(logits_i"),
    ("lane in place of index", "token_d = index;", "token_d = i;"),
)
# A padding lane is 0, which wins where every logit is negative.
_ARGMAX_PADDED: Final = (("padding takes part", "index < Vocab && (index", "(index"),)

GROUPS: Final = (
    Slips("ep_pkg.sv", _PRIMITIVES),
    Slips("ep_pkg.sv", _CHECKSUM, adapters),
    Slips("ep_embedding.sv", _EMBEDDING),
    Slips("ep_embedding.sv", _EMBEDDING_GROUPS, lambda plan: plan.embedding.group_size < plan.hidden_size),
    Slips("ep_rmsnorm.sv", _NORM),
    Slips("ep_rmsnorm.sv", _EPSILON, lambda plan: plan.norm_epsilon > 0),
    Slips("ep_rmsnorm.sv", _NORM_BLOCKS, several_blocks),
    Slips("ep_linear.sv", _LINEAR),
    Slips("ep_linear.sv", _WORD_GROUPS, some_linear(lambda one: one.groups_per_word > 1)),
    Slips("ep_linear.sv", _CHUNKS, some_linear(lambda one: one.chunks > 1)),
    Slips("ep_linear.sv", _BLOCKS, some_linear(lambda one: one.blocks > 1)),
    Slips(
        "ep_linear.sv",
        _ROW_GROUPS,
        some_linear(lambda one: one.chunks > one.chunks_per_group > 1),
    ),
    Slips("ep_linear.sv", _BIASES, some_linear(lambda one: one.has_bias)),
    Slips("ep_linear.sv", _ADAPTED, adapters),
    Slips("ep_linear.sv", _ADAPTED_BLOCKS, some_linear(lambda one: one.lora_slots > 0 and one.blocks > 1)),
    Slips("ep_linear.sv", _ADAPTED_CHUNKS, some_linear(lambda one: one.lora_slots > 0 and one.chunks > 1)),
    Slips("ep_rope.sv", _ROPE),
    Slips("ep_rope.sv", _ROPE_PAIRS, lambda plan: plan.head_dim > 2),
    Slips("ep_rope_table.sv", _ROPE_TABLE),
    Slips("ep_attention.sv", _ATTENTION),
    Slips("ep_attention.sv", _HEADS, several_heads),
    Slips("ep_attention.sv", _GROUPED, grouped_heads),
    Slips("ep_attention.sv", _KEY_HEADS, several_key_heads),
    Slips("ep_swiglu.sv", _SWIGLU),
    Slips("ep_residual.sv", _RESIDUAL),
    Slips("ep_argmax.sv", _ARGMAX),
    Slips("ep_argmax.sv", _ARGMAX_PADDED, lambda plan: plan.vocab_size % plan.tile_rows > 0),
)
