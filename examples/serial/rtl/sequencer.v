`include "serial.vh"

// Walks through the steps of a token, and through the loops of each:
//
//   for i (elements of the result, or heads)
//     for phase (of a norm: squares, root, scaling; of the softmax: exponentials, scaling)
//       for k (what is summed)
//         for u (operations for each k)
//           one operation
//
// One operation is issued in each cycle with active high. A cycle without one lies between two steps, so that a step
// reads whatever the one before has written.
module sequencer (
  input            clk,
  input            rst_n,
  input            start,      // of a token, while idle
  input      [4:0] position,   // of the token
  output           active,
  output reg       layer,
  output reg [4:0] step,
  output reg [6:0] i,
  output reg [1:0] phase,
  output reg [5:0] k,
  output reg [2:0] u,
  output           k_ends,     // the last k of its loop
  output           step_ends   // the last operation of its step
);
  reg running;
  reg pause;

  reg [6:0] i_last;
  reg [1:0] phase_last;
  reg [5:0] k_last;
  reg [2:0] u_last;

  always @* begin
    i_last     = 7'd31;
    phase_last = 2'd0;
    k_last     = 6'd31;
    u_last     = 3'd0;
    case (step)
      `STEP_EMBEDDING: k_last = 6'd0;
      `STEP_ATTN_NORM, `STEP_MLP_NORM, `STEP_FINAL_NORM: begin
        i_last     = 7'd0;
        phase_last = 2'd2;
        k_last     = phase == 2'd1 ? 6'd0 : 6'd31;
        u_last     = phase == 2'd2 ? 3'd1 : 3'd0;
      end
      `STEP_K_PROJ, `STEP_V_PROJ: i_last = 7'd15;
      `STEP_Q_NORM, `STEP_K_NORM: begin
        i_last     = step == `STEP_Q_NORM ? 7'd3 : 7'd1;
        phase_last = 2'd2;
        k_last     = phase == 2'd1 ? 6'd0 : 6'd7;
        u_last     = phase == 2'd2 ? 3'd1 : 3'd0;
      end
      `STEP_Q_ROPE: k_last = 6'd1;
      `STEP_K_ROPE: begin
        i_last = 7'd15;
        k_last = 6'd1;
      end
      `STEP_SCORES: begin
        i_last = {position, 2'd3};
        k_last = 6'd7;
      end
      `STEP_SOFTMAX: begin
        i_last     = 7'd3;
        phase_last = 2'd1;
        k_last     = {1'b0, position};
        u_last     = phase == 2'd0 ? 3'd3 : 3'd0;
      end
      `STEP_ATTN_OUT: k_last = {1'b0, position};
      `STEP_ATTN_RESIDUAL, `STEP_MLP_RESIDUAL: k_last = 6'd1;
      `STEP_GATE_PROJ, `STEP_UP_PROJ: i_last = 7'd63;
      `STEP_SWIGLU: begin
        i_last = 7'd63;
        k_last = 6'd0;
        u_last = 3'd5;
      end
      `STEP_DOWN_PROJ: k_last = 6'd63;
      `STEP_LOGITS: i_last = 7'd127;
      default: ;  // Q_PROJ and O_PROJ: 32 sums of 32
    endcase
  end

  wire u_ends     = u == u_last;
  wire phase_ends = phase == phase_last;
  assign k_ends    = k == k_last;
  assign active    = running && !pause;
  assign step_ends = u_ends && k_ends && phase_ends && i == i_last;

  always @(posedge clk)
    if (!rst_n) begin
      running <= 1'b0;
      pause   <= 1'b0;
    end else if (start) begin
      running <= 1'b1;
      layer   <= 1'b0;
      step    <= `STEP_EMBEDDING;
      i       <= 7'd0;
      phase   <= 2'd0;
      k       <= 6'd0;
      u       <= 3'd0;
    end else begin
      pause <= active && step_ends;
      if (active) begin
        u <= u_ends ? 3'd0 : u + 3'd1;
        if (u_ends) k <= k_ends ? 6'd0 : k + 6'd1;
        if (u_ends && k_ends) phase <= phase_ends ? 2'd0 : phase + 2'd1;
        if (u_ends && k_ends && phase_ends) i <= step_ends ? 7'd0 : i + 7'd1;
        if (step_ends)
          if (step == `STEP_LOGITS) running <= 1'b0;
          else if (step == `STEP_MLP_RESIDUAL && !layer) begin
            layer <= 1'b1;
            step  <= `STEP_ATTN_NORM;
          end else step <= step + 5'd1;
      end
    end
endmodule
