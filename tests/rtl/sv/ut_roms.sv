// ep_rope_table and ep_param_rom under ut_driver. Word of ctl: position.

module ut_roms #(
    parameter int unsigned Case = 0,
    parameter int unsigned Vectors = 1,
    parameter int unsigned Context = 512,
    parameter int unsigned Pairs = 4,
    parameter int unsigned Words = 1
) (
    input  logic clk_i,
    input  logic rst_ni,
    input  logic load_i,
    input  logic en_i,
    output logic done_o
);

  import "DPI-C" ep_rom_load = function void load_ctl(
    input int layer,
    input string name,
    inout logic [31:0] data[][]
  );

  logic [31:0] ctl_rom[Vectors][1];

  always @(posedge load_i) load_ctl(Case, "ctl", ctl_rom);

  logic [31:0] index, unused_prep, pos_q;
  logic take, unused_start, tap;
  logic signed [15:0] cosine[Pairs];
  logic signed [15:0] sine[Pairs];
  logic [31:0] word[Words];
  logic signed [15:0] turn[2][Pairs];
  logic signed [31:0] words[1][Words];

  always_ff @(posedge clk_i) if (take) pos_q <= ctl_rom[index][0];

  always_comb begin
    for (int unsigned i = 0; i < Pairs; i++) begin
      turn[0][i] = cosine[i];
      turn[1][i] = sine[i];
    end
    for (int unsigned i = 0; i < Words; i++) words[0][i] = signed'(word[i]);
  end

  logic [31:0] unused_slice, unused_word_slice;

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

  ep_rope_table #(.Context(Context), .Pairs(Pairs)) u_rope_table (
      .load_i,
      .pos_i(pos_q),
      .cos_o(cosine),
      .sin_o(sine),
      .rom_clk_i  (1'b0),
      .rom_read_i ('0),
      .rom_slice_o(unused_slice)
  );

  ep_param_rom #(.Words(Words)) u_params (
      .load_i,
      .layer_i(32'(Case)),
      .word_o (word),
      .rom_clk_i  (1'b0),
      .rom_read_i ('0),
      .rom_slice_o(unused_word_slice)
  );

  ep_tap #(.Name("y"), .Rows(2), .Cols(Pairs), .Width(16)) u_tap_turn (
      .clk_i,
      .valid_i(tap),
      .layer_i(32'(Case)),
      .pos_i  (index),
      .count_i(32'(2 * Pairs)),
      .data_i (turn)
  );

  ep_tap #(.Name("stream"), .Rows(1), .Cols(Words), .Width(32)) u_tap_words (
      .clk_i,
      .valid_i(tap),
      .layer_i(32'(Case)),
      .pos_i  (index),
      .count_i(32'(Words)),
      .data_i (words)
  );

endmodule
