"""Building and running a simulation: from rendered SystemVerilog to a cocotb process and its taps.

``build`` and ``run`` are the parent's side; ``child``, ``progress`` and ``sink`` are for the testbench, inside the
simulator. Nothing here knows a chip.
"""
