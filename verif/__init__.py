"""The reference chip's testbench: a pyuvm environment around ``ep_sim_top``."""
