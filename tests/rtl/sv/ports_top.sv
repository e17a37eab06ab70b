// Host port, load port and the SRAMs behind it, with a pipeline that answers token + 1000 * slot after a few cycles.
//
// SRAMs: linear n of layer l is layer 7 * l + n, "linear.lora_a" and "linear.lora_b". Pins as those of ep_sim_top.

module ports_top
  import ep_pkg::*;
;

  timeunit 1ns; timeprecision 1ps;

  localparam int unsigned Layers = 2;
  localparam int unsigned Linears = 7;
  localparam int unsigned Lanes = 4;
  localparam int unsigned Slots = 3;
  localparam int unsigned MaxRank = 5;
  localparam int unsigned InBlocks[Linears] = '{1, 2, 1, 3, 1, 1, 2};
  localparam int unsigned OutBlocks[Linears] = '{2, 1, 1, 1, 3, 1, 1};
  localparam int unsigned PipelineCycles = 9;

  logic rst_n = 1'b1;
  logic req = 1'b0;
  logic [31:0] req_token = '0;
  logic [1:0] req_op = '0;
  logic [3:0] req_slot = '1;
  logic [15:0] req_stall = '0;
  logic [15:0] rsp_stall = '0;
  logic load_req = 1'b0;
  logic [31:0] load_words = '0;
  logic [31:0] load_seed = '0;
  logic [15:0] load_rsp_stall = '0;
  logic ack, rsp;
  logic [31:0] ack_cycle, rsp_token, rsp_pos, rsp_cycles, rsp_cycle, cycle, busy_cycles;
  logic [3:0] rsp_status;
  logic load_checked, load_answered, load_done;
  logic [31:0] load_taken, load_cycles;
  logic [3:0] load_status, load_slot;

  logic clk = 1'b0;
  logic load = 1'b0;

  initial begin
    #1 load = 1'b1;
    forever #1 clk = ~clk;
  end

  logic tok_valid, tok_ready, chip_rsp_valid, chip_rsp_ready;
  logic [31:0] tok_id, chip_rsp_token, chip_rsp_pos;
  logic [1:0] tok_op;
  logic [3:0] tok_slot;
  status_e chip_rsp_status;
  logic ld_valid, ld_ready, ld_last, ldr_valid, ldr_ready;
  logic [31:0] ld_data;
  load_status_e ldr_status;
  logic [3:0] ldr_slot;

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
      .rsp_cycle_o(rsp_cycle),
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

  logic start, result_valid, result_ready, unused_idle;
  logic [31:0] token, unused_pos, result_token;
  logic [3:0] slot;
  logic [15:0] held, slot_valid;

  ep_host_port #(
      .Vocab(20),
      .Context(4),
      .Slots(Slots)
  ) u_host_port (
      .clk_i(clk),
      .rst_ni(rst_n),
      .tok_valid_i(tok_valid),
      .tok_ready_o(tok_ready),
      .tok_id_i(tok_id),
      .tok_op_i(tok_op),
      .tok_slot_i(tok_slot),
      .rsp_valid_o(chip_rsp_valid),
      .rsp_ready_i(chip_rsp_ready),
      .rsp_token_o(chip_rsp_token),
      .rsp_pos_o(chip_rsp_pos),
      .rsp_status_o(chip_rsp_status),
      .slot_valid_i(slot_valid),
      .held_o(held),
      .start_o(start),
      .token_o(token),
      .pos_o(unused_pos),
      .slot_o(slot),
      .hold_i(1'b0),
      .idle_o(unused_idle),
      .result_valid_i(result_valid),
      .result_ready_o(result_ready),
      .result_token_i(result_token)
  );

  logic [31:0] left_q;

  always_ff @(posedge clk or negedge rst_n) begin
    if (!rst_n) begin
      left_q <= '0;
    end else if (start) begin
      left_q <= PipelineCycles;
    end else if (left_q > 32'd1 || result_ready) begin
      left_q <= left_q - 32'd1;
    end
  end

  assign result_valid = left_q == 32'd1;
  assign result_token = token + 32'd1000 * 32'(slot);

  logic lora_clk, lora_active;
  lora_load_t lora_load;
  logic [Layers-1:0] lora_select;
  logic signed [15:0] lora_data[Lanes];

  ep_clock_gate u_lora_clock_gate (
      .clk_i(clk),
      .en_i (ld_valid | lora_active),
      .clk_o(lora_clk)
  );

  ep_lora_load #(
      .Layers(Layers),
      .Linears(Linears),
      .Slots(Slots),
      .MaxRank(MaxRank),
      .Lanes(Lanes),
      .InBlocks(InBlocks),
      .OutBlocks(OutBlocks)
  ) u_lora_load (
      .clk_i(lora_clk),
      .rst_ni(rst_n),
      .active_o(lora_active),
      .hold_i(1'b0),
      .ld_valid_i(ld_valid),
      .ld_ready_o(ld_ready),
      .ld_data_i(ld_data),
      .ld_last_i(ld_last),
      .ldr_valid_o(ldr_valid),
      .ldr_ready_i(ldr_ready),
      .ldr_status_o(ldr_status),
      .ldr_slot_o(ldr_slot),
      .held_i(held),
      .slot_valid_o(slot_valid),
      .load_o(lora_load),
      .select_o(lora_select),
      .data_o(lora_data)
  );

  for (genvar l = 0; l < Layers; l++) begin : gen_layer
    for (genvar n = 0; n < Linears; n++) begin : gen_linear
      logic unused_busy, unused_start, unused_on;
      logic [4:0] unused_shift;
      logic [31:0] unused_rank;
      logic signed [15:0] x[InBlocks[n]][Lanes];
      logic signed [15:0] unused_h[1][MaxRank];
      logic signed [63:0] unused_d[OutBlocks[n]][Lanes];
      assign x = '{default: '{default: 16'sd0}};

      ep_lora #(
          .Linear(n),
          .Slots(Slots),
          .MaxRank(MaxRank),
          .InBlocks(InBlocks[n]),
          .OutBlocks(OutBlocks[n]),
          .Lanes(Lanes),
          .InVecBlocks(InBlocks[n])
      ) u_lora (
          .clk_i(clk),
          .rst_ni(rst_n),
          .load_clk_i(lora_clk),
          .load_i(lora_load),
          .load_select_i(lora_select[l]),
          .load_data_i(lora_data),
          .sram_i(load),
          .layer_i(7 * l + n),
          .start_i(1'b0),
          .slot_i(slot),
          .busy_o(unused_busy),
          .linear_start_o(unused_start),
          .x_i(x),
          .on_o(unused_on),
          .shift_o(unused_shift),
          .rank_o(unused_rank),
          .h_o(unused_h),
          .d_o(unused_d)
      );
    end
  end

endmodule
