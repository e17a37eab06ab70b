// ep_argmax under ut_driver.

module ut_argmax #(
    parameter int unsigned Case = 0,
    parameter int unsigned Vectors = 1,
    parameter int unsigned Vocab = 512,
    parameter int unsigned Lanes = 16,
    localparam int unsigned Blocks = (Vocab + Lanes - 1) / Lanes
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
    inout logic signed [15:0] data[][][]
  );

  logic signed [15:0] x_rom[Vectors][Blocks][Lanes];

  always @(posedge load_i) load_x(Case, "logits", x_rom);

  logic [31:0] index, unused_prep;
  logic take, start, tap, busy;
  logic signed [15:0] x_q[Blocks][Lanes];
  logic [31:0] token;
  logic signed [31:0] tapped[1][1];

  always_ff @(posedge clk_i) if (take) x_q <= x_rom[index];

  assign tapped[0][0] = token;

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

  ep_argmax #(
      .Vocab (Vocab),
      .Lanes (Lanes),
      .LogitW(16)
  ) u_dut (
      .clk_i,
      .rst_ni,
      .start_i (start),
      .busy_o  (busy),
      .logits_i(x_q),
      .token_o (token)
  );

  ep_tap #(.Name("y"), .Rows(1), .Cols(1), .Width(32)) u_tap (
      .clk_i,
      .valid_i(tap),
      .layer_i(32'(Case)),
      .pos_i  (index),
      .count_i(32'd1),
      .data_i (tapped)
  );

endmodule
