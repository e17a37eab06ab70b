// The residual vector of a layer: filled from a stream of blocks, added to (docs/numerics.md section 10).
//
// Latency of an addition: Blocks + 1 cycles from a start to busy_o low.
// Handshake: start_attn_i or start_mlp_i for one cycle while busy_o is low; the addend must hold until busy_o falls.

module ep_residual
  import ep_pkg::*;
#(
  parameter int unsigned Blocks   = 4,   // blocks of the vector
  parameter int unsigned Lanes    = 16,  // elements of a block
  parameter int unsigned ActW     = 16,  // bits of an addend
  localparam int unsigned BlockW  = (Blocks > 1) ? $clog2(Blocks) : 1
) (
  input  logic                     clk_i,
  input  logic                     rst_ni,
  input  logic                     write_i,                      // write a block of the vector
  input  logic        [BlockW-1:0] write_block_i,
  input  logic signed [      31:0] write_data_i [   Lanes],
  input  logic                     start_attn_i,                 // add attn_y_i * 2^attn_shift_i
  input  logic                     start_mlp_i,                  // add mlp_y_i * 2^mlp_shift_i
  output logic                     busy_o,
  input  logic        [       4:0] attn_shift_i,
  input  logic        [       4:0] mlp_shift_i,
  input  logic signed [  ActW-1:0] attn_y_i     [Blocks][Lanes],
  input  logic signed [  ActW-1:0] mlp_y_i      [Blocks][Lanes],
  output logic signed [      31:0] r_o          [  Blocks][Lanes]
);

  typedef logic signed [31:0] block_t[Lanes];

  logic [BlockW-1:0] block_q;
  logic mlp_q;  // which addend

  function automatic block_t added(input logic [BlockW-1:0] block);
    for (int unsigned i = 0; i < Lanes; i++) begin
      wide_t y;
      y = mlp_q ? 64'(mlp_y_i[block][i]) <<< mlp_shift_i : 64'(attn_y_i[block][i]) <<< attn_shift_i;
      added[i] = 32'(saturate(64'(r_o[block][i]) + y, 32));
    end
  endfunction

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      busy_o  <= 1'b0;
      block_q <= '0;
      mlp_q   <= 1'b0;
    end else if ((start_attn_i || start_mlp_i) && !busy_o) begin
      busy_o  <= 1'b1;
      block_q <= '0;
      mlp_q   <= start_mlp_i;
    end else if (busy_o) begin
      block_q <= block_q + 1'b1;
      busy_o  <= 32'(block_q) != Blocks - 1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (busy_o) r_o[block_q] <= added(block_q);
    else if (write_i) r_o[write_block_i] <= write_data_i;
  end

endmodule
