// The taps of the classifier, bound to it: its RTL has nothing of them. They see its signals by their names.
module taps;
  logic [31:0] number;  // of the vector since reset
  always_ff @(posedge classifier.aclk)
    if (!classifier.aresetn) number <= '0;
    else if (classifier.m_axis_tvalid && classifier.m_axis_tready) number <= number + 1;

  ep_tap_port #(.Name("input"), .Size(64), .Width(8), .AddrW(7)) u_input (
    .clk_i(classifier.aclk), .we_i(classifier.take), .addr_i(classifier.step), .data_i(classifier.s_axis_tdata),
    .base_i('0), .size_i(64), .done_i(classifier.full), .layer_i('1), .pos_i(number)
  );

  // An output of a layer is stored. Before the reset, any state may look like that.
  wire store = classifier.aresetn && classifier.store;
  wire done = store && classifier.last;
  wire [31:0] size = 32'(classifier.last_neuron) + 1;

  ep_tap_port #(.Name("acc"), .Size(32), .Width(32), .AddrW(5)) u_acc (
    .clk_i(classifier.aclk), .we_i(store), .addr_i(classifier.neuron), .data_i(classifier.sum),
    .base_i('0), .size_i(size), .done_i(done), .layer_i(32'(classifier.layer)), .pos_i(number)
  );

  ep_tap_port #(.Name("act"), .Size(32), .Width(8), .AddrW(5)) u_act (
    .clk_i(classifier.aclk), .we_i(store), .addr_i(classifier.neuron), .data_i(classifier.activation),
    .base_i('0), .size_i(size), .done_i(done && !classifier.decided), .layer_i(32'(classifier.layer)), .pos_i(number)
  );

  ep_tap_packed #(.Name("class"), .Size(1), .Width(8)) u_class (
    .clk_i(classifier.aclk), .valid_i(done && classifier.decided), .layer_i('1), .pos_i(number),
    .count_i(1), .data_i(8'(classifier.winner))
  );
endmodule

bind classifier taps u_taps ();
