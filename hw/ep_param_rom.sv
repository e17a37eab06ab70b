// Parameter ROM: the words of a `params` image (docs/rom-format.md), all of them at once.

module ep_param_rom #(
  parameter int unsigned Words = 1  // number of 32-bit words
) (
`ifndef SYNTHESIS
  input  logic               load_i,        // simulation only: a rising edge loads the image
`endif
  input  logic signed [31:0] layer_i,       // which layer's image; -1 outside the layers
  output logic        [31:0] word_o[Words]
);

`ifndef SYNTHESIS
  import "DPI-C" ep_rom_load = function void load_words(
    input int layer,
    input string name,
    inout logic [31:0] data[]
  );

  always @(posedge load_i) load_words(layer_i, "params", word_o);
`endif

endmodule
