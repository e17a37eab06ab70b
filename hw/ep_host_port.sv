// Host port: a stream of requests in, one response per request out; the open sequence, its position and its slot.
//
// OP_FIRST opens a sequence at position 0 with the adapter of a slot, or none; OP_NEXT continues it; OP_CLOSE ends it. A
// request that cannot be served is answered with a status (ep_pkg::status_e) and changes nothing: the sequence stays as it
// was. A sequence keeps its slot to its end; held_o tells the load port so.
// Latency: 1 cycle for a refusal or OP_CLOSE, else the pipeline's and 3.
// Handshake: both sides are valid/ready; one token is in flight.
// Degenerate: with Slots 0 every slot but NoSlot is STATUS_BAD_SLOT.

module ep_host_port
  import ep_pkg::*;
#(
  parameter int unsigned Vocab   = 512,
  parameter int unsigned Context = 512,  // positions of a sequence
  parameter int unsigned Slots   = 4     // adapters; 0 .. 15
) (
  input  logic           clk_i,
  input  logic           rst_ni,
  // Host.
  input  logic           tok_valid_i,
  output logic           tok_ready_o,
  input  logic    [31:0] tok_id_i,
  input  logic    [ 1:0] tok_op_i,       // op_e
  input  logic    [ 3:0] tok_slot_i,     // with OP_FIRST: the sequence's adapter, or NoSlot
  output logic           rsp_valid_o,
  input  logic           rsp_ready_i,
  output logic    [31:0] rsp_token_o,    // the greedy next token; 0 unless one was computed
  output logic    [31:0] rsp_pos_o,      // position that the token took; otherwise, tokens held
  output status_e        rsp_status_o,
  // Slots.
  input  logic    [15:0] slot_valid_i,   // slots that hold an adapter
  output logic    [15:0] held_o,         // slots that a sequence holds after this edge
  // Pipeline.
  output logic           start_o,        // embed token_o at pos_o
  output logic    [31:0] token_o,
  output logic    [31:0] pos_o,
  output logic    [ 3:0] slot_o,         // of the open sequence
  // ROM test.
  input  logic           hold_i,         // take no request
  output logic           idle_o,         // no request is on its way or offered
  input  logic           result_valid_i,
  output logic           result_ready_o,
  input  logic    [31:0] result_token_i
);

  localparam logic [15:0] SlotMask = 16'((32'd1 << Slots) - 32'd1);

  typedef enum logic [1:0] {
    Idle,
    Start,
    Compute,
    Respond
  } state_e;

  state_e state_q;
  logic open_q;  // a sequence is open
  logic [31:0] next_pos_q;  // tokens that the open sequence holds
  logic [31:0] pos;
  logic bad_token, first, close;
  status_e status;
  logic open_d, taken;
  logic [3:0] slot_d;

  assign tok_ready_o = state_q == Idle && !hold_i;
  assign idle_o = state_q == Idle && !tok_valid_i;
  assign start_o = state_q == Start;
  assign result_ready_o = state_q == Compute;
  assign rsp_valid_o = state_q == Respond;
  assign pos_o = rsp_pos_o;
  assign first = tok_op_i == OP_FIRST;
  assign close = tok_op_i == OP_CLOSE;
  assign pos = first ? 32'd0 : next_pos_q;
  assign bad_token = tok_id_i >= Vocab;

  always_comb begin
    status = STATUS_OK;
    unique case (tok_op_i)
      OP_FIRST: begin
        if (bad_token) status = STATUS_BAD_TOKEN;
        else if (tok_slot_i != NoSlot && !SlotMask[tok_slot_i]) status = STATUS_BAD_SLOT;
        else if (tok_slot_i != NoSlot && !slot_valid_i[tok_slot_i]) status = STATUS_EMPTY_SLOT;
      end
      OP_NEXT: begin
        if (!open_q) status = STATUS_NO_SEQUENCE;
        else if (bad_token) status = STATUS_BAD_TOKEN;
        else if (pos >= Context) status = STATUS_CONTEXT_FULL;
      end
      OP_CLOSE: if (!open_q) status = STATUS_NO_SEQUENCE;
      default: status = STATUS_BAD_OP;
    endcase
  end

  assign taken = tok_ready_o && tok_valid_i && status == STATUS_OK;

  always_comb begin
    open_d = open_q;
    slot_d = slot_o;
    if (taken) begin
      open_d = !close;
      if (first) slot_d = tok_slot_i;
      if (close) slot_d = NoSlot;
    end
    held_o = (open_d && slot_d != NoSlot) ? 16'd1 << slot_d : 16'd0;
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= Idle;
      open_q <= 1'b0;
      slot_o <= NoSlot;
      next_pos_q <= '0;
      token_o <= '0;
      rsp_token_o <= '0;
      rsp_pos_o <= '0;
      rsp_status_o <= STATUS_OK;
    end else begin
      unique case (state_q)
        Idle: begin
          if (tok_valid_i && !hold_i) begin
            token_o <= tok_id_i;
            rsp_token_o <= '0;
            rsp_status_o <= status;
            open_q <= open_d;
            slot_o <= slot_d;
            rsp_pos_o <= next_pos_q;
            state_q <= Respond;
            if (taken && close) begin
              next_pos_q <= '0;
            end else if (taken) begin
              rsp_pos_o <= pos;
              next_pos_q <= pos + 32'd1;
              state_q <= Start;
            end
          end
        end
        Start: state_q <= Compute;
        Compute: begin
          if (result_valid_i) begin
            rsp_token_o <= result_token_i;
            state_q <= Respond;
          end
        end
        Respond: if (rsp_ready_i) state_q <= Idle;
        default: state_q <= Idle;
      endcase
    end
  end

endmodule
