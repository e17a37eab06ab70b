// A tap: hands a vector to the sink of the simulator, where the scoreboard reads it. Simulation only.
//
// Handshake: at each rising edge of clk_i with valid_i high, the first count_i elements of data_i, in row-major
// order, are one record, as they were before the edge. No output and no state; the chip cannot notice it.
// Degenerate: one row and one column is a scalar. count_i outside 1 .. Rows * Cols is an error of the run.
// The name is looked up once, at the start; one that the project does not declare is an error of the run.

module ep_tap #(
  parameter string       Name  = "",  // as the project declares it
  parameter int unsigned Rows  = 1,
  parameter int unsigned Cols  = 1,
  parameter int unsigned Width = 16   // bits of an element: 8, 16, 32 or 64
) (
  input logic                    clk_i,
  input logic                    valid_i,             // a record at this edge
  input logic        [     31:0] layer_i,             // -1 outside the decoder layers
  input logic        [     31:0] pos_i,               // position of the token
  input logic        [     31:0] count_i,             // elements that count
  input logic signed [Width-1:0] data_i [Rows][Cols]
);

  int tap_id;
  initial tap_id = ep_tap_pkg::find(Name);

  if (Width == 8) begin : gen_w8
    always_ff @(posedge clk_i) begin
      if (valid_i) ep_tap_pkg::write_8(int'(layer_i), tap_id, int'(pos_i), int'(count_i), data_i);
    end
  end else if (Width == 16) begin : gen_w16
    always_ff @(posedge clk_i) begin
      if (valid_i)
        ep_tap_pkg::write_16(int'(layer_i), tap_id, int'(pos_i), int'(count_i), data_i);
    end
  end else if (Width == 32) begin : gen_w32
    always_ff @(posedge clk_i) begin
      if (valid_i)
        ep_tap_pkg::write_32(int'(layer_i), tap_id, int'(pos_i), int'(count_i), data_i);
    end
  end else if (Width == 64) begin : gen_w64
    always_ff @(posedge clk_i) begin
      if (valid_i)
        ep_tap_pkg::write_64(int'(layer_i), tap_id, int'(pos_i), int'(count_i), data_i);
    end
  end else begin : gen_bad_width
    $fatal(1, "ep_tap: Width is %0d, expected 8, 16, 32 or 64", Width);
  end

endmodule
