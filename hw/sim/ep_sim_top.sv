// Simulation top: clock, image loading, the host transactor and the chip. Python drives reset and the transactor's
// Python side and waits for its toggles; it never follows the clock.

module ep_sim_top;

  timeunit 1ns; timeprecision 1ps;

  // Written by Python.
  // Reset falls at time 0, pulled by Python: an edge, so that random start values are reset.
  logic rst_n = 1'b1;
  logic req = 1'b0;
  logic [31:0] req_token = '0;
  logic req_first = 1'b0;
  logic [15:0] req_stall = '0;
  logic [15:0] rsp_stall = '0;
  // Read by Python.
  logic ack, rsp;
  logic [31:0] ack_cycle, rsp_token, rsp_pos, rsp_cycles, rsp_cycle, cycle, busy_cycles;
  logic [3:0] rsp_status;

  logic clk = 1'b0;
  logic load = 1'b0;

  initial begin
    #1 load = 1'b1;
    forever #1 clk = ~clk;
  end

  logic tok_valid, tok_ready, tok_first, chip_rsp_valid, chip_rsp_ready;
  logic [31:0] tok_id, chip_rsp_token, chip_rsp_pos;
  ep_pkg::status_e chip_rsp_status;

  ep_host_bfm u_host (
    .clk_i(clk),
    .rst_ni(rst_n),
    .req_i(req),
    .req_token_i(req_token),
    .req_first_i(req_first),
    .req_stall_i(req_stall),
    .ack_o(ack),
    .ack_cycle_o(ack_cycle),
    .rsp_stall_i(rsp_stall),
    .rsp_o(rsp),
    .rsp_token_o(rsp_token),
    .rsp_pos_o(rsp_pos),
    .rsp_status_o(rsp_status),
    .rsp_cycles_o(rsp_cycles),
    .rsp_cycle_o(rsp_cycle),
    .cycle_o(cycle),
    .busy_cycles_o(busy_cycles),
    .tok_valid_o(tok_valid),
    .tok_ready_i(tok_ready),
    .tok_id_o(tok_id),
    .tok_first_o(tok_first),
    .rsp_valid_i(chip_rsp_valid),
    .rsp_ready_o(chip_rsp_ready),
    .rsp_token_i(chip_rsp_token),
    .rsp_pos_i(chip_rsp_pos),
    .rsp_status_i(chip_rsp_status)
  );

  ep_chip u_chip (
    .clk_i(clk),
    .rst_ni(rst_n),
`ifndef SYNTHESIS
    .load_i(load),
`endif
    .tok_valid_i(tok_valid),
    .tok_ready_o(tok_ready),
    .tok_id_i(tok_id),
    .tok_first_i(tok_first),
    .rsp_valid_o(chip_rsp_valid),
    .rsp_ready_i(chip_rsp_ready),
    .rsp_token_o(chip_rsp_token),
    .rsp_pos_o(chip_rsp_pos),
    .rsp_status_o(chip_rsp_status)
  );

endmodule
