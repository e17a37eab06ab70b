// ep_linear under ut_driver. Words of ctl: shift, bias_shift.

module ut_linear #(
    parameter int unsigned Case = 0,
    parameter int unsigned Vectors = 1,
    parameter int unsigned Rows = 16,
    parameter int unsigned Cols = 64,
    parameter int unsigned Bits = 6,
    parameter int unsigned GroupSize = 16,
    parameter int unsigned TileRows = 16,
    parameter int unsigned TileInputs = 64,
    parameter int unsigned ActW = 16,
    parameter int unsigned OutW = 16,
    parameter int unsigned PartW = 32,
    parameter bit HasBias = 1'b0,
    parameter int unsigned OutBlocks = 1,
    localparam int unsigned InBlocks = (Cols + TileInputs - 1) / TileInputs * TileInputs / TileRows
) (
    input  logic clk_i,
    input  logic rst_ni,
    input  logic load_i,
    input  logic en_i,
    output logic done_o
);

  import "DPI-C" ep_rom_load = function void load_x(
    input int layer,
    input string name,
    inout logic signed [ActW-1:0] data[][][]
  );
  import "DPI-C" ep_rom_load = function void load_ctl(
    input int layer,
    input string name,
    inout logic [31:0] data[][]
  );

  logic signed [ActW-1:0] x_rom[Vectors][InBlocks][TileRows];
  logic [31:0] ctl_rom[Vectors][2];

  always @(posedge load_i) begin
    load_x(Case, "x", x_rom);
    load_ctl(Case, "ctl", ctl_rom);
  end

  logic [31:0] index, unused_prep;
  logic take, start, tap, busy;
  logic signed [ActW-1:0] x_q[InBlocks][TileRows];
  logic [31:0] ctl_q[2];
  logic signed [OutW-1:0] y[OutBlocks][TileRows];

  always_ff @(posedge clk_i) begin
    if (take) begin
      x_q   <= x_rom[index];
      ctl_q <= ctl_rom[index];
    end
  end

  logic [31:0] unused_slice;

  ut_driver #(.Vectors(Vectors)) u_driver (
      .clk_i,
      .rst_ni,
      .en_i,
      .busy_i (busy),
      .index_o(index),
      .prep_o (unused_prep),
      .take_o (take),
      .start_o(start),
      .tap_o  (tap),
      .done_o
  );

  ep_linear #(
      .Name("linear"),
      .Rows(Rows),
      .Cols(Cols),
      .Bits(Bits),
      .GroupSize(GroupSize),
      .TileRows(TileRows),
      .TileInputs(TileInputs),
      .ActW(ActW),
      .OutW(OutW),
      .PartW(PartW),
      .HasBias(HasBias),
      .OutBlocks(OutBlocks)
  ) u_dut (
      .clk_i,
      .rst_ni,
      .load_i,
      .layer_i(32'(Case)),
      .start_i(start),
      .busy_o(busy),
      .shift_i(ctl_q[0][5:0]),
      .bias_shift_i(ctl_q[1][3:0]),
      .lora_on_i(1'b0),
      .lora_shift_i(5'd0),
      .lora_i('{default: '{default: 64'sd0}}),
      .x_i(x_q),
      .y_o(y),
      .rom_clk_i  (1'b0),
      .rom_read_i ('0),
      .rom_slice_o(unused_slice)
  );

  ep_tap #(.Name("y"), .Rows(OutBlocks), .Cols(TileRows), .Width(OutW)) u_tap (
      .clk_i,
      .valid_i(tap),
      .layer_i(32'(Case)),
      .pos_i  (index),
      .count_i(32'(Rows)),
      .data_i (y)
  );

endmodule
