// The host of the load port, as a transactor: Python offers a frame and waits for one edge. Simulation only.
//
// Python offers the words of a frame (ep_load_word), sets load_words_i and load_seed_i, then toggles load_i. Words
// 0 .. load_words_i - 1 are sent, ld_last_o with the last of them; a seed other than 0 puts random stalls before some.
// load_checked_o toggles at the edge at which the chip takes word 1, or at the answer when there is no word 1. The answer:
// load_answered_o toggles at the first edge S at which ldr_valid_i is high, load_done_o at S + load_rsp_stall_i, where it
// is taken. load_cycles_o = S - F, with F the edge at which word 0 was taken.
//
// While ld_valid_o is low, ld_data_o and ld_last_o have every bit wrong: a chip that looks at them is seen.
//
// Reset, also amid a frame: idle, valid and ready low, every toggle and counter 0, what was in flight forgotten. load_i is
// driven to 0 with rst_ni.
//
// Assertions (strict build): the chip holds ldr_valid_i and its payload until ready; load_i is 0 at every edge in reset.

module ep_load_bfm (
  input  logic        clk_i,
  input  logic        rst_ni,
  // Python
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

  logic [31:0] cycle_q;  // edges since reset

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      cycle_q <= '0;
    end else begin
      cycle_q <= cycle_q + 32'd1;
    end
  end

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
  logic [31:0] load_data_q;
  logic load_last_q;

  assign ld_valid_o = load_state_q == LoadWord;
  assign ld_data_o = ld_valid_o ? load_data_q : ~load_data_q;
  assign ld_last_o = ld_valid_o == load_last_q;
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
      load_data_q <= '0;
      load_last_q <= 1'b0;
    end else begin
      unique case (load_state_q)
        LoadIdle: begin
          if (load_i != load_seen_q) begin
            load_seen_q <= load_i;
            load_index_q <= '0;
            load_last_q <= load_words_i == 32'd1;
            load_taken_o <= '0;
            load_random_q <= load_seed_i;
            answer_seen_q <= 1'b0;
            load_data_q <= ep_load_word(32'd0);
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
            if (load_last_q) begin
              load_left_q <= 32'(load_rsp_stall_i);
              load_state_q <= LoadAnswer;
            end else begin
              load_index_q <= load_index_q + 32'd1;
              load_last_q <= load_index_q + 32'd2 == load_words_i;
              load_data_q <= ep_load_word(load_index_q + 32'd1);
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

  // Assertions

  logic held_q;  // an answer was valid and not taken at the last edge
  logic [7:0] payload, payload_q;

  assign payload = {ldr_status_i, ldr_slot_i};

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      held_q    <= 1'b0;
      payload_q <= '0;
    end else begin
      held_q    <= ldr_valid_i && !ldr_ready_o;
      payload_q <= payload;
      if (held_q) begin
        ALdrValidHeld :
        assert (ldr_valid_i)
        else $error("ep_load_bfm: ldr_valid_i fell before ldr_ready_o");
        ALdrPayloadHeld :
        assert (payload == payload_q)
        else $error("ep_load_bfm: the answer to a load changed before ldr_ready_o");
      end
    end
  end

  // verilator lint_off SYNCASYNCNET  // no logic
  ALoadLowInReset :
  assert property (@(posedge clk_i) rst_ni || !load_i)
  else $error("ep_load_bfm: load_i is high in reset");
  // verilator lint_on SYNCASYNCNET

endmodule
