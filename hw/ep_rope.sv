// RoPE, rotate-half form (docs/numerics.md section 5). One head per cycle.
//
// Latency: Heads + 1 cycles from start_i to busy_o low.
// Handshake: start_i for one cycle while busy_o is low; inputs must hold until busy_o falls; y_o then holds.

module ep_rope
  import ep_pkg::*;
#(
  parameter int unsigned Heads    = 8,   // heads rotated
  parameter int unsigned HeadDim  = 8,   // even
  parameter int unsigned InBlocks = 4,   // blocks of x_i: heads one after the other
  parameter int unsigned Lanes    = 16,  // a power of two
  parameter int unsigned InW      = 16,  // bits of an input
  parameter int unsigned OutW     = 16   // bits of an output
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,
  input  logic                   start_i,
  output logic                   busy_o,
  input  logic        [     5:0] shift_i,  // `shift` of section 5
  input  logic signed [    15:0] cos_i  [HeadDim/2],
  input  logic signed [    15:0] sin_i  [HeadDim/2],
  input  logic signed [ InW-1:0] x_i    [ InBlocks][  Lanes],
  output logic signed [OutW-1:0] y_o    [    Heads][HeadDim]
);

  localparam int unsigned HeadW = (Heads > 1) ? $clog2(Heads) : 1;

  typedef logic signed [OutW-1:0] head_t[HeadDim];

  logic [HeadW-1:0] head_q;

  function automatic head_t rotated(input logic [HeadW-1:0] head);
    for (int unsigned i = 0; i < HeadDim / 2; i++) begin
      int unsigned low, high;
      wide_t a, b, c, s;
      low = 32'(head) * HeadDim + i;
      high = low + HeadDim / 2;
      a = 64'(x_i[low/Lanes][low%Lanes]);
      b = 64'(x_i[high/Lanes][high%Lanes]);
      c = 64'(cos_i[i]);
      s = 64'(sin_i[i]);
      rotated[i] = OutW'(saturate(round_shift(a * c - b * s, shift_i), OutW));
      rotated[i+HeadDim/2] = OutW'(saturate(round_shift(b * c + a * s, shift_i), OutW));
    end
  endfunction

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      busy_o <= 1'b0;
      head_q <= '0;
    end else if (start_i && !busy_o) begin
      busy_o <= 1'b1;
      head_q <= '0;
    end else if (busy_o) begin
      head_q <= head_q + 1'b1;
      busy_o <= 32'(head_q) != Heads - 1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (busy_o) y_o[head_q] <= rotated(head_q);
  end

endmodule
