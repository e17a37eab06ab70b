// A memory with one port to write and one to read, whose data is there in the next cycle. A word that is written and
// read at one edge is read as it was before.
module memory #(parameter WIDTH = 16, parameter ADDRESS = 9) (
  input                    clk,
  input                    write,
  input      [ADDRESS-1:0] write_address,
  input      [WIDTH-1:0]   write_data,
  input      [ADDRESS-1:0] read_address,
  output reg [WIDTH-1:0]   read_data
);
  reg [WIDTH-1:0] words [0:(1<<ADDRESS)-1];

  always @(posedge clk) begin
    if (write) words[write_address] <= write_data;
    read_data <= words[read_address];
  end
endmodule
