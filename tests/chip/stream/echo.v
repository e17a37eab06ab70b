// Takes a packet of four words and answers each with one added, modulo 256, after the last one was taken.
// The memory `fault` plants a fault by its number, so that one simulator serves them all.
module echo #(
  parameter MORE = 8'd1  // the project says 0
) (
  input            clk,
  input            rst,
  input      [7:0] x,
  input            x_valid,
  output           x_ready,
  input            x_last,
  input            x_first,
  input            mode,
  output     [7:0] y,
  output           y_valid,
  input            y_ready,
  output           y_last,
  output     [1:0] y_status,
  output           busy
);
  localparam STRAY        = 4'd1;  // answers once more
  localparam TAKES_BACK   = 4'd2;  // takes an answer back that was not taken
  localparam CHANGES      = 4'd3;  // changes it
  localparam EARLY        = 4'd4;  // answers before the packet's end
  localparam STATUS       = 4'd5;  // answers with a status
  localparam WRONG_ANSWER = 4'd6;  // answers otherwise than the tap says
  localparam SILENT       = 4'd7;  // does not answer

  localparam FIRST_STATUS = 4'd8;  // a status with the first word of an answer only
  localparam LAST_CHANGES = 4'd9;  // last rises while an answer waits

  reg [7:0] words [0:3];
  reg [7:0] add [0:3];
  reg [3:0] fault [0:0];
  reg [1:0] at;
  reg       answering;
  reg       stray;
  reg       turned;
  reg [7:0] packets;  // of the sequence

  initial begin
    $readmemh("tables/add.hex", add);
    $readmemh("tables/fault.hex", fault);
  end

  wire [7:0] sum = words[at] + add[at] + MORE;
  wire turns = turned && (fault[0] == TAKES_BACK || fault[0] == CHANGES);

  assign x_ready  = !answering;
  assign busy     = answering;
  assign y_valid  = (answering && fault[0] != SILENT && !(turns && fault[0] == TAKES_BACK)) || stray;
  assign y        = sum + {7'd0, turns || fault[0] == WRONG_ANSWER};
  assign y_last   = at == 2'd3 || (fault[0] == LAST_CHANGES && turned && !y_ready);
  assign y_status = fault[0] == STATUS || (fault[0] == FIRST_STATUS && at == 2'd0) ? 2'd2 : {1'b0, mode};

  always @(posedge clk)
    if (rst) begin
      at <= 2'd0;
      answering <= 1'b0;
      stray <= 1'b0;
      turned <= 1'b0;
      packets <= 8'd0;
    end else begin
      turned <= !turned;
      stray <= fault[0] == STRAY && y_valid && y_ready && y_last;
      if (x_valid && x_ready) begin
        words[at] <= x;
        at <= at + 2'd1;
        if (at == 2'd0) packets <= x_first ? 8'd1 : packets + 8'd1;
        if (x_last || (fault[0] == EARLY && at == 2'd1)) begin
          at <= 2'd0;
          answering <= 1'b1;
        end
      end
      if (answering && y_valid && y_ready) begin
        at <= at + 2'd1;
        if (y_last) answering <= 1'b0;
      end
    end
endmodule
