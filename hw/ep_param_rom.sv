// Parameter ROM: the words of a `params` image (docs/rom-format.md), all of them at once.

module ep_param_rom #(
  parameter int unsigned Words = 1  // number of 32-bit words
) (
`ifndef SYNTHESIS
  input  logic               load_i,        // a rising edge loads the image
  input  logic signed [31:0] layer_i,       // which layer's image; -1 outside the layers
`endif
  output logic        [31:0] word_o[Words]
);

`ifndef SYNTHESIS
  always @(posedge load_i) ep_rom_pkg::load_words(layer_i, "params", word_o);
`endif

endmodule
