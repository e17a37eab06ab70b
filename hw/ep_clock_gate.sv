// Clock gate: latch and AND. clk_o follows clk_i while the enable was high before the rising edge.

module ep_clock_gate (
  input  logic clk_i,
  input  logic en_i,   // sampled while clk_i is low
  output logic clk_o
);

  logic en_q;

  always_latch begin
    if (!clk_i) en_q = en_i;
  end

  assign clk_o = clk_i & en_q;

endmodule
