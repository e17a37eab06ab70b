// A tap of a vector in one packed signal, as Verilog-2005 holds it: element 0 in the lowest bits. Simulation only.
//
// Handshake: as of ep_tap, which it is; at each rising edge of clk_i with valid_i high, the first count_i elements of
// data_i are one record.
// Degenerate: as of ep_tap.

module ep_tap_packed #(
  parameter string       Name  = "",  // as the project declares it
  parameter int unsigned Size  = 1,   // most elements of the vector
  parameter int unsigned Width = 16   // bits of an element: 8, 16, 32 or 64
) (
  input logic                  clk_i,
  input logic                  valid_i,  // a record at this edge
  input logic [          31:0] layer_i,  // -1 outside the layers
  input logic [          31:0] pos_i,    // position of the token
  input logic [          31:0] count_i,  // elements that count
  input logic [Size*Width-1:0] data_i
);

  logic signed [Width-1:0] data [1][Size];

  for (genvar i = 0; i < Size; i++) begin : gen_element
    assign data[0][i] = data_i[i*Width+:Width];
  end

  ep_tap #(
    .Name (Name),
    .Rows (1),
    .Cols (Size),
    .Width(Width)
  ) u_tap (
    .clk_i,
    .valid_i,
    .layer_i,
    .pos_i,
    .count_i,
    .data_i(data)
  );

endmodule
