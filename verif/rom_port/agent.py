"""The ROM agent: sequencer and driver on the chip's ROM test port.

The transactor ``ep_rom_bfm`` walks through a range of words by itself and leaves what the chip answered in memory: a
range costs Python two edges, however long it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cocotb.triggers import First, Timer, ValueChange
from pyuvm import (
    ConfigDB,
    uvm_agent,
    uvm_analysis_port,
    uvm_driver,
    uvm_sequence,
    uvm_sequence_item,
    uvm_sequencer,
)

from verif.host_port.agent import CLOCK_NS, Reset, ResponseTimeoutError, TokenMonitor
from verif.pins import find_pins
from verif.rom_port.port import RomAnswer, RomPort, RomRange

STALLED_CYCLES: Final = 16
"""For a slice, with the longest stalls; beside the time that a token may take."""


@dataclass(frozen=True)
class RomResult:
    """A range and its answer.

    Attributes:
        busy: whether a token was on its way all the time (True), or neither token nor frame at any time (False).
    """

    asked: RomRange
    answer: RomAnswer
    busy: bool | None


@dataclass(frozen=True)
class _Traffic:
    """What else the chip does; equal before and after a range: the same all the time.

    Attributes:
        token: one is on its way.
        frame: one is on its way.
        which: tells a token or frame from the next one.
    """

    token: bool
    frame: bool
    which: tuple[int, int, int]

    @property
    def busy(self) -> bool | None:
        """None where the host has begun with a frame that the chip need not have seen."""
        return True if self.token else None if self.frame else False


class RomItem(uvm_sequence_item):  # type: ignore[misc]  # pyuvm is untyped
    """One range; the driver fills in ``result``, None when a reset cut it off.

    Attributes:
        slices: that the chip has to read for it, at most.
    """

    def __init__(self, asked: RomRange, slices: int) -> None:
        super().__init__("rom")
        self.asked, self.slices = asked, slices
        self.result: RomResult | None = None

    def __str__(self) -> str:
        return str(self.asked)


class RomDriver(uvm_driver):  # type: ignore[misc]
    """Asks for one range at a time, waits for its end, publishes it on ``ap``."""

    def build_phase(self) -> None:
        self.pins = find_pins()
        self.port = RomPort()
        self.ap = uvm_analysis_port("ap", self)
        self._request = 0

    def start_of_simulation_phase(self) -> None:
        self._reset: Reset = ConfigDB().get(self, "", "RESET")
        self._tokens: TokenMonitor = ConfigDB().get(self, "", "TOKEN_MONITOR")
        self._timeout_cycles: int = ConfigDB().get(self, "", "TOKEN_TIMEOUT_CYCLES")
        self._resets = self._reset.count

    async def run_phase(self) -> None:
        while True:
            item = await self.seq_item_port.get_next_item()
            await self._drive(item)
            self.seq_item_port.item_done()

    async def _drive(self, item: RomItem) -> None:
        pins = self.pins
        await self._reset.released.wait()
        if self._resets != self._reset.count:
            self._resets, self._request = self._reset.count, 0
        self.port.ask(item.asked)
        before = self._traffic()
        self._request ^= 1
        pins.rom_req.value = self._request
        ended, cut_off = ValueChange(pins.rom_done), self._reset.asserted.wait()
        cycles = self._timeout_cycles + STALLED_CYCLES * item.slices
        fired = await First(ended, cut_off, Timer(cycles * CLOCK_NS, "ns"))
        if fired is ended:
            after = self._traffic()
            item.result = RomResult(item.asked, self.port.answer(), before.busy if after == before else None)
            self.ap.write(item.result)
        elif not self._reset.asserted.is_set():
            raise ResponseTimeoutError(f"timeout: no end of {item} within {cycles} cycles")

    def _traffic(self) -> _Traffic:
        pins = self.pins
        token, accepted = self._tokens.in_flight, int(pins.ack.value)
        cycles = 0 if token else int(pins.busy_cycles.value)
        frame, sent = int(pins.load_req.value) != int(pins.load_done.value), int(pins.load_req.value)
        return _Traffic(token, frame, (accepted, cycles, sent))


class RomAgent(uvm_agent):  # type: ignore[misc]
    """Sequencer and driver; each may be overridden through the factory."""

    def build_phase(self) -> None:
        super().build_phase()
        self.sequencer = uvm_sequencer.create("sequencer", self)
        self.driver = RomDriver.create("driver", self)
        ConfigDB().set(None, "*", "ROM_SEQUENCER", self.sequencer)

    def connect_phase(self) -> None:
        self.driver.seq_item_port.connect(self.sequencer.seq_item_export)


class RomSequence(uvm_sequence):  # type: ignore[misc]
    """Ranges one after the other, as they are, whatever the chip answers; a reset ends it."""

    def __init__(self, asked: Sequence[RomRange], slices: int = 0) -> None:
        super().__init__("rom")
        self.asked, self._slices = asked, slices
        self.results: list[RomResult] = []

    async def body(self) -> None:
        for asked in self.asked:
            item = RomItem(asked, self._slices)
            await self.start_item(item)
            await self.finish_item(item)
            if item.result is None:
                return
            self.results.append(item.result)

    async def run(self) -> list[RomResult]:
        """Start on the environment's sequencer."""
        await self.start(ConfigDB().get(None, "", "ROM_SEQUENCER"))
        return self.results
