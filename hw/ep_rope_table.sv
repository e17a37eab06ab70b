// RoPE table ROM: cosines and sines of one position (docs/numerics.md section 5; images rope.cos, rope.sin).
// Combinational read.

module ep_rope_table #(
  parameter int unsigned Context = 512,  // positions
  parameter int unsigned Pairs   = 4     // head_dim / 2
) (
`ifndef SYNTHESIS
  input  logic               load_i,        // simulation only: a rising edge loads the images
`endif
  input  logic        [31:0] pos_i,
  output logic signed [15:0] cos_o [Pairs],
  output logic signed [15:0] sin_o [Pairs]
);

  localparam int unsigned PosW = (Context > 1) ? $clog2(Context) : 1;

  logic signed [15:0] cos_rom[1<<PosW][Pairs];
  logic signed [15:0] sin_rom[1<<PosW][Pairs];

`ifndef SYNTHESIS
  import "DPI-C" ep_rom_load = function void load_table(
    input int layer,
    input string name,
    inout logic signed [15:0] data[][]
  );

  always @(posedge load_i) begin
    load_table(-1, "rope.cos", cos_rom);
    load_table(-1, "rope.sin", sin_rom);
  end
`endif

  assign cos_o = cos_rom[PosW'(pos_i)];
  assign sin_o = sin_rom[PosW'(pos_i)];

endmodule
