"""The tap monitor: on each response, gathers the taps that the token left in the simulator's memory."""

from __future__ import annotations

from pyuvm import ConfigDB, uvm_analysis_port, uvm_component, uvm_subscriber

from etchproof.contract.taps import TapPlan
from etchproof.sim.sink import TapSink
from etchproof.uvm.items import TokenResult, TokenTaps


class TapMonitor(uvm_subscriber):  # type: ignore[misc]  # pyuvm is untyped
    """Subscribes to token results, publishes ``TokenTaps`` on ``ap``.

    A token in flight at a reset never responds; ``discard`` drops what it left.
    """

    def __init__(self, name: str, parent: uvm_component) -> None:
        super().__init__(name, parent)
        self.discarded = 0  # records

    def build_phase(self) -> None:
        self.ap = uvm_analysis_port("ap", self)
        taps: TapPlan = ConfigDB().get(self, "", "GOLDEN").taps
        self.sink = TapSink(taps.names)

    def write(self, tt: TokenResult) -> None:
        self.ap.write(TokenTaps(tt, self.sink.take_token()))

    def discard(self) -> None:
        """Drop the taps of a token that a reset cut off."""
        self.discarded += len(self.sink.take().records())
