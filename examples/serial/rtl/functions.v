`include "serial.vh"

// Functions of a bfloat16 number, by tables; the value is there in the next cycle, and stays. Each value is the
// bfloat16 nearest to the true one.
//   exp         exp(-|x|)
//   reciprocal  1 / x, of 1 to 64
//   rsqrt       1 / sqrt(x), of a positive x
module functions (
  input             clk,
  input      [1:0]  select,
  input      [15:0] x,
  output reg [15:0] value
);
  // exp has an entry for every number from 2^-9 to below 2^7: smaller ones give 1, larger ones 0.
  // The other two hold the fraction of a value between a half and one; entry 0 is of an exact power of two.
  reg [15:0] exp_table        [0:2047];
  reg [6:0]  reciprocal_table [0:127];
  reg [6:0]  rsqrt_table      [0:255];

  initial begin
    $readmemh("tables/exp.hex", exp_table);
    $readmemh("tables/reciprocal.hex", reciprocal_table);
    $readmemh("tables/rsqrt.hex", rsqrt_table);
  end

  localparam [14:0] LEAST = {8'd118, 7'd0}, GREATEST = {8'd134, 7'd0};

  wire [7:0]  exponent = x[14:7];
  wire [6:0]  fraction = x[6:0];
  wire [14:0] entry    = x[14:0] - LEAST;
  wire [7:0]  root     = {!exponent[0], fraction};  // an odd power of two, whose exponent is even by the bias of 127
  wire [8:0]  halved   = (9'd382 - {1'b0, exponent}) >> 1;

  always @(posedge clk)
    case (select)
      `F_EXP:        value <= x[14:0] < LEAST ? `ONE : x[14:0] >= GREATEST ? 16'd0 : exp_table[entry[10:0]];
      `F_RECIPROCAL: value <= {1'b0, 8'd254 - exponent - {7'd0, fraction != 0}, reciprocal_table[fraction]};
      `F_RSQRT:      value <= {1'b0, halved[7:0] - {7'd0, root != 0}, rsqrt_table[root]};
      default: ;
    endcase

  wire unused = &{1'b0, x[15], entry[14:11], halved[8]};
endmodule
