// ROMs of every shape that images come in, tapped whole.

module mini_rom (
    input logic        clk_i,
    input logic [31:0] layer_i,
    input logic        valid_i,
    input logic [31:0] pos_i
);

  import "DPI-C" ep_rom_load_s6_3 = function void load_codes(
    input int layer,
    input string name,
    inout logic signed [5:0] data[][][]);
  import "DPI-C" ep_rom_load_16_2 = function void load_gains(
    input int layer,
    input string name,
    inout logic [15:0] data[][]);
  import "DPI-C" ep_rom_load_32_1 = function void load_params(
    input int layer,
    input string name,
    inout logic [31:0] data[]);

  logic signed [5:0] codes[4][2][3];  // the image is 3 deep
  logic [15:0] gains[2][4];
  logic [31:0] params[5];
  logic [15:0] cosines[2][2];  // one image for all layers
  logic loaded;

  // At the first edge, when layer_i has settled.
  int repeated;

  initial loaded = 1'b0;

  always @(posedge clk_i) begin
    if (!loaded) begin
      load_codes(int'(layer_i), "q_proj.codes", codes);
      load_gains(int'(layer_i), "attn_norm.gains", gains);
      load_params(int'(layer_i), "params", params);
      load_gains(-1, "rope.cos", cosines);
      if (($value$plusargs("repeat=%d", repeated) != 0) && (repeated != 0)) begin
        load_params(int'(layer_i), "params", params);
      end
    end
    loaded <= 1'b1;
  end

  logic signed [ 7:0] codes_s  [8][3];
  logic signed [15:0] gains_s  [2][4];
  logic signed [31:0] params_s [1][5];
  logic signed [15:0] cosines_s[2][2];

  always_comb begin
    for (int unsigned i = 0; i < 4; i++) begin
      for (int unsigned j = 0; j < 2; j++) begin
        for (int unsigned k = 0; k < 3; k++) codes_s[2*i+j][k] = 8'(codes[i][j][k]);
        cosines_s[i%2][j] = signed'(cosines[i%2][j]);
      end
    end
    for (int unsigned i = 0; i < 2; i++) begin
      for (int unsigned j = 0; j < 4; j++) gains_s[i][j] = signed'(gains[i][j]);
    end
    for (int unsigned i = 0; i < 5; i++) params_s[0][i] = signed'(params[i]);
  end

  ep_tap #(
      .Name("codes"),
      .Rows(8),
      .Cols(3),
      .Width(8)
  ) u_tap_codes (
      .clk_i,
      .valid_i,
      .layer_i,
      .pos_i,
      .count_i(32'd24),
      .data_i (codes_s)
  );

  ep_tap #(
      .Name("gains"),
      .Rows(2),
      .Cols(4),
      .Width(16)
  ) u_tap_gains (
      .clk_i,
      .valid_i,
      .layer_i,
      .pos_i,
      .count_i(32'd8),
      .data_i (gains_s)
  );

  ep_tap #(
      .Name("params"),
      .Rows(1),
      .Cols(5),
      .Width(32)
  ) u_tap_params (
      .clk_i,
      .valid_i,
      .layer_i,
      .pos_i,
      .count_i(32'd5),
      .data_i (params_s)
  );

  ep_tap #(
      .Name("cosines"),
      .Rows(2),
      .Cols(2),
      .Width(16)
  ) u_tap_cosines (
      .clk_i,
      .valid_i,
      .layer_i,
      .pos_i,
      .count_i(32'd4),
      .data_i (cosines_s)
  );

endmodule
