// ep_rmsnorm under ut_driver. Word of ctl: shift.

module ut_rmsnorm #(
    parameter int unsigned Case = 0,
    parameter int unsigned Vectors = 1,
    parameter int unsigned Size = 64,
    parameter int unsigned Blocks = 4,
    parameter int unsigned Lanes = 16,
    parameter int unsigned ActW = 16,
    parameter logic [62:0] Epsilon = 63'd0,
    parameter int unsigned OutBlocks = 4
) (
    input  logic clk_i,
    input  logic rst_ni,
    input  logic load_i,
    input  logic en_i,
    output logic done_o
);

  import "DPI-C" ep_rom_load = function void load_r(
    input int layer,
    input string name,
    inout logic signed [31:0] data[][][]
  );
  import "DPI-C" ep_rom_load = function void load_ctl(
    input int layer,
    input string name,
    inout logic [31:0] data[][]
  );

  logic signed [31:0] r_rom[Vectors][Blocks][Lanes];
  logic [31:0] ctl_rom[Vectors][1];

  always @(posedge load_i) begin
    load_r(Case, "r", r_rom);
    load_ctl(Case, "ctl", ctl_rom);
  end

  logic [31:0] index, unused_prep;
  logic take, start, tap, busy;
  logic signed [31:0] r_q[Blocks][Lanes];
  logic [31:0] ctl_q[1];
  logic signed [ActW-1:0] y[OutBlocks][Lanes];

  always_ff @(posedge clk_i) begin
    if (take) begin
      r_q   <= r_rom[index];
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

  ep_rmsnorm #(
      .Name("norm"),
      .Blocks(Blocks),
      .Lanes(Lanes),
      .ActW(ActW),
      .Epsilon(Epsilon),
      .OutBlocks(OutBlocks)
  ) u_dut (
      .clk_i,
      .rst_ni,
      .load_i,
      .layer_i(32'(Case)),
      .start_i(start),
      .busy_o(busy),
      .shift_i(ctl_q[0][5:0]),
      .r_i(r_q),
      .y_o(y),
      .rom_clk_i  (1'b0),
      .rom_read_i ('0),
      .rom_slice_o(unused_slice)
  );

  ep_tap #(.Name("y"), .Rows(OutBlocks), .Cols(Lanes), .Width(ActW)) u_tap (
      .clk_i,
      .valid_i(tap),
      .layer_i(32'(Case)),
      .pos_i  (index),
      .count_i(32'(Size)),
      .data_i (y)
  );

endmodule
