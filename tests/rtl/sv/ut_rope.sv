// ep_rope under ut_driver. Word of ctl: shift.

module ut_rope #(
    parameter int unsigned Case = 0,
    parameter int unsigned Vectors = 1,
    parameter int unsigned Heads = 8,
    parameter int unsigned HeadDim = 8,
    parameter int unsigned Lanes = 16,
    parameter int unsigned InBlocks = 4,
    parameter int unsigned InW = 16,
    parameter int unsigned OutW = 16
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
    inout logic signed [InW-1:0] data[][][]
  );
  import "DPI-C" ep_rom_load = function void load_turn(
    input int layer,
    input string name,
    inout logic signed [15:0] data[][]
  );
  import "DPI-C" ep_rom_load = function void load_ctl(
    input int layer,
    input string name,
    inout logic [31:0] data[][]
  );

  logic signed [InW-1:0] x_rom[Vectors][InBlocks][Lanes];
  logic signed [15:0] cos_rom[Vectors][HeadDim/2];
  logic signed [15:0] sin_rom[Vectors][HeadDim/2];
  logic [31:0] ctl_rom[Vectors][1];

  always @(posedge load_i) begin
    load_x(Case, "x", x_rom);
    load_turn(Case, "cos", cos_rom);
    load_turn(Case, "sin", sin_rom);
    load_ctl(Case, "ctl", ctl_rom);
  end

  logic [31:0] index, unused_prep;
  logic take, start, tap, busy;
  logic signed [InW-1:0] x_q[InBlocks][Lanes];
  logic signed [15:0] cos_q[HeadDim/2];
  logic signed [15:0] sin_q[HeadDim/2];
  logic [31:0] ctl_q[1];
  logic signed [OutW-1:0] y[Heads][HeadDim];

  always_ff @(posedge clk_i) begin
    if (take) begin
      x_q   <= x_rom[index];
      cos_q <= cos_rom[index];
      sin_q <= sin_rom[index];
      ctl_q <= ctl_rom[index];
    end
  end

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

  ep_rope #(
      .Heads(Heads),
      .HeadDim(HeadDim),
      .InBlocks(InBlocks),
      .Lanes(Lanes),
      .InW(InW),
      .OutW(OutW)
  ) u_dut (
      .clk_i,
      .rst_ni,
      .start_i(start),
      .busy_o(busy),
      .shift_i(ctl_q[0][5:0]),
      .cos_i(cos_q),
      .sin_i(sin_q),
      .x_i(x_q),
      .y_o(y)
  );

  ep_tap #(.Name("y"), .Rows(Heads), .Cols(HeadDim), .Width(OutW)) u_tap (
      .clk_i,
      .valid_i(tap),
      .layer_i(32'(Case)),
      .pos_i  (index),
      .count_i(32'(Heads * HeadDim)),
      .data_i (y)
  );

endmodule
