"""The table that says what a diagnosis should name is of the faults that are declared, each once."""

from __future__ import annotations

from collections import Counter

from verif.qualify import rtl_ports, rtl_units
from verif.qualify.rtl_named import NAMED, NO_TAP, named

DECLARED = [
    (group.file, what) for group in (*rtl_units.GROUPS, *rtl_ports.GROUPS) for what, *_ in group.slips
]
SHARED = ("ep_rope.sv", "ep_rope_table.sv", "ep_layer_0.sv", "ep_chip.sv", "ep_tail.sv")
"""Sources that share a table."""


def test_no_row_is_stale() -> None:
    assert set(NAMED) <= {file for file, _ in DECLARED}
    whats = {what for _, what in DECLARED}
    for file, rows in NAMED.items():
        own = whats if file in SHARED else {what for source, what in DECLARED if source == file}
        assert set(rows) <= own | {"checksum not reflected"}, file


def test_what_computes_has_a_row() -> None:
    """A fault without one says that no tap shows it: true of answers and signatures alone."""
    without = {file for file, what in DECLARED if what not in NAMED.get(file, {})}
    assert without <= {
        *("ep_lora_load.sv", "ep_host_port.sv", "ep_rom_port.sv", "ep_rom_station.sv", "ep_param_rom.sv")
    }
    assert Counter(DECLARED).most_common(1)[0][1] == 1
    assert named("ep_rom_port.sv", "neighbour word asked for") == NO_TAP
    assert named("ep_linear.sv", "scale with a sign").kinds == ("scale with a sign",)
