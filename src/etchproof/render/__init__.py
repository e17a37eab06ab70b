"""SystemVerilog rendered from a plan, linted, with the ROM images beside it."""
