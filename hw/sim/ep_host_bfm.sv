// The host of the chip, as a transactor: Python sets a request and waits for one edge instead of following the clock.
// Simulation only.
//
// Request: Python sets req_token_i, req_op_i, req_slot_i and req_stall_i, then toggles req_i, and leaves all of them until
// ack_o toggles. With E the first rising clock edge at which req_i differs, tok_valid_o rises after edge E + req_stall_i;
// the earliest acceptance is one cycle later. ack_o toggles at the edge at which the chip takes the token.
//
// Response: with R the first edge at which rsp_valid_i is high for a response, the response is taken at edge
// R + rsp_stall_i; rsp_o toggles there and rsp_*_o hold it until the next one. A stall of 0 keeps rsp_ready_o high
// ahead of the response; rsp_stall_i therefore has to be set two edges before rsp_valid_i.
//
// Latency: rsp_cycles_o = R - A, with A the edge of the latest acceptance before R: exact with one token in flight.
// With more, subtract the stamps ack_cycle_o and rsp_cycle_o, which count edges since reset, modulo 2^32.
//
// Load: Python offers the words of a frame (ep_load_word), sets load_words_i and load_seed_i, then toggles load_i. Words
// 0 .. load_words_i - 1 are sent, ld_last_o with the last of them; a seed other than 0 puts random stalls before some.
// load_checked_o toggles at the edge at which the chip takes word 1, or at the answer when there is no word 1. The answer:
// load_answered_o toggles at the first edge S at which ldr_valid_i is high, load_done_o at S + load_rsp_stall_i, where it
// is taken. load_cycles_o = S - F, with F the edge at which word 0 was taken.
//
// Reset, also amid a transfer: idle, valid and ready low, every toggle and counter 0, requests and responses in
// flight forgotten. req_i and load_i are driven to 0 with rst_ni.
//
// Assertions (strict build): the chip holds rsp_valid_i, ldr_valid_i and their payloads until ready; req_i and load_i are
// 0 at every edge in reset.

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
  // Python, loads
  input  logic        load_i,            // a toggle sends a frame
  input  logic [31:0] load_words_i,      // its words, at least 1
  input  logic [31:0] load_seed_i,       // of the stalls; 0: none
  input  logic [15:0] load_rsp_stall_i,  // cycles to hold ldr_ready_o low once ldr_valid_i is seen
  output logic        load_checked_o,    // toggles when the chip knows the frame's slot
  output logic        load_answered_o,   // toggles when the answer is seen
  output logic        load_done_o,       // toggles when the answer was taken
  output logic [31:0] load_taken_o,      // words that the chip took
  output logic [31:0] load_cycles_o,     // from the first word taken to ldr_valid_i
  output logic [ 3:0] load_status_o,     // the chip's status code
  output logic [ 3:0] load_slot_o,       // the slot that it names
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
  input  logic [ 3:0] rsp_status_i,
  output logic        ld_valid_o,
  input  logic        ld_ready_i,
  output logic [31:0] ld_data_o,
  output logic        ld_last_o,
  input  logic        ldr_valid_i,
  output logic        ldr_ready_o,
  input  logic [ 3:0] ldr_status_i,
  input  logic [ 3:0] ldr_slot_i
);

  import "DPI-C" function int unsigned ep_load_word(input int unsigned index);

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

  // Loads

  typedef enum logic [1:0] {
    LoadIdle,
    LoadStall,
    LoadWord,
    LoadAnswer
  } load_state_e;

  load_state_e load_state_q;
  logic load_seen_q;  // load_i as of the last frame taken up
  logic [31:0] load_index_q;  // of the word at the pins
  logic [31:0] load_left_q;  // cycles of a stall
  logic [31:0] load_first_cycle_q;
  logic [31:0] load_random_q;  // 0: no stalls
  logic load_taken, answer_seen_q;

  assign ld_valid_o = load_state_q == LoadWord;
  assign ldr_ready_o = load_state_q == LoadAnswer && load_left_q == '0;
  assign load_taken = ld_valid_o && ld_ready_i;

  // A quarter of the words wait for up to 7 cycles, few of them for 40.
  function automatic logic [31:0] load_stall(input logic [31:0] random);
    if (random == 32'd0) return 32'd0;
    if (random[11:5] == 7'd0) return 32'd40;
    return (random[1:0] == 2'd0) ? 32'(random[4:2]) : 32'd0;
  endfunction

  function automatic logic [31:0] next_random(input logic [31:0] random);
    next_random = random ^ (random << 13);
    next_random = next_random ^ (next_random >> 17);
    next_random = next_random ^ (next_random << 5);
  endfunction

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      load_state_q <= LoadIdle;
      load_seen_q <= 1'b0;
      load_checked_o <= 1'b0;
      load_answered_o <= 1'b0;
      load_done_o <= 1'b0;
      load_taken_o <= '0;
      load_cycles_o <= '0;
      load_status_o <= '0;
      load_slot_o <= '0;
      load_index_q <= '0;
      load_left_q <= '0;
      load_first_cycle_q <= '0;
      load_random_q <= '0;
      answer_seen_q <= 1'b0;
      ld_data_o <= '0;
      ld_last_o <= 1'b0;
    end else begin
      unique case (load_state_q)
        LoadIdle: begin
          if (load_i != load_seen_q) begin
            load_seen_q <= load_i;
            load_index_q <= '0;
            ld_last_o <= load_words_i == 32'd1;
            load_taken_o <= '0;
            load_random_q <= load_seed_i;
            answer_seen_q <= 1'b0;
            ld_data_o <= ep_load_word(32'd0);
            load_state_q <= LoadWord;
          end
        end
        LoadStall: begin
          load_left_q <= load_left_q - 32'd1;
          if (load_left_q == 32'd1) load_state_q <= LoadWord;
        end
        LoadWord: begin
          if (load_taken) begin
            load_taken_o <= load_taken_o + 32'd1;
            load_random_q <= next_random(load_random_q);
            if (load_index_q == 32'd0) load_first_cycle_q <= cycle_q;
            if (load_index_q == 32'd1) load_checked_o <= !load_checked_o;
            if (ld_last_o) begin
              load_left_q <= 32'(load_rsp_stall_i);
              load_state_q <= LoadAnswer;
            end else begin
              load_index_q <= load_index_q + 32'd1;
              ld_last_o <= load_index_q + 32'd2 == load_words_i;
              ld_data_o <= ep_load_word(load_index_q + 32'd1);
              load_left_q <= load_stall(load_random_q);
              if (load_stall(load_random_q) != '0) load_state_q <= LoadStall;
            end
          end
        end
        LoadAnswer: begin
          if (ldr_valid_i) begin
            answer_seen_q <= 1'b1;
            if (!answer_seen_q) begin
              load_answered_o <= !load_answered_o;
              load_cycles_o <= cycle_q - load_first_cycle_q;
              load_status_o <= ldr_status_i;
              load_slot_o <= ldr_slot_i;
              if (load_index_q == 32'd0) load_checked_o <= !load_checked_o;
            end
            if (ldr_ready_o) begin
              load_done_o <= !load_done_o;
              load_state_q <= LoadIdle;
            end else begin
              load_left_q <= load_left_q - 32'd1;
            end
          end
        end
        default: load_state_q <= LoadIdle;
      endcase
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
  assign tok_id_o      = tok_id_q;
  assign tok_op_o      = tok_op_q;
  assign tok_slot_o    = tok_slot_q;
  assign rsp_ready_o   = rsp_ready_q;

  // Assertions

  logic held_q;  // a response was valid and not taken at the last edge
  logic [67:0] payload, payload_q;
  logic load_held_q;  // an answer to a load, likewise
  logic [7:0] load_payload, load_payload_q;

  assign payload = {rsp_token_i, rsp_pos_i, rsp_status_i};
  assign load_payload = {ldr_status_i, ldr_slot_i};

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      held_q    <= 1'b0;
      payload_q <= '0;
      load_held_q <= 1'b0;
      load_payload_q <= '0;
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
      load_held_q    <= ldr_valid_i && !ldr_ready_o;
      load_payload_q <= load_payload;
      if (load_held_q) begin
        ALdrValidHeld :
        assert (ldr_valid_i)
        else $error("ep_host_bfm: ldr_valid_i fell before ldr_ready_o");
        ALdrPayloadHeld :
        assert (load_payload == load_payload_q)
        else $error("ep_host_bfm: the answer to a load changed before ldr_ready_o");
      end
    end
  end

  // verilator lint_off SYNCASYNCNET  // no logic
  ALoadLowInReset :
  assert property (@(posedge clk_i) rst_ni || !load_i)
  else $error("ep_host_bfm: load_i is high in reset");
  AReqLowInReset :
  assert property (@(posedge clk_i) rst_ni || !req_i)
  else $error("ep_host_bfm: req_i is high in reset");
  // verilator lint_on SYNCASYNCNET

endmodule
