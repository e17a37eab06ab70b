// The functions of ep_pkg under ut_driver: round_shift(x, n), saturate(x, n + 1), bit_length(x), misr over all x.

module ut_pkg
  import ep_pkg::*;
#(
    parameter int unsigned Case = 0,
    parameter int unsigned Vectors = 1,
    parameter int unsigned Cols = 64
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
    inout logic signed [63:0] data[][]
  );
  import "DPI-C" ep_rom_load = function void load_n(
    input int layer,
    input string name,
    inout logic [7:0] data[][]
  );

  logic signed [63:0] x_rom[Vectors][Cols];
  logic [7:0] n_rom[Vectors][Cols];

  always @(posedge load_i) begin
    load_x(Case, "x", x_rom);
    load_n(Case, "n", n_rom);
  end

  logic [31:0] index, unused_prep;
  logic take, unused_start, tap;
  logic signed [63:0] rounded_q[1][Cols];
  logic signed [63:0] saturated_q[1][Cols];
  logic signed [63:0] length_q[1][Cols];
  logic signed [31:0] signature_q[1][1];

  // Both halves of each x, the low one first.
  function automatic logic [31:0] signature();
    signature = '1;
    for (int unsigned i = 0; i < Cols; i++) begin
      signature = misr(signature, x_rom[index][i][31:0]);
      signature = misr(signature, x_rom[index][i][63:32]);
    end
  endfunction

  always_ff @(posedge clk_i) begin
    if (take) begin
      signature_q[0][0] <= signed'(signature());
      for (int unsigned i = 0; i < Cols; i++) begin
        rounded_q[0][i]   <= round_shift(x_rom[index][i], 6'(n_rom[index][i]));
        saturated_q[0][i] <= saturate(x_rom[index][i], 32'(n_rom[index][i]) + 32'd1);
        length_q[0][i]    <= 64'(bit_length(x_rom[index][i] & 64'h7fff_ffff_ffff_ffff));
      end
    end
  end

  ut_driver #(.Vectors(Vectors)) u_driver (
      .clk_i,
      .rst_ni,
      .en_i,
      .busy_i (1'b0),
      .index_o(index),
      .prep_o (unused_prep),
      .take_o (take),
      .start_o(unused_start),
      .tap_o  (tap),
      .done_o
  );

  ep_tap #(.Name("rounded"), .Rows(1), .Cols(Cols), .Width(64)) u_tap_rounded (
      .clk_i,
      .valid_i(tap),
      .layer_i(32'(Case)),
      .pos_i  (index),
      .count_i(32'(Cols)),
      .data_i (rounded_q)
  );

  ep_tap #(.Name("saturated"), .Rows(1), .Cols(Cols), .Width(64)) u_tap_saturated (
      .clk_i,
      .valid_i(tap),
      .layer_i(32'(Case)),
      .pos_i  (index),
      .count_i(32'(Cols)),
      .data_i (saturated_q)
  );

  ep_tap #(.Name("signature"), .Rows(1), .Cols(1), .Width(32)) u_tap_signature (
      .clk_i,
      .valid_i(tap),
      .layer_i(32'(Case)),
      .pos_i  (index),
      .count_i(32'd1),
      .data_i (signature_q)
  );

  ep_tap #(.Name("length"), .Rows(1), .Cols(Cols), .Width(64)) u_tap_length (
      .clk_i,
      .valid_i(tap),
      .layer_i(32'(Case)),
      .pos_i  (index),
      .count_i(32'(Cols)),
      .data_i (length_q)
  );

endmodule
