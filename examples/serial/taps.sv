// The taps of the chip, bound to it: its RTL has nothing of them.
`include "serial.vh"

// A step makes one vector, element by element, and its last operation completes it. SOFTMAX writes twice.
`define TAP(NAME, STEP, WIDTH, DATA, MOST, SIZE, BASE) \
  ep_tap_port #(.Name(`"NAME`"), .Size(MOST), .Width(WIDTH), .AddrW(11)) u_``NAME ( \
    .clk_i(aclk), .we_i(write && x_step == STEP), .addr_i(x_address), .data_i(DATA), .base_i(BASE), .size_i(SIZE), \
    .done_i(done && x_step == STEP), .layer_i(layer_or_none), .pos_i(32'(position)));
`define VECTOR(NAME, STEP, SIZE, AT) `TAP(NAME, STEP, 16, rounded, SIZE, SIZE, {2'b0, AT, 5'b0})

module taps (
  input logic aclk, aresetn, layer, x_done, input logic [2:0] x_write, input logic [4:0] position, x_step,
  input logic [10:0] x_address, input logic [15:0] rounded, m_axis_tdata, input logic [31:0] sum
);
  wire write = aresetn && x_write != `W_NONE, done = aresetn && x_done;
  logic x_layer, answered;
  always_ff @(posedge aclk) {x_layer, answered} <= {layer, done && x_step == `STEP_LOGITS};
  wire [31:0] layer_or_none = x_step < `STEP_ATTN_NORM || x_step > `STEP_MLP_RESIDUAL ? '1 : 32'(x_layer);
  wire [31:0] scores = 4 * (32'(position) + 1);

  `VECTOR(embedding, `STEP_EMBEDDING, 32, `AT_HIDDEN)
  `VECTOR(attn_norm, `STEP_ATTN_NORM, 32, `AT_NORMED)
  `VECTOR(q_proj, `STEP_Q_PROJ, 32, `AT_QUERY)
  `VECTOR(k_proj, `STEP_K_PROJ, 16, `AT_KEY)
  `TAP(v_proj, `STEP_V_PROJ, 16, rounded, 16, 16, {1'b1, x_layer, position, 4'b0})
  `VECTOR(q_norm, `STEP_Q_NORM, 32, `AT_QUERY)
  `VECTOR(k_norm, `STEP_K_NORM, 16, `AT_KEY)
  `VECTOR(q_rope, `STEP_Q_ROPE, 32, `AT_ROTATED)
  `TAP(k_rope, `STEP_K_ROPE, 16, rounded, 16, 16, {1'b0, x_layer, position, 4'b0})
  `TAP(scores, `STEP_SCORES, 32, sum, 128, scores, '0)
  `TAP(softmax, `STEP_SOFTMAX, 16, rounded, 128, scores, {2'b0, `AT_SOFTMAX, 5'b0})
  `VECTOR(attn_out, `STEP_ATTN_OUT, 32, `AT_HEADS)
  `VECTOR(o_proj, `STEP_O_PROJ, 32, `AT_BRANCH)
  `VECTOR(attn_residual, `STEP_ATTN_RESIDUAL, 32, `AT_HIDDEN)
  `VECTOR(mlp_norm, `STEP_MLP_NORM, 32, `AT_NORMED)
  `VECTOR(gate_proj, `STEP_GATE_PROJ, 64, `AT_GATE)
  `VECTOR(up_proj, `STEP_UP_PROJ, 64, `AT_UP)
  `VECTOR(swiglu, `STEP_SWIGLU, 64, `AT_GATE)
  `VECTOR(down_proj, `STEP_DOWN_PROJ, 32, `AT_BRANCH)
  `VECTOR(mlp_residual, `STEP_MLP_RESIDUAL, 32, `AT_HIDDEN)
  `VECTOR(final_norm, `STEP_FINAL_NORM, 32, `AT_NORMED)
  `TAP(logits, `STEP_LOGITS, 32, sum, 128, 128, '0)
  ep_tap_packed #(.Name("token"), .Size(1), .Width(16)) u_token (
    .clk_i(aclk), .valid_i(aresetn && answered), .layer_i('1), .pos_i(32'(position)), .count_i(1), .data_i(m_axis_tdata));
endmodule

bind serial taps u_taps (.*);
