// ep_lora before its ep_linear under ut_driver. Words of ctl: slot, shift, bias_shift.
//
// The load program (words of op: op, slot, linear, rank, a_shift, b_shift, index, select; data: lanes) runs first up to
// op Ahead, one op a cycle; the rest is repeated while the vectors run: loads that must not be noticed.
// Taps: y; h and d of the slot's adapter, one zero where it has none.

module ut_lora
  import ep_pkg::*;
#(
    parameter int unsigned Case = 0,
    parameter int unsigned Vectors = 1,
    parameter int unsigned Ops = 1,
    parameter int unsigned Ahead = 1,
    parameter int unsigned Linear = 0,
    parameter int unsigned Slots = 4,
    parameter int unsigned MaxRank = 16,
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
    localparam int unsigned VecBlocks = (Cols + TileInputs - 1) / TileInputs * TileInputs / TileRows,
    localparam int unsigned InBlocks = (Cols + TileRows - 1) / TileRows,
    localparam int unsigned Blocks = (Rows + TileRows - 1) / TileRows
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
  import "DPI-C" ep_rom_load = function void load_data(
    input int layer,
    input string name,
    inout logic signed [15:0] data[][]
  );

  logic signed [ActW-1:0] x_rom[Vectors][VecBlocks][TileRows];
  logic [31:0] ctl_rom[Vectors][3];
  logic [31:0] op_rom[Ops][8];
  logic signed [15:0] data_rom[Ops][TileRows];

  always @(posedge load_i) begin
    load_x(Case, "x", x_rom);
    load_ctl(Case, "ctl", ctl_rom);
    load_ctl(Case, "op", op_rom);
    load_data(Case, "data", data_rom);
  end

  // The load program; the bus is registered, as the load port's.
  logic [31:0] op_q;
  logic loaded_q, select_q;
  lora_load_t load_q;
  logic signed [15:0] data_q[TileRows];

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      op_q <= '0;
      loaded_q <= 1'b0;
      select_q <= 1'b0;
      load_q <= '0;
    end else if (en_i) begin
      op_q <= (op_q == Ops - 1) ? Ahead : op_q + 32'd1;
      if (op_q == Ahead) loaded_q <= 1'b1;
      select_q <= op_rom[op_q][7][0];
      load_q <= '{
          op: lora_op_e'(op_rom[op_q][0][2:0]),
          slot: op_rom[op_q][1][3:0],
          linear: op_rom[op_q][2][2:0],
          rank: op_rom[op_q][3][7:0],
          a_shift: op_rom[op_q][4][5:0],
          b_shift: op_rom[op_q][5][4:0],
          index: op_rom[op_q][6][23:0]
      };
    end
  end

  always_ff @(posedge clk_i) data_q <= data_rom[op_q];

  logic [31:0] index, unused_prep, rank;
  logic take, start, tap, busy, lora_busy, linear_busy, linear_start, on, done;
  logic [4:0] b_shift;
  logic signed [ActW-1:0] x_q[VecBlocks][TileRows];
  logic [31:0] ctl_q[3];
  logic signed [OutW-1:0] y[OutBlocks][TileRows];
  logic signed [63:0] d[Blocks][TileRows];
  logic signed [63:0] d_tapped[Blocks][TileRows];
  logic signed [15:0] h[1][MaxRank];
  logic signed [15:0] h_tapped[1][MaxRank];

  assign done_o = en_i ? loaded_q && done : 1'b1;

  always_ff @(posedge clk_i) begin
    if (take) begin
      x_q   <= x_rom[index];
      ctl_q <= ctl_rom[index];
    end
  end

  always_comb begin
    d_tapped = '{default: '0};
    h_tapped = '{default: '0};
    if (on) begin
      d_tapped = d;
      h_tapped = h;
    end
  end

  assign busy = lora_busy || linear_busy;

  logic [31:0] unused_slice;

  ut_driver #(
      .Vectors(Vectors),
      .Prep(2)  // the slot stands one cycle before the start
  ) u_driver (
      .clk_i,
      .rst_ni,
      .en_i   (en_i && loaded_q),
      .busy_i (busy),
      .index_o(index),
      .prep_o (unused_prep),
      .take_o (take),
      .start_o(start),
      .tap_o  (tap),
      .done_o (done)
  );

  ep_lora #(
      .Name("linear"),
      .Linear(Linear),
      .Slots(Slots),
      .MaxRank(MaxRank),
      .InBlocks(InBlocks),
      .OutBlocks(Blocks),
      .Lanes(TileRows),
      .ActW(ActW),
      .InVecBlocks(VecBlocks)
  ) u_dut (
      .clk_i,
      .rst_ni,
      .load_clk_i(clk_i),
      .load_i(load_q),
      .load_select_i(select_q),
      .load_data_i(data_q),
      .sram_i(load_i),
      .layer_i(32'(Case)),
      .start_i(start),
      .slot_i(ctl_q[0][3:0]),
      .busy_o(lora_busy),
      .linear_start_o(linear_start),
      .x_i(x_q),
      .on_o(on),
      .shift_o(b_shift),
      .d_o(d),
      .rank_o(rank),
      .h_o(h)
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
      .HasLora(1'b1),
      .OutBlocks(OutBlocks)
  ) u_linear (
      .clk_i,
      .rst_ni,
      .load_i,
      .layer_i(32'(Case)),
      .start_i(linear_start),
      .busy_o(linear_busy),
      .shift_i(ctl_q[1][5:0]),
      .bias_shift_i(ctl_q[2][3:0]),
      .lora_on_i(on),
      .lora_shift_i(b_shift),
      .lora_i(d),
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

  ep_tap #(.Name("h"), .Rows(1), .Cols(MaxRank), .Width(16)) u_tap_h (
      .clk_i,
      .valid_i(tap),
      .layer_i(32'(Case)),
      .pos_i  (index),
      .count_i(on ? rank : 32'd1),
      .data_i (h_tapped)
  );

  ep_tap #(.Name("d"), .Rows(Blocks), .Cols(TileRows), .Width(64)) u_tap_d (
      .clk_i,
      .valid_i(tap),
      .layer_i(32'(Case)),
      .pos_i  (index),
      .count_i(on ? 32'(Rows) : 32'd1),
      .data_i (d_tapped)
  );

endmodule
