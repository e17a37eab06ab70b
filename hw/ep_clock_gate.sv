// Clock gates: latch and AND. A bit of clk_o follows clk_i while its enable was high before the rising edge.
//
// The gates of all layers are one instance: a simulator evaluates one latch instead of one in every idle layer.

module ep_clock_gate #(
  parameter int unsigned Clocks = 1
) (
  input  logic              clk_i,
  input  logic [Clocks-1:0] en_i,   // sampled while clk_i is low
  output logic [Clocks-1:0] clk_o
);

  logic [Clocks-1:0] en_q;

  always_latch begin
    if (!clk_i) en_q = en_i;
  end

  assign clk_o = {Clocks{clk_i}} & en_q;

endmodule
