`include "serial.vh"

// What does not change: the weights and the angles of the rotation. Each step reads its own matrix; the number is
// there in the next cycle.
module weights (
  input             clk,
  input      [4:0]  step,
  input             layer,
  input      [11:0] index,  // row by row
  output reg [15:0] number
);
  reg [15:0] embedding  [0:4095];
  reg [15:0] attn_norm  [0:63];
  reg [15:0] q_proj     [0:2047];
  reg [15:0] k_proj     [0:1023];
  reg [15:0] v_proj     [0:1023];
  reg [15:0] q_norm     [0:15];
  reg [15:0] k_norm     [0:15];
  reg [15:0] o_proj     [0:2047];
  reg [15:0] mlp_norm   [0:63];
  reg [15:0] gate_proj  [0:4095];
  reg [15:0] up_proj    [0:4095];
  reg [15:0] down_proj  [0:4095];
  reg [15:0] final_norm [0:31];
  reg [15:0] rope       [0:255];  // positions, cosine and sine, pairs

  initial begin
    $readmemh("weights/embed_tokens.hex", embedding);
    $readmemh("weights/layers.0.input_layernorm.hex", attn_norm, 0, 31);
    $readmemh("weights/layers.1.input_layernorm.hex", attn_norm, 32, 63);
    $readmemh("weights/layers.0.self_attn.q_proj.hex", q_proj, 0, 1023);
    $readmemh("weights/layers.1.self_attn.q_proj.hex", q_proj, 1024, 2047);
    $readmemh("weights/layers.0.self_attn.k_proj.hex", k_proj, 0, 511);
    $readmemh("weights/layers.1.self_attn.k_proj.hex", k_proj, 512, 1023);
    $readmemh("weights/layers.0.self_attn.v_proj.hex", v_proj, 0, 511);
    $readmemh("weights/layers.1.self_attn.v_proj.hex", v_proj, 512, 1023);
    $readmemh("weights/layers.0.self_attn.q_norm.hex", q_norm, 0, 7);
    $readmemh("weights/layers.1.self_attn.q_norm.hex", q_norm, 8, 15);
    $readmemh("weights/layers.0.self_attn.k_norm.hex", k_norm, 0, 7);
    $readmemh("weights/layers.1.self_attn.k_norm.hex", k_norm, 8, 15);
    $readmemh("weights/layers.0.self_attn.o_proj.hex", o_proj, 0, 1023);
    $readmemh("weights/layers.1.self_attn.o_proj.hex", o_proj, 1024, 2047);
    $readmemh("weights/layers.0.post_attention_layernorm.hex", mlp_norm, 0, 31);
    $readmemh("weights/layers.1.post_attention_layernorm.hex", mlp_norm, 32, 63);
    $readmemh("weights/layers.0.mlp.gate_proj.hex", gate_proj, 0, 2047);
    $readmemh("weights/layers.1.mlp.gate_proj.hex", gate_proj, 2048, 4095);
    $readmemh("weights/layers.0.mlp.up_proj.hex", up_proj, 0, 2047);
    $readmemh("weights/layers.1.mlp.up_proj.hex", up_proj, 2048, 4095);
    $readmemh("weights/layers.0.mlp.down_proj.hex", down_proj, 0, 2047);
    $readmemh("weights/layers.1.mlp.down_proj.hex", down_proj, 2048, 4095);
    $readmemh("weights/norm.hex", final_norm);
    $readmemh("tables/rope.hex", rope);
  end

  always @(posedge clk)
    case (step)
      `STEP_EMBEDDING, `STEP_LOGITS: number <= embedding[index];
      `STEP_ATTN_NORM:               number <= attn_norm[{layer, index[4:0]}];
      `STEP_Q_PROJ:                  number <= q_proj[{layer, index[9:0]}];
      `STEP_K_PROJ:                  number <= k_proj[{layer, index[8:0]}];
      `STEP_V_PROJ:                  number <= v_proj[{layer, index[8:0]}];
      `STEP_Q_NORM:                  number <= q_norm[{layer, index[2:0]}];
      `STEP_K_NORM:                  number <= k_norm[{layer, index[2:0]}];
      `STEP_Q_ROPE, `STEP_K_ROPE:    number <= rope[index[7:0]];
      `STEP_O_PROJ:                  number <= o_proj[{layer, index[9:0]}];
      `STEP_MLP_NORM:                number <= mlp_norm[{layer, index[4:0]}];
      `STEP_GATE_PROJ:               number <= gate_proj[{layer, index[10:0]}];
      `STEP_UP_PROJ:                 number <= up_proj[{layer, index[10:0]}];
      `STEP_DOWN_PROJ:               number <= down_proj[{layer, index[10:0]}];
      `STEP_FINAL_NORM:              number <= final_norm[index[4:0]];
      default: ;
    endcase
endmodule
