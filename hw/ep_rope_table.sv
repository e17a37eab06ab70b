// RoPE table ROM: cosines and sines of one position (docs/numerics.md section 5; images rope.cos, rope.sin).
// Combinational read.

module ep_rope_table #(
  parameter int unsigned Context  = 512,  // positions
  parameter int unsigned Pairs    = 4,    // head_dim / 2
  parameter int unsigned FirstRom = 0     // number of the ROM of cosines; the sines are the next
) (
`ifndef SYNTHESIS
  input  logic               load_i,        // a rising edge loads the images
`endif
  input  logic        [31:0] pos_i,
  output logic signed [15:0] cos_o [Pairs],
  output logic signed [15:0] sin_o [Pairs],
  // ROM test, for the stage's ep_rom_station: what was read at the last edge, 0 of another's ROM.
  input  logic               rom_clk_i,
  input  ep_pkg::rom_read_t  rom_read_i,
  output logic        [31:0] rom_slice_o
);

  localparam int unsigned PosW = (Context > 1) ? $clog2(Context) : 1;
  localparam int unsigned PairW = (Pairs > 1) ? $clog2(Pairs) : 1;

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

  // ROM test: two cosines or two sines.
  logic [PosW-1:0] rom_pos;
  logic unused_rom_read;
  assign rom_pos = PosW'(rom_read_i.word);
  assign unused_rom_read = ^rom_read_i;  // the ROM has fewer words and slices

  function automatic logic [31:0] rom_slice();
    int unsigned at;
    rom_slice = '0;
    for (int unsigned i = 0; i < 2; i++) begin
      at = 32'(rom_read_i.slice) * 2 + i;
      if (at < Pairs && 32'(rom_read_i.rom) == FirstRom) begin
        rom_slice[16*i+:16] = cos_rom[rom_pos][PairW'(at)];
      end else if (at < Pairs && 32'(rom_read_i.rom) == FirstRom + 1) begin
        rom_slice[16*i+:16] = sin_rom[rom_pos][PairW'(at)];
      end
    end
  endfunction

  always_ff @(posedge rom_clk_i) begin
    if (rom_read_i.on) begin
      rom_slice_o <= rom_slice();
    end
  end

endmodule
