// Control of a stage of the token pipeline (a decoder layer, or the tail): receive a stream of blocks, run the steps one
// after the other, send.
//
// A step begins with one cycle of start_o and ends when its unit is no longer busy; done_o marks the cycle in which its
// results stand and the next step is about to begin. Each step costs its unit's latency plus one cycle.
// active_o covers everything but waiting for the first block, so that the stage's clock can be gated.

module ep_stage_ctrl #(
  parameter int unsigned InBlocks  = 4,                                  // blocks received
  parameter int unsigned OutBlocks = 4,                                  // blocks sent
  parameter int unsigned Steps     = 11,                                 // units run in turn
  parameter int unsigned TagW      = 32,                                 // bits beside a token
  localparam int unsigned InW      = (InBlocks > 1) ? $clog2(InBlocks) : 1,
  localparam int unsigned OutW     = (OutBlocks > 1) ? $clog2(OutBlocks) : 1
) (
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic             in_valid_i,
  output logic             in_ready_o,
  input  logic [ TagW-1:0] in_tag_i,    // what goes with the token, beside every block
  output logic [  InW-1:0] in_block_o,  // the block expected
  output logic [Steps-1:0] start_o,     // one cycle per step
  input  logic [Steps-1:0] busy_i,      // of each step's unit
  output logic [Steps-1:0] done_o,      // results of the step stand
  output logic             out_valid_o,
  input  logic             out_ready_i,
  output logic [ OutW-1:0] out_block_o,  // the block sent
  output logic [ TagW-1:0] tag_o,       // of the token held
  output logic             active_o     // the clock is needed
);

  localparam int unsigned StepW = (Steps > 1) ? $clog2(Steps) : 1;

  typedef enum logic [1:0] {
    Receive,
    Run,
    Send
  } state_e;

  state_e state_q;
  logic [StepW-1:0] step_q;
  logic entered_q;  // the step began in the cycle before
  logic step_done;

  assign in_ready_o = state_q == Receive;
  assign out_valid_o = state_q == Send;
  assign active_o = state_q != Receive || in_block_o != '0;
  assign step_done = state_q == Run && !entered_q && !busy_i[step_q];

  always_comb begin
    start_o = '0;
    done_o = '0;
    start_o[step_q] = state_q == Run && entered_q;
    done_o[step_q] = step_done;
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= Receive;
      step_q <= '0;
      entered_q <= 1'b0;
      in_block_o <= '0;
      out_block_o <= '0;
      tag_o <= '0;
    end else begin
      unique case (state_q)
        Receive: begin
          if (in_valid_i) begin
            tag_o <= in_tag_i;
            in_block_o <= in_block_o + 1'b1;
            if (32'(in_block_o) == InBlocks - 1) begin
              in_block_o <= '0;
              entered_q <= 1'b1;
              state_q <= Run;
            end
          end
        end
        Run: begin
          entered_q <= step_done;
          if (step_done) begin
            step_q <= step_q + 1'b1;
            if (32'(step_q) == Steps - 1) begin
              step_q <= '0;
              entered_q <= 1'b0;
              state_q <= Send;
            end
          end
        end
        Send: begin
          if (out_ready_i) begin
            out_block_o <= out_block_o + 1'b1;
            if (32'(out_block_o) == OutBlocks - 1) begin
              out_block_o <= '0;
              state_q <= Receive;
            end
          end
        end
        default: state_q <= Receive;
      endcase
    end
  end

endmodule
