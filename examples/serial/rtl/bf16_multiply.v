// The exact product of two bfloat16 numbers, as float32. A number whose exponent is 0 is zero; a product below the
// least normal float32 is zero. The caller keeps products below the greatest. Combinational.
module bf16_multiply (
  input  [15:0] a,
  input  [15:0] b,
  output [31:0] product
);
  wire [15:0] fraction = {8'd0, 1'b1, a[6:0]} * {8'd0, 1'b1, b[6:0]};  // 1.0 to below 4.0, with 14 fraction bits
  wire        carry    = fraction[15];
  // With a bias of 2 * 127; signed, since it can lie below the least.
  wire signed [10:0] exponent = $signed({3'd0, a[14:7]}) + $signed({3'd0, b[14:7]}) + $signed({10'd0, carry}) - 11'sd127;
  wire        zero     = a[14:7] == 0 || b[14:7] == 0 || exponent <= 0;

  assign product = zero ? 32'd0 : {
    a[15] ^ b[15], exponent[7:0], carry ? {fraction[14:0], 8'd0} : {fraction[13:0], 9'd0}
  };
endmodule
