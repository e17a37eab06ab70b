`include "serial.vh"

// What each operation reads, computes and writes. Addresses to read go to the memories in the cycle in which it is
// issued; everything else is registered, beside what the memories give, for the next one (x_...).
module control (
  input             clk,
  input             rst_n,
  input             active,
  input             layer,
  input      [4:0]  step,
  input      [6:0]  i,
  input      [1:0]  phase,
  input      [5:0]  k,
  input      [2:0]  u,
  input             k_ends,
  input             step_ends,
  input      [4:0]  position,
  input      [6:0]  token,
  output     [8:0]  vector_address,
  output reg [11:0] weight_index,
  output     [10:0] cache_address,  // values or keys, layer, position, 2 heads of 8
  output     [6:0]  score_address,
  output reg [1:0]  x_a,
  output reg [2:0]  x_b,
  output reg [2:0]  x_c,
  output reg [15:0] x_constant,
  output reg        x_negate,      // the product is subtracted
  output reg        x_from_best,   // the greatest score of the head is subtracted in place of the product
  output reg [1:0]  x_head,
  output reg        x_first,       // the first number that is compared
  output reg        x_accumulate,  // the sum is kept as the sum so far
  output reg        x_hold,        // the rounded sum is held
  output reg [1:0]  x_function,
  output reg [2:0]  x_write,
  output reg [10:0] x_address,
  output reg [4:0]  x_step,
  output reg        x_done         // the last operation of its step
);
  reg [3:0]  from, to;                  // regions of the vector memory
  reg [6:0]  from_offset, to_offset;
  reg [1:0]  a;
  reg [2:0]  b, c, write;
  reg [15:0] constant;
  reg        negate, from_best, accumulate, hold;
  reg [1:0]  func;

  assign vector_address = {from, 5'd0} | {2'd0, from_offset};
  assign score_address  = {k[4:0], i[1:0]};
  assign cache_address  = step == `STEP_SCORES ? {1'b0, layer, i[6:2], i[1], k[2:0]}
                                               : {1'b1, layer, k[4:0], i[4], i[2:0]};

  always @* begin
    // If nothing else is said: element i of the result is the sum over k of row i of a matrix times a vector.
    from         = `AT_NORMED;
    from_offset  = {1'b0, k};
    to           = `AT_NORMED;
    to_offset    = i;
    weight_index = {i, k[4:0]};
    a            = `A_VECTOR;
    b            = `B_WEIGHT;
    c            = k == 6'd0 ? `C_ZERO : `C_SUM;
    constant     = `ONE;
    negate       = 1'b0;
    from_best    = 1'b0;
    accumulate   = 1'b1;
    hold         = 1'b0;
    func    = `F_NONE;
    write        = k_ends ? `W_VECTOR : `W_NONE;
    case (step)
      `STEP_EMBEDDING: begin
        a            = `A_ONE;
        weight_index = {token, i[4:0]};
        to           = `AT_HIDDEN;
      end
      `STEP_ATTN_NORM, `STEP_MLP_NORM, `STEP_FINAL_NORM, `STEP_Q_NORM, `STEP_K_NORM: begin
        if (step == `STEP_Q_NORM || step == `STEP_K_NORM) begin
          from        = step == `STEP_Q_NORM ? `AT_QUERY : `AT_KEY;
          to          = from;
          from_offset = {2'd0, i[1:0], k[2:0]};
          constant    = `ONE_8TH;
        end else begin
          from     = `AT_HIDDEN;
          constant = `ONE_32ND;
        end
        to_offset    = from_offset;
        weight_index = {6'd0, k};
        hold         = 1'b1;
        write        = `W_NONE;
        case (phase)
          2'd0: b = `B_VECTOR;  // squares; the last sum stays held
          2'd1: begin
            a         = `A_HELD;
            b         = `B_CONSTANT;
            c         = `C_EPSILON;
            func = `F_RSQRT;
          end
          default: begin
            a = u[0] ? `A_HELD : `A_VECTOR;
            b = u[0] ? `B_WEIGHT : `B_FUNCTION;
            c = `C_ZERO;
            if (u[0]) write = `W_VECTOR;
          end
        endcase
      end
      `STEP_Q_PROJ: to = `AT_QUERY;
      `STEP_K_PROJ: to = `AT_KEY;
      `STEP_V_PROJ: if (k_ends) write = `W_CACHE;
      `STEP_Q_ROPE, `STEP_K_ROPE: begin  // an element times the cosine, then its partner times the sine
        from         = step == `STEP_Q_ROPE ? `AT_QUERY : `AT_KEY;
        from_offset  = {2'd0, i[4:3], i[2] ^ k[0], i[1:0]};
        weight_index = {4'd0, position, k[0], i[1:0]};
        negate       = k[0] && !i[2];
        to           = `AT_ROTATED;
        if (k_ends && step == `STEP_K_ROPE) write = `W_CACHE;
      end
      `STEP_SCORES: begin
        from        = `AT_ROTATED;
        from_offset = {2'd0, i[1:0], k[2:0]};
        b           = `B_CACHE;
        if (k_ends) write = `W_SCORE;
      end
      `STEP_SOFTMAX: begin
        from        = `AT_SOFTMAX;
        from_offset = {k[4:0], i[1:0]};
        to          = `AT_SOFTMAX;
        to_offset   = from_offset;
        write       = `W_NONE;
        accumulate  = 1'b0;
        if (phase == 2'd1) begin
          b     = `B_FUNCTION;
          c     = `C_ZERO;
          write = `W_VECTOR;
        end else
          case (u)
            3'd0: begin
              c         = `C_SCORE;
              from_best = 1'b1;
              hold      = 1'b1;
            end
            3'd1: begin
              a         = `A_HELD;
              b         = `B_CONSTANT;
              c         = `C_ZERO;
              constant  = `SCALE;
              func = `F_EXP;
            end
            3'd2: begin
              a     = `A_ONE;
              b     = `B_FUNCTION;
              c     = `C_ZERO;
              write = `W_VECTOR;
            end
            default: begin
              a          = `A_ONE;
              b          = `B_FUNCTION;
              accumulate = 1'b1;
              if (k_ends) func = `F_RECIPROCAL;
            end
          endcase
      end
      `STEP_ATTN_OUT: begin
        from        = `AT_SOFTMAX;
        from_offset = {k[4:0], i[4:3]};
        b           = `B_CACHE;
        to          = `AT_HEADS;
      end
      `STEP_O_PROJ: begin
        from = `AT_HEADS;
        to   = `AT_BRANCH;
      end
      `STEP_ATTN_RESIDUAL, `STEP_MLP_RESIDUAL: begin
        from        = k[0] ? `AT_BRANCH : `AT_HIDDEN;
        from_offset = i;
        b           = `B_CONSTANT;
        to          = `AT_HIDDEN;
      end
      `STEP_GATE_PROJ: to = `AT_GATE;
      `STEP_UP_PROJ: to = `AT_UP;
      `STEP_SWIGLU: begin
        from        = u == 3'd5 ? `AT_UP : `AT_GATE;
        from_offset = i;
        to          = `AT_GATE;
        b           = `B_FUNCTION;
        hold        = 1'b1;
        write       = `W_NONE;
        case (u)
          3'd0: begin
            b         = `B_CONSTANT;
            func = `F_EXP;
          end
          3'd1: a = `A_ONE;
          3'd2: begin
            a         = `A_HELD;
            b         = `B_CONSTANT;
            c         = `C_ONE;
            hold      = 1'b0;
            func = `F_RECIPROCAL;
          end
          3'd3: a = `A_SIGN;
          3'd4: b = `B_HELD;
          default: begin
            b     = `B_HELD;
            write = `W_VECTOR;
          end
        endcase
      end
      `STEP_DOWN_PROJ: begin
        from         = `AT_GATE;
        weight_index = {1'b0, i[4:0], k};
        to           = `AT_BRANCH;
      end
      `STEP_LOGITS: if (k_ends) write = `W_LOGIT;
      default: ;
    endcase
  end

  always @(posedge clk) begin
    x_a          <= a;
    x_b          <= b;
    x_c          <= c;
    x_constant   <= constant;
    x_negate     <= negate;
    x_from_best  <= from_best;
    x_head       <= step == `STEP_LOGITS ? 2'd0 : i[1:0];
    x_first      <= step == `STEP_LOGITS ? i == 7'd0 : i[6:2] == 5'd0;
    x_accumulate <= active && accumulate;
    x_hold       <= active && hold;
    x_function   <= active ? func : `F_NONE;
    x_write      <= active && rst_n ? write : `W_NONE;
    x_step       <= step;
    x_done       <= active && rst_n && step_ends;
    case (write)
      `W_VECTOR: x_address <= {2'd0, {to, 5'd0} | {2'd0, to_offset}};
      `W_CACHE:  x_address <= {step == `STEP_V_PROJ, layer, position, i[3:0]};
      default:   x_address <= {4'd0, i};
    endcase
  end
endmodule
