"""The tap monitor: on each response, gathers the taps that the token left in the simulator's memory."""

from __future__ import annotations

from collections.abc import Callable

from pyuvm import uvm_analysis_port, uvm_component, uvm_subscriber

from etchproof.compare import Array, TapKey
from etchproof.sim.sink import TapSink
from etchproof.uvm.items import TokenResult, TokenTaps


class TapMonitor(uvm_subscriber):  # type: ignore[misc]  # pyuvm is untyped
    """Subscribes to token results, publishes ``TokenTaps`` on ``ap``.

    A token in flight at a reset never responds; ``discard`` drops what it left.
    """

    def __init__(self, name: str, parent: uvm_component) -> None:
        super().__init__(name, parent)
        self.sink = TapSink()
        self.discarded = 0  # records
        self.on_failure: Callable[[str, str], None] = lambda name, message: None
        self.before_sequence: Callable[[], None] = lambda: (
            None
        )  # while only earlier sequences' taps are gathered

    def build_phase(self) -> None:
        self.ap = uvm_analysis_port("ap", self)

    def write(self, tt: TokenResult) -> None:
        if tt.first:
            self.before_sequence()
        taps: dict[TapKey, Array] = {}
        for record in self.sink.drain():
            key = (record.layer, record.name)
            if record.pos != tt.position:
                self.on_failure(
                    "stray_tap", f"layer {key[0]} {key[1]} of position {record.pos} beside {tt.position}"
                )
            elif key in taps:
                self.on_failure("duplicate_tap", f"layer {key[0]} {key[1]} twice at position {tt.position}")
            taps[key] = record.data
        self.ap.write(TokenTaps(tt, taps))

    def discard(self) -> None:
        """Drop the taps of a token that a reset cut off."""
        self.discarded += len(self.sink.drain())
