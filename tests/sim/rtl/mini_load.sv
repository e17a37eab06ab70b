// A load port that does as the first word of a frame tells: [7:0] cycles not ready after each word, [15:8] cycles from the
// last word to the answer, [19:16] the answer's status; [20] withdraws the answer, [21] changes it before it is taken.

module mini_load (
    input  logic        clk_i,
    input  logic        rst_ni,
    input  logic        ld_valid_i,
    output logic        ld_ready_o,
    input  logic [31:0] ld_data_i,
    input  logic        ld_last_i,
    output logic        ldr_valid_o,
    input  logic        ldr_ready_i,
    output logic [ 3:0] ldr_status_o,
    output logic [ 3:0] ldr_slot_o,
    output logic [31:0] sum_o,         // of the words taken since the last answer
    output logic [31:0] count_o
);

  typedef enum logic [1:0] {
    StTake,
    StPause,
    StWork,
    StAnswer
  } state_e;

  state_e state_q;
  logic [31:0] first_q, first;
  logic [7:0] left_q;
  logic withdrawn_q;

  assign first        = (count_o == '0) ? ld_data_i : first_q;
  assign ld_ready_o   = state_q == StTake;
  assign ldr_valid_o  = state_q == StAnswer;
  assign ldr_slot_o   = sum_o[3:0];

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q      <= StTake;
      first_q      <= '0;
      left_q       <= '0;
      withdrawn_q  <= 1'b0;
      ldr_status_o <= '0;
      sum_o        <= '0;
      count_o      <= '0;
    end else begin
      unique case (state_q)
        StTake: begin
          if (ld_valid_i) begin
            first_q      <= first;
            sum_o        <= ((count_o == '0) ? '0 : sum_o) + ld_data_i;
            count_o      <= count_o + 32'd1;
            ldr_status_o <= first[19:16];
            withdrawn_q  <= 1'b0;
            left_q       <= ld_last_i ? first[15:8] : first[7:0];
            if (ld_last_i) state_q <= StWork;
            else if (first[7:0] != '0) state_q <= StPause;
          end
        end
        StPause: begin
          left_q <= left_q - 8'd1;
          if (left_q == 8'd1) state_q <= StTake;
        end
        StWork: begin
          left_q <= left_q - 8'd1;
          if (left_q == '0) state_q <= StAnswer;
        end
        StAnswer: begin
          if (ldr_ready_i) begin
            count_o <= '0;
            state_q <= StTake;
          end else if (first_q[20] && !withdrawn_q) begin
            withdrawn_q <= 1'b1;
            state_q     <= StWork;
          end else if (first_q[21]) begin
            ldr_status_o <= ldr_status_o + 4'd1;
          end
        end
        default: state_q <= StTake;
      endcase
    end
  end

endmodule
