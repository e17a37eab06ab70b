"""The adapter agent: sequencer, driver and monitor on the chip's load port, and a back door into its SRAMs.

The transactor ``ep_host_bfm`` sends a frame by itself, out of memory that the driver fills: loading costs Python
nothing by the word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from cocotb.triggers import Event, First, Timer, ValueChange
from numpy.typing import NDArray
from pyuvm import (
    ConfigDB,
    uvm_agent,
    uvm_analysis_port,
    uvm_driver,
    uvm_monitor,
    uvm_sequence,
    uvm_sequence_item,
    uvm_sequencer,
)

from etchproof.uvm import LoadResult, LoadStart
from models.lora import frame_ranks, sram_site
from verif.host_port.agent import CLOCK_NS, Reset, ResponseTimeoutError, TokenMonitor
from verif.load_port.port import LoadPort
from verif.pins import find_pins

LOAD_TIMEOUT_CYCLES: Final = 10_000
"""Beside 50 cycles a word, which is more than any stall costs."""

Words = NDArray[np.uint32]
Fault = Mapping[str, Any]
"""A bit of an adapter in SRAM: slot, layer, linear, matrix ("A": (rank, cols) or "B": (rows, rank)), row, col, bit."""


class LoadItem(uvm_sequence_item):  # type: ignore[misc]  # pyuvm is untyped
    """One frame for the chip; the driver fills in ``result``.

    Attributes:
        words: what the host sends, ``last`` with the last of them.
        stall_seed: of random stalls between words; 0 for none.
        cut: end the frame after so many words; None sends all.
        response_stall: clock cycles for which the answer is held off.
        result: the answer, None when a reset cut the load off.
    """

    def __init__(
        self, words: Words, stall_seed: int = 0, cut: int | None = None, response_stall: int = 0
    ) -> None:
        super().__init__("load")
        self.words = np.asarray(words, np.uint32)[:cut]
        self.stall_seed, self.response_stall = stall_seed, response_stall
        self.result: LoadResult | None = None

    def __str__(self) -> str:
        return f"load of {len(self.words)} words, stalls {self.stall_seed} {self.response_stall}"


class FaultItem(uvm_sequence_item):  # type: ignore[misc]
    """Bits to flip in SRAM, through the back door."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("faults")
        self.faults = list(faults)

    def __str__(self) -> str:
        return f"{len(self.faults)} faults"


class AdapterDriver(uvm_driver):  # type: ignore[misc]
    """Sends one frame at a time and waits for its answer; flips bits where an adapter lies."""

    def build_phase(self) -> None:
        self.pins = find_pins()
        self.port = LoadPort()
        self._request = 0
        self._ranks: dict[int, dict[tuple[int, str], int]] = {}  # by slot that was loaded through this driver

    def start_of_simulation_phase(self) -> None:
        self._plan: Any = ConfigDB().get(self, "", "GOLDEN").plan
        self._reset: Reset = ConfigDB().get(self, "", "RESET")
        self._monitor: AdapterMonitor = ConfigDB().get(self, "", "LOAD_MONITOR")
        self._resets = self._reset.count

    async def run_phase(self) -> None:
        while True:
            item = await self.seq_item_port.get_next_item()
            if isinstance(item, FaultItem):
                self.flip(item.faults)
            else:
                await self._drive(item)
            self.seq_item_port.item_done()

    async def _drive(self, item: LoadItem) -> None:
        pins = self.pins
        await self._reset.released.wait()
        self._forget_after_reset()
        self.port.offer(item.words)
        pins.load_words.value = len(item.words)
        pins.load_seed.value = item.stall_seed
        pins.load_rsp_stall.value = item.response_stall
        self._request ^= 1
        pins.load_req.value = self._request
        self._monitor.watch()
        cycles = LOAD_TIMEOUT_CYCLES + 50 * len(item.words) + item.response_stall
        answered, cut_off = ValueChange(pins.load_done), self._reset.asserted.wait()
        fired = await First(answered, cut_off, Timer(cycles * CLOCK_NS, "ns"))
        if fired is answered:
            item.result = await self._monitor.result()
            if item.result.status == 0:
                self._ranks[item.result.slot] = frame_ranks(self._plan, item.words)
        elif not self._reset.asserted.is_set():
            raise ResponseTimeoutError(f"timeout: no answer to {item} within {cycles} cycles")

    def _forget_after_reset(self) -> None:
        if self._resets != self._reset.count:
            self._resets, self._request, self._ranks = self._reset.count, 0, {}

    def flip(self, faults: Sequence[Fault]) -> None:
        """Flip bits of adapters that were loaded.

        Raises:
            AssertionError: ``lora_fault``: no such bit in what the slot holds; nothing was flipped.
        """
        self._forget_after_reset()
        sites = [self._site(fault) for fault in faults]
        for memory, word, lane, bit in sites:
            memory[word, lane] ^= np.int16(np.uint16(1 << bit).view(np.int16))

    def _site(self, fault: Fault) -> tuple[NDArray[np.int16], int, int, int]:
        """(SRAM, word, lane, bit) of a fault."""
        slot, layer, name, matrix = fault["slot"], fault["layer"], fault["linear"], fault["matrix"]
        rank = self._ranks.get(slot, {}).get((layer, name), 0)
        assert rank, f"lora_fault: slot {slot} adapts no layer {layer} {name}"
        linear = self._plan.linears(layer)[name]
        rows, cols = (rank, linear.cols) if matrix == "A" else (linear.rows, rank)
        row, col, bit = fault["row"], fault["col"], fault["bit"]
        inside = matrix in ("A", "B") and 0 <= row < rows and 0 <= col < cols and 0 <= bit < 16
        assert inside, f"lora_fault: {dict(fault)} is outside {rows} x {cols} x 16 bits"
        word, lane = sram_site(self._plan, slot, linear, rank, matrix, row, col)
        return self.port.sram(layer, f"{name}.lora_{matrix.lower()}"), word, lane, bit


class AdapterMonitor(uvm_monitor):  # type: ignore[misc]
    """Publishes on ``ap`` when the chip has checked a frame's slot (``LoadStart``) and its answer (``LoadResult``).

    Every signal that Python waits on costs time in every step of the simulation, so it looks at the pins only from
    ``watch`` on until the answer: whoever drives a load calls it.
    """

    def build_phase(self) -> None:
        self.pins = find_pins()
        self.ap = uvm_analysis_port("ap", self)
        self.port = LoadPort()
        self._sending, self._answered = Event(), Event()
        self._last: LoadResult | None = None

    def start_of_simulation_phase(self) -> None:
        self._tokens: TokenMonitor = ConfigDB().get(self, "", "TOKEN_MONITOR")
        self._reset: Reset = ConfigDB().get(self, "", "RESET")

    def watch(self) -> None:
        """A load begins."""
        self._answered.clear()
        self._sending.set()

    async def result(self) -> LoadResult:
        """The answer to the load that is watched, once it was published."""
        await self._answered.wait()
        assert self._last is not None
        return self._last

    async def run_phase(self) -> None:
        while True:
            await self._sending.wait()
            self._sending.clear()
            await self._observe()

    async def _observe(self) -> None:
        """One load, or what a reset leaves of it."""
        pins = self.pins
        checked, answered = int(pins.load_checked.value), int(pins.load_answered.value)
        while not self._answered.is_set():
            await First(
                ValueChange(pins.load_checked), ValueChange(pins.load_answered), self._reset.asserted.wait()
            )
            if self._reset.asserted.is_set():
                return
            words = self.port.offered()[: int(pins.load_words.value)]
            self._tokens.collect()
            in_flight = self._tokens.in_flight
            if int(pins.load_checked.value) != checked:
                checked ^= 1
                self.ap.write(LoadStart(words, in_flight))
            if int(pins.load_answered.value) != answered:
                self._last = LoadResult(
                    words=words,
                    status=int(pins.load_status.value),
                    slot=int(pins.load_slot.value),
                    cycles=int(pins.load_cycles.value),
                    stalled=int(pins.load_seed.value) != 0,
                    in_flight=in_flight,
                )
                self.ap.write(self._last)
                self._answered.set()


class AdapterAgent(uvm_agent):  # type: ignore[misc]
    """Sequencer, driver and monitor; each may be overridden through the factory."""

    def build_phase(self) -> None:
        super().build_phase()
        self.monitor = AdapterMonitor.create("monitor", self)
        ConfigDB().set(None, "*", "LOAD_MONITOR", self.monitor)
        if self.active():
            self.sequencer = uvm_sequencer.create("sequencer", self)
            self.driver = AdapterDriver.create("driver", self)
        ConfigDB().set(None, "*", "LOAD_SEQUENCER", getattr(self, "sequencer", None))

    def connect_phase(self) -> None:
        if self.active():
            self.driver.seq_item_port.connect(self.sequencer.seq_item_export)


class LoadSequence(uvm_sequence):  # type: ignore[misc]
    """Sends one frame, whole or cut short; arguments and ``result`` as of ``LoadItem``."""

    def __init__(
        self, words: Words, stall_seed: int = 0, cut: int | None = None, response_stall: int = 0
    ) -> None:
        super().__init__("load")
        self.item = LoadItem(words, stall_seed, cut, response_stall)

    @property
    def result(self) -> LoadResult | None:
        """The answer; None before it and when a reset cut the load off."""
        return self.item.result

    async def body(self) -> None:
        await self.start_item(self.item)
        await self.finish_item(self.item)

    async def run(self) -> LoadResult | None:
        """Start on the environment's sequencer."""
        await self.start(ConfigDB().get(None, "", "LOAD_SEQUENCER"))
        return self.result


class FaultSequence(uvm_sequence):  # type: ignore[misc]
    """Flips bits of loaded adapters, behind every load that was started before."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("faults")
        self.item = FaultItem(faults)

    async def body(self) -> None:
        await self.start_item(self.item)
        await self.finish_item(self.item)

    async def run(self) -> None:
        """Start on the environment's sequencer."""
        await self.start(ConfigDB().get(None, "", "LOAD_SEQUENCER"))
