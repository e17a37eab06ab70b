// A check of a testbench's own, in C++ (guard.cpp): it is bound to the module and sees each result.
module guard (
  input logic        clk,
  input logic        done,
  input logic [15:0] element
);
  import "DPI-C" function void guard_sees(input int element);

  always_ff @(posedge clk) if (done) guard_sees(32'(element));
endmodule

bind echo guard u_guard (.clk(clk), .done(done), .element(y[15:0]));
