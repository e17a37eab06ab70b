// Three ways in which a design holds a vector of four elements: packed, in a memory, and as its negation in a memory.
module echo #(parameter W = 16) (
  input                clk,
  input                rst,
  input                valid,
  output               ready,
  input      [4*W-1:0] x,
  output reg           done,
  output reg [4*W-1:0] y
);
  reg [2:0] count;
  reg [W-1:0] mem [0:7];
  reg odd;
  wire [W-1:0] element = y >> W * count[1:0];
  wire write = count < 4;
  assign ready = count == 4 && !done;

  always @(posedge clk)
    if (rst) begin
      count <= 4;
      done  <= 0;
      odd   <= 0;
    end else begin
      done <= 0;
      if (valid && ready) begin
        y <= x;
        count <= 0;
        odd <= ~odd;
      end
      if (write) begin
        mem[{odd, count[1:0]}] <= `SIGN element;
        count <= count + 1;
        if (count == 3) done <= 1;
`ifdef LOUD
        if (mem[0] != 0) $error("loud");
`endif
      end
    end
endmodule
