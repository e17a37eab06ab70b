// Host port: a stream of tokens in, one response per token out, and the position of the open sequence.
//
// A token with tok_first_i opens a sequence at position 0; the following ones continue it. A token that cannot be
// computed is answered with a status (ep_pkg::status_e) and changes nothing: the sequence stays as it was.
// Both sides are valid/ready; one token is in flight.

module ep_host_port
  import ep_pkg::*;
#(
  parameter int unsigned Vocab   = 512,
  parameter int unsigned Context = 512   // positions of a sequence
) (
  input  logic           clk_i,
  input  logic           rst_ni,
  // Host.
  input  logic           tok_valid_i,
  output logic           tok_ready_o,
  input  logic    [31:0] tok_id_i,
  input  logic           tok_first_i,   // this token opens a new sequence
  output logic           rsp_valid_o,
  input  logic           rsp_ready_i,
  output logic    [31:0] rsp_token_o,   // the greedy next token; 0 unless the status is OK
  output logic    [31:0] rsp_pos_o,     // position that the token took; on an error, tokens held
  output status_e        rsp_status_o,
  // Pipeline.
  output logic           start_o,       // embed token_o at pos_o
  output logic    [31:0] token_o,
  output logic    [31:0] pos_o,
  input  logic           result_valid_i,
  output logic           result_ready_o,
  input  logic    [31:0] result_token_i
);

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
  status_e status;

  assign tok_ready_o = state_q == Idle;
  assign start_o = state_q == Start;
  assign result_ready_o = state_q == Compute;
  assign rsp_valid_o = state_q == Respond;
  assign pos_o = rsp_pos_o;
  assign pos = tok_first_i ? 32'd0 : next_pos_q;

  always_comb begin
    status = STATUS_OK;
    if (!tok_first_i && !open_q) status = STATUS_NO_SEQUENCE;
    else if (tok_id_i >= Vocab) status = STATUS_BAD_TOKEN;
    else if (pos >= Context) status = STATUS_CONTEXT_FULL;
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= Idle;
      open_q <= 1'b0;
      next_pos_q <= '0;
      token_o <= '0;
      rsp_token_o <= '0;
      rsp_pos_o <= '0;
      rsp_status_o <= STATUS_OK;
    end else begin
      unique case (state_q)
        Idle: begin
          if (tok_valid_i) begin
            token_o <= tok_id_i;
            rsp_token_o <= '0;
            rsp_status_o <= status;
            if (status == STATUS_OK) begin
              rsp_pos_o <= pos;
              open_q <= 1'b1;
              next_pos_q <= pos + 32'd1;
              state_q <= Start;
            end else begin
              rsp_pos_o <= next_pos_q;
              state_q <= Respond;
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
