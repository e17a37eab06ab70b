// The host of a chip with a stream in and a stream out: plays a burst of items that Python left (ep_stream.cpp).
// Simulation only.
//
// An item is one vector or token: in_last_o is high with its last word. Its answer ends with out_last_i. One item is in
// flight at a time. play_i toggles where a burst begins; done_o toggles where it has ended.
// in_first_o is high with every word of an item that opens a sequence. With ByReset, the chip is reset before such an
// item instead. Before the first burst the chip is in reset.
//
// Latency: ep_stream_end gets the cycles from the edge that takes an item's first word to the edge that takes the last
// word of its answer. It is called one edge later: whatever a tap writes at the answer's own edge is of that item.
// Reset: reset_o is high for ResetCycles edges.
// OutHeld says that the chip holds an answer until out_ready_o. Without it, out_ready_o has no meaning: each edge with
// out_valid_i high is a word, or with OutEdge each rise of out_valid_i, so that a `done` may stay high.
// Errors of the run: an answer where none is due, a chip that takes back out_valid_i or changes its word, last
// or status before out_ready_o, and one that does not answer within the limit.

module ep_stream_host #(
  parameter int unsigned InBits  = 8,
  parameter int unsigned OutBits = 8,
  parameter int unsigned StatusBits = 1,
  parameter bit          ByReset = 1'b0,
  parameter bit          OutHeld = 1'b1,
  parameter bit          OutEdge = 1'b0
) (
  input  logic                  clk_i,
  input  logic                  play_i,
  output logic                  done_o,
  output logic                  reset_o,
  output logic                  in_valid_o,
  input  logic                  in_ready_i,
  output logic [    InBits-1:0] in_data_o,
  output logic                  in_first_o,
  output logic                  in_last_o,
  input  logic                  out_valid_i,
  output logic                  out_ready_o,
  input  logic [   OutBits-1:0] out_data_i,
  input  logic                  out_last_i,
  input  logic [StatusBits-1:0] out_status_i
);

  localparam int unsigned ResetCycles = 4;
  localparam int unsigned NotHeld = 0;  // codes of ep_stream_fail
  localparam int unsigned Stray = 1;
  localparam int unsigned Timeout = 2;

  import "DPI-C" function int unsigned ep_stream_next();  // bit 0: there is an item; bit 1: it opens a sequence
  import "DPI-C" function int unsigned ep_stream_limit();  // cycles that an answer may take
  import "DPI-C" function void ep_stream_word(
    output longint unsigned data,
    output int unsigned last,
    output int unsigned stall
  );
  import "DPI-C" function int unsigned ep_stream_stall();  // before the next word of the answer is taken
  import "DPI-C" function void ep_stream_fed(
    input longint unsigned data,
    input int unsigned first
  );
  import "DPI-C" function void ep_stream_answered(
    input longint unsigned data,
    input int unsigned status
  );
  import "DPI-C" function void ep_stream_end(input int unsigned cycles);
  import "DPI-C" function void ep_stream_fail(input int unsigned code);

  typedef enum logic [1:0] {
    Idle,
    Reset,
    Run
  } state_e;

  state_e state_q;
  logic seen_q;  // play_i as of the last burst
  logic first_q;  // the item opens a sequence
  logic fed_q;  // its last word was taken
  logic begun_q;  // its first word was taken
  logic ended_q;  // the last word of its answer was taken at the last edge
  logic valid_q;  // out_valid_i at the last edge
  logic held_q;  // a word of the answer was valid and not taken at the last edge
  logic [OutBits+StatusBits:0] word_q;  // that word, with last and status
  int unsigned reset_q;  // edges of reset that are left
  int unsigned in_stall_q, out_stall_q;  // cycles until a word is offered, until one is taken
  int unsigned cycles_q, limit_q;

  initial begin
    state_q = Idle;
    seen_q = 1'b0;
    done_o = 1'b0;
    reset_o = 1'b1;
    in_valid_o = 1'b0;
    in_data_o = '0;
    in_first_o = 1'b0;
    in_last_o = 1'b0;
    valid_q = 1'b0;
    held_q = 1'b0;
    ended_q = 1'b0;
  end

  logic answers;  // a word of an answer is offered

  assign answers = out_valid_i && !(OutEdge && valid_q);
  assign out_ready_o = state_q == Run && !ended_q && (out_stall_q == 0 || !OutHeld);

  task automatic offer(input logic first);
    longint unsigned data;
    int unsigned last, stall;
    ep_stream_word(data, last, stall);
    in_data_o <= InBits'(data);
    in_first_o <= first;
    in_last_o <= last[0];
    in_valid_o <= stall == 0;
    in_stall_q <= stall;
  endtask

  task automatic begin_run(input logic first);
    state_q <= Run;
    fed_q <= 1'b0;
    begun_q <= 1'b0;
    cycles_q <= 0;
    limit_q <= ep_stream_limit();
    out_stall_q <= ep_stream_stall();
    offer(first);
  endtask

  task automatic next_item();
    int unsigned code;
    code = ep_stream_next();
    first_q <= code[1];
    if (code == 0) begin
      state_q <= Idle;
      done_o  <= !done_o;
    end else if (reset_o || (ByReset && code[1])) begin
      state_q <= Reset;
      reset_o <= 1'b1;
      reset_q <= ResetCycles;
    end else begin
      begin_run(code[1]);
    end
  endtask

  task automatic run();
    if (begun_q) cycles_q <= cycles_q + 1;
    if (in_valid_o && in_ready_i) begin
      ep_stream_fed(64'(in_data_o), 32'(in_first_o));
      begun_q <= 1'b1;
      if (!begun_q) cycles_q <= 1;
      if (in_last_o) begin
        fed_q <= 1'b1;
        in_valid_o <= 1'b0;
      end else begin
        offer(first_q);
      end
    end else if (!in_valid_o && !fed_q) begin
      in_stall_q <= in_stall_q - 1;
      in_valid_o <= in_stall_q == 1;
    end
    if (answers && out_stall_q != 0) out_stall_q <= out_stall_q - 1;
    if (answers && out_ready_o) begin
      ep_stream_answered(64'(out_data_i), 32'(out_status_i));
      out_stall_q <= ep_stream_stall();
      ended_q <= out_last_i;
    end
    if (ended_q) begin
      ended_q <= 1'b0;
      in_valid_o <= 1'b0;
      ep_stream_end(cycles_q - 1);
      next_item();
    end else if (limit_q == 0) begin
      ep_stream_fail(Timeout);
      in_valid_o <= 1'b0;
      state_q <= Idle;
      done_o  <= !done_o;
    end else begin
      limit_q <= limit_q - 1;
    end
  endtask

  always @(posedge clk_i) begin
    valid_q <= out_valid_i;
    held_q <= OutHeld && out_valid_i && !out_ready_o && !reset_o;
    word_q <= {out_data_i, out_last_i, out_status_i};
    if (held_q && !reset_o && (!out_valid_i || {out_data_i, out_last_i, out_status_i} != word_q))
      ep_stream_fail(NotHeld);
    if (answers && !reset_o && (state_q != Run || ended_q)) ep_stream_fail(Stray);
    unique case (state_q)
      Idle:
      if (play_i != seen_q) begin
        seen_q <= play_i;
        next_item();
      end
      Reset:
      if (reset_q == 0) begin
        begin_run(first_q);
      end else begin
        reset_q <= reset_q - 1;
        reset_o <= reset_q != 1;
      end
      Run: run();
      default: state_q <= Idle;
    endcase
  end

endmodule
