// One output of a layer: the sum of products with the chip's only multiplier, and what becomes of it.
//
//   sum        = bias + the products that were added since `clear`, in 32 bits, which wrap
//   activation = sum / 2^shift, rounded to the nearest integer, a half upwards; below 0 it is 0, above 127 it is 127
module neuron (
  input                clk,
  input                clear,   // at a clock edge: begin with no product
  input                add,     // at a clock edge: add weight * operand
  input  signed [ 7:0] weight,
  input  signed [ 7:0] operand,
  input  signed [31:0] bias,
  input         [ 4:0] shift,
  output signed [31:0] sum,
  output        [ 7:0] activation
);
  reg signed [31:0] products;

  wire signed [31:0] product = weight * operand;
  wire signed [32:0] wide    = {sum[31], sum};  // a bit more, so that rounding cannot overflow
  wire signed [32:0] half    = (33'sd1 <<< shift) >>> 1;
  wire signed [32:0] rounded = (wide + half) >>> shift;

  assign sum = products + bias;
  assign activation = rounded[32] ? 8'd0 : |rounded[31:7] ? 8'd127 : rounded[7:0];

  always @(posedge clk)
    if (clear) products <= 32'sd0;
    else if (add) products <= products + product;
endmodule
