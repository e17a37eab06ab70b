// A tap of a vector that a serial design writes into a memory, one element at a time. Simulation only.
//
// Handshake: at each rising edge of clk_i with we_i high, data_i is the element number addr_i - base_i of the vector;
// addresses outside base_i .. base_i + size_i - 1 are not of it. At an edge with done_i high, the vector is one record,
// the write of that edge included. No output; the chip cannot notice it.
// Degenerate: a size of 1 is a scalar. A size_i outside 1 .. Size, and an element that was not written since the last
// record, are errors of the run.

module ep_tap_port #(
  parameter string       Name  = "",  // as the project declares it
  parameter int unsigned Size  = 1,   // most elements of the vector
  parameter int unsigned Width = 16,  // bits of an element: 8, 16, 32 or 64
  parameter int unsigned AddrW = 32
) (
  input logic                    clk_i,
  input logic                    we_i,     // an element is written at this edge
  input logic        [AddrW-1:0] addr_i,
  input logic signed [Width-1:0] data_i,
  input logic        [AddrW-1:0] base_i,   // address of element 0
  input logic        [     31:0] size_i,   // elements of the vector
  input logic                    done_i,   // a record at this edge
  input logic        [     31:0] layer_i,  // -1 outside the layers
  input logic        [     31:0] pos_i     // position of the token
);

  logic signed [Width-1:0] shadow [1][Size];
  logic        [ Size-1:0] written;

  int tap_id;
  initial begin
    tap_id  = ep_tap_pkg::find(Name);
    written = '0;
  end

  // Blocking assignments: the record of an edge holds the write of that edge.
  task automatic take();
    logic [AddrW-1:0] at;
    at = addr_i - base_i;
    if (we_i && 32'(at) < size_i && 32'(at) < Size) begin
      shadow[0][32'(at)] = data_i;
      written[32'(at)]   = 1'b1;
    end
    if (done_i) begin
      for (int unsigned i = 0; i < Size; i++) begin
        if (i < size_i && !written[i]) begin
          ep_tap_pkg::unwritten(int'(layer_i), tap_id, int'(pos_i), int'(i));
          break;
        end
      end
    end
  endtask

  task automatic clear();
    written = '0;
  endtask

  if (Width == 8) begin : gen_w8
    always @(posedge clk_i) begin
      take();
      if (done_i) begin
        ep_tap_pkg::write_8(int'(layer_i), tap_id, int'(pos_i), int'(size_i), shadow);
        clear();
      end
    end
  end else if (Width == 16) begin : gen_w16
    always @(posedge clk_i) begin
      take();
      if (done_i) begin
        ep_tap_pkg::write_16(int'(layer_i), tap_id, int'(pos_i), int'(size_i), shadow);
        clear();
      end
    end
  end else if (Width == 32) begin : gen_w32
    always @(posedge clk_i) begin
      take();
      if (done_i) begin
        ep_tap_pkg::write_32(int'(layer_i), tap_id, int'(pos_i), int'(size_i), shadow);
        clear();
      end
    end
  end else if (Width == 64) begin : gen_w64
    always @(posedge clk_i) begin
      take();
      if (done_i) begin
        ep_tap_pkg::write_64(int'(layer_i), tap_id, int'(pos_i), int'(size_i), shadow);
        clear();
      end
    end
  end else begin : gen_bad_width
    $fatal(1, "ep_tap_port: Width is %0d, expected 8, 16, 32 or 64", Width);
  end

endmodule
