// Python's side of ep_host_bfm, played from a queue: a burst of requests costs Python one call, not one a token.
// Simulation only.
//
// Python leaves requests where ep_host_next finds them (HostPort.ask), then toggles play_i. One after the other goes to the
// transactor; ep_host_next may end the burst early, or feed the last answer's token back. done_o toggles at the edge at
// which the burst ends: what is left is not played.
//
// With R the edge at which the transactor's rsp_i toggles: the answer is handed over (ep_host_answer) at R + 1, whether
// the queue asked for it or not; by then every tap of that token is written, and none of the next. There the next
// request is taken up, and req_o toggles.
//
// Reset, also amid a burst: idle, every toggle 0; Python drives play_i to 0 together with rst_ni. Answers stay.
//
// Assertion (strict build): play_i is 0 at every edge in reset.

module ep_host_queue (
  input  logic        clk_i,
  input  logic        rst_ni,
  // Python
  input  logic        play_i,       // a toggle begins a burst
  output logic        done_o,       // toggles at its end
  output logic        answered_o,   // toggles with each answer handed over
  // Transactor, requests
  output logic        req_o,
  output logic [31:0] req_token_o,
  output logic [ 1:0] req_op_o,
  output logic [ 3:0] req_slot_o,
  output logic [15:0] req_stall_o,
  output logic [15:0] rsp_stall_o,
  // Transactor, the answer and what was asked for, at the chip's pins
  input  logic        rsp_i,
  input  logic        tok_valid_i,
  input  logic [31:0] tok_id_i,
  input  logic [ 1:0] tok_op_i,
  input  logic [ 3:0] tok_slot_i,
  input  logic [31:0] rsp_token_i,
  input  logic [31:0] rsp_pos_i,
  input  logic [ 3:0] rsp_status_i,
  input  logic [31:0] rsp_cycles_i
);

  localparam int unsigned FieldToken = 0;
  localparam int unsigned FieldOp = 1;
  localparam int unsigned FieldSlot = 2;
  localparam int unsigned FieldReqStall = 3;
  localparam int unsigned FieldRspStall = 4;

  import "DPI-C" function int unsigned ep_host_next();  // 0: the burst is over
  import "DPI-C" function int unsigned ep_host_field(
    input int unsigned field
  );  // of the request that is next
  import "DPI-C" function void ep_host_answer(
    input int unsigned token_in,
    input int unsigned op,
    input int unsigned slot,
    input int unsigned token_out,
    input int unsigned position,
    input int unsigned status,
    input int unsigned cycles
  );

  logic playing_q, play_seen_q;
  logic [31:0] asked_id_q;  // at the pins when they were last valid
  logic [1:0] asked_op_q;
  logic [3:0] asked_slot_q;
  logic begins, answered;

  assign begins   = play_i != play_seen_q;
  assign answered = rsp_i != answered_o;

  always_ff @(posedge clk_i) begin
    if (tok_valid_i) begin
      asked_id_q   <= tok_id_i;
      asked_op_q   <= tok_op_i;
      asked_slot_q <= tok_slot_i;
    end
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      playing_q <= 1'b0;
      play_seen_q <= 1'b0;
      answered_o <= 1'b0;
      done_o <= 1'b0;
      req_o <= 1'b0;
      req_token_o <= '0;
      req_op_o <= '0;
      req_slot_o <= '0;
      req_stall_o <= '0;
      rsp_stall_o <= '0;
    end else begin
      play_seen_q <= play_i;
      answered_o <= rsp_i;
      if (answered) begin
        ep_host_answer(asked_id_q, 32'(asked_op_q), 32'(asked_slot_q), rsp_token_i, rsp_pos_i,
                       32'(rsp_status_i), rsp_cycles_i);
      end
      if (begins || (playing_q && answered)) begin
        if (ep_host_next() != 32'd0) begin
          playing_q   <= 1'b1;
          req_o       <= !req_o;
          req_token_o <= ep_host_field(FieldToken);
          req_op_o    <= 2'(ep_host_field(FieldOp));
          req_slot_o  <= 4'(ep_host_field(FieldSlot));
          req_stall_o <= 16'(ep_host_field(FieldReqStall));
          rsp_stall_o <= 16'(ep_host_field(FieldRspStall));
        end else begin
          playing_q <= 1'b0;
          done_o    <= !done_o;
        end
      end
    end
  end

  // verilator lint_off SYNCASYNCNET  // no logic
  APlayLowInReset :
  assert property (@(posedge clk_i) rst_ni || !play_i)
  else $error("ep_host_queue: play_i is high in reset");
  // verilator lint_on SYNCASYNCNET

endmodule
