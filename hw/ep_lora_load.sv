// Load port: takes the frame of an adapter, checks it, writes it into its slot's SRAM (docs/adapters.md, "On the chip").
//
// A frame: "LORA", the slot, the payload's length in words, the payload, the checksum of all before; ld_last_i goes
// with the last word. The payload is sections, one for a linear: {linear, rank, layer}, {b_shift, a_shift}, A, B.
// The slot is emptied when its number is accepted, and valid again with the answer LOAD_OK; slot_valid_o changes one edge
// after ldr_valid_o rises. The first word that is wrong decides on the answer (its content before an early ld_last_i);
// what follows it is swallowed up to ld_last_i. A frame refused before its slot is accepted leaves every slot as it was.
// Latency: one word a cycle; ldr_valid_o rises one edge after the last word was taken.
// Handshake: valid/ready on both sides; nothing is taken while an answer waits.
// Reset: every slot is empty. The contents of the SRAMs stay, and cannot be reached.

module ep_lora_load
  import ep_pkg::*;
#(
  parameter int unsigned Layers             = 1,
  parameter int unsigned Linears            = 7,   // of a layer
  parameter int unsigned Slots              = 4,   // 1 .. 15
  parameter int unsigned MaxRank            = 16,  // 1 .. 128
  parameter int unsigned Lanes              = 16,
  parameter int unsigned InBlocks[Linears]  = '{default: 1},  // of each linear of a layer
  parameter int unsigned OutBlocks[Linears] = '{default: 1}
) (
  input  logic                      clk_i,         // needed while ld_valid_i or active_o is high
  input  logic                      rst_ni,
  output logic                      active_o,
  input  logic                      hold_i,        // take no frame
  // Host.
  input  logic                      ld_valid_i,
  output logic                      ld_ready_o,
  input  logic         [      31:0] ld_data_i,
  input  logic                      ld_last_i,
  output logic                      ldr_valid_o,
  input  logic                      ldr_ready_i,
  output load_status_e              ldr_status_o,
  output logic         [       3:0] ldr_slot_o,    // the frame's, else NoSlot
  // Slots.
  input  logic         [      15:0] held_i,        // slots that a sequence holds after this edge
  output logic         [      15:0] slot_valid_o,  // slots that hold an adapter
  // Layers.
  output lora_load_t                load_o,
  output logic         [Layers-1:0] select_o,      // layers that load_o is for
  output logic signed  [      15:0] data_o[Lanes]
);

  localparam logic [31:0] LoraMagic = 32'h41524F4C;  // "LORA", little endian
  localparam int unsigned MaxBShift = 30 - ((MaxRank > 1) ? $clog2(MaxRank) : 0);
  localparam int unsigned Pieces = Lanes / 2;  // words of a frame to one of an SRAM
  localparam int unsigned PieceW = (Pieces > 1) ? $clog2(Pieces) : 1;
  localparam int unsigned LayerW = (Layers > 1) ? $clog2(Layers) : 1;

  typedef logic signed [15:0] data_t[Lanes];

  typedef enum logic [3:0] {
    Magic,
    Slot,
    Length,
    Section,
    Shifts,
    MatrixA,
    MatrixB,
    Checksum,
    Swallow,
    Respond
  } state_e;

  state_e state_q, state_d;
  logic take;
  load_status_e status;  // of this word
  logic commit_q;  // the slot becomes valid
  logic [31:0] crc_q;
  logic [31:0] left_q;  // words of the payload, this one included
  logic [Layers-1:0][Linears-1:0] seen_q;  // linears that had their section
  logic [7:0] rank_q;
  logic [15:0] layer_q;
  logic [2:0] linear_q;
  logic [23:0] index_q;  // of the word in its matrix
  logic [23:0] a_words, b_words;
  logic [PieceW-1:0] piece_q;
  logic last_piece, last_word;
  logic accept;  // the frame's slot
  lora_op_e op_d, op_q;  // to the layers
  logic [3:0] slot_q;
  logic [2:0] load_linear_q;
  logic [7:0] load_rank_q;
  logic [5:0] a_shift_q;
  logic [4:0] b_shift_q;
  logic [23:0] load_index_q;

  // The word as a section's first.
  logic [7:0] head_linear, head_rank;
  logic [15:0] head_layer;
  logic [31:0] head_words;
  logic bad_section;

  assign {head_linear, head_rank, head_layer} = ld_data_i;

  always_comb begin
    head_words = '0;
    bad_section = 1'b1;
    if (state_q == Section && 32'(head_linear) < Linears && 32'(head_layer) < Layers) begin
      head_words = 32'd2 + 32'(head_rank) * 32'(Pieces) *
          (InBlocks[3'(head_linear)] + OutBlocks[3'(head_linear)]);
      bad_section = head_rank == 8'd0 || 32'(head_rank) > MaxRank || head_words > left_q ||
          seen_q[LayerW'(head_layer)][3'(head_linear)];
    end
  end

  assign accept = take && state_q == Slot && status inside {LOAD_OK, LOAD_PARTIAL};
  assign take = ld_valid_i && ld_ready_o;
  assign ld_ready_o = state_q != Respond && !hold_i;
  assign ldr_valid_o = state_q == Respond;
  assign active_o = state_q != Magic;
  assign a_words = 24'(32'(rank_q) * InBlocks[linear_q]);
  assign b_words = 24'(32'(rank_q) * OutBlocks[linear_q]);
  assign last_piece = 32'(piece_q) == Pieces - 1;
  assign last_word = last_piece && index_q == (state_q == MatrixA ? a_words : b_words) - 24'd1;

  // The state after a word that is right, and what is wrong with it.
  always_comb begin
    state_d = state_q;
    status  = LOAD_OK;
    unique case (state_q)
      Magic: begin
        state_d = Slot;
        if (ld_data_i != LoraMagic) status = LOAD_BAD_HEADER;
      end
      Slot: begin
        state_d = Length;
        if (ld_data_i >= Slots) status = LOAD_BAD_SLOT;
        else if (held_i[ld_data_i[3:0]]) status = LOAD_SLOT_BUSY;
      end
      Length: state_d = (ld_data_i == 32'd0) ? Checksum : Section;
      Section: begin
        state_d = Shifts;
        if (bad_section) status = LOAD_BAD_SECTION;
      end
      Shifts: begin
        state_d = MatrixA;
        if (ld_data_i[31:16] != 16'd0 || 32'(ld_data_i[15:8]) > MaxBShift || ld_data_i[7:0] > 8'd62)
          status = LOAD_BAD_SECTION;
      end
      MatrixA: if (last_word) state_d = MatrixB;
      MatrixB: if (last_word) state_d = (left_q == 32'd1) ? Checksum : Section;
      Checksum: begin
        state_d = Respond;
        if (!ld_last_i) status = LOAD_OVERLONG;
        else if (ld_data_i != ~crc_q) status = LOAD_CHECKSUM;
      end
      default: ;
    endcase
    if (status == LOAD_OK && ld_last_i && state_q != Checksum) status = LOAD_PARTIAL;
    if (status != LOAD_OK || state_q == Swallow) state_d = ld_last_i ? Respond : Swallow;
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= Magic;
      ldr_status_o <= LOAD_OK;
      ldr_slot_o <= NoSlot;
      commit_q <= 1'b0;
      slot_valid_o <= '0;
    end else begin
      commit_q <= 1'b0;
      if (take) begin
        state_q <= state_d;
        if (state_q != Swallow) ldr_status_o <= status;
        if (state_q == Magic) ldr_slot_o <= NoSlot;
        if (state_q == Slot && status != LOAD_BAD_SLOT) ldr_slot_o <= ld_data_i[3:0];
        if (accept) slot_valid_o[ld_data_i[3:0]] <= 1'b0;
        commit_q <= state_q == Checksum && status == LOAD_OK;
      end else if (state_q == Respond && ldr_ready_i) begin
        state_q <= Magic;
      end
      if (commit_q) slot_valid_o[ldr_slot_o] <= 1'b1;
    end
  end

  // What the sections say.
  always_ff @(posedge clk_i) begin
    if (take) begin
      crc_q  <= crc32_word((state_q == Magic) ? '1 : crc_q, ld_data_i);
      left_q <= (state_q == Length) ? ld_data_i : left_q - 32'd1;
      if (state_q == Slot) seen_q <= '0;
      if (state_q == Section) begin
        rank_q   <= head_rank;
        layer_q  <= head_layer;
        linear_q <= 3'(head_linear);
        if (!bad_section) seen_q[LayerW'(head_layer)][3'(head_linear)] <= 1'b1;
      end
      if (state_q == Shifts) begin
        piece_q <= '0;
        index_q <= '0;
      end else begin
        piece_q <= last_piece ? '0 : piece_q + 1'b1;
        if (last_piece) index_q <= last_word ? '0 : index_q + 24'd1;
      end
    end
  end

  // To the layers.
  function automatic data_t shifted_in(input logic [31:0] piece);
    for (int unsigned r = 0; r < Lanes - 2; r++) shifted_in[r] = data_o[r+2];
    shifted_in[Lanes-2] = signed'(piece[15:0]);
    shifted_in[Lanes-1] = signed'(piece[31:16]);
  endfunction

  always_comb begin
    op_d = LORA_NONE;
    unique case (state_q)
      Slot: if (accept) op_d = LORA_CLEAR;
      Shifts: if (status inside {LOAD_OK, LOAD_PARTIAL}) op_d = LORA_SECTION;
      MatrixA: if (last_piece) op_d = LORA_A;
      MatrixB: if (last_piece) op_d = LORA_B;
      default: ;
    endcase
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) op_q <= LORA_NONE;
    else op_q <= take ? op_d : LORA_NONE;
  end

  always_ff @(posedge clk_i) begin
    if (take) begin
      data_o <= shifted_in(ld_data_i);
      slot_q <= (state_q == Slot) ? ld_data_i[3:0] : ldr_slot_o;
      load_linear_q <= linear_q;
      load_rank_q <= rank_q;
      a_shift_q <= ld_data_i[5:0];
      b_shift_q <= ld_data_i[12:8];
      load_index_q <= index_q;
      select_o <= (state_q == Slot) ? '1 : Layers'(1) << layer_q;
    end
  end

  assign load_o = '{
          op: op_q,
          slot: slot_q,
          linear: load_linear_q,
          rank: load_rank_q,
          a_shift: a_shift_q,
          b_shift: b_shift_q,
          index: load_index_q
      };

endmodule
