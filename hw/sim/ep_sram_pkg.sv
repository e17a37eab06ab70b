// The back door into SRAMs: shows a memory to the simulation, which may read it and flip its bits. Simulation only.
//
// C++ keeps where the array lies; it must not be opened twice under one name.

package ep_sram_pkg;

  import "DPI-C" ep_sram_open = function void open_sram(
    input int layer,
    input string name,
    input logic signed [15:0] data[][]
  );

endpackage
