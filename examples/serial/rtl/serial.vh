// Names that several files share.
`ifndef SERIAL_VH
`define SERIAL_VH

// The steps of a token, in this order; ATTN_NORM to MLP_RESIDUAL once for each layer. Each makes one vector.
`define STEP_EMBEDDING     5'd0
`define STEP_ATTN_NORM     5'd1
`define STEP_Q_PROJ        5'd2
`define STEP_K_PROJ        5'd3
`define STEP_V_PROJ        5'd4
`define STEP_Q_NORM        5'd5
`define STEP_K_NORM        5'd6
`define STEP_Q_ROPE        5'd7
`define STEP_K_ROPE        5'd8
`define STEP_SCORES        5'd9
`define STEP_SOFTMAX       5'd10
`define STEP_ATTN_OUT      5'd11
`define STEP_O_PROJ        5'd12
`define STEP_ATTN_RESIDUAL 5'd13
`define STEP_MLP_NORM      5'd14
`define STEP_GATE_PROJ     5'd15
`define STEP_UP_PROJ       5'd16
`define STEP_SWIGLU        5'd17
`define STEP_DOWN_PROJ     5'd18
`define STEP_MLP_RESIDUAL  5'd19
`define STEP_FINAL_NORM    5'd20
`define STEP_LOGITS        5'd21

// Where vectors lie in the vector memory: the upper four bits of an address of nine.
`define AT_HIDDEN   4'd0   // 32: embedding and residuals
`define AT_NORMED   4'd1   // 32
`define AT_QUERY    4'd2   // 32: q_proj, and q_norm in its place
`define AT_ROTATED  4'd3   // 32: q_rope
`define AT_KEY      4'd4   // 16: k_proj, and k_norm in its place
`define AT_HEADS    4'd5   // 32: attn_out
`define AT_BRANCH   4'd6   // 32: o_proj and down_proj
`define AT_GATE     4'd8   // 64: gate_proj, and swiglu in its place
`define AT_UP       4'd10  // 64
`define AT_SOFTMAX  4'd12  // 128: rows of positions, heads side by side

// The first factor of the multiplier.
`define A_VECTOR 2'd0  // what was read from the vector memory
`define A_HELD   2'd1  // the held number
`define A_ONE    2'd2
`define A_SIGN   2'd3  // the held number if the last argument of exp was negative, otherwise one

// The second factor.
`define B_WEIGHT   3'd0  // what was read from the weights
`define B_CACHE    3'd1  // what was read from the cache
`define B_VECTOR   3'd2  // the same as the first: a square
`define B_HELD     3'd3
`define B_FUNCTION 3'd4  // the last value of a function
`define B_CONSTANT 3'd5

// What the product is added to.
`define C_ZERO    3'd0
`define C_SUM     3'd1  // the sum so far
`define C_SCORE   3'd2  // what was read from the scores
`define C_ONE     3'd3
`define C_EPSILON 3'd4

// Functions of the rounded sum.
`define F_NONE       2'd0
`define F_EXP        2'd1
`define F_RECIPROCAL 2'd2
`define F_RSQRT      2'd3

// Where a result is written: rounded into the vector memory or the cache, unrounded into the scores. A logit is not
// stored but compared.
`define W_NONE   3'd0
`define W_VECTOR 3'd1
`define W_CACHE  3'd2
`define W_SCORE  3'd3
`define W_LOGIT  3'd4

// Numbers: bfloat16, and float32 with the same upper half.
`define ONE        16'h3f80
`define EPSILON    16'h3586  // 1e-6
`define ONE_8TH    16'h3e00
`define ONE_32ND   16'h3d00
`define SCALE      16'h3eb5  // 1 / sqrt(8)

`endif
