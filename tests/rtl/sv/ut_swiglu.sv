// ep_swiglu under ut_driver. Words of ctl: gate_shift, shift.

module ut_swiglu #(
    parameter int unsigned Case = 0,
    parameter int unsigned Vectors = 1,
    parameter int unsigned Blocks = 11,
    parameter int unsigned VecBlocks = 12,
    parameter int unsigned Lanes = 16,
    parameter int unsigned ActW = 16
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

  logic signed [ActW-1:0] gate_rom[Vectors][VecBlocks][Lanes];
  logic signed [ActW-1:0] up_rom[Vectors][VecBlocks][Lanes];
  logic [31:0] ctl_rom[Vectors][2];

  always @(posedge load_i) begin
    load_x(Case, "gate", gate_rom);
    load_x(Case, "up", up_rom);
    load_ctl(Case, "ctl", ctl_rom);
  end

  logic [31:0] index, unused_prep;
  logic take, start, tap, busy;
  logic signed [ActW-1:0] gate_q[VecBlocks][Lanes];
  logic signed [ActW-1:0] up_q[VecBlocks][Lanes];
  logic [31:0] ctl_q[2];
  logic signed [ActW-1:0] y[VecBlocks][Lanes];

  always_ff @(posedge clk_i) begin
    if (take) begin
      gate_q <= gate_rom[index];
      up_q   <= up_rom[index];
      ctl_q  <= ctl_rom[index];
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

  ep_swiglu #(
      .Blocks(Blocks),
      .VecBlocks(VecBlocks),
      .Lanes(Lanes),
      .ActW(ActW)
  ) u_dut (
      .clk_i,
      .rst_ni,
      .start_i(start),
      .busy_o(busy),
      .gate_shift_i(ctl_q[0][4:0]),
      .shift_i(ctl_q[1][5:0]),
      .gate_i(gate_q),
      .up_i(up_q),
      .y_o(y)
  );

  ep_tap #(.Name("y"), .Rows(VecBlocks), .Cols(Lanes), .Width(ActW)) u_tap (
      .clk_i,
      .valid_i(tap),
      .layer_i(32'(Case)),
      .pos_i  (index),
      .count_i(32'(Blocks * Lanes)),
      .data_i (y)
  );

endmodule
