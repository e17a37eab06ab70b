// One ep_linear with its ports at the top, for bench/linear_main.cpp.

module linear_bench #(
  parameter int unsigned Rows = 1024,
  parameter int unsigned Cols = 1024,
  parameter int unsigned Bits = 6,
  parameter int unsigned GroupSize = 16,
  localparam int unsigned TileRows = 16,
  localparam int unsigned TileInputs = 64,
  localparam int unsigned InBlocks = (Cols + TileInputs - 1) / TileInputs * TileInputs / TileRows,
  localparam int unsigned OutBlocks = (Rows + TileRows - 1) / TileRows
) (
  input  logic               clk_i,
  input  logic               rst_ni,
  input  logic               load_i,
  input  logic               start_i,
  output logic               busy_o,
  input  logic        [ 5:0] shift_i,
  input  logic signed [15:0] x_i    [InBlocks][TileRows],
  output logic signed [15:0] y_o    [OutBlocks][TileRows]
);

  logic [31:0] unused_slice;

  ep_linear #(
    .Rows(Rows),
    .Cols(Cols),
    .Bits(Bits),
    .GroupSize(GroupSize),
    .TileRows(TileRows),
    .TileInputs(TileInputs),
    .OutBlocks(OutBlocks)
  ) u_linear (
    .clk_i,
    .rst_ni,
    .load_i,
    .layer_i(32'sd0),
    .start_i,
    .busy_o,
    .shift_i,
    .bias_shift_i(4'd0),
    .lora_on_i(1'b0),
    .lora_shift_i(5'd0),
    .lora_i('{default: '{default: 64'sd0}}),
    .x_i,
    .y_o,
    .rom_clk_i(1'b0),
    .rom_read_i('0),
    .rom_slice_o(unused_slice)
  );

endmodule
