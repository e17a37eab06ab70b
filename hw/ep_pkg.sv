// Arithmetic primitives and status codes shared by the chip (docs/numerics.md section 1).

package ep_pkg;

  // Status of a response on the host port.
  typedef enum logic [3:0] {
    STATUS_OK           = 4'd0,
    STATUS_BAD_TOKEN    = 4'd1,  // token id is not in the vocabulary
    STATUS_CONTEXT_FULL = 4'd2,  // the sequence already holds the last position
    STATUS_NO_SEQUENCE  = 4'd3   // a token that is not the first, with no sequence open
  } status_e;

  typedef logic signed [63:0] wide_t;

  // rs(x, n): divide by 2^n to nearest, a tie towards plus infinity.
  function automatic wide_t round_shift(input wide_t x, input logic [5:0] n);
    wide_t half;
    half = (n == 6'd0) ? 64'sd0 : (64'sd1 <<< (n - 6'd1));
    return (x + half) >>> n;
  endfunction

  // sat(x, bits): clamp to a two's complement number of `bits` bits.
  function automatic wide_t saturate(input wide_t x, input int unsigned bits);
    wide_t limit;
    limit = 64'sd1 <<< (bits - 32'd1);
    if (x >= limit) return limit - 64'sd1;
    if (x < -limit) return -limit;
    return x;
  endfunction

  // bitlen(x) of a value below 2^63: 0 for 0.
  function automatic logic [6:0] bit_length(input logic [63:0] x);
    logic [63:0] rest;
    logic [6:0] length;
    rest   = x;
    length = 7'd0;
    for (int unsigned i = 0; i < 6; i++) begin
      if ((rest >> (7'd32 >> i)) != 64'd0) begin
        rest   = rest >> (7'd32 >> i);
        length = length + (7'd32 >> i);
      end
    end
    return (rest != 64'd0) ? length + 7'd1 : length;
  endfunction

endpackage
