// Greedy token: the lowest index among the largest logits (docs/numerics.md section 11). One block per cycle.
//
// Latency: Blocks + 1 cycles from start_i to busy_o low.
// Handshake: start_i for one cycle while busy_o is low; logits_i must hold until busy_o falls; token_o then holds.

module ep_argmax #(
  parameter int unsigned Vocab  = 512,  // logits
  parameter int unsigned Lanes  = 16,   // logits per block
  parameter int unsigned LogitW = 16,   // bits of a logit
  localparam int unsigned Blocks = (Vocab + Lanes - 1) / Lanes
) (
  input  logic                     clk_i,
  input  logic                     rst_ni,
  input  logic                     start_i,
  output logic                     busy_o,
  input  logic signed [LogitW-1:0] logits_i[Blocks][Lanes],
  output logic        [      31:0] token_o  // index of the largest
);

  localparam int unsigned BlockW = (Blocks > 1) ? $clog2(Blocks) : 1;

  logic [BlockW-1:0] block_q;
  logic signed [LogitW-1:0] best_q, best_d;
  logic [31:0] token_d;

  always_comb begin
    best_d  = best_q;
    token_d = token_o;
    for (int unsigned i = 0; i < Lanes; i++) begin
      int unsigned index;
      index = 32'(block_q) * Lanes + i;
      if (index < Vocab && (index == 0 || logits_i[block_q][i] > best_d)) begin
        best_d  = logits_i[block_q][i];
        token_d = index;
      end
    end
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      busy_o  <= 1'b0;
      block_q <= '0;
    end else if (start_i && !busy_o) begin
      busy_o  <= 1'b1;
      block_q <= '0;
    end else if (busy_o) begin
      block_q <= block_q + 1'b1;
      busy_o  <= 32'(block_q) != Blocks - 1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (busy_o) begin
      best_q  <= best_d;
      token_o <= token_d;
    end
  end

endmodule
