// RoPE table ROM: cosines and sines of one position (docs/numerics.md section 5; images rope.cos, rope.sin).
// Combinational read.

module ep_rope_table #(
  parameter int unsigned Context = 512,  // positions
  parameter int unsigned Pairs   = 4     // head_dim / 2
) (
`ifndef SYNTHESIS
  input  logic               load_i,        // a rising edge loads the images
`endif
  input  logic        [31:0] pos_i,
  output logic signed [15:0] cos_o [Pairs],
  output logic signed [15:0] sin_o [Pairs]
);

  localparam int unsigned PosW = (Context > 1) ? $clog2(Context) : 1;

  logic signed [15:0] cos_rom[1<<PosW][Pairs];
  logic signed [15:0] sin_rom[1<<PosW][Pairs];

`ifndef SYNTHESIS
  always @(posedge load_i) begin
    ep_rom_pkg::load_table(-1, "rope.cos", cos_rom);
    ep_rom_pkg::load_table(-1, "rope.sin", sin_rom);
  end
`endif

  logic [PosW-1:0] pos;
  logic unused_pos;

  assign pos = pos_i[PosW-1:0];
  assign unused_pos = ^pos_i[31:PosW];  // 0: see ep_host_port
  assign cos_o = cos_rom[pos];
  assign sin_o = sin_rom[pos];

endmodule
