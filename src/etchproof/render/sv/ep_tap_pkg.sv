// Taps out of the chip: DPI-C functions that append a record to the sink (ep_sink.cpp). Simulation only.
//
// The first `count` elements of `data`, in row-major order. An open array reaches C where it lies; a sized one would be copied
// element by element. IEEE 1800-2017, 35.5.4, wants one type of argument for each C name, so each width has a name of its own.

package ep_tap_pkg;

  // The number of a name, for the functions below; the same for every tap of that name.
  import "DPI-C" ep_tap_find = function int find(input string name);

  // An error of the run: an element of the vector was not written since its last record.
  import "DPI-C" ep_tap_unwritten = function void unwritten(
    input int layer,
    input int id,
    input int pos,
    input int element
  );

  import "DPI-C" ep_tap_write_8 = function void write_8(
    input int layer,
    input int id,
    input int pos,
    input int count,
    input logic signed [7:0] data[][]
  );
  import "DPI-C" ep_tap_write_16 = function void write_16(
    input int layer,
    input int id,
    input int pos,
    input int count,
    input logic signed [15:0] data[][]
  );
  import "DPI-C" ep_tap_write_32 = function void write_32(
    input int layer,
    input int id,
    input int pos,
    input int count,
    input logic signed [31:0] data[][]
  );
  import "DPI-C" ep_tap_write_64 = function void write_64(
    input int layer,
    input int id,
    input int pos,
    input int count,
    input logic signed [63:0] data[][]
  );

endpackage
