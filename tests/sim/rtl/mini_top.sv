// Top of the mini design: the clock, the host transactor, with its queue or driven by Python pin by pin, and a chip that
// does as it is told by its token.

module mini_top;

  logic        clk;

  // Python writes these. Reset begins high: its fall resets the chip before the first clock edge.
  logic        rst_n = 1'b1;
  logic        use_queue = 1'b0;
  logic        play = 1'b0;
  logic        req = 1'b0;
  logic [31:0] req_token = '0;
  logic [ 1:0] req_op = '0;
  logic [ 3:0] req_slot = '0;
  logic [15:0] req_stall = '0;
  logic [15:0] rsp_stall = '0;
  logic        load_req = 1'b0;
  logic [31:0] load_words = '0;
  logic [31:0] load_seed = '0;
  logic [15:0] load_rsp_stall = '0;

  // Python reads these.
  logic done, answered;
  logic ack, rsp;
  logic [31:0] ack_cycle, rsp_token, rsp_pos, rsp_cycles, rsp_cycle, cycle, busy_cycles;
  logic [3:0] rsp_status;
  logic load_checked, load_answered, load_done;
  logic [31:0] load_taken, load_cycles, load_sum, load_count;
  logic [3:0] load_status, load_slot;

  logic ld_valid, ld_ready, ld_last, ldr_valid, ldr_ready;
  logic [31:0] ld_data;
  logic [3:0] ldr_status, ldr_slot;
  logic [1:0] tok_op;
  logic [3:0] tok_slot;
  logic tok_valid, tok_ready, chip_rsp_valid, chip_rsp_ready;
  logic [31:0] tok_id, chip_rsp_token, chip_rsp_pos;
  logic [3:0] chip_rsp_status;

  initial begin
    clk = 1'b0;
    forever #5 clk = ~clk;
  end

  logic queue_req;
  logic [31:0] queue_token;
  logic [1:0] queue_op;
  logic [3:0] queue_slot;
  logic [15:0] queue_req_stall, queue_rsp_stall;

  ep_host_queue u_queue (
      .clk_i       (clk),
      .rst_ni      (rst_n),
      .play_i      (play),
      .done_o      (done),
      .answered_o  (answered),
      .req_o       (queue_req),
      .req_token_o (queue_token),
      .req_op_o    (queue_op),
      .req_slot_o  (queue_slot),
      .req_stall_o (queue_req_stall),
      .rsp_stall_o (queue_rsp_stall),
      .rsp_i       (rsp),
      .tok_valid_i (tok_valid),
      .tok_id_i    (tok_id),
      .tok_op_i    (tok_op),
      .tok_slot_i  (tok_slot),
      .rsp_token_i (rsp_token),
      .rsp_pos_i   (rsp_pos),
      .rsp_status_i(rsp_status),
      .rsp_cycles_i(rsp_cycles)
  );

  ep_host_bfm u_host (
      .clk_i        (clk),
      .rst_ni       (rst_n),
      .req_i        (use_queue ? queue_req : req),
      .req_token_i  (use_queue ? queue_token : req_token),
      .req_op_i     (use_queue ? queue_op : req_op),
      .req_slot_i   (use_queue ? queue_slot : req_slot),
      .req_stall_i  (use_queue ? queue_req_stall : req_stall),
      .ack_o        (ack),
      .ack_cycle_o  (ack_cycle),
      .rsp_stall_i  (use_queue ? queue_rsp_stall : rsp_stall),
      .rsp_o        (rsp),
      .rsp_token_o  (rsp_token),
      .rsp_pos_o    (rsp_pos),
      .rsp_status_o (rsp_status),
      .rsp_cycles_o (rsp_cycles),
      .rsp_cycle_o  (rsp_cycle),
      .cycle_o      (cycle),
      .busy_cycles_o(busy_cycles),
      .tok_valid_o  (tok_valid),
      .tok_ready_i  (tok_ready),
      .tok_id_o     (tok_id),
      .tok_op_o     (tok_op),
      .tok_slot_o   (tok_slot),
      .rsp_valid_i  (chip_rsp_valid),
      .rsp_ready_o  (chip_rsp_ready),
      .rsp_token_i  (chip_rsp_token),
      .rsp_pos_i    (chip_rsp_pos),
      .rsp_status_i (chip_rsp_status)
  );

  ep_load_bfm u_load_host (
      .clk_i        (clk),
      .rst_ni       (rst_n),
      .load_i           (load_req),
      .load_words_i     (load_words),
      .load_seed_i      (load_seed),
      .load_rsp_stall_i (load_rsp_stall),
      .load_checked_o   (load_checked),
      .load_answered_o  (load_answered),
      .load_done_o      (load_done),
      .load_taken_o     (load_taken),
      .load_cycles_o    (load_cycles),
      .load_status_o    (load_status),
      .load_slot_o      (load_slot),
      .ld_valid_o       (ld_valid),
      .ld_ready_i       (ld_ready),
      .ld_data_o        (ld_data),
      .ld_last_o        (ld_last),
      .ldr_valid_i      (ldr_valid),
      .ldr_ready_o      (ldr_ready),
      .ldr_status_i     (ldr_status),
      .ldr_slot_i       (ldr_slot)
  );

  mini_chip u_chip (
      .clk_i       (clk),
      .rst_ni      (rst_n),
      .tok_valid_i (tok_valid),
      .tok_ready_o (tok_ready),
      .tok_id_i    (tok_id),
      .tok_op_i    (tok_op),
      .rsp_valid_o (chip_rsp_valid),
      .rsp_ready_i (chip_rsp_ready),
      .rsp_token_o (chip_rsp_token),
      .rsp_pos_o   (chip_rsp_pos),
      .rsp_status_o(chip_rsp_status)
  );

  mini_load u_load (
      .clk_i       (clk),
      .rst_ni      (rst_n),
      .ld_valid_i  (ld_valid),
      .ld_ready_o  (ld_ready),
      .ld_data_i   (ld_data),
      .ld_last_i   (ld_last),
      .ldr_valid_o (ldr_valid),
      .ldr_ready_i (ldr_ready),
      .ldr_status_o(ldr_status),
      .ldr_slot_o  (ldr_slot),
      .sum_o       (load_sum),
      .count_o     (load_count)
  );

endmodule
