// Embedding ROM: a token's row, scaled into the residual format (docs/numerics.md section 2), as a stream of blocks.
//
// Latency: one cycle from start_i to the first block; then a block per cycle as the consumer takes them.
// Handshake: start_i for one cycle while busy_o is low; token_i must hold until busy_o falls.

module ep_embedding
  import ep_pkg::*;
#(
  parameter int unsigned Vocab     = 512,
  parameter int unsigned Blocks    = 4,       // blocks of a row
  parameter int unsigned Lanes     = 16,
  parameter int unsigned Bits      = 8,       // bits of a code
  parameter int unsigned GroupSize = 16,      // inputs that share a scale
  parameter int unsigned FirstRom  = 0,       // number of the code ROM; the scales are the next
  localparam int unsigned BlockW   = (Blocks > 1) ? $clog2(Blocks) : 1
) (
  input  logic               clk_i,
  input  logic               rst_ni,
`ifndef SYNTHESIS
  input  logic               load_i,                 // a rising edge loads the images
`endif
  input  logic               start_i,
  output logic               busy_o,
  output logic               done_o,                 // one cycle, when row_o stands
  input  logic        [31:0] token_i,
  input  logic        [ 5:0] shift_i,
  output logic               valid_o,
  input  logic               ready_i,
  output logic signed [31:0] data_o  [ Lanes],
  output logic signed [31:0] row_o   [Blocks][Lanes],  // the whole row, from done_o on
  // ROM test, for the stage's ep_rom_station: what was read at the last edge, 0 of another's ROM.
  input  logic               rom_clk_i,
  input  rom_read_t          rom_read_i,
  output logic        [31:0] rom_slice_o
);

  localparam int unsigned TokenW = (Vocab > 1) ? $clog2(Vocab) : 1;
  localparam int unsigned Groups = (Blocks * Lanes + GroupSize - 1) / GroupSize;
  localparam int unsigned GroupW = (Groups > 1) ? $clog2(Groups) : 1;
  localparam int unsigned LaneW = $clog2(Lanes);

  typedef logic signed [31:0] block_t[Lanes];

  logic [Bits-1:0] codes[1<<TokenW][Blocks][Lanes];  // offset binary: code + 2^(Bits-1)
  logic [15:0] scales[1<<TokenW][Groups];

`ifndef SYNTHESIS
  if (Bits == 3) begin : gen_codes_3
    always @(posedge load_i) ep_rom_pkg::load_codes_3(-1, "embed_tokens.codes", codes);
  end else if (Bits == 4) begin : gen_codes_4
    always @(posedge load_i) ep_rom_pkg::load_codes_4(-1, "embed_tokens.codes", codes);
  end else if (Bits == 6) begin : gen_codes_6
    always @(posedge load_i) ep_rom_pkg::load_codes_6(-1, "embed_tokens.codes", codes);
  end else if (Bits == 8) begin : gen_codes_8
    always @(posedge load_i) ep_rom_pkg::load_codes_8(-1, "embed_tokens.codes", codes);
  end else begin : gen_bad_bits
    $fatal(1, "Bits is %0d, expected 3, 4, 6 or 8", Bits);
  end

  always @(posedge load_i) ep_rom_pkg::load_row_scales(-1, "embed_tokens.scales", scales);
`endif

  logic [BlockW-1:0] block_q;
  logic [TokenW-1:0] token;

  logic unused_token;

  assign token   = token_i[TokenW-1:0];
  assign unused_token = ^token_i[31:TokenW];  // 0: see ep_host_port
  assign valid_o = busy_o;

  always_comb begin
    for (int unsigned i = 0; i < Lanes; i++) begin
      wide_t code, scale;
      code = 64'(codes[token][block_q][i]) - (64'd1 << (Bits - 1));
      scale = 64'(scales[token][(32'(block_q)*Lanes+i)/GroupSize]);
      data_o[i] = 32'(saturate(round_shift(code * scale, shift_i), 32));
    end
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      busy_o  <= 1'b0;
      done_o  <= 1'b0;
      block_q <= '0;
    end else begin
      done_o <= busy_o && ready_i && 32'(block_q) == Blocks - 1;
      if (start_i && !busy_o) begin
        busy_o  <= 1'b1;
        block_q <= '0;
      end else if (busy_o && ready_i) begin
        block_q <= block_q + 1'b1;
        busy_o  <= 32'(block_q) != Blocks - 1;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (busy_o && ready_i) row_o[block_q] <= data_o;
  end

  // ROM test: four codes or two scales.
  logic [TokenW-1:0] rom_token;
  logic unused_rom_read;
  assign rom_token = TokenW'(rom_read_i.word);
  assign unused_rom_read = ^rom_read_i;  // the ROM has fewer words and slices

  function automatic logic [31:0] rom_slice();
    int unsigned at;
    rom_slice = '0;
    if (32'(rom_read_i.rom) == FirstRom) begin
      for (int unsigned i = 0; i < 4; i++) begin
        at = 32'(rom_read_i.slice) * 4 + i;
        rom_slice[8*i+:8] = 8'(codes[rom_token][BlockW'(at/Lanes)][LaneW'(at)]);
      end
    end else if (32'(rom_read_i.rom) == FirstRom + 1) begin
      for (int unsigned i = 0; i < 2; i++) begin
        at = 32'(rom_read_i.slice) * 2 + i;
        if (at < Groups) rom_slice[16*i+:16] = scales[rom_token][GroupW'(at)];
      end
    end
  endfunction

  always_ff @(posedge rom_clk_i) begin
    if (rom_read_i.on) begin
      rom_slice_o <= rom_slice();
    end
  end

endmodule
