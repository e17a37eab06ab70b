`include "serial.vh"

// A language model on one multiplier and one adder: a token goes in over one AXI4-Stream, the token that the model
// finds likeliest to follow comes out over another. Each token is a packet of one beat. tuser marks the first token of
// a sequence. A sequence has at most 32 tokens; no token is taken while another one is in the chip.
module serial (
  input         aclk,
  input         aresetn,
  input  [15:0] s_axis_tdata,
  input         s_axis_tuser,
  input         s_axis_tvalid,
  output        s_axis_tready,
  input         s_axis_tlast,
  output [15:0] m_axis_tdata,
  output        m_axis_tvalid,
  input         m_axis_tready,
  output        m_axis_tlast
);
  localparam IDLE = 2'd0, RUN = 2'd1, ANSWER = 2'd2;

  reg [1:0] state;
  reg [6:0] token;
  reg [4:0] position;

  assign s_axis_tready = state == IDLE && aresetn;
  wire   take          = s_axis_tvalid && s_axis_tready;

  // Of the operation that was issued in the cycle before.
  wire [1:0]  x_a, x_head, x_function;
  wire [2:0]  x_b, x_c, x_write;
  wire [15:0] x_constant, rounded;
  wire        x_negate, x_from_best, x_first, x_accumulate, x_hold, x_done;
  wire [10:0] x_address;
  wire [4:0]  x_step;
  wire [31:0] sum;
  wire [6:0]  winner;

  always @(posedge aclk)
    if (!aresetn) begin
      state    <= IDLE;
      position <= 5'd0;
    end else
      case (state)
        IDLE: if (take) begin
          state    <= RUN;
          token    <= s_axis_tdata[6:0];
          position <= s_axis_tuser ? 5'd0 : position + 5'd1;
        end
        RUN: if (x_done && x_step == `STEP_LOGITS) state <= ANSWER;
        default: if (m_axis_tready) state <= IDLE;
      endcase

  assign m_axis_tdata  = {9'd0, winner};
  assign m_axis_tvalid = state == ANSWER;
  assign m_axis_tlast  = 1'b1;

  wire       active, layer, k_ends, step_ends;
  wire [4:0] step;
  wire [6:0] i;
  wire [1:0] phase;
  wire [5:0] k;
  wire [2:0] u;
  sequencer u_sequencer (
    .clk(aclk), .rst_n(aresetn), .start(take), .position(position),
    .active(active), .layer(layer), .step(step), .i(i), .phase(phase), .k(k), .u(u),
    .k_ends(k_ends), .step_ends(step_ends)
  );

  wire [8:0]  vector_address;
  wire [11:0] weight_index;
  wire [10:0] cache_address;
  wire [6:0]  score_address;
  control u_control (
    .clk(aclk), .rst_n(aresetn), .active(active), .layer(layer), .step(step), .i(i), .phase(phase), .k(k), .u(u),
    .k_ends(k_ends), .step_ends(step_ends), .position(position), .token(token),
    .vector_address(vector_address), .weight_index(weight_index),
    .cache_address(cache_address), .score_address(score_address),
    .x_a(x_a), .x_b(x_b), .x_c(x_c), .x_constant(x_constant), .x_negate(x_negate), .x_from_best(x_from_best),
    .x_head(x_head), .x_first(x_first), .x_accumulate(x_accumulate), .x_hold(x_hold), .x_function(x_function),
    .x_write(x_write), .x_address(x_address), .x_step(x_step), .x_done(x_done)
  );

  wire [15:0] vector, weight, cached;
  wire [31:0] score;
  weights u_weights (.clk(aclk), .step(step), .layer(layer), .index(weight_index), .number(weight));
  memory #(.WIDTH(16), .ADDRESS(9)) u_vectors (
    .clk(aclk), .write(x_write == `W_VECTOR), .write_address(x_address[8:0]), .write_data(rounded),
    .read_address(vector_address), .read_data(vector)
  );
  memory #(.WIDTH(16), .ADDRESS(11)) u_cache (
    .clk(aclk), .write(x_write == `W_CACHE), .write_address(x_address), .write_data(rounded),
    .read_address(cache_address), .read_data(cached)
  );
  memory #(.WIDTH(32), .ADDRESS(7)) u_scores (
    .clk(aclk), .write(x_write == `W_SCORE), .write_address(x_address[6:0]), .write_data(sum),
    .read_address(score_address), .read_data(score)
  );

  datapath u_datapath (
    .clk(aclk), .vector(vector), .weight(weight), .cached(cached), .score(score),
    .x_a(x_a), .x_b(x_b), .x_c(x_c), .x_constant(x_constant), .x_negate(x_negate), .x_from_best(x_from_best),
    .x_head(x_head), .x_first(x_first), .x_accumulate(x_accumulate), .x_hold(x_hold), .x_function(x_function),
    .x_write(x_write), .x_address(x_address),
    .sum(sum), .rounded(rounded), .winner(winner)
  );

  wire unused = &{1'b0, s_axis_tdata[15:7], s_axis_tlast};
endmodule
