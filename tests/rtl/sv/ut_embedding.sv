// ep_embedding under ut_driver, its stream taken by a consumer that is not always ready.
// Words of ctl: token, shift, seed of the consumer's stalls (0: none).
// The tap `y` is written whenever done_o is high: one record a vector. `stream` is what the consumer took.

module ut_embedding #(
    parameter int unsigned Case = 0,
    parameter int unsigned Vectors = 1,
    parameter int unsigned Vocab = 512,
    parameter int unsigned Blocks = 4,
    parameter int unsigned Lanes = 16,
    parameter int unsigned Bits = 8,
    parameter int unsigned GroupSize = 16
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

  logic [31:0] ctl_rom[Vectors][3];

  always @(posedge load_i) load_ctl(Case, "ctl", ctl_rom);

  logic [31:0] index, unused_prep;
  logic take, start, tap, busy, row_done, valid, ready;
  logic [31:0] ctl_q[3];
  logic [31:0] stall_q, taken_q;
  logic signed [31:0] data[Lanes];
  logic signed [31:0] row[Blocks][Lanes];
  logic signed [31:0] stream_q[Blocks][Lanes];

  assign ready = stall_q[31] == 1'b0;

  always_ff @(posedge clk_i) begin
    if (take) begin
      ctl_q   <= ctl_rom[index];
      stall_q <= ctl_rom[index][2];
      taken_q <= '0;
    end else begin
      stall_q <= stall_q * 32'd1664525 + ((ctl_q[2] == '0) ? 32'd0 : 32'd1013904223);
    end
    if (valid && ready) begin
      stream_q[taken_q] <= data;
      taken_q <= taken_q + 32'd1;
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

  ep_embedding #(
      .Vocab(Vocab),
      .Blocks(Blocks),
      .Lanes(Lanes),
      .Bits(Bits),
      .GroupSize(GroupSize)
  ) u_dut (
      .clk_i,
      .rst_ni,
      .load_i,
      .start_i(start),
      .busy_o (busy),
      .done_o (row_done),
      .token_i(ctl_q[0]),
      .shift_i(ctl_q[1][5:0]),
      .valid_o(valid),
      .ready_i(ready),
      .data_o (data),
      .row_o  (row),
      .rom_clk_i  (1'b0),
      .rom_read_i ('0),
      .rom_slice_o(unused_slice)
  );

  ep_tap #(.Name("y"), .Rows(Blocks), .Cols(Lanes), .Width(32)) u_tap_row (
      .clk_i,
      .valid_i(rst_ni && en_i && row_done),
      .layer_i(32'(Case)),
      .pos_i  (index),
      .count_i(32'(Blocks * Lanes)),
      .data_i (row)
  );

  ep_tap #(.Name("stream"), .Rows(Blocks), .Cols(Lanes), .Width(32)) u_tap_stream (
      .clk_i,
      .valid_i(tap),
      .layer_i(32'(Case)),
      .pos_i  (index),
      .count_i(taken_q * Lanes),
      .data_i (stream_q)
  );

endmodule
