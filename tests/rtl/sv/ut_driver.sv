// Drives one unit through its vectors: take the inputs of vector index_o, start, wait until busy_i is low, tap.
//
// take_o is high for Prep cycles (prep_o counts them), then start_o for one, then the unit works; tap_o is high in
// the first cycle with busy_i low. A vector takes Prep + 1 + the unit's latency (from start_o to busy_i low) cycles.

module ut_driver #(
    parameter int unsigned Vectors = 1,
    parameter int unsigned Prep    = 1
) (
    input  logic        clk_i,
    input  logic        rst_ni,
    input  logic        en_i,     // low: nothing to do
    input  logic        busy_i,
    output logic [31:0] index_o,
    output logic [31:0] prep_o,
    output logic        take_o,
    output logic        start_o,
    output logic        tap_o,
    output logic        done_o
);

  typedef enum logic [1:0] {
    Take,
    Start,
    Wait,
    Done
  } state_e;

  state_e state_q;

  assign take_o  = en_i && state_q == Take;
  assign start_o = en_i && state_q == Start;
  assign tap_o   = rst_ni && en_i && state_q == Wait && !busy_i;
  assign done_o  = rst_ni && (!en_i || state_q == Done);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= Take;
      index_o <= '0;
      prep_o  <= '0;
    end else if (en_i) begin
      unique case (state_q)
        Take: begin
          prep_o <= prep_o + 32'd1;
          if (prep_o == Prep - 1) begin
            prep_o  <= '0;
            state_q <= Start;
          end
        end
        Start: state_q <= Wait;
        Wait: begin
          if (!busy_i) begin
            index_o <= index_o + 32'd1;
            state_q <= (index_o == Vectors - 1) ? Done : Take;
          end
        end
        default: ;
      endcase
    end
  end

endmodule
