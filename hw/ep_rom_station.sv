// A stage's station on the ROM test chain: walks through one of the stage's ROMs and answers its slices or its signature.
//
// A request whose `stage` is 0 is this station's; any other passes on with one stage less, an answer passes as it is.
// Latency: one cycle for what passes and for a refusal; 3 cycles from a request to its first slice, then one a cycle;
// a signature follows its ROM's last slice.
// Handshake: none on the chain. One request is on it at a time, and its clock stands still while the host is not ready.
// Degenerate: a ROM of 0 words is not there.

module ep_rom_station
  import ep_pkg::*;
#(
  parameter int unsigned Words[32]  = '{default: 1},  // of each ROM
  parameter int unsigned Slices[32] = '{default: 1}   // of a word of each ROM
) (
  input  logic              clk_i,    // the chain's
  input  logic              rst_ni,
  input  rom_chain_t        chain_i,
  output rom_chain_t        chain_o,
  // The stage's ROMs.
  output rom_read_t         read_o,
  input  logic       [31:0] slice_i   // of the ROM read at the last edge; all others give 0
);

  logic request, mine, refused;
  logic [31:0] rom_words, rom_slices;  // of the ROM asked for
  rom_status_e status;
  logic signs_q;  // a signature is asked for
  logic [31:0] last_word_q;
  logic [15:0] last_slice_q;
  logic last_slice, last;
  logic seen_q, seen_last_q;  // slice_i is of this walk
  logic [31:0] signature_q, signature;
  rom_chain_t chain_q;

  assign request = chain_i.kind inside {CHAIN_READ, CHAIN_SIGNATURE};
  assign mine = request && chain_i.stage == '0;

  always_comb begin
    rom_words = Words[chain_i.rom];
    rom_slices = Slices[chain_i.rom];
    status = ROM_STATUS_OK;
    if (rom_words == '0) status = ROM_STATUS_BAD_UNIT;
    else if (chain_i.kind == CHAIN_READ && chain_i.word >= rom_words) status = ROM_STATUS_BAD_WORD;
  end

  assign refused = mine && status != ROM_STATUS_OK;
  assign last_slice = read_o.slice == last_slice_q;
  assign last = last_slice && read_o.word == last_word_q;
  assign signature = misr(signature_q, slice_i);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      read_o <= '0;
      seen_q <= 1'b0;
      seen_last_q <= 1'b0;
    end else begin
      seen_q <= read_o.on;
      seen_last_q <= last;
      if (mine && !refused) begin
        read_o.on <= 1'b1;
        read_o.rom <= chain_i.rom;
        read_o.word <= (chain_i.kind == CHAIN_READ) ? chain_i.word : '0;
        read_o.slice <= '0;
      end else if (read_o.on) begin
        read_o.on <= !last;
        read_o.slice <= last_slice ? '0 : read_o.slice + 16'd1;
        if (last_slice) read_o.word <= read_o.word + 32'd1;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (mine) begin
      signs_q <= chain_i.kind == CHAIN_SIGNATURE;
      last_word_q <= (chain_i.kind == CHAIN_READ) ? chain_i.word : rom_words - 32'd1;
      last_slice_q <= 16'(rom_slices - 32'd1);
    end
    if (mine) signature_q <= '1;
    else if (seen_q) signature_q <= signature;
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      chain_q <= '0;
    end else begin
      chain_q <= chain_i;
      if (mine) begin
        chain_q.kind <= refused ? CHAIN_REFUSED : CHAIN_NONE;
        chain_q.word <= 32'(status);
      end
      if (seen_q && (!signs_q || seen_last_q)) begin
        chain_q.kind <= seen_last_q ? CHAIN_LAST : CHAIN_SLICE;
        chain_q.word <= signs_q ? signature : slice_i;
      end
    end
  end

  always_comb begin
    chain_o = chain_q;
    chain_o.stage = chain_q.stage - 11'd1;  // of no meaning in an answer
  end

endmodule
