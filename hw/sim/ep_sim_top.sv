// Simulation top: clock, image loading, the host's transactors and the chip. Python drives reset and the transactors'
// Python side and waits for their toggles; it never follows the clock.

module ep_sim_top;

  timeunit 1ns; timeprecision 1ps;

  // Written by Python.
  // Reset falls at time 0, pulled by Python: an edge, so that random start values are reset.
  logic rst_n = 1'b1;
  logic play = 1'b0;
  logic load_req = 1'b0;
  logic [31:0] load_words = '0;
  logic [31:0] load_seed = '0;
  logic [15:0] load_rsp_stall = '0;
  logic rom_req = 1'b0;
  // Read by Python.
  logic ack, answered, done;
  logic [31:0] ack_cycle, cycle, busy_cycles;
  logic load_checked, load_answered, load_done;
  logic [31:0] load_taken, load_cycles;
  logic [3:0] load_status, load_slot;
  logic rom_done;

  logic clk = 1'b0;
  logic load = 1'b0;

  initial begin
    #1 load = 1'b1;
    forever #1 clk = ~clk;
  end

  logic req, rsp;
  logic [31:0] req_token;
  logic [1:0] req_op;
  logic [3:0] req_slot;
  logic [15:0] req_stall, rsp_stall;
  logic [31:0] rsp_token, rsp_pos, rsp_cycles, unused_rsp_cycle;
  logic [3:0] rsp_status;
  logic tok_valid, tok_ready, chip_rsp_valid, chip_rsp_ready;
  logic [31:0] tok_id, chip_rsp_token, chip_rsp_pos;
  logic [1:0] tok_op;
  logic [3:0] tok_slot;
  ep_pkg::status_e chip_rsp_status;
  logic ld_valid, ld_ready, ld_last, ldr_valid, ldr_ready;
  logic [31:0] ld_data;
  ep_pkg::load_status_e ldr_status;
  logic [3:0] ldr_slot;
  logic rt_valid, rt_ready, rt_op, rtr_valid, rtr_ready, rtr_last;
  logic [15:0] rt_unit;
  logic [31:0] rt_word, rtr_data;
  ep_pkg::rom_status_e rtr_status;

  ep_host_queue u_queue (
    .clk_i(clk),
    .rst_ni(rst_n),
    .play_i(play),
    .done_o(done),
    .answered_o(answered),
    .req_o(req),
    .req_token_o(req_token),
    .req_op_o(req_op),
    .req_slot_o(req_slot),
    .req_stall_o(req_stall),
    .rsp_stall_o(rsp_stall),
    .rsp_i(rsp),
    .tok_valid_i(tok_valid),
    .tok_id_i(tok_id),
    .tok_op_i(tok_op),
    .tok_slot_i(tok_slot),
    .rsp_token_i(rsp_token),
    .rsp_pos_i(rsp_pos),
    .rsp_status_i(rsp_status),
    .rsp_cycles_i(rsp_cycles)
  );

  ep_host_bfm u_host (
    .clk_i(clk),
    .rst_ni(rst_n),
    .req_i(req),
    .req_token_i(req_token),
    .req_op_i(req_op),
    .req_slot_i(req_slot),
    .req_stall_i(req_stall),
    .ack_o(ack),
    .ack_cycle_o(ack_cycle),
    .rsp_stall_i(rsp_stall),
    .rsp_o(rsp),
    .rsp_token_o(rsp_token),
    .rsp_pos_o(rsp_pos),
    .rsp_status_o(rsp_status),
    .rsp_cycles_o(rsp_cycles),
    .rsp_cycle_o(unused_rsp_cycle),
    .cycle_o(cycle),
    .busy_cycles_o(busy_cycles),
    .tok_valid_o(tok_valid),
    .tok_ready_i(tok_ready),
    .tok_id_o(tok_id),
    .tok_op_o(tok_op),
    .tok_slot_o(tok_slot),
    .rsp_valid_i(chip_rsp_valid),
    .rsp_ready_o(chip_rsp_ready),
    .rsp_token_i(chip_rsp_token),
    .rsp_pos_i(chip_rsp_pos),
    .rsp_status_i(chip_rsp_status)
  );

  ep_load_bfm u_load_host (
    .clk_i(clk),
    .rst_ni(rst_n),
    .load_i(load_req),
    .load_words_i(load_words),
    .load_seed_i(load_seed),
    .load_rsp_stall_i(load_rsp_stall),
    .load_checked_o(load_checked),
    .load_answered_o(load_answered),
    .load_done_o(load_done),
    .load_taken_o(load_taken),
    .load_cycles_o(load_cycles),
    .load_status_o(load_status),
    .load_slot_o(load_slot),
    .ld_valid_o(ld_valid),
    .ld_ready_i(ld_ready),
    .ld_data_o(ld_data),
    .ld_last_o(ld_last),
    .ldr_valid_i(ldr_valid),
    .ldr_ready_o(ldr_ready),
    .ldr_status_i(ldr_status),
    .ldr_slot_i(ldr_slot)
  );

  ep_rom_bfm u_rom_host (
    .clk_i(clk),
    .rst_ni(rst_n),
    .req_i(rom_req),
    .done_o(rom_done),
    .rt_valid_o(rt_valid),
    .rt_ready_i(rt_ready),
    .rt_op_o(rt_op),
    .rt_unit_o(rt_unit),
    .rt_word_o(rt_word),
    .rtr_valid_i(rtr_valid),
    .rtr_ready_o(rtr_ready),
    .rtr_data_i(rtr_data),
    .rtr_last_i(rtr_last),
    .rtr_status_i(rtr_status),
    .tok_ready_i(tok_ready),
    .ld_ready_i(ld_ready)
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
    .tok_op_i(tok_op),
    .tok_slot_i(tok_slot),
    .ld_valid_i(ld_valid),
    .ld_ready_o(ld_ready),
    .ld_data_i(ld_data),
    .ld_last_i(ld_last),
    .ldr_valid_o(ldr_valid),
    .ldr_ready_i(ldr_ready),
    .ldr_status_o(ldr_status),
    .ldr_slot_o(ldr_slot),
    .rt_valid_i(rt_valid),
    .rt_ready_o(rt_ready),
    .rt_op_i(rt_op),
    .rt_unit_i(rt_unit),
    .rt_word_i(rt_word),
    .rtr_valid_o(rtr_valid),
    .rtr_ready_i(rtr_ready),
    .rtr_data_o(rtr_data),
    .rtr_last_o(rtr_last),
    .rtr_status_o(rtr_status),
    .rsp_valid_o(chip_rsp_valid),
    .rsp_ready_i(chip_rsp_ready),
    .rsp_token_o(chip_rsp_token),
    .rsp_pos_o(chip_rsp_pos),
    .rsp_status_o(chip_rsp_status)
  );

endmodule
