// The sum of two float32 numbers, rounded to the nearest, a tie to the even one. A number whose exponent is 0 is zero,
// whatever its sign; a sum below the least normal number is zero, and zero is positive. Infinities and NaNs are never
// operands: the caller keeps sums below the greatest number. Combinational.
module f32_add (
  input  [31:0] a,
  input  [31:0] b,
  output [31:0] sum
);
  wire        swap  = b[30:0] > a[30:0];
  wire [31:0] big   = swap ? b : a;
  wire [30:0] less  = swap ? a[30:0] : b[30:0];

  // 24 bits with the leading one, then three more: guard, round, and whether anything lies below them.
  wire [26:0] big_bits  = big[30:23] != 0 ? {1'b1, big[22:0], 3'd0} : 27'd0;
  wire [7:0]  distance  = big[30:23] - less[30:23];
  wire [4:0]  places    = distance > 31 ? 5'd31 : distance[4:0];
  wire [53:0] shifted   = (less[30:23] != 0 ? {1'b1, less[22:0], 30'd0} : 54'd0) >> places;
  wire [26:0] less_bits = {shifted[53:28], |shifted[27:0]};

  wire        subtract = a[31] ^ b[31];
  wire [27:0] total    = subtract ? {1'b0, big_bits} - {1'b0, less_bits} : {1'b0, big_bits} + {1'b0, less_bits};

  // The leading one goes to bit 27, in steps of 16, 8, 4, 2, 1 places.
  wire [27:0] by16 = total[27:12] == 0 ? {total[11:0], 16'd0} : total;
  wire [27:0] by8  = by16[27:20] == 0 ? {by16[19:0], 8'd0} : by16;
  wire [27:0] by4  = by8[27:24] == 0 ? {by8[23:0], 4'd0} : by8;
  wire [27:0] by2  = by4[27:26] == 0 ? {by4[25:0], 2'd0} : by4;
  wire [27:0] by1  = by2[27] ? by2 : {by2[26:0], 1'b0};
  wire [4:0]  moved = {total[27:12] == 0, by16[27:20] == 0, by8[27:24] == 0, by4[27:26] == 0, !by2[27]};

  wire        up       = by1[3] && (by1[4] || by1[2:0] != 0);
  wire [24:0] fraction = {1'b0, by1[27:4]} + {24'd0, up};
  // Bit 27 is one place above the leading one of the larger operand.
  wire signed [9:0] normal   = $signed({2'd0, big[30:23]}) + 10'sd1 - $signed({5'd0, moved});
  wire signed [9:0] exponent = normal + $signed({9'd0, fraction[24]});

  // A sum that lies below the least normal number is exact, so that rounding cannot lift it.
  assign sum = !by1[27] || normal <= 0 ? 32'd0 : {big[31], exponent[7:0], fraction[24] ? 23'd0 : fraction[22:0]};

  wire unused = &{1'b0, exponent[9:8], fraction[23]};
endmodule
