// The weights of the three layers: memories that are read at each clock edge. What they hold is no part of the chip's logic.
//
// A layer's weights lie row by row, a row for each output; `at` counts through them. Weights and biases are in two's
// complement. A shift is 0 to 31; the last layer has none.
module weights (
  input                    clk,
  input             [ 1:0] layer,
  input             [10:0] at,      // which weight of the layer
  input             [ 4:0] neuron,  // which output of the layer
  output reg signed [ 7:0] weight,  // one clock edge after its address, as are the others
  output reg signed [31:0] bias,
  output reg        [ 4:0] shift
);
  reg signed [ 7:0] layer0 [0:32*64-1];
  reg signed [ 7:0] layer1 [0:16*32-1];
  reg signed [ 7:0] layer2 [0:10*16-1];
  reg signed [31:0] bias0  [0:31];
  reg signed [31:0] bias1  [0:15];
  reg signed [31:0] bias2  [0:9];
  reg        [ 4:0] shifts [0:1];

  initial begin
    $readmemh("weights/layer0.hex", layer0);
    $readmemh("weights/layer1.hex", layer1);
    $readmemh("weights/layer2.hex", layer2);
    $readmemh("weights/bias0.hex", bias0);
    $readmemh("weights/bias1.hex", bias1);
    $readmemh("weights/bias2.hex", bias2);
    $readmemh("weights/shifts.hex", shifts);
  end

  always @(posedge clk) begin
    shift <= shifts[layer[0]];
    case (layer)
      2'd0: begin
        weight <= layer0[at];
        bias   <= bias0[neuron];
      end
      2'd1: begin
        weight <= layer1[at[8:0]];
        bias   <= bias1[neuron[3:0]];
      end
      default: begin
        weight <= layer2[at[7:0]];
        bias   <= bias2[neuron[3:0]];
      end
    endcase
  end
endmodule
