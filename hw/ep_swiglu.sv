// SwiGLU: silu(gate) * up (docs/numerics.md section 9). One block of lanes per cycle.
//
// Latency: Blocks + 1 cycles from start_i to busy_o low.
// Handshake: start_i for one cycle while busy_o is low; inputs must hold until busy_o falls; y_o then holds.

module ep_swiglu
  import ep_pkg::*;
#(
  parameter int unsigned Blocks    = 11,  // blocks that hold the vector
  parameter int unsigned VecBlocks = 12,  // blocks of each port, padded for the consumer
  parameter int unsigned Lanes     = 16,  // elements of a block
  parameter int unsigned ActW      = 16   // bits of an element
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,
  input  logic                   start_i,
  output logic                   busy_o,
  input  logic        [     4:0] gate_shift_i,  // `gate_shift` of section 9
  input  logic        [     5:0] shift_i,       // `swiglu.shift`
  input  logic signed [ActW-1:0] gate_i      [VecBlocks][Lanes],
  input  logic signed [ActW-1:0] up_i        [VecBlocks][Lanes],
  output logic signed [ActW-1:0] y_o         [VecBlocks][Lanes]
);

  localparam int unsigned BlockW = (Blocks > 1) ? $clog2(Blocks) : 1;
  // The ports may have more blocks than the vector: padding.
  localparam int unsigned OutIndexW = (VecBlocks > 1) ? $clog2(VecBlocks) : 1;

  typedef logic signed [ActW-1:0] block_t[Lanes];

  logic [BlockW-1:0] block_q;

  // Logistic function of a gate, 20 fractional bits.
  function automatic wide_t sigmoid(input logic signed [ActW-1:0] gate);
    logic [63:0] a;
    wide_t lower, upper, t;
    a = ((gate < 0) ? 64'(-64'(gate)) : 64'(gate)) << gate_shift_i;
    if (a > 64'hF_FFFF) a = 64'hF_FFFF;
    lower = 64'(ep_tables_pkg::SIGMOID[10'(a[19:11])]);
    upper = 64'(ep_tables_pkg::SIGMOID[10'(a[19:11])+10'd1]);
    t = lower + round_shift((upper - lower) * 64'(a[10:0]), 6'd11);
    return (gate < 0) ? 64'sh10_0000 - t : t;
  endfunction

  function automatic block_t activated(input logic [BlockW-1:0] block);
    for (int unsigned i = 0; i < Lanes; i++) begin
      logic signed [ActW-1:0] gate, up;
      wide_t product;
      gate = gate_i[OutIndexW'(block)][i];
      up = up_i[OutIndexW'(block)][i];
      product = 64'(gate) * sigmoid(gate) * 64'(up);
      activated[i] = ActW'(saturate(round_shift(product, shift_i), ActW));
    end
  endfunction

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      busy_o  <= 1'b0;
      block_q <= '0;
    end else if (start_i && !busy_o) begin
      busy_o  <= 1'b1;
      block_q <= '0;
    end else if (busy_o) begin
      block_q <= block_q + 1'b1;
      busy_o  <= 32'(block_q) != Blocks - 1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (busy_o) y_o[OutIndexW'(block_q)] <= activated(block_q);
  end

endmodule
