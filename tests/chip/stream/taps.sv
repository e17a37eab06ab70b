module echo_taps;
  wire take = echo.answering && echo.y_valid && echo.y_ready;

  ep_tap_port #(.Name("sum"), .Size(4), .Width(8), .AddrW(2)) u_sum (
    .clk_i(echo.clk), .we_i(take), .addr_i(echo.at), .data_i(echo.sum), .base_i('0), .size_i(4),
    .done_i(take && echo.y_last), .layer_i('1), .pos_i(32'(echo.packets) - 1)
  );
endmodule
bind echo echo_taps u_taps ();
