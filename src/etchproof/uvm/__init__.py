"""UVM components that know no chip: the tap monitor and the scoreboard (pyuvm 5)."""

from etchproof.uvm.items import TokenResult, TokenTaps
from etchproof.uvm.scoreboard import Reference, TapScoreboard
from etchproof.uvm.tap_monitor import TapMonitor

__all__ = ["Reference", "TapMonitor", "TapScoreboard", "TokenResult", "TokenTaps"]
