// RMSNorm of N signed 16-bit elements, one at a time: y = x * gain / (isqrt(mean(x^2)) + 1), rounded towards zero.
// Verilog-2005, with a memory for x and one for the gains, as many designs have it. Gains have 12 fraction bits.
module rmsnorm #(parameter N = 16, parameter LOG2N = 4) (
  input                    clk,
  input                    rst_n,
  input                    in_valid,
  output                   in_ready,
  input      signed [15:0] x,
  output                   we,      // an element of y is written
  output reg  [LOG2N-1:0]  addr,    // which one
  output     signed [15:0] y
);
  localparam LOAD = 2'd0, ROOT = 2'd1, SCALE = 2'd2;

  reg [1:0] state;
  reg signed [15:0] held [0:N-1];
  reg signed [15:0] gain [0:N-1];
  reg [35:0] sum;
  reg [15:0] root;
  reg [4:0]  step;

  wire signed [31:0] square = x * x;
  wire [31:0] mean  = sum[LOG2N+:32];
  wire [15:0] trial = root | (16'd1 << step);
  wire signed [47:0] product = held[addr] * gain[addr];
  wire signed [47:0] ratio   = product / $signed({32'd0, root + 16'd1});

  initial $readmemh("gains.hex", gain);

  assign in_ready = state == LOAD;
  assign we = state == SCALE;
  assign y = ratio > 32767 ? 16'sd32767 : ratio < -32768 ? -16'sd32768 : ratio[15:0];

  always @(posedge clk or negedge rst_n)
    if (!rst_n) begin
      state <= LOAD;
      addr  <= 0;
      sum   <= 0;
    end else case (state)
      LOAD: if (in_valid) begin
        held[addr] <= x;
        sum  <= sum + {4'd0, square};
        addr <= addr + 1'b1;
        root <= 0;
        step <= 15;
        if (&addr) state <= ROOT;
      end
      ROOT: begin
        if (trial * trial <= mean) root <= trial;
        step <= step - 1'b1;
        if (step == 0) state <= SCALE;
      end
      default: begin
        addr <= addr + 1'b1;
        sum  <= 0;
        if (&addr) state <= LOAD;
      end
    endcase
endmodule
