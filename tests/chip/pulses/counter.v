// Takes a token with a pulse of go, and says what follows it: `done` rises three cycles later and stays high until the
// next token. No port holds anything back. `next` counts on, by a step that is read from a memory.
module counter (
  input            clk,
  input            rst_n,
  input            go,
  input      [7:0] token,
  output reg       done,
  output reg [7:0] next
);
  reg [7:0] step [0:0];
  reg [1:0] wait_;
  reg [7:0] position;

  initial $readmemh("step.hex", step);

  always @(posedge clk or negedge rst_n)
    if (!rst_n) begin
      done <= 1'b0;
      wait_ <= 2'd0;
      position <= 8'd0;
    end else begin
      if (go) begin
        done <= 1'b0;
        wait_ <= 2'd3;
        next <= token + step[0];
      end else if (wait_ != 2'd0) begin
        wait_ <= wait_ - 2'd1;
        if (wait_ == 2'd1) begin
          done <= 1'b1;
          position <= position + 8'd1;
        end
      end
    end
endmodule
