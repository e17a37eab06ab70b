// Causal attention with its key/value cache (docs/numerics.md sections 6 to 8).
//
// All heads at once, one cached position per cycle: scores and their maximum, then softmax weights, their sum and the
// weighted values, then one head per cycle is divided by its sum. Grouped queries share a key/value head.
// Latency: 2 * (pos_i + 1) + Heads + 6 cycles from start_i to busy_o low.
// Handshake: start_i for one cycle while busy_o is low; inputs must hold until busy_o falls; outputs then hold.
// The cache needs no clearing: a position only ever reads rows that its own sequence wrote.

module ep_attention
  import ep_pkg::*;
#(
  parameter int unsigned Heads     = 8,       // query heads
  parameter int unsigned KvHeads   = 4,       // key/value heads; divides Heads
  parameter int unsigned HeadDim   = 8,       // elements of a head
  parameter int unsigned Context   = 512,     // positions of the cache
  parameter int unsigned ActW      = 16,      // bits of q_i and y_o
  parameter int unsigned KvW       = 16,      // bits of k_i, v_i and the cache
  parameter int unsigned Lanes     = 16,      // elements of a block
  parameter int unsigned VBlocks   = 2,       // blocks of v_i
  parameter int unsigned OutBlocks = 4,       // blocks of y_o, padded for the consumer
  parameter logic [15:0] Scale     = 16'h8000,  // SM of section 7
  localparam int unsigned PosW     = (Context > 1) ? $clog2(Context) : 1,
  localparam int unsigned Rows     = 1 << PosW
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,
  input  logic                   start_i,
  output logic                   busy_o,
  input  logic        [    31:0] pos_i,                            // position of this token
  input  logic        [     5:0] softmax_shift_i,
  input  logic        [     5:0] out_shift_i,
  input  logic signed [ActW-1:0] q_i            [    Heads][HeadDim],
  input  logic signed [ KvW-1:0] k_i            [  KvHeads][HeadDim],
  input  logic signed [ KvW-1:0] v_i            [  VBlocks][  Lanes],
  output logic signed [    63:0] scores_o       [     Rows][  Heads],
  output logic signed [    31:0] weights_o      [     Rows][  Heads],
  output logic signed [ActW-1:0] y_o            [OutBlocks][  Lanes]
);

  localparam int unsigned Groups = Heads / KvHeads;
  localparam int unsigned HeadW = (Heads > 1) ? $clog2(Heads) : 1;

  typedef logic signed [KvW-1:0] row_t[KvHeads][HeadDim];
  typedef logic signed [63:0] score_t[Heads];
  typedef logic signed [31:0] weight_t[Heads];
  typedef logic signed [63:0] acc_t[Heads][HeadDim];
  typedef logic signed [ActW-1:0] head_t[HeadDim];

  row_t k_cache[Rows];
  row_t v_cache[Rows];

  typedef enum logic [2:0] {
    Idle,
    Write,
    Score,
    Weigh,
    Divide,
    Drain
  } state_e;

  state_e state_q;
  logic [PosW-1:0] t_q;
  logic [HeadW-1:0] head_q;
  logic last_t;
  logic divide_busy;  // a head is in the stages behind Divide
  score_t max_q;
  score_t sum_q;
  acc_t acc_q;

  assign last_t = 32'(t_q) == pos_i;
  assign busy_o = state_q != Idle;

  function automatic row_t v_row();
    for (int unsigned h = 0; h < KvHeads; h++) begin
      for (int unsigned d = 0; d < HeadDim; d++) begin
        v_row[h][d] = v_i[(h*HeadDim+d)/Lanes][(h*HeadDim+d)%Lanes];
      end
    end
  endfunction

  function automatic score_t score(input logic [PosW-1:0] t);
    for (int unsigned h = 0; h < Heads; h++) begin
      logic signed [63:0] sum;
      sum = '0;
      for (int unsigned d = 0; d < HeadDim; d++) begin
        sum += 64'(q_i[h][d]) * 64'(k_cache[t][h/Groups][d]);
      end
      score[h] = sum;
    end
  endfunction

  function automatic score_t larger(input score_t a, input score_t b, input logic first);
    for (int unsigned h = 0; h < Heads; h++) begin
      larger[h] = (first || b[h] > a[h]) ? b[h] : a[h];
    end
  endfunction

  // Section 7.1.
  function automatic logic signed [31:0] exp2n(input logic [63:0] z);
    logic [5:0] n;
    wide_t upper, lower, t;
    n = ((z >> 16) > 64'd31) ? 6'd31 : 6'(z >> 16);
    upper = 64'(ep_tables_pkg::EXP2[8'(z[15:9])]);
    lower = 64'(ep_tables_pkg::EXP2[8'(z[15:9])+8'd1]);
    t = upper - round_shift((upper - lower) * 64'(z[8:0]), 6'd9);
    return 32'(round_shift(t, n + 6'd4));
  endfunction

  function automatic weight_t weight(input logic [PosW-1:0] t);
    for (int unsigned h = 0; h < Heads; h++) begin
      wide_t below;
      below = max_q[h] - scores_o[t][h];
      weight[h] = exp2n(64'(round_shift(below * 64'(Scale), softmax_shift_i)));
    end
  endfunction

  function automatic score_t summed(input score_t sum, input weight_t w);
    for (int unsigned h = 0; h < Heads; h++) summed[h] = sum[h] + 64'(w[h]);
  endfunction

  function automatic acc_t weighted(input acc_t acc, input weight_t w, input logic [PosW-1:0] t);
    for (int unsigned h = 0; h < Heads; h++) begin
      for (int unsigned d = 0; d < HeadDim; d++) begin
        weighted[h][d] = acc[h][d] + 64'(w[h]) * 64'(v_cache[t][h/Groups][d]);
      end
    end
  endfunction

  weight_t weights;
  assign weights = weight(t_q);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= Idle;
      t_q <= '0;
      head_q <= '0;
    end else begin
      unique case (state_q)
        Idle: if (start_i) state_q <= Write;
        Write: state_q <= Score;
        Score, Weigh: begin
          t_q <= last_t ? '0 : t_q + 1'b1;
          if (last_t) state_q <= (state_q == Score) ? Weigh : Divide;
        end
        Divide: begin
          head_q <= (32'(head_q) == Heads - 1) ? '0 : head_q + 1'b1;
          if (32'(head_q) == Heads - 1) state_q <= Drain;
        end
        Drain: if (!divide_busy) state_q <= Idle;
        default: state_q <= Idle;
      endcase
    end
  end

  always_ff @(posedge clk_i) begin
    unique case (state_q)
      Write: begin
        k_cache[PosW'(pos_i)] <= k_i;
        v_cache[PosW'(pos_i)] <= v_row();
        for (int unsigned h = 0; h < Heads; h++) begin
          sum_q[h] <= '0;
          for (int unsigned d = 0; d < HeadDim; d++) acc_q[h][d] <= '0;
        end
      end
      Score: begin
        scores_o[t_q] <= score(t_q);
        max_q <= larger(max_q, score(t_q), t_q == '0);
      end
      Weigh: begin
        weights_o[t_q] <= weights;
        sum_q <= summed(sum_q, weights);
        acc_q <= weighted(acc_q, weights, t_q);
      end
      default: ;
    endcase
  end

  // Section 8: three stages behind Divide, one head per cycle.
  logic seed_valid_q, refine_valid_q, scale_valid_q;
  logic [HeadW-1:0] seed_head_q, refine_head_q, scale_head_q;
  logic [31:0] seed_mantissa_q, refine_mantissa_q;
  logic [63:0] seed_y_q, refine_y_q, scale_y_q;
  logic [6:0] seed_length_q, refine_length_q, scale_length_q;
  logic signed [ActW-1:0] heads_q[Heads][HeadDim];

  assign divide_busy = seed_valid_q || refine_valid_q || scale_valid_q;

  function automatic logic [63:0] refined(input logic [63:0] y, input logic [31:0] m);
    return (y * ((64'd2 << 28) - ((64'(m) * y) >> 32))) >> 28;
  endfunction

  function automatic head_t divided(input logic [HeadW-1:0] head, input logic [63:0] y,
                                    input logic [6:0] length);
    for (int unsigned d = 0; d < HeadDim; d++) begin
      wide_t reduced;
      reduced = round_shift(acc_q[head][d], 6'(length - 7'd18));
      divided[d] = ActW'(saturate(round_shift(reduced * wide_t'(y), out_shift_i), ActW));
    end
  endfunction

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      seed_valid_q   <= 1'b0;
      refine_valid_q <= 1'b0;
      scale_valid_q  <= 1'b0;
    end else begin
      seed_valid_q   <= state_q == Divide;
      refine_valid_q <= seed_valid_q;
      scale_valid_q  <= refine_valid_q;
    end
  end

  logic [31:0] mantissa;  // M of section 8.1
  logic [6:0] sum_length;

  always_comb begin
    sum_length = bit_length(sum_q[head_q]);
    if (sum_length <= 7'd32) mantissa = 32'(sum_q[head_q] << (7'd32 - sum_length));
    else mantissa = 32'(sum_q[head_q] >> (sum_length - 7'd32));
  end

  always_ff @(posedge clk_i) begin
    if (state_q == Divide) begin
      seed_head_q <= head_q;
      seed_mantissa_q <= mantissa;
      seed_length_q <= sum_length;
      seed_y_q <= 64'(ep_tables_pkg::RECIP[mantissa[30:24]]) << 14;
    end
    if (seed_valid_q) begin
      refine_head_q <= seed_head_q;
      refine_mantissa_q <= seed_mantissa_q;
      refine_length_q <= seed_length_q;
      refine_y_q <= refined(seed_y_q, seed_mantissa_q);
    end
    if (refine_valid_q) begin
      scale_head_q <= refine_head_q;
      scale_length_q <= refine_length_q;
      scale_y_q <= refined(refine_y_q, refine_mantissa_q);
    end
    if (scale_valid_q) heads_q[scale_head_q] <= divided(scale_head_q, scale_y_q, scale_length_q);
  end

  always_comb begin
    for (int unsigned b = 0; b < OutBlocks; b++) begin
      for (int unsigned i = 0; i < Lanes; i++) begin
        y_o[b][i] = '0;
        if (b * Lanes + i < Heads * HeadDim) begin
          y_o[b][i] = heads_q[(b*Lanes+i)/HeadDim][(b*Lanes+i)%HeadDim];
        end
      end
    end
  end

endmodule
