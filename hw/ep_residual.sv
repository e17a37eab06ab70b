// The residual vector of a layer: filled from a stream of blocks, added to (docs/numerics.md section 10).
//
// Latency of an addition: Blocks + 1 cycles from start_i to busy_o low.
// Handshake: start_i for one cycle while busy_o is low; y_i must hold until busy_o falls.

module ep_residual
  import ep_pkg::*;
#(
  parameter int unsigned Blocks   = 4,
  parameter int unsigned Lanes    = 16,
  parameter int unsigned ActW     = 16,
  parameter int unsigned InBlocks = 4,                           // blocks of y_i, the first Blocks are used
  localparam int unsigned BlockW  = (Blocks > 1) ? $clog2(Blocks) : 1
) (
  input  logic                     clk_i,
  input  logic                     rst_ni,
  input  logic                     write_i,                      // write a block of the vector
  input  logic        [BlockW-1:0] write_block_i,
  input  logic signed [      31:0] write_data_i [   Lanes],
  input  logic                     start_i,                      // add y_i * 2^shift_i
  output logic                     busy_o,
  input  logic        [       4:0] shift_i,
  input  logic signed [  ActW-1:0] y_i          [InBlocks][Lanes],
  output logic signed [      31:0] r_o          [  Blocks][Lanes]
);

  typedef logic signed [31:0] block_t[Lanes];

  logic [BlockW-1:0] block_q;

  function automatic block_t added(input logic [BlockW-1:0] block);
    for (int unsigned i = 0; i < Lanes; i++) begin
      added[i] = 32'(saturate(64'(r_o[block][i]) + (64'(y_i[block][i]) <<< shift_i), 32));
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
    if (busy_o) r_o[block_q] <= added(block_q);
    else if (write_i) r_o[write_block_i] <= write_data_i;
  end

endmodule
