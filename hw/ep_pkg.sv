// Arithmetic primitives and status codes shared by the chip (docs/numerics.md section 1).

package ep_pkg;

  // What a token on the host port asks for.
  typedef enum logic [1:0] {
    OP_NEXT  = 2'd0,  // go on with the open sequence
    OP_FIRST = 2'd1,  // open a sequence, with the adapter of a slot or none
    OP_CLOSE = 2'd2   // end the open sequence; its slot is free
  } op_e;

  localparam logic [3:0] NoSlot = 4'd15;  // of a sequence without an adapter

  // Status of a response on the host port.
  typedef enum logic [3:0] {
    STATUS_OK           = 4'd0,
    STATUS_BAD_TOKEN    = 4'd1,  // token id is not in the vocabulary
    STATUS_CONTEXT_FULL = 4'd2,  // the sequence already holds the last position
    STATUS_NO_SEQUENCE  = 4'd3,  // OP_NEXT or OP_CLOSE with no sequence open
    STATUS_BAD_SLOT     = 4'd4,  // the chip has no such slot
    STATUS_EMPTY_SLOT   = 4'd5,  // the slot holds no adapter, or one that is being loaded
    STATUS_BAD_OP       = 4'd6   // no operation
  } status_e;

  // Status of a load on the load port.
  typedef enum logic [3:0] {
    LOAD_OK          = 4'd0,
    LOAD_BAD_HEADER  = 4'd1,  // the frame does not begin with "LORA"
    LOAD_BAD_SLOT    = 4'd2,  // the chip has no such slot
    LOAD_SLOT_BUSY   = 4'd3,  // the slot of the open sequence
    LOAD_PARTIAL     = 4'd4,  // the frame ends before its length says
    LOAD_OVERLONG    = 4'd5,  // the frame goes on after its checksum
    LOAD_BAD_SECTION = 4'd6,  // a section that the chip has no place for, or there twice
    LOAD_CHECKSUM    = 4'd7   // the checksum differs
  } load_status_e;

  // From the load port to the layers.
  typedef enum logic [2:0] {
    LORA_NONE,
    LORA_CLEAR,    // the slot adapts no linear
    LORA_SECTION,  // rank and shifts of a linear
    LORA_A,        // a word of its A
    LORA_B         // a word of its B
  } lora_op_e;

  typedef struct packed {
    lora_op_e    op;
    logic [3:0]  slot;
    logic [2:0]  linear;
    logic [7:0]  rank;
    logic [5:0]  a_shift;
    logic [4:0]  b_shift;
    logic [23:0] index;    // of the word in its matrix
  } lora_load_t;

  // What is asked of the ROM test port.
  typedef enum logic [0:0] {
    ROM_OP_READ      = 1'd0,  // the slices of a word
    ROM_OP_SIGNATURE = 1'd1   // the signature of all words
  } rom_op_e;

  // Status of an answer on the ROM test port.
  typedef enum logic [1:0] {
    ROM_STATUS_OK       = 2'd0,
    ROM_STATUS_BAD_UNIT = 2'd1,  // the chip has no such ROM
    ROM_STATUS_BAD_WORD = 2'd2,  // the ROM has no such word
    ROM_STATUS_BUSY     = 2'd3   // a token or an adapter's frame is on its way
  } rom_status_e;

  // From station to station of the ROM test chain.
  typedef enum logic [2:0] {
    CHAIN_NONE,
    CHAIN_READ,       // a request, for the station at which `stage` is 0
    CHAIN_SIGNATURE,  // likewise
    CHAIN_SLICE,      // an answer: `word` is a slice
    CHAIN_LAST,       // the last one: a slice or the signature
    CHAIN_REFUSED     // the only one: `word` is a rom_status_e
  } chain_kind_e;

  typedef struct packed {
    chain_kind_e kind;
    logic [10:0] stage;
    logic [4:0]  rom;    // of the stage
    logic [31:0] word;
  } rom_chain_t;

  // From a station to its stage's ROMs.
  typedef struct packed {
    logic        on;     // read at this edge
    logic [4:0]  rom;
    logic [31:0] word;
    logic [15:0] slice;  // bytes 4 * slice and on of the word
  } rom_read_t;

  typedef logic signed [63:0] wide_t;

  // rs(x, n): divide by 2^n to nearest, a tie towards plus infinity.
  function automatic wide_t round_shift(input wide_t x, input logic [5:0] n);
    return (x + ((n == 6'd0) ? 64'sd0 : (64'sd1 <<< (n - 6'd1)))) >>> n;
  endfunction

  // sat(x, bits): clamp to a two's complement number of `bits` bits.
  function automatic wide_t saturate(input wide_t x, input int unsigned bits);
    wide_t limit;
    limit = 64'sd1 <<< (bits - 32'd1);
    return (x >= limit) ? limit - 64'sd1 : (x < -limit) ? -limit : x;
  endfunction

  // bitlen(x) of a value below 2^63: 0 for 0.
  function automatic logic [6:0] bit_length(input logic [63:0] x);
    logic [63:0] rest;
    logic [6:0] length;
    rest   = x;
    length = 7'd0;
    for (int unsigned i = 0; i < 6; i++) begin
      if ((rest >> (7'd32 >> i)) != 64'd0) begin
        rest   = rest >> (7'd32 >> i);
        length = length + (7'd32 >> i);
      end
    end
    return (rest != 64'd0) ? length + 7'd1 : length;
  endfunction

  // CRC-32 of IEEE 802.3 (reflected), one 32-bit word on, its low byte first; neither end is inverted here.
  function automatic logic [31:0] crc32_word(input logic [31:0] crc, input logic [31:0] word);
    crc32_word = crc ^ word;
    for (int unsigned i = 0; i < 32; i++) begin
      crc32_word = (crc32_word >> 1) ^ (crc32_word[0] ? 32'hEDB88320 : 32'd0);
    end
  endfunction

  // MISR of the ROM test (docs/rom-format.md, "Signature"): times x modulo the polynomial of CRC-32, plus the slice.
  function automatic logic [31:0] misr(input logic [31:0] state, input logic [31:0] slice);
    return {state[30:0], 1'b0} ^ (state[31] ? 32'h04C11DB7 : 32'd0) ^ slice;
  endfunction

endpackage
