// ep_residual under ut_driver, which writes a vector block by block before an addition.
// Words of ctl: write a new vector, add mlp_y (or attn_y), attn_shift, mlp_shift.

module ut_residual #(
    parameter int unsigned Case = 0,
    parameter int unsigned Vectors = 1,
    parameter int unsigned Blocks = 4,
    parameter int unsigned Lanes = 16,
    parameter int unsigned ActW = 16,
    localparam int unsigned BlockW = (Blocks > 1) ? $clog2(Blocks) : 1
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
  import "DPI-C" ep_rom_load = function void load_y(
    input int layer,
    input string name,
    inout logic signed [ActW-1:0] data[][][]
  );
  import "DPI-C" ep_rom_load = function void load_ctl(
    input int layer,
    input string name,
    inout logic [31:0] data[][]
  );

  logic signed [31:0] r_rom[Vectors][Blocks][Lanes];
  logic signed [ActW-1:0] attn_rom[Vectors][Blocks][Lanes];
  logic signed [ActW-1:0] mlp_rom[Vectors][Blocks][Lanes];
  logic [31:0] ctl_rom[Vectors][4];

  always @(posedge load_i) begin
    load_r(Case, "r", r_rom);
    load_y(Case, "attn", attn_rom);
    load_y(Case, "mlp", mlp_rom);
    load_ctl(Case, "ctl", ctl_rom);
  end

  logic [31:0] index, prep;
  logic take, start, tap, busy;
  logic signed [ActW-1:0] attn_q[Blocks][Lanes];
  logic signed [ActW-1:0] mlp_q[Blocks][Lanes];
  logic [31:0] ctl_q[4];
  logic signed [31:0] r[Blocks][Lanes];

  always_ff @(posedge clk_i) begin
    if (take) begin
      attn_q <= attn_rom[index];
      mlp_q  <= mlp_rom[index];
      ctl_q  <= ctl_rom[index];
    end
  end

  ut_driver #(.Vectors(Vectors), .Prep(Blocks)) u_driver (
      .clk_i,
      .rst_ni,
      .en_i,
      .busy_i (busy),
      .index_o(index),
      .prep_o (prep),
      .take_o (take),
      .start_o(start),
      .tap_o  (tap),
      .done_o
  );

  ep_residual #(
      .Blocks(Blocks),
      .Lanes(Lanes),
      .ActW(ActW)
  ) u_dut (
      .clk_i,
      .rst_ni,
      .write_i(take && ctl_rom[index][0][0]),
      .write_block_i(BlockW'(prep)),
      .write_data_i(r_rom[index][BlockW'(prep)]),
      .start_attn_i(start && !ctl_q[1][0]),
      .start_mlp_i(start && ctl_q[1][0]),
      .busy_o(busy),
      .attn_shift_i(ctl_q[2][4:0]),
      .mlp_shift_i(ctl_q[3][4:0]),
      .attn_y_i(attn_q),
      .mlp_y_i(mlp_q),
      .r_o(r)
  );

  ep_tap #(.Name("y"), .Rows(Blocks), .Cols(Lanes), .Width(32)) u_tap (
      .clk_i,
      .valid_i(tap),
      .layer_i(32'(Case)),
      .pos_i  (index),
      .count_i(32'(Blocks * Lanes)),
      .data_i (r)
  );

endmodule
