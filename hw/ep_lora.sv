// The adapters of one ROM linear, in SRAM: h = sat(rs(A x, a_shift), 16), d = B h  (docs/numerics.md section 14).
//
// Every slot holds the A and B of one adapter, with its rank and shifts. It stands before its ep_linear: start_i makes h
// and d of the sequence's slot, then starts the linear, which adds d * 2^b_shift.
// A word of either SRAM holds Lanes elements; one is read and multiplied per cycle.
// Latency: linear_start_o follows start_i after rank * (InBlocks + OutBlocks) + 1 cycles; in the same cycle when the slot
// adapts nothing here (rank 0) or there is none (NoSlot).
// Handshake: start_i for one cycle while neither busy_o nor the linear's is high; slot_i must stand one cycle before, and
// hold, as x_i, until both fell; d_o then holds. busy_o is high up to and including the cycle of linear_start_o.
// Clocks: clk_i may stand still while slot_i is NoSlot; load_i is taken under load_clk_i. A slot in use must not be written.
// Degenerate: MaxRank 1 and one block of inputs and outputs take 3 cycles.

module ep_lora
  import ep_pkg::*;
#(
`ifndef SYNTHESIS
  parameter string       Name        = "linear",  // SRAMs NAME.lora_a, NAME.lora_b
`endif
  parameter int unsigned Linear      = 0,   // number of the linear in its layer
  parameter int unsigned Slots       = 4,   // adapters held; 1 .. 15
  parameter int unsigned MaxRank     = 16,  // 1 .. 128
  parameter int unsigned InBlocks    = 4,   // blocks of inputs
  parameter int unsigned OutBlocks   = 4,   // blocks of outputs
  parameter int unsigned Lanes       = 16,
  parameter int unsigned ActW        = 16,  // bits of an input
  parameter int unsigned InVecBlocks = 4    // blocks of x_i, padded for the linear
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,
  // Load.
  input  logic                   load_clk_i,
  input  lora_load_t             load_i,
  input  logic                   load_select_i,  // load_i is for this layer
  input  logic signed [    15:0] load_data_i    [Lanes],
`ifndef SYNTHESIS
  input  logic                   sram_i,         // a rising edge shows the SRAMs to the simulation
  input  logic signed [    31:0] layer_i,        // of the layer
`endif
  // Compute.
  input  logic                   start_i,
  input  logic        [     3:0] slot_i,         // of the sequence
  output logic                   busy_o,
  output logic                   linear_start_o,
  input  logic signed [ActW-1:0] x_i            [InVecBlocks][Lanes],
  output logic                   on_o,           // the slot adapts this linear
  output logic        [     4:0] shift_o,        // b_shift
`ifndef SYNTHESIS
  output logic        [    31:0] rank_o,
  output logic signed [    15:0] h_o            [1][MaxRank],
`endif
  output logic signed [    63:0] d_o            [OutBlocks][Lanes]
);

  localparam int unsigned SlotW = (Slots > 1) ? $clog2(Slots) : 1;
  localparam int unsigned RankW = (MaxRank > 1) ? $clog2(MaxRank) : 1;  // of an index
  localparam int unsigned InW = (InVecBlocks > 1) ? $clog2(InVecBlocks) : 1;
  localparam int unsigned OutW = (OutBlocks > 1) ? $clog2(OutBlocks) : 1;
  localparam int unsigned ADepth = Slots * MaxRank * InBlocks;
  localparam int unsigned BDepth = Slots * MaxRank * OutBlocks;
  localparam int unsigned AAddrW = (ADepth > 1) ? $clog2(ADepth) : 1;
  localparam int unsigned BAddrW = (BDepth > 1) ? $clog2(BDepth) : 1;

  typedef logic signed [63:0] d_t[Lanes];

  // SRAMs of one write and one read port: A of slot s is (rank, block of inputs) from word s * MaxRank * InBlocks on,
  // B is (block of outputs, rank) from word s * MaxRank * OutBlocks on. Depths are rounded up to powers of two.
  logic signed [15:0] a_mem[1<<AAddrW][Lanes];
  logic signed [15:0] b_mem[1<<BAddrW][Lanes];

`ifndef SYNTHESIS
  always @(posedge sram_i) begin
    ep_sram_pkg::open_sram(layer_i, {Name, ".lora_a"}, a_mem);
    ep_sram_pkg::open_sram(layer_i, {Name, ".lora_b"}, b_mem);
  end
`endif

  // Load.
  logic [7:0] ranks_q[1<<SlotW];
  logic [5:0] a_shifts_q[1<<SlotW];
  logic [4:0] b_shifts_q[1<<SlotW];
  logic load_here;
  logic [AAddrW-1:0] load_a_addr;
  logic [BAddrW-1:0] load_b_addr;

  assign load_here = load_select_i && 32'(load_i.linear) == Linear;
  assign load_a_addr = AAddrW'(32'(load_i.slot) * (MaxRank * InBlocks) + 32'(load_i.index));
  assign load_b_addr = BAddrW'(32'(load_i.slot) * (MaxRank * OutBlocks) + 32'(load_i.index));

  always_ff @(posedge load_clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      ranks_q <= '{default: '0};
    end else if (load_select_i && load_i.op == LORA_CLEAR) begin
      ranks_q[SlotW'(load_i.slot)] <= '0;
    end else if (load_here && load_i.op == LORA_SECTION) begin
      ranks_q[SlotW'(load_i.slot)] <= load_i.rank;
    end
  end

  always_ff @(posedge load_clk_i) begin
    if (load_here && load_i.op == LORA_SECTION) begin
      a_shifts_q[SlotW'(load_i.slot)] <= load_i.a_shift;
      b_shifts_q[SlotW'(load_i.slot)] <= load_i.b_shift;
    end
    if (load_here && load_i.op == LORA_A) a_mem[load_a_addr] <= load_data_i;
    if (load_here && load_i.op == LORA_B) b_mem[load_b_addr] <= load_data_i;
  end

  // Of the sequence's slot.
  logic [7:0] rank_q;
  logic [5:0] a_shift_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) rank_q <= '0;
    else rank_q <= (32'(slot_i) < Slots) ? ranks_q[SlotW'(slot_i)] : 8'd0;
  end

  always_ff @(posedge clk_i) begin
    a_shift_q <= a_shifts_q[SlotW'(slot_i)];
    shift_o   <= b_shifts_q[SlotW'(slot_i)];
  end

  assign on_o = rank_q != 8'd0 && slot_i != NoSlot;

  // Issue: A by rank and block of inputs, one cycle for the last rounding, B by block of outputs and rank.
  typedef enum logic [1:0] {
    Idle,
    ReadA,
    Wait,
    ReadB
  } state_e;

  state_e state_q;
  logic [RankW-1:0] j_q;
  logic [InW-1:0] in_q;
  logic [OutW-1:0] out_q;
  logic [AAddrW-1:0] a_addr_q;
  logic [BAddrW-1:0] b_addr_q;
  logic last_j, last_in, last_out;

  assign last_j = 8'(j_q) == rank_q - 8'd1;
  assign last_in = 32'(in_q) == InBlocks - 1;
  assign last_out = 32'(out_q) == OutBlocks - 1;
  assign busy_o = state_q != Idle;
  assign linear_start_o = on_o ? state_q == ReadB && last_j && last_out : start_i;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= Idle;
    end else begin
      unique case (state_q)
        Idle: if (start_i && on_o) state_q <= ReadA;
        ReadA: if (last_j && last_in) state_q <= Wait;
        Wait: state_q <= ReadB;
        ReadB: if (last_j && last_out) state_q <= Idle;
        default: state_q <= Idle;
      endcase
    end
  end

  always_ff @(posedge clk_i) begin
    if (start_i || busy_o) begin
      unique case (state_q)
        ReadA: begin
          a_addr_q <= a_addr_q + 1'b1;
          in_q <= last_in ? '0 : in_q + 1'b1;
          if (last_in) j_q <= j_q + 1'b1;
        end
        ReadB: begin
          b_addr_q <= b_addr_q + 1'b1;
          j_q <= last_j ? '0 : j_q + 1'b1;
          if (last_j) out_q <= out_q + 1'b1;
        end
        default: begin  // before either
          j_q <= '0;
          in_q <= '0;
          out_q <= '0;
          a_addr_q <= AAddrW'(32'(slot_i) * (MaxRank * InBlocks));
          b_addr_q <= BAddrW'(32'(slot_i) * (MaxRank * OutBlocks));
        end
      endcase
    end
  end

  // Read: which inputs go with the word.
  logic a_valid_q, b_valid_q;
  logic mac_first_q, mac_last_q;
  logic [RankW-1:0] mac_j_q;
  logic [InW-1:0] mac_in_q;
  logic [OutW-1:0] mac_out_q;
  logic [AAddrW-1:0] mac_a_addr_q;
  logic [BAddrW-1:0] mac_b_addr_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      a_valid_q <= 1'b0;
      b_valid_q <= 1'b0;
    end else begin
      a_valid_q <= state_q == ReadA;
      b_valid_q <= state_q == ReadB;
    end
  end

  always_ff @(posedge clk_i) begin
    if (busy_o) begin
      mac_j_q <= j_q;
      mac_in_q <= in_q;
      mac_out_q <= out_q;
      mac_a_addr_q <= a_addr_q;
      mac_b_addr_q <= b_addr_q;
      if (state_q == ReadA) begin
        mac_first_q <= in_q == '0;
        mac_last_q <= last_in;
      end else begin
        mac_first_q <= j_q == '0;
      end
    end
  end

  // Multiply and accumulate A x, round to h; 32 lanes of 2^30 over 2^14 blocks stay far within 64 bits.
  wide_t acc_q;
  logic round_q;
  logic [RankW-1:0] round_j_q;
  logic signed [15:0] h_q[1<<RankW];

  function automatic wide_t dot(input wide_t acc, input logic [AAddrW-1:0] addr,
                                input logic [InW-1:0] block);
    dot = acc;
    for (int unsigned r = 0; r < Lanes; r++) begin
      dot += 64'(32'(a_mem[addr][r]) * 32'(x_i[block][r]));
    end
  endfunction

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) round_q <= 1'b0;
    else round_q <= a_valid_q && mac_last_q;
  end

  always_ff @(posedge clk_i) begin
    if (a_valid_q) begin
      acc_q <= dot(mac_first_q ? 64'sd0 : acc_q, mac_a_addr_q, mac_in_q);
      round_j_q <= mac_j_q;
    end
    if (round_q) h_q[round_j_q] <= 16'(saturate(round_shift(acc_q, a_shift_q), 16));
  end

  // Multiply and accumulate B h: |d| <= 128 * 2^30. Bits beyond the 39th repeat the sign.
  function automatic d_t accumulated(input logic [OutW-1:0] block, input logic first,
                                     input logic [BAddrW-1:0] addr, input logic signed [15:0] h);
    for (int unsigned r = 0; r < Lanes; r++) begin
      accumulated[r] = (first ? 64'sd0 : d_o[block][r]) + 64'(32'(b_mem[addr][r]) * 32'(h));
    end
  endfunction

  always_ff @(posedge clk_i) begin
    if (b_valid_q) begin
      d_o[mac_out_q] <= accumulated(mac_out_q, mac_first_q, mac_b_addr_q, h_q[mac_j_q]);
    end
  end

`ifndef SYNTHESIS
  assign rank_o = 32'(rank_q);
  always_comb for (int unsigned j = 0; j < MaxRank; j++) h_o[0][j] = h_q[j];
`endif

endmodule
