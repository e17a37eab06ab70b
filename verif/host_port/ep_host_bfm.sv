// The host of the chip, as a transactor: Python sets a request and waits for one edge instead of following the clock.
// Simulation only.
//
// Request: Python sets req_token_i, req_op_i, req_slot_i and req_stall_i, then toggles req_i, and leaves all of them until
// ack_o toggles. With E the first rising clock edge at which req_i differs, tok_valid_o rises after edge E + req_stall_i;
// the earliest acceptance is one cycle later. ack_o toggles at the edge at which the chip takes the token.
//
// While tok_valid_o is low, the other pins of the request have every bit wrong: a chip that looks at them is seen.
//
// Response: with R the first edge at which rsp_valid_i is high for a response, the response is taken at edge
// R + rsp_stall_i; rsp_o toggles there and rsp_*_o hold it until the next one. A stall of 0 keeps rsp_ready_o high
// ahead of the response; rsp_stall_i therefore has to be set two edges before rsp_valid_i.
//
// Latency: rsp_cycles_o = R - A, with A the edge of the latest acceptance before R: exact with one token in flight.
// With more, subtract the stamps ack_cycle_o and rsp_cycle_o, which count edges since reset, modulo 2^32.
//
// Reset, also amid a transfer: idle, valid and ready low, every toggle and counter 0, requests and responses in
// flight forgotten. req_i is driven to 0 with rst_ni.
//
// Assertions (strict build): the chip holds rsp_valid_i and its payload until ready; req_i is 0 at every edge in reset.

module ep_host_bfm (
  input  logic        clk_i,
  input  logic        rst_ni,
  // Python, to the chip
  input  logic        req_i,          // a toggle sends one request
  input  logic [31:0] req_token_i,    // token id
  input  logic [ 1:0] req_op_i,       // what is asked for
  input  logic [ 3:0] req_slot_i,     // slot of the adapter
  input  logic [15:0] req_stall_i,    // cycles to wait before tok_valid_o
  output logic        ack_o,          // toggles when the chip takes the token
  output logic [31:0] ack_cycle_o,    // cycle_o of that edge
  // Python, from the chip
  input  logic [15:0] rsp_stall_i,    // cycles to hold rsp_ready_o low once rsp_valid_i is seen
  output logic        rsp_o,          // toggles when a response was taken
  output logic [31:0] rsp_token_o,    // next token id
  output logic [31:0] rsp_pos_o,      // position of the token that was answered
  output logic [ 3:0] rsp_status_o,   // the chip's status code
  output logic [31:0] rsp_cycles_o,   // cycles from acceptance to rsp_valid_i
  output logic [31:0] rsp_cycle_o,    // cycle_o of the first edge with rsp_valid_i
  output logic [31:0] cycle_o,        // edges since reset
  output logic [31:0] busy_cycles_o,  // of these, with a token accepted and not answered
  // Chip
  output logic        tok_valid_o,
  input  logic        tok_ready_i,
  output logic [31:0] tok_id_o,
  output logic [ 1:0] tok_op_o,
  output logic [ 3:0] tok_slot_o,
  input  logic        rsp_valid_i,
  output logic        rsp_ready_o,
  input  logic [31:0] rsp_token_i,
  input  logic [31:0] rsp_pos_i,
  input  logic [ 3:0] rsp_status_i
);

  logic [31:0] cycle_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      cycle_q <= '0;
    end else begin
      cycle_q <= cycle_q + 32'd1;
    end
  end

  // Request

  typedef enum logic [1:0] {
    ReqIdle,
    ReqStall,
    ReqValid
  } req_state_e;

  req_state_e req_state_d, req_state_q;
  logic [15:0] req_left_d, req_left_q;  // cycles until tok_valid_o
  logic req_seen_q;  // req_i as of the last request taken up
  logic req_new;  // a request is taken up at this edge
  logic tok_taken;  // the chip takes the token at this edge
  logic ack_q;
  logic [31:0] ack_cycle_q, tok_id_q;
  logic [1:0] tok_op_q;
  logic [3:0] tok_slot_q;

  assign req_new   = (req_state_q == ReqIdle) && (req_i != req_seen_q);
  assign tok_taken = (req_state_q == ReqValid) && tok_ready_i;

  always_comb begin
    req_state_d = req_state_q;
    req_left_d  = req_left_q;
    unique case (req_state_q)
      ReqIdle: begin
        if (req_new) begin
          req_left_d  = req_stall_i;
          req_state_d = (req_stall_i == '0) ? ReqValid : ReqStall;
        end
      end
      ReqStall: begin
        req_left_d = req_left_q - 16'd1;
        if (req_left_q == 16'd1) begin
          req_state_d = ReqValid;
        end
      end
      ReqValid: begin
        if (tok_ready_i) begin
          req_state_d = ReqIdle;
        end
      end
      default: req_state_d = ReqIdle;
    endcase
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      req_state_q <= ReqIdle;
      req_left_q  <= '0;
      req_seen_q  <= 1'b0;
      ack_q       <= 1'b0;
      ack_cycle_q <= '0;
      tok_id_q    <= '0;
      tok_op_q    <= '0;
      tok_slot_q  <= '0;
    end else begin
      req_state_q <= req_state_d;
      req_left_q  <= req_left_d;
      if (req_new) begin
        req_seen_q  <= req_i;
        tok_id_q    <= req_token_i;
        tok_op_q    <= req_op_i;
        tok_slot_q  <= req_slot_i;
      end
      if (tok_taken) begin
        ack_q       <= !ack_q;
        ack_cycle_q <= cycle_q;
      end
    end
  end

  // Response

  typedef enum logic [1:0] {
    RspIdle,   // none seen; ready when no stall is wanted
    RspStall,  // seen, held off
    RspReady   // held off long enough
  } rsp_state_e;

  rsp_state_e rsp_state_d, rsp_state_q;
  logic [15:0] rsp_left_d, rsp_left_q;  // cycles until the response is taken
  logic rsp_ready_d, rsp_ready_q;
  logic rsp_seen;  // first edge with this response valid
  logic rsp_taken;  // the response is taken at this edge
  logic rsp_q;
  logic [31:0] rsp_token_q, rsp_pos_q, rsp_cycle_q, rsp_cycles_q;
  logic [3:0] rsp_status_q;

  assign rsp_seen  = (rsp_state_q == RspIdle) && rsp_valid_i;
  assign rsp_taken = rsp_valid_i && rsp_ready_q;

  always_comb begin
    rsp_state_d = rsp_state_q;
    rsp_left_d  = rsp_left_q;
    rsp_ready_d = 1'b0;
    unique case (rsp_state_q)
      RspIdle: begin
        if (rsp_valid_i && !rsp_ready_q) begin
          rsp_left_d  = rsp_stall_i;
          rsp_state_d = (rsp_stall_i <= 16'd1) ? RspReady : RspStall;
          rsp_ready_d = (rsp_stall_i <= 16'd1);
        end else begin
          rsp_ready_d = (rsp_stall_i == '0);
        end
      end
      RspStall: begin
        rsp_left_d = rsp_left_q - 16'd1;
        if (rsp_left_q == 16'd2) begin
          rsp_state_d = RspReady;
          rsp_ready_d = 1'b1;
        end
      end
      RspReady: begin
        rsp_ready_d = !rsp_valid_i;  // a chip that withdraws its response is caught below
        if (rsp_valid_i) begin
          rsp_state_d = RspIdle;
        end
      end
      default: rsp_state_d = RspIdle;
    endcase
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      rsp_state_q  <= RspIdle;
      rsp_left_q   <= '0;
      rsp_ready_q  <= 1'b0;
      rsp_q        <= 1'b0;
      rsp_token_q  <= '0;
      rsp_pos_q    <= '0;
      rsp_status_q <= '0;
      rsp_cycle_q  <= '0;
      rsp_cycles_q <= '0;
    end else begin
      rsp_state_q <= rsp_state_d;
      rsp_left_q  <= rsp_left_d;
      rsp_ready_q <= rsp_ready_d;
      if (rsp_seen) begin
        rsp_cycle_q  <= cycle_q;
        rsp_cycles_q <= cycle_q - ack_cycle_q;
      end
      if (rsp_taken) begin
        rsp_q        <= !rsp_q;
        rsp_token_q  <= rsp_token_i;
        rsp_pos_q    <= rsp_pos_i;
        rsp_status_q <= rsp_status_i;
      end
    end
  end

  // Tokens between acceptance and answer

  logic [31:0] in_flight_d, in_flight_q, busy_cycles_q;

  always_comb begin
    in_flight_d = in_flight_q;
    if (tok_taken && !rsp_taken) begin
      in_flight_d = in_flight_q + 32'd1;
    end else if (!tok_taken && rsp_taken && (in_flight_q != '0)) begin
      in_flight_d = in_flight_q - 32'd1;
    end
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      in_flight_q   <= '0;
      busy_cycles_q <= '0;
    end else begin
      in_flight_q <= in_flight_d;
      if (in_flight_q != '0) begin
        busy_cycles_q <= busy_cycles_q + 32'd1;
      end
    end
  end

  assign ack_o         = ack_q;
  assign ack_cycle_o   = ack_cycle_q;
  assign rsp_o         = rsp_q;
  assign rsp_token_o   = rsp_token_q;
  assign rsp_pos_o     = rsp_pos_q;
  assign rsp_status_o  = rsp_status_q;
  assign rsp_cycles_o  = rsp_cycles_q;
  assign rsp_cycle_o   = rsp_cycle_q;
  assign cycle_o       = cycle_q;
  assign busy_cycles_o = busy_cycles_q;
  assign tok_valid_o   = (req_state_q == ReqValid);
  assign tok_id_o      = tok_valid_o ? tok_id_q : ~tok_id_q;
  assign tok_op_o      = tok_valid_o ? tok_op_q : ~tok_op_q;
  assign tok_slot_o    = tok_valid_o ? tok_slot_q : ~tok_slot_q;
  assign rsp_ready_o   = rsp_ready_q;

  // Assertions

  logic held_q;  // a response was valid and not taken at the last edge
  logic [67:0] payload, payload_q;

  assign payload = {rsp_token_i, rsp_pos_i, rsp_status_i};

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      held_q    <= 1'b0;
      payload_q <= '0;
    end else begin
      held_q    <= rsp_valid_i && !rsp_ready_q;
      payload_q <= payload;
      if (held_q) begin
        ARspValidHeld :
        assert (rsp_valid_i)
        else $error("ep_host_bfm: rsp_valid_i fell before rsp_ready_o");
        ARspPayloadHeld :
        assert (payload == payload_q)
        else $error("ep_host_bfm: the response changed before rsp_ready_o");
      end
    end
  end

  // verilator lint_off SYNCASYNCNET  // no logic
  AReqLowInReset :
  assert property (@(posedge clk_i) rst_ni || !req_i)
  else $error("ep_host_bfm: req_i is high in reset");
  // verilator lint_on SYNCASYNCNET

endmodule
