// The loader of ROM images (docs/rom-format.md): DPI-C functions that fill a ROM. Simulation only.
//
// The images of `layer` called `name` are read into `data`. IEEE 1800-2017, 35.5.4, wants one type
// of argument for each C name, so each width and number of dimensions has a name of its own.

package ep_rom_pkg;

  // Codes of a linear or the embedding, by their bits.
  import "DPI-C" ep_rom_load_3_3 = function void load_codes_3(
    input int layer,
    input string name,
    inout logic [2:0] data[][][]
  );
  import "DPI-C" ep_rom_load_4_3 = function void load_codes_4(
    input int layer,
    input string name,
    inout logic [3:0] data[][][]
  );
  import "DPI-C" ep_rom_load_6_3 = function void load_codes_6(
    input int layer,
    input string name,
    inout logic [5:0] data[][][]
  );
  import "DPI-C" ep_rom_load_8_3 = function void load_codes_8(
    input int layer,
    input string name,
    inout logic [7:0] data[][][]
  );

  // Scales of a linear.
  import "DPI-C" ep_rom_load_16_3 = function void load_scales(
    input int layer,
    input string name,
    inout logic [15:0] data[][][]
  );
  // Scales of the embedding; under the name without a suffix, as ep_rom_load_16_2 is for signed elements.
  import "DPI-C" ep_rom_load = function void load_row_scales(
    input int layer,
    input string name,
    inout logic [15:0] data[][]
  );
  // Gains of a norm, cosines and sines.
  import "DPI-C" ep_rom_load_16_2 = function void load_table(
    input int layer,
    input string name,
    inout logic signed [15:0] data[][]
  );
  // Biases of a linear.
  import "DPI-C" ep_rom_load_32_2 = function void load_bias(
    input int layer,
    input string name,
    inout logic signed [31:0] data[][]
  );
  // Params.
  import "DPI-C" ep_rom_load_32_1 = function void load_words(
    input int layer,
    input string name,
    inout logic [31:0] data[]
  );

endpackage
