module counter_taps;
  ep_tap_packed #(.Name("next"), .Size(1), .Width(8)) u_next (
    .clk_i(counter.clk), .valid_i(counter.rst_n && counter.wait_ == 1), .layer_i('1), .pos_i(32'(counter.position)),
    .count_i(1), .data_i(counter.next)
  );
endmodule
bind counter counter_taps u_taps ();
