"""UVM components that know no chip: the tap monitor and the scoreboard (pyuvm 5)."""

from etchproof.uvm.items import LoadResult, LoadStart, ResetSeen, TokenResult, TokenTaps
from etchproof.uvm.reference import Expected, ExpectedLoad, Opened, Reference
from etchproof.uvm.scoreboard import TapScoreboard
from etchproof.uvm.tap_monitor import TapMonitor
from etchproof.uvm.test import ComparedTest

__all__ = [
    "ComparedTest",
    "Expected",
    "ExpectedLoad",
    "LoadResult",
    "LoadStart",
    "Opened",
    "Reference",
    "ResetSeen",
    "TapMonitor",
    "TapScoreboard",
    "TokenResult",
    "TokenTaps",
]
