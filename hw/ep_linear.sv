// ROM linear: y = sat(rs(sum over groups of scale * (codes . x) + bias + adapter, shift))  (docs/numerics.md section 4).
//
// A word of the code ROM holds TileRows x TileInputs codes: one chunk of inputs for one block of rows. One word is
// read and accumulated per cycle. Latency: blocks * chunks + 3 cycles from start_i to busy_o low.
// Handshake: start_i for one cycle while busy_o is low; x_i must hold until busy_o falls; y_o then holds.
// The adapter's term d * 2^shift (ep_lora) is taken where lora_on_i is high; block b of d is read 2 + b * chunks cycles
// after start_i.
// Degenerate: with one chunk and one block it takes 4 cycles. Blocks of y_o beyond the rows are never written.

module ep_linear
  import ep_pkg::*;
#(
`ifndef SYNTHESIS
  parameter string       Name       = "linear",  // images NAME.codes, NAME.scales, NAME.bias
`endif
  parameter int unsigned Rows       = 16,        // outputs
  parameter int unsigned Cols       = 64,        // inputs
  parameter int unsigned Bits       = 6,         // bits of a code
  parameter int unsigned GroupSize  = 16,        // inputs that share a scale
  parameter int unsigned TileRows   = 16,        // rows per word: the lanes of every vector
  parameter int unsigned TileInputs = 64,        // inputs per word
  parameter int unsigned ActW       = 16,        // bits of an input
  parameter int unsigned OutW       = 16,        // bits of an output
  parameter int unsigned PartW      = 32,        // bits of a group's sum, proven when rendering
  parameter bit          HasBias    = 1'b0,      // whether there is an image NAME.bias
  parameter bit          HasLora    = 1'b0,      // whether there is an ep_lora
  parameter int unsigned OutBlocks  = 1,         // blocks of y_o, padded for the consumer
  parameter int unsigned FirstRom   = 0,         // number of the code ROM; then scales, biases
  localparam int unsigned Blocks    = (Rows + TileRows - 1) / TileRows,
  localparam int unsigned Chunks    = (Cols + TileInputs - 1) / TileInputs,
  localparam int unsigned ChunkBlocks = TileInputs / TileRows,
  localparam int unsigned InBlocks  = Chunks * ChunkBlocks,
  localparam int unsigned LoraBlocks = HasLora ? Blocks : 1
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,
`ifndef SYNTHESIS
  input  logic                   load_i,   // a rising edge loads the images
  input  logic signed [    31:0] layer_i,  // which layer's images; -1 outside the layers
`endif
  input  logic                   start_i,
  output logic                   busy_o,
  input  logic        [     5:0] shift_i,
  input  logic        [     3:0] bias_shift_i,
  input  logic                   lora_on_i,
  input  logic        [     4:0] lora_shift_i,
  input  logic signed [    63:0] lora_i      [LoraBlocks][TileRows],
  input  logic signed [ActW-1:0] x_i         [InBlocks][TileRows],
  output logic signed [OutW-1:0] y_o         [OutBlocks][TileRows],
  // ROM test, for the stage's ep_rom_station: what was read at the last edge, 0 of another's ROM.
  input  logic                   rom_clk_i,
  input  rom_read_t              rom_read_i,
  output logic        [    31:0] rom_slice_o
);

  localparam int unsigned AccW = 64;
  localparam int unsigned Depth = Blocks * Chunks;
  localparam int unsigned AddrW = (Depth > 1) ? $clog2(Depth) : 1;
  localparam int unsigned BlockW = (Blocks > 1) ? $clog2(Blocks) : 1;
  // The output may have more blocks than the rows: padding.
  localparam int unsigned OutIndexW = (OutBlocks > 1) ? $clog2(OutBlocks) : 1;
  localparam int unsigned LoraBlockW = (LoraBlocks > 1) ? $clog2(LoraBlocks) : 1;
  localparam int unsigned ChunkW = (Chunks > 1) ? $clog2(Chunks) : 1;
  localparam bit Fine = GroupSize <= TileInputs;  // several groups in a word
  localparam int unsigned WordGroups = Fine ? TileInputs / GroupSize : 1;
  localparam int unsigned GroupInputs = TileInputs / WordGroups;
  localparam int unsigned GroupChunks = Fine ? 1 : GroupSize / TileInputs;
  localparam int unsigned RowGroups = (Chunks + GroupChunks - 1) / GroupChunks;
  localparam int unsigned ScaleDepth = Fine ? Depth : Blocks * RowGroups;
  localparam int unsigned ScaleAddrW = (ScaleDepth > 1) ? $clog2(ScaleDepth) : 1;
  localparam int unsigned RowW = $clog2(TileRows);
  localparam int unsigned InputW = $clog2(TileInputs);
  localparam int unsigned GroupW = (WordGroups > 1) ? $clog2(WordGroups) : 1;

  typedef logic signed [ActW-1:0] x_t[TileInputs];
  typedef logic signed [PartW-1:0] part_t[WordGroups];
  typedef logic signed [AccW-1:0] acc_t[TileRows];
  typedef logic signed [OutW-1:0] y_t[TileRows];

  // Mask ROM. Depths are rounded up to powers of two; words beyond the image are zero and never read.
  logic [Bits-1:0] codes[1<<AddrW][TileRows][TileInputs];  // offset binary: code + 2^(Bits-1)
  logic [15:0] scales[1<<ScaleAddrW][TileRows][WordGroups];
  logic signed [31:0] bias[1<<BlockW][TileRows];

`ifndef SYNTHESIS
  if (Bits == 3) begin : gen_codes_3
    always @(posedge load_i) ep_rom_pkg::load_codes_3(layer_i, {Name, ".codes"}, codes);
  end else if (Bits == 4) begin : gen_codes_4
    always @(posedge load_i) ep_rom_pkg::load_codes_4(layer_i, {Name, ".codes"}, codes);
  end else if (Bits == 6) begin : gen_codes_6
    always @(posedge load_i) ep_rom_pkg::load_codes_6(layer_i, {Name, ".codes"}, codes);
  end else if (Bits == 8) begin : gen_codes_8
    always @(posedge load_i) ep_rom_pkg::load_codes_8(layer_i, {Name, ".codes"}, codes);
  end else begin : gen_bad_bits
    $fatal(1, "Bits is %0d, expected 3, 4, 6 or 8", Bits);
  end

  always @(posedge load_i) begin
    ep_rom_pkg::load_scales(layer_i, {Name, ".scales"}, scales);
    if (HasBias) ep_rom_pkg::load_bias(layer_i, {Name, ".bias"}, bias);
  end
`endif

  // Issue: walk the words in order, chunks fastest.
  logic run_q;
  logic [AddrW-1:0] addr_q;
  logic [BlockW-1:0] block_q;
  logic [ChunkW-1:0] chunk_q;
  logic last_chunk, last_block;

  assign last_chunk = 32'(chunk_q) == Chunks - 1;
  assign last_block = 32'(block_q) == Blocks - 1;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      run_q   <= 1'b0;
      addr_q  <= '0;
      block_q <= '0;
      chunk_q <= '0;
    end else if (start_i && !busy_o) begin
      run_q   <= 1'b1;
      addr_q  <= '0;
      block_q <= '0;
      chunk_q <= '0;
    end else if (run_q) begin
      addr_q  <= addr_q + 1'b1;
      chunk_q <= last_chunk ? '0 : chunk_q + 1'b1;
      if (last_chunk) begin
        block_q <= block_q + 1'b1;
        run_q   <= !last_block;
      end
    end
  end

  // Read: the chunk's inputs beside the word's address.
  logic mac_valid_q, mac_first_q, mac_last_q;
  logic [AddrW-1:0] mac_addr_q;
  logic [ScaleAddrW-1:0] mac_scale_addr_q;
  logic [BlockW-1:0] mac_block_q;
  x_t x_q;

  function automatic x_t chunk_inputs(input logic [ChunkW-1:0] chunk);
    for (int unsigned b = 0; b < ChunkBlocks; b++) begin
      for (int unsigned r = 0; r < TileRows; r++) begin
        chunk_inputs[b*TileRows+r] = x_i[32'(chunk)*ChunkBlocks+b][r];
      end
    end
  endfunction

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      mac_valid_q <= 1'b0;
    end else begin
      mac_valid_q <= run_q;
    end
  end

  always_ff @(posedge clk_i) begin
    if (run_q) begin
      mac_first_q <= chunk_q == '0;
      mac_last_q <= last_chunk;
      mac_addr_q <= addr_q;
      mac_scale_addr_q <= Fine ? ScaleAddrW'(addr_q) :
          ScaleAddrW'(32'(block_q) * RowGroups + 32'(chunk_q) / GroupChunks);
      mac_block_q <= block_q;
      x_q <= chunk_inputs(chunk_q);
    end
  end

  // Multiply and accumulate.
  acc_t acc_q;

  if (!HasLora) begin : gen_no_lora
    logic unused_lora;
    assign unused_lora = ^{lora_on_i, lora_shift_i, lora_i[0][0]};
  end

  function automatic acc_t mac(input logic first, input logic [BlockW-1:0] block,
                               input logic [AddrW-1:0] addr,
                               input logic [ScaleAddrW-1:0] scale_addr);
    part_t offset;  // what the codes' offset adds to each group's sum
    for (int unsigned g = 0; g < WordGroups; g++) begin
      logic signed [PartW-1:0] sum;
      sum = '0;
      for (int unsigned k = 0; k < GroupInputs; k++) sum += PartW'(x_q[g*GroupInputs+k]);
      offset[g] = sum <<< (Bits - 1);
    end
    for (int unsigned r = 0; r < TileRows; r++) begin
      logic signed [AccW-1:0] sum;
      sum = acc_q[r];
      if (first) begin
        sum = HasBias ? AccW'(bias[block][r]) <<< bias_shift_i : '0;
        if (HasLora && lora_on_i) sum += lora_i[LoraBlockW'(block)][r] <<< lora_shift_i;
      end
      for (int unsigned g = 0; g < WordGroups; g++) begin
        logic signed [PartW-1:0] part;
        part = '0;
        for (int unsigned k = 0; k < GroupInputs; k++) begin
          part += PartW'(codes[addr][r][g*GroupInputs+k]) * PartW'(x_q[g*GroupInputs+k]);
        end
        part -= offset[g];
        sum += AccW'(part) * AccW'(signed'({1'b0, scales[scale_addr][r][g]}));
      end
      mac[r] = sum;
    end
  endfunction

  always_ff @(posedge clk_i) begin
    if (mac_valid_q) acc_q <= mac(mac_first_q, mac_block_q, mac_addr_q, mac_scale_addr_q);
  end

  // Round and write a block of rows.
  logic out_valid_q, out_last_q;
  logic [BlockW-1:0] out_block_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      out_valid_q <= 1'b0;
      out_last_q  <= 1'b0;
      out_block_q <= '0;
    end else begin
      out_valid_q <= mac_valid_q && mac_last_q;
      out_last_q  <= 32'(mac_block_q) == Blocks - 1;
      out_block_q <= mac_block_q;
    end
  end

  function automatic y_t rounded(input acc_t acc);
    for (int unsigned r = 0; r < TileRows; r++) begin
      rounded[r] = OutW'(saturate(round_shift(acc[r], shift_i), OutW));
    end
  endfunction

  always_ff @(posedge clk_i) begin
    if (out_valid_q) y_o[OutIndexW'(out_block_q)] <= rounded(acc_q);
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) busy_o <= 1'b0;
    else if (start_i) busy_o <= 1'b1;
    else if (out_valid_q && out_last_q) busy_o <= 1'b0;
  end

  // ROM test: four codes, two scales or one bias.
  logic [31:0] rom_word;
  logic unused_rom_read;
  assign rom_word = rom_read_i.word;
  assign unused_rom_read = ^{rom_read_i, rom_word};  // the ROM has fewer words and slices

  function automatic logic [31:0] rom_slice();
    int unsigned at;
    rom_slice = '0;
    if (32'(rom_read_i.rom) == FirstRom) begin
      for (int unsigned i = 0; i < 4; i++) begin
        at = 32'(rom_read_i.slice) * 4 + i;
        rom_slice[8*i+:8] = 8'(codes[AddrW'(rom_word)][RowW'(at/TileInputs)][InputW'(at)]);
      end
    end else if (32'(rom_read_i.rom) == FirstRom + 1) begin
      for (int unsigned i = 0; i < 2; i++) begin
        at = 32'(rom_read_i.slice) * 2 + i;
        rom_slice[16*i+:16] =
            scales[ScaleAddrW'(rom_word)][RowW'(at/WordGroups)][GroupW'(at%WordGroups)];
      end
    end else if (HasBias && 32'(rom_read_i.rom) == FirstRom + 2) begin
      rom_slice = bias[BlockW'(rom_word)][RowW'(rom_read_i.slice)];
    end
  endfunction

  always_ff @(posedge rom_clk_i) begin
    if (rom_read_i.on) begin
      rom_slice_o <= rom_slice();
    end
  end

endmodule
