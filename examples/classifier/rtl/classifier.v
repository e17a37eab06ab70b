// A classifier: 64 signed bytes go in, the number of a class comes out. Three layers of 32, 16 and 10 outputs, computed
// one product after the other (neuron.v) with weights of weights.v. Both ports are AXI4-Streams and may stall at will.
//
// In:  a vector is a packet of 64 beats. A packet of another length is dropped and has no answer.
// Out: a packet of one beat for each vector, the class with the largest sum of the last layer; of equal ones, the first.
// The next vector is taken once the answer was.
module classifier (
  input         aclk,
  input         aresetn,
  input  [ 7:0] s_axis_tdata,
  input         s_axis_tvalid,
  output        s_axis_tready,
  input         s_axis_tlast,
  output [ 7:0] m_axis_tdata,
  output        m_axis_tvalid,
  input         m_axis_tready,
  output        m_axis_tlast
);
  localparam LOAD     = 2'd0;  // takes the elements of a vector
  localparam MULTIPLY = 2'd1;  // adds the products of one output
  localparam STORE    = 2'd2;  // keeps that output
  localparam ANSWER   = 2'd3;  // holds the class until it is taken

  reg [ 1:0] state;
  reg [ 1:0] layer;
  reg [ 4:0] neuron;  // which output of the layer
  reg [10:0] at;      // which weight of the layer
  reg [ 6:0] step;    // which element: of the packet, 64 for all beyond its end, or of the layer's input

  // The layer's shape.
  wire [6:0] inputs      = layer == 2'd0 ? 7'd64 : layer == 2'd1 ? 7'd32 : 7'd16;
  wire [4:0] last_neuron = layer == 2'd0 ? 5'd31 : layer == 2'd1 ? 5'd15 : 5'd9;

  wire take    = s_axis_tvalid && s_axis_tready;
  wire full    = take && s_axis_tlast && step == 7'd63;  // the vector is complete
  wire store   = state == STORE;
  wire last    = neuron == last_neuron;
  wire decided = store && last && layer == 2'd2;         // the class is known

  // Vectors between the layers: two banks, of which a layer reads one and writes the other. The input is in bank 0.
  reg signed [7:0] vectors [0:127];
  reg signed [7:0] operand;
  wire [7:0] activation;

  always @(posedge aclk) begin
    if (take && !step[6]) vectors[{1'b0, step[5:0]}] <= s_axis_tdata;
    if (store) vectors[{~layer[0], 1'b0, neuron}] <= activation;
    operand <= vectors[{layer[0], step[5:0]}];
  end

  wire signed [ 7:0] weight;
  wire signed [31:0] bias;
  wire signed [31:0] sum;
  wire        [ 4:0] shift;

  weights u_weights (
    .clk   (aclk),
    .layer (layer),
    .at    (at),
    .neuron(neuron),
    .weight(weight),
    .bias  (bias),
    .shift (shift)
  );

  // Weight and operand come one step after their address.
  neuron u_neuron (
    .clk       (aclk),
    .clear     (state == MULTIPLY && step == 7'd0),
    .add       (state == MULTIPLY),
    .weight    (weight),
    .operand   (operand),
    .bias      (bias),
    .shift     (shift),
    .sum       (sum),
    .activation(activation)
  );

  // The largest sum of the layer so far, and whose it is: after the last layer, the class.
  reg signed [31:0] largest;
  reg        [ 3:0] class_of_largest;

  wire better = neuron == 5'd0 || sum > largest;
  wire [3:0] winner = better ? neuron[3:0] : class_of_largest;

  always @(posedge aclk)
    if (store) begin
      if (better) largest <= sum;
      class_of_largest <= winner;
    end

  assign s_axis_tready = aresetn && state == LOAD;
  assign m_axis_tvalid = aresetn && state == ANSWER;
  assign m_axis_tdata  = {4'd0, class_of_largest};
  assign m_axis_tlast  = 1'b1;

  always @(posedge aclk)
    if (!aresetn) begin
      state <= LOAD;
      step  <= 7'd0;
    end else case (state)
      LOAD: if (take) begin
        step   <= s_axis_tlast ? 7'd0 : step[6] ? step : step + 7'd1;
        layer  <= 2'd0;
        neuron <= 5'd0;
        at     <= 11'd0;
        if (full) state <= MULTIPLY;
      end
      MULTIPLY: if (step == inputs) begin
        step  <= 7'd0;
        state <= STORE;
      end else begin
        step <= step + 7'd1;
        at   <= at + 11'd1;
      end
      STORE: begin
        neuron <= last ? 5'd0 : neuron + 5'd1;
        if (last) begin
          layer <= layer + 2'd1;
          at    <= 11'd0;
        end
        state <= decided ? ANSWER : MULTIPLY;
      end
      default: if (m_axis_tready) state <= LOAD;
    endcase
endmodule
