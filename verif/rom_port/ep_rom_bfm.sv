// The host of the ROM test port, as a transactor: Python asks for a range of words and waits for one edge.
// Simulation only.
//
// Python leaves its request where ep_rom_test_field finds it (operation, unit, first word, words, seed of stalls), then
// toggles req_i. For each word of the range one request goes to the chip, one after the other; each answer is handed to
// ep_rom_test_answer as it is taken. done_o toggles after the last one, or after a refusal, which ends the range.
// A seed other than 0 puts random stalls before answers are taken.
//
// While rt_valid_o is low, the other pins of the request have every bit wrong: a chip that looks at them is seen.
//
// Latency: ep_rom_test_end gets the sum, over the requests, of the cycles from the edge that takes one to the first edge
// with its last answer valid. Without stalls that is the chip's own.
//
// Reset, also amid a range: idle, valid and ready low, done_o 0. Python drives req_i to 0 together with rst_ni.
//
// Assertions (strict build): the chip holds rtr_valid_i and its payload until ready; from the edge that takes a request
// to the one that takes its last answer it is ready for no token and no frame, unless it answers that it is busy; req_i
// is 0 in reset.

module ep_rom_bfm (
  input  logic        clk_i,
  input  logic        rst_ni,
  // Python
  input  logic        req_i,         // a toggle begins a range
  output logic        done_o,        // toggles at its end
  // Chip
  output logic        rt_valid_o,
  input  logic        rt_ready_i,
  output logic        rt_op_o,
  output logic [15:0] rt_unit_o,
  output logic [31:0] rt_word_o,
  input  logic        rtr_valid_i,
  output logic        rtr_ready_o,
  input  logic [31:0] rtr_data_i,
  input  logic        rtr_last_i,
  input  logic [ 1:0] rtr_status_i,
  // Chip, to others
  input  logic        tok_ready_i,
  input  logic        ld_ready_i
);

  localparam logic [1:0] Busy = 2'd3;  // status of a refusal that holds nobody off

  localparam int unsigned FieldOp = 0;
  localparam int unsigned FieldUnit = 1;
  localparam int unsigned FieldWord = 2;
  localparam int unsigned FieldCount = 3;
  localparam int unsigned FieldSeed = 4;

  import "DPI-C" function int unsigned ep_rom_test_field(input int unsigned field);
  import "DPI-C" function void ep_rom_test_answer(
    input int unsigned data,
    input int unsigned status
  );
  import "DPI-C" function void ep_rom_test_end(input int unsigned cycles);

  typedef enum logic [1:0] {
    Idle,
    Ask,
    Answer,
    End
  } state_e;

  state_e state_q;
  logic seen_q;  // req_i as of the last range taken up
  logic rt_op_q;
  logic [15:0] rt_unit_q;
  logic [31:0] rt_word_q;
  logic [31:0] left_q;  // words after this one
  logic [31:0] random_q;  // 0: no stalls
  logic [31:0] stall_q;  // cycles until an answer is taken
  logic [31:0] cycles_q;  // of the requests before
  logic [31:0] since_q;  // cycles since the request was taken

  assign rt_valid_o = state_q == Ask;
  assign rt_op_o = rt_valid_o == rt_op_q;
  assign rt_unit_o = rt_valid_o ? rt_unit_q : ~rt_unit_q;
  assign rt_word_o = rt_valid_o ? rt_word_q : ~rt_word_q;
  assign rtr_ready_o = state_q == Answer && stall_q == '0;

  // A quarter of the answers wait for up to 7 cycles.
  function automatic logic [31:0] stall(input logic [4:0] random);
    return (random[1:0] == 2'd3) ? 32'(random[4:2]) : '0;
  endfunction

  function automatic logic [31:0] next_random(input logic [31:0] random);
    next_random = random ^ (random << 13);
    next_random = next_random ^ (next_random >> 17);
    next_random = next_random ^ (next_random << 5);
  endfunction

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= Idle;
      seen_q <= 1'b0;
      done_o <= 1'b0;
      rt_op_q <= 1'b0;
      rt_unit_q <= '0;
      rt_word_q <= '0;
      left_q <= '0;
      random_q <= '0;
      stall_q <= '0;
      cycles_q <= '0;
      since_q <= '0;
    end else begin
      unique case (state_q)
        Idle: begin
          if (req_i != seen_q) begin
            seen_q <= req_i;
            rt_op_q <= 1'(ep_rom_test_field(FieldOp));
            rt_unit_q <= 16'(ep_rom_test_field(FieldUnit));
            rt_word_q <= ep_rom_test_field(FieldWord);
            left_q <= ep_rom_test_field(FieldCount) - 32'd1;
            random_q <= ep_rom_test_field(FieldSeed);
            stall_q <= '0;
            cycles_q <= '0;
            state_q <= Ask;
          end
        end
        Ask: begin
          since_q <= 32'd1;
          stall_q <= stall(random_q[4:0]);
          if (rt_ready_i) state_q <= Answer;
        end
        Answer: begin
          if (stall_q != '0) begin
            stall_q <= stall_q - 32'd1;
          end else if (rtr_valid_i) begin
            ep_rom_test_answer(rtr_data_i, 32'(rtr_status_i));
            stall_q <= stall(5'(next_random(random_q)));
            random_q <= next_random(random_q);
            if (rtr_last_i) begin
              cycles_q <= cycles_q + since_q;
              state_q <= (left_q == '0 || rtr_status_i != '0) ? End : Ask;
              left_q <= left_q - 32'd1;
              rt_word_q <= rt_word_q + 32'd1;
            end
          end
          since_q <= since_q + 32'd1;
        end
        End: begin
          ep_rom_test_end(cycles_q);
          done_o  <= !done_o;
          state_q <= Idle;
        end
        default: state_q <= Idle;
      endcase
    end
  end

  // Assertions

  logic held_q;  // an answer was valid and not taken at the last edge
  logic [34:0] payload, payload_q;

  assign payload = {rtr_data_i, rtr_last_i, rtr_status_i};

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      held_q <= 1'b0;
      payload_q <= '0;
      ARomReqLowInReset :
      assert (!req_i)
      else $error("ep_rom_bfm: req_i is high in reset");
    end else begin
      held_q <= rtr_valid_i && !rtr_ready_o;
      payload_q <= payload;
      if (state_q == Answer && !(rtr_valid_i && rtr_status_i == Busy)) begin
        AOthersHeldOff :
        assert (!tok_ready_i && !ld_ready_i)
        else $error("ep_rom_bfm: tok_ready_i or ld_ready_i is high before the last answer");
      end
      if (held_q) begin
        ARtrValidHeld :
        assert (rtr_valid_i)
        else $error("ep_rom_bfm: rtr_valid_i fell before rtr_ready_o");
        ARtrPayloadHeld :
        assert (payload == payload_q)
        else $error("ep_rom_bfm: the answer changed before rtr_ready_o");
      end
    end
  end

endmodule
