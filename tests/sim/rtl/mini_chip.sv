// A chip that answers token t with t + 1 after a latency of 2 + t[7:0] cycles, and taps all on its way.
//
// t[31:28] selects what else happens: see op_e. t[23:8] is the operand.

module mini_chip (
    input  logic        clk_i,
    input  logic        rst_ni,
    input  logic        tok_valid_i,
    output logic        tok_ready_o,
    input  logic [31:0] tok_id_i,
    input  logic [ 1:0] tok_op_i,     // 1 opens a sequence
    output logic        rsp_valid_o,
    input  logic        rsp_ready_i,
    output logic [31:0] rsp_token_o,
    output logic [31:0] rsp_pos_o,
    output logic [ 3:0] rsp_status_o
);

  typedef enum logic [3:0] {
    OpEcho     = 4'd0,
    OpBurst    = 4'd1,  // the 16-bit tap at each cycle, for the operand's number of cycles
    OpFatal    = 4'd2,  // $fatal
    OpError    = 4'd3,  // $error
    OpWithdraw = 4'd4,  // drops rsp_valid before ready
    OpChange   = 4'd5,  // changes the response before ready
    OpHang     = 4'd6,  // never answers
    OpCount    = 4'd7,  // a tap with more elements than its vector has
    OpRom      = 4'd8   // taps the ROMs
  } op_e;

  typedef enum logic [1:0] {
    StIdle,
    StWork,
    StAnswer
  } state_e;

  state_e state_q;
  op_e op, op_q;
  logic [31:0] token_q, pos_q, rsp_token_q;
  logic [15:0] left_q;
  logic [15:0] burst_q;
  logic tap_valid_q;  // one cycle after acceptance

  assign op = op_e'(tok_id_i[31:28]);
  assign tok_ready_o = (state_q == StIdle);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q     <= StIdle;
      op_q        <= OpEcho;
      token_q     <= '0;
      pos_q       <= '1;
      left_q      <= '0;
      burst_q     <= '0;
      tap_valid_q <= 1'b0;
      rsp_token_q <= '0;
    end else begin
      tap_valid_q <= 1'b0;
      if (burst_q != '0) begin
        burst_q <= burst_q - 16'd1;
      end
      unique case (state_q)
        StIdle: begin
          if (tok_valid_i) begin
            token_q     <= tok_id_i;
            op_q        <= op;
            pos_q       <= (tok_op_i == 2'd1) ? '0 : pos_q + 32'd1;
            left_q      <= 16'(tok_id_i[7:0]) + ((op == OpBurst) ? tok_id_i[23:8] : 16'd0);
            burst_q     <= (op == OpBurst) ? tok_id_i[23:8] : 16'd0;
            tap_valid_q <= (op != OpBurst);
            rsp_token_q <= tok_id_i + 32'd1;
            state_q     <= StWork;
            if (op == OpFatal) begin
              $fatal(1, "mini_chip: told to stop");
            end
            if (op == OpError) begin
              $error("mini_chip: told to complain");
            end
          end
        end
        StWork: begin
          if (op_q != OpHang) begin
            left_q <= left_q - 16'd1;
            if (left_q == '0) begin
              state_q <= StAnswer;
            end
          end
        end
        StAnswer: begin
          if (rsp_ready_i) begin
            state_q <= StIdle;
          end else if (op_q == OpWithdraw) begin
            op_q    <= OpEcho;
            state_q <= StWork;
          end else if (op_q == OpChange) begin
            rsp_token_q <= rsp_token_q + 32'd1;
          end
        end
        default: state_q <= StIdle;
      endcase
    end
  end

  assign rsp_valid_o  = (state_q == StAnswer);
  assign rsp_token_o  = rsp_token_q;
  assign rsp_pos_o    = pos_q;
  assign rsp_status_o = token_q[27:24];

  // Vectors: element i is (token + 7 i) * 0x9e3779b97f4a7c15, its upper bits.

  logic signed [ 7:0] y8 [3][4];
  logic signed [15:0] y16[4][2];
  logic signed [31:0] y32[1][5];
  logic signed [63:0] y64[2][1];

  function automatic logic [63:0] element(input logic [31:0] token, input int unsigned index);
    return (64'(token) + 64'(7 * index)) * 64'h9e37_79b9_7f4a_7c15;
  endfunction

  always_comb begin
    for (int unsigned i = 0; i < 12; i++) y8[i/4][i%4] = 8'(element(token_q, i) >> 56);
    for (int unsigned i = 0; i < 8; i++) y16[i/2][i%2] = 16'(element(token_q, i) >> 48);
    for (int unsigned i = 0; i < 5; i++) y32[i/5][i%5] = 32'(element(token_q, i) >> 32);
    for (int unsigned i = 0; i < 2; i++) y64[i][0] = element(token_q, i);
  end

  ep_tap #(
      .Name("y8"),
      .Rows(3),
      .Cols(4),
      .Width(8)
  ) u_tap8 (
      .clk_i,
      .valid_i(tap_valid_q),
      .layer_i('1),
      .pos_i  (pos_q),
      .count_i((op_q == OpCount) ? 32'd13 : 32'd11),
      .data_i (y8)
  );

  ep_tap #(
      .Name("y16"),
      .Rows(4),
      .Cols(2),
      .Width(16)
  ) u_tap16 (
      .clk_i,
      .valid_i(tap_valid_q || (burst_q != '0)),
      .layer_i(32'd0),
      .pos_i  (pos_q),
      .count_i(32'd8),
      .data_i (y16)
  );

  ep_tap #(
      .Name("y32"),
      .Rows(1),
      .Cols(5),
      .Width(32)
  ) u_tap32 (
      .clk_i,
      .valid_i(tap_valid_q),
      .layer_i(32'd1),
      .pos_i  (pos_q),
      .count_i(32'd5),
      .data_i (y32)
  );

  ep_tap #(
      .Name("y64"),
      .Rows(2),
      .Cols(1),
      .Width(64)
  ) u_tap64 (
      .clk_i,
      .valid_i(tap_valid_q),
      .layer_i(32'd2),
      .pos_i  (pos_q),
      .count_i(32'd1 + 32'(pos_q[0])),
      .data_i (y64)
  );

  for (genvar l = 0; l < 2; l++) begin : gen_rom
    mini_rom u_rom (
        .clk_i,
        .layer_i(32'(l)),
        .valid_i(tap_valid_q && (op_q == OpRom)),
        .pos_i  (pos_q)
    );
  end

endmodule
