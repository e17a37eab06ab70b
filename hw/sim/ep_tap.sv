// A tap: hands a vector to the sink of the simulator, where the scoreboard reads it. Simulation only.
//
// Handshake: at each rising edge of clk_i with valid_i high, the first count_i elements of data_i, in row-major
// order, are one record, as they were before the edge. No output and no state; the chip cannot notice it.
// Degenerate: one row and one column is a scalar. count_i outside 1 .. Rows * Cols is an error of the run.

module ep_tap #(
  parameter int unsigned Id    = 0,   // index in the table of tap names
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

  // An open array reaches C where it lies; a sized one would be copied element by element.
  // One C name for each width: the standard wants one type of argument for each name.
  if (Width == 8) begin : gen_w8
    import "DPI-C" ep_tap_write_8 = function void ep_tap_write(
      input int layer,
      input int id,
      input int pos,
      input int count,
      input logic signed [7:0] data[][]);

    always_ff @(posedge clk_i) begin
      if (valid_i) begin
        ep_tap_write(int'(layer_i), int'(Id), int'(pos_i), int'(count_i), data_i);
      end
    end
  end else if (Width == 16) begin : gen_w16
    import "DPI-C" ep_tap_write_16 = function void ep_tap_write(
      input int layer,
      input int id,
      input int pos,
      input int count,
      input logic signed [15:0] data[][]);

    always_ff @(posedge clk_i) begin
      if (valid_i) begin
        ep_tap_write(int'(layer_i), int'(Id), int'(pos_i), int'(count_i), data_i);
      end
    end
  end else if (Width == 32) begin : gen_w32
    import "DPI-C" ep_tap_write_32 = function void ep_tap_write(
      input int layer,
      input int id,
      input int pos,
      input int count,
      input logic signed [31:0] data[][]);

    always_ff @(posedge clk_i) begin
      if (valid_i) begin
        ep_tap_write(int'(layer_i), int'(Id), int'(pos_i), int'(count_i), data_i);
      end
    end
  end else if (Width == 64) begin : gen_w64
    import "DPI-C" ep_tap_write_64 = function void ep_tap_write(
      input int layer,
      input int id,
      input int pos,
      input int count,
      input logic signed [63:0] data[][]);

    always_ff @(posedge clk_i) begin
      if (valid_i) begin
        ep_tap_write(int'(layer_i), int'(Id), int'(pos_i), int'(count_i), data_i);
      end
    end
  end else begin : gen_bad_width
    $fatal(1, "ep_tap: Width is %0d, expected 8, 16, 32 or 64", Width);
  end

endmodule
