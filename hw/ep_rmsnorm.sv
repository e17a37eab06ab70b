// RMSNorm over a residual vector (docs/numerics.md section 3).
//
// Three passes over the blocks (largest magnitude, sum of squares, scaling) and a reciprocal square root between.
// Latency: 3 * Blocks + 4 cycles from start_i to busy_o low. Lanes beyond the vector must be zero in r_i.
// Handshake: start_i for one cycle while busy_o is low; r_i must hold until busy_o falls; y_o then holds.

module ep_rmsnorm
  import ep_pkg::*;
#(
`ifndef SYNTHESIS
  parameter string       Name      = "norm",     // image NAME.gains
`endif
  parameter int unsigned Blocks    = 4,          // blocks of r_i
  parameter int unsigned Lanes     = 16,         // elements of a block
  parameter int unsigned ActW      = 16,         // bits of an output
  parameter logic [62:0] Epsilon   = 63'd0,      // E: size * eps with 32 fractional bits
  parameter int unsigned OutBlocks = 4,          // blocks of y_o, padded for the consumer
  parameter int unsigned FirstRom  = 0           // number of the ROM of gains
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,
`ifndef SYNTHESIS
  input  logic                   load_i,   // a rising edge loads the image
  input  logic signed [    31:0] layer_i,  // which layer's image; -1 outside the layers
`endif
  input  logic                   start_i,
  output logic                   busy_o,
  input  logic        [     5:0] shift_i,
  input  logic signed [    31:0] r_i    [   Blocks][Lanes],
  output logic signed [ActW-1:0] y_o    [OutBlocks][Lanes],
  // ROM test, for the stage's ep_rom_station: what was read at the last edge, 0 of another's ROM.
  input  logic                   rom_clk_i,
  input  rom_read_t              rom_read_i,
  output logic        [    31:0] rom_slice_o
);

  localparam int unsigned BlockW = (Blocks > 1) ? $clog2(Blocks) : 1;
  localparam int unsigned LaneW = $clog2(Lanes);
  // The output may have more blocks than the vector: padding.
  localparam int unsigned OutIndexW = (OutBlocks > 1) ? $clog2(OutBlocks) : 1;

  typedef logic signed [ActW-1:0] y_t[Lanes];

  logic signed [15:0] gains[1<<BlockW][Lanes];

`ifndef SYNTHESIS
  always @(posedge load_i) ep_rom_pkg::load_table(layer_i, {Name, ".gains"}, gains);
`endif

  typedef enum logic [2:0] {
    Idle,
    Largest,
    Squares,
    Seed,
    Refine0,
    Refine1,
    Scale
  } state_e;

  state_e state_q;
  logic [BlockW-1:0] block_q;
  logic last_block;
  logic [31:0] largest_q;  // largest magnitude
  logic [63:0] sum_q;  // v of section 3
  logic [5:0] norm_shift;  // s of section 3
  logic [31:0] mantissa_q;
  logic [63:0] y_q;  // reciprocal square root, 28 fractional bits
  logic [5:0] half_n_q;  // n / 2

  assign last_block = 32'(block_q) == Blocks - 1;
  assign busy_o = state_q != Idle;

  always_comb begin
    logic [6:0] length;
    length = bit_length(64'(largest_q));
    norm_shift = (length > 7'd24) ? 6'(length - 7'd24) : 6'd0;
  end

  function automatic logic [31:0] block_largest(input logic [BlockW-1:0] block);
    block_largest = '0;
    for (int unsigned i = 0; i < Lanes; i++) begin
      logic [31:0] magnitude;
      magnitude = (r_i[block][i] < 0) ? 32'(-r_i[block][i]) : 32'(r_i[block][i]);
      if (magnitude > block_largest) block_largest = magnitude;
    end
  endfunction

  function automatic logic [63:0] block_squares(input logic [BlockW-1:0] block);
    block_squares = '0;
    for (int unsigned i = 0; i < Lanes; i++) begin
      wide_t q;
      q = round_shift(64'(r_i[block][i]), norm_shift);
      block_squares += 64'(q * q);
    end
  endfunction

  function automatic y_t block_scaled(input logic [BlockW-1:0] block);
    for (int unsigned i = 0; i < Lanes; i++) begin
      wide_t q, u;
      q = round_shift(64'(r_i[block][i]), norm_shift);
      u = round_shift(q * wide_t'(y_q), half_n_q - 6'd1);
      block_scaled[i] = ActW'(saturate(round_shift(u * 64'(gains[block][i]), shift_i), ActW));
    end
  endfunction

  // Section 3.1.
  logic [63:0] v, refined;
  logic [31:0] seed_mantissa;  // M
  logic [6:0] even_length;

  always_comb begin
    logic [6:0] length;
    v = sum_q + (64'(Epsilon) >> {norm_shift, 1'b0});
    if (v == 64'd0) v = 64'd1;
    length = bit_length(v);
    even_length = length + 7'(length[0]);
    if (even_length <= 7'd32) seed_mantissa = 32'(v << (7'd32 - even_length));
    else seed_mantissa = 32'(v >> (even_length - 7'd32));
  end

  always_comb begin
    logic [63:0] square, product;
    square  = (y_q * y_q) >> 28;
    product = (64'(mantissa_q) * square) >> 32;
    refined = (y_q * ((64'd3 << 28) - product)) >> 29;
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= Idle;
      block_q <= '0;
    end else begin
      unique case (state_q)
        Idle: if (start_i) state_q <= Largest;
        Largest, Squares, Scale: begin
          block_q <= last_block ? '0 : block_q + 1'b1;
          if (last_block) begin
            state_q <= (state_q == Largest) ? Squares : (state_q == Squares) ? Seed : Idle;
          end
        end
        Seed: state_q <= Refine0;
        Refine0: state_q <= Refine1;
        Refine1: state_q <= Scale;
        default: state_q <= Idle;
      endcase
    end
  end

  always_ff @(posedge clk_i) begin
    unique case (state_q)
      Idle: begin
        largest_q <= '0;
        sum_q <= '0;
      end
      Largest: if (block_largest(block_q) > largest_q) largest_q <= block_largest(block_q);
      Squares: sum_q <= sum_q + block_squares(block_q);
      Seed: begin
        mantissa_q <= seed_mantissa;
        half_n_q <= 6'(even_length >> 1);
        y_q <= 64'(ep_tables_pkg::RSQRT[8'(seed_mantissa[31:24]-8'd64)]) << 14;
      end
      Refine0, Refine1: y_q <= refined;
      Scale: y_o[OutIndexW'(block_q)] <= block_scaled(block_q);
      default: ;
    endcase
  end

  // ROM test: two gains.
  function automatic logic [31:0] rom_slice();
    for (int unsigned i = 0; i < 2; i++) begin
      rom_slice[16*i+:16] = gains[BlockW'(rom_read_i.word)][LaneW'(32'(rom_read_i.slice)*2+i)];
    end
  endfunction

  logic unused_rom_read;
  assign unused_rom_read = ^rom_read_i;  // the ROM has fewer words and slices

  always_ff @(posedge rom_clk_i) begin
    if (rom_read_i.on) begin
      rom_slice_o <= (32'(rom_read_i.rom) == FirstRom) ? rom_slice() : '0;
    end
  end

endmodule
