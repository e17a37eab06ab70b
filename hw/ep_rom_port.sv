// ROM test port: requests for words and signatures of the chip's ROMs, sent round a chain of stations, one a stage.
//
// A unit is {stage, ROM of the stage}; stages stand on the chain in the order of the pipeline. A request that comes round
// untaken asked for a stage that is not there. Every request is answered: by slices up to rtr_last_o, or by one
// status. While one runs no token and no frame is taken, and while a token or a frame is on its way none is served.
// Latency from the edge that takes a request to the first edge with an answer valid, with S stations: S + 4 for the first
// slice of a word, S + 4 and one for each slice but the first for a signature, S + 2 for a refusal, 1 for ROM_STATUS_BUSY.
// Handshake: valid/ready on both sides; the whole chain's clock stands still while an answer is not taken.

module ep_rom_port
  import ep_pkg::*;
(
  input  logic               clk_i,         // needed while clock_o is high
  input  logic               rst_ni,
  output logic               clock_o,
  // Host.
  input  logic               rt_valid_i,
  output logic               rt_ready_o,
  input  logic               rt_op_i,       // rom_op_e
  input  logic        [15:0] rt_unit_i,     // {stage, ROM of the stage}
  input  logic        [31:0] rt_word_i,     // with ROM_OP_READ
  output logic               rtr_valid_o,
  input  logic               rtr_ready_i,
  output logic        [31:0] rtr_data_o,    // a slice or the signature; 0 with a refusal
  output logic               rtr_last_o,
  output rom_status_e        rtr_status_o,
  // Tokens and frames.
  input  logic               idle_i,        // none is on its way or offered
  output logic               hold_o,        // take none
  // Chain.
  output rom_chain_t         chain_o,
  input  rom_chain_t         chain_i
);

  typedef enum logic [1:0] {
    Idle,
    Wait,
    Last,   // the last answer stands
    Refuse  // as Last, and nobody is held
  } state_e;

  state_e state_q;

  logic unused_chain;
  assign unused_chain = ^{chain_i.stage, chain_i.rom};  // of no meaning in an answer

  assign rt_ready_o = state_q == Idle;
  assign hold_o = state_q inside {Wait, Last};
  assign clock_o = (state_q == Idle) ? rt_valid_i : !rtr_valid_o || rtr_ready_i;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= Idle;
      chain_o <= '0;
      rtr_valid_o <= 1'b0;
      rtr_data_o <= '0;
      rtr_last_o <= 1'b0;
      rtr_status_o <= ROM_STATUS_OK;
    end else begin
      unique case (state_q)
        Idle: begin
          if (rt_valid_i) begin
            rtr_data_o <= '0;
            rtr_status_o <= ROM_STATUS_BUSY;
            rtr_valid_o <= !idle_i;
            rtr_last_o <= 1'b1;
            state_q <= idle_i ? Wait : Refuse;
            if (idle_i) begin
              chain_o.kind <= (rt_op_i == ROM_OP_SIGNATURE) ? CHAIN_SIGNATURE : CHAIN_READ;
              {chain_o.stage, chain_o.rom} <= rt_unit_i;
              chain_o.word <= rt_word_i;
            end
          end
        end
        Wait: begin
          chain_o.kind <= CHAIN_NONE;
          rtr_valid_o <= chain_i.kind != CHAIN_NONE;
          rtr_data_o <= chain_i.word;
          rtr_status_o <= ROM_STATUS_OK;
          rtr_last_o <= chain_i.kind != CHAIN_SLICE;
          if (chain_i.kind inside {CHAIN_READ, CHAIN_SIGNATURE, CHAIN_REFUSED}) begin
            rtr_data_o <= '0;
            rtr_status_o <= ROM_STATUS_BAD_UNIT;
            if (chain_i.kind == CHAIN_REFUSED) rtr_status_o <= rom_status_e'(chain_i.word[1:0]);
          end
          if (!(chain_i.kind inside {CHAIN_NONE, CHAIN_SLICE})) state_q <= Last;
        end
        Last, Refuse: begin
          if (rtr_ready_i) begin
            rtr_valid_o <= 1'b0;
            state_q <= Idle;
          end
        end
        default: state_q <= Idle;
      endcase
    end
  end

endmodule
