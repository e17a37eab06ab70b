`include "serial.vh"

// The arithmetic: one multiplier and one adder, one operation in each cycle. sum = c + a * b, in float32; rounded to
// bfloat16 it can be held, be written, or be the argument of a function.
module datapath (
  input         clk,
  input  [15:0] vector,
  input  [15:0] weight,
  input  [15:0] cached,
  input  [31:0] score,
  input  [1:0]  x_a,
  input  [2:0]  x_b,
  input  [2:0]  x_c,
  input  [15:0] x_constant,
  input         x_negate,
  input         x_from_best,
  input  [1:0]  x_head,
  input         x_first,
  input         x_accumulate,
  input         x_hold,
  input  [1:0]  x_function,
  input  [2:0]  x_write,
  input  [10:0] x_address,
  output [31:0] sum,
  output [15:0] rounded,
  output reg [6:0] winner  // number of the greatest logit so far, the first of equal ones
);
  reg [31:0] accumulator;
  reg [15:0] held;
  reg        negative;      // the last argument of exp was
  reg [31:0] best [0:3];    // the greatest score of each head; of the logits, the first
  wire [15:0] value;

  reg [15:0] a, b;
  reg [31:0] c;
  always @* begin
    case (x_a)
      `A_VECTOR: a = vector;
      `A_HELD:   a = held;
      `A_ONE:    a = `ONE;
      default:   a = negative ? held : `ONE;
    endcase
    case (x_b)
      `B_WEIGHT:   b = weight;
      `B_CACHE:    b = cached;
      `B_VECTOR:   b = vector;
      `B_HELD:     b = held;
      `B_FUNCTION: b = value;
      default:     b = x_constant;
    endcase
    case (x_c)
      `C_ZERO:  c = 32'd0;
      `C_SUM:   c = accumulator;
      `C_SCORE: c = score;
      `C_ONE:   c = {`ONE, 16'd0};
      default:  c = {`EPSILON, 16'd0};
    endcase
  end

  wire [31:0] product;
  bf16_multiply u_multiply (.a(a), .b(b), .product(product));

  wire [31:0] greatest = best[x_head];
  wire [31:0] term = x_from_best ? {!greatest[31], greatest[30:0]} : {product[31] ^ x_negate, product[30:0]};
  f32_add u_add (.a(c), .b(term), .sum(sum));

  // To the nearest bfloat16, a tie to the even one.
  assign rounded = sum[31:16] + {15'd0, sum[15] && (sum[16] || sum[14:0] != 0)};

  functions u_functions (.clk(clk), .select(x_function), .x(rounded), .value(value));

  // Integers in the order of the numbers.
  wire [31:0] sum_order  = sum[31] ? ~sum : {1'b1, sum[30:0]};
  wire [31:0] best_order = greatest[31] ? ~greatest : {1'b1, greatest[30:0]};
  wire        compare    = x_write == `W_SCORE || x_write == `W_LOGIT;

  always @(posedge clk) begin
    if (x_accumulate) accumulator <= sum;
    if (x_hold) held <= rounded;
    if (x_function == `F_EXP) negative <= rounded[15];
    if (compare && (x_first || sum_order > best_order)) begin
      best[x_head] <= sum;
      winner       <= x_address[6:0];
    end
  end

  wire unused = &{1'b0, x_address[10:7]};
endmodule
