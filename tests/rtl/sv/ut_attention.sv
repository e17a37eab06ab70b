// ep_attention under ut_driver. Words of ctl: position, softmax shift, output shift.

module ut_attention #(
    parameter int unsigned Case = 0,
    parameter int unsigned Vectors = 1,
    parameter int unsigned Heads = 8,
    parameter int unsigned KvHeads = 4,
    parameter int unsigned HeadDim = 8,
    parameter int unsigned Context = 512,
    parameter int unsigned ActW = 16,
    parameter int unsigned KvW = 16,
    parameter int unsigned Lanes = 16,
    parameter int unsigned VBlocks = 2,
    parameter int unsigned OutBlocks = 4,
    parameter logic [15:0] Scale = 16'h8000,
    localparam int unsigned Rows = (Context > 1) ? 1 << $clog2(Context) : 2
) (
    input  logic clk_i,
    input  logic rst_ni,
    input  logic load_i,
    input  logic en_i,
    output logic done_o
);

  import "DPI-C" ep_rom_load = function void load_q(
    input int layer,
    input string name,
    inout logic signed [ActW-1:0] data[][][]
  );
  import "DPI-C" ep_rom_load = function void load_kv(
    input int layer,
    input string name,
    inout logic signed [KvW-1:0] data[][][]
  );
  import "DPI-C" ep_rom_load = function void load_ctl(
    input int layer,
    input string name,
    inout logic [31:0] data[][]
  );

  logic signed [ActW-1:0] q_rom[Vectors][Heads][HeadDim];
  logic signed [KvW-1:0] k_rom[Vectors][KvHeads][HeadDim];
  logic signed [KvW-1:0] v_rom[Vectors][VBlocks][Lanes];
  logic [31:0] ctl_rom[Vectors][3];

  always @(posedge load_i) begin
    load_q(Case, "q", q_rom);
    load_kv(Case, "k", k_rom);
    load_kv(Case, "v", v_rom);
    load_ctl(Case, "ctl", ctl_rom);
  end

  logic [31:0] index, unused_prep;
  logic take, start, tap, busy;
  logic signed [ActW-1:0] q_q[Heads][HeadDim];
  logic signed [KvW-1:0] k_q[KvHeads][HeadDim];
  logic signed [KvW-1:0] v_q[VBlocks][Lanes];
  logic [31:0] ctl_q[3];
  logic [31:0] visible;
  logic signed [63:0] scores[Rows][Heads];
  logic signed [31:0] weights[Rows][Heads];
  logic signed [ActW-1:0] y[OutBlocks][Lanes];

  always_ff @(posedge clk_i) begin
    if (take) begin
      q_q   <= q_rom[index];
      k_q   <= k_rom[index];
      v_q   <= v_rom[index];
      ctl_q <= ctl_rom[index];
    end
  end

  assign visible = (ctl_q[0] + 32'd1) * Heads;

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

  ep_attention #(
      .Heads(Heads),
      .KvHeads(KvHeads),
      .HeadDim(HeadDim),
      .Context(Context),
      .ActW(ActW),
      .KvW(KvW),
      .Lanes(Lanes),
      .VBlocks(VBlocks),
      .OutBlocks(OutBlocks),
      .Scale(Scale)
  ) u_dut (
      .clk_i,
      .rst_ni,
      .start_i(start),
      .busy_o(busy),
      .pos_i(ctl_q[0]),
      .softmax_shift_i(ctl_q[1][5:0]),
      .out_shift_i(ctl_q[2][5:0]),
      .q_i(q_q),
      .k_i(k_q),
      .v_i(v_q),
      .scores_o(scores),
      .weights_o(weights),
      .y_o(y)
  );

  ep_tap #(.Name("y"), .Rows(OutBlocks), .Cols(Lanes), .Width(ActW)) u_tap_y (
      .clk_i,
      .valid_i(tap),
      .layer_i(32'(Case)),
      .pos_i  (index),
      .count_i(32'(OutBlocks * Lanes)),
      .data_i (y)
  );

  ep_tap #(.Name("scores"), .Rows(Rows), .Cols(Heads), .Width(64)) u_tap_scores (
      .clk_i,
      .valid_i(tap),
      .layer_i(32'(Case)),
      .pos_i  (index),
      .count_i(visible),
      .data_i (scores)
  );

  ep_tap #(.Name("softmax"), .Rows(Rows), .Cols(Heads), .Width(32)) u_tap_weights (
      .clk_i,
      .valid_i(tap),
      .layer_i(32'(Case)),
      .pos_i  (index),
      .count_i(visible),
      .data_i (weights)
  );

endmodule
