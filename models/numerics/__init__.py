"""The chip's arithmetic as docs/numerics.md says it: operations, constant tables, and the shifts of the datapath."""
