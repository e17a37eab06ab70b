"""What Etchproof changes in the C++ that Verilator wrote; ``rewrites`` is the way in."""
