// Parameter ROM: the words of a `params` image (docs/rom-format.md), all of them at once.

module ep_param_rom #(
  parameter int unsigned Words    = 1,  // number of 32-bit words
  parameter int unsigned FirstRom = 0   // number of the ROM
) (
`ifndef SYNTHESIS
  input  logic               load_i,        // a rising edge loads the image
  input  logic signed [31:0] layer_i,       // which layer's image; -1 outside the layers
`endif
  output logic        [31:0] word_o[Words],
  // ROM test, for the stage's ep_rom_station: what was read at the last edge, 0 of another's ROM.
  input  logic               rom_clk_i,
  input  ep_pkg::rom_read_t  rom_read_i,
  output logic        [31:0] rom_slice_o
);

  localparam int unsigned WordW = (Words > 1) ? $clog2(Words) : 1;

`ifndef SYNTHESIS
  always @(posedge load_i) ep_rom_pkg::load_words(layer_i, "params", word_o);
`endif

  logic unused_rom_read;
  assign unused_rom_read = ^rom_read_i;  // the ROM has fewer words, and one slice a word

  always_ff @(posedge rom_clk_i) begin
    if (rom_read_i.on) begin
      rom_slice_o <= (32'(rom_read_i.rom) == FirstRom) ? word_o[WordW'(rom_read_i.word)] : '0;
    end
  end

endmodule
