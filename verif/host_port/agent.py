"""The token agent: sequencer, driver and monitor on the chip's host port, through the transactor ``ep_host_bfm``.

Requests go to the simulator in bursts (``ep_host_queue``): Python is called once for several tokens.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import cocotb
from cocotb.triggers import Event, Timer, ValueChange
from cocotb.utils import get_sim_time
from pyuvm import (
    ConfigDB,
    uvm_agent,
    uvm_analysis_port,
    uvm_component,
    uvm_driver,
    uvm_monitor,
    uvm_sequence_item,
    uvm_sequencer,
    uvm_subscriber,
)

from etchproof.uvm import ResetSeen, TokenResult
from verif.host_port.port import HostPort, HostRequest
from verif.pins import find_pins
from verif.protocol import Op, Status

CLOCK_NS: Final = 2
RESET_CYCLES: Final = 4
PAUSE_CYCLES: Final = 1 << 15
"""A burst that has taken so many cycles pauses: Python hears of large chips' tokens one by one."""


class TokenBurst(uvm_sequence_item):  # type: ignore[misc]  # pyuvm is untyped
    """Requests for the chip, one after the other; the driver fills in what became of them.

    Attributes:
        requests: at least one. A token is 32 bits and need not be in the vocabulary; an operation is 2 bits, an ``Op``
            or what is none; a slot is 4 bits, read where a sequence is opened.
        stop_tokens: not fed back.
        ends_at_refusal: whether an answer with a status other than 0 is the last.
        results: the responses.
        paused: whether the rest may be asked for.
        cut_off: whether a reset ended it.
    """

    def __init__(
        self,
        requests: Sequence[HostRequest],
        stop_tokens: Collection[int] = (),
        ends_at_refusal: bool = False,
    ) -> None:
        super().__init__("burst")
        self.requests, self.stop_tokens, self.ends_at_refusal = requests, stop_tokens, ends_at_refusal
        self.results: list[TokenResult] = []
        self.paused = self.cut_off = False

    def __str__(self) -> str:
        return f"{len(self.requests)} requests, the first {self.requests[0]}"


class ResponseTimeoutError(AssertionError):
    """The chip did not answer."""


class Reset:
    """Whether the chip is in reset, for all who drive it.

    Attributes:
        asserted: set while it is.
        released: set while it is not.
        count: resets so far.
    """

    def __init__(self) -> None:
        self.asserted, self.released, self.count = Event(), Event(), 0
        self.released.set()

    def enter(self) -> None:
        """Reset begins."""
        self.released.clear()
        self.asserted.set()
        self.count += 1

    def leave(self) -> None:
        """Reset has ended."""
        self.asserted.clear()
        self.released.set()


class _Answers(uvm_subscriber):  # type: ignore[misc]  # pyuvm is untyped
    """Where the driver hears from the monitor what was answered.

    Attributes:
        held: tokens of the open sequence.
    """

    def __init__(self, name: str, parent: uvm_component) -> None:
        super().__init__(name, parent)
        self.results: list[TokenResult] = []
        self.held = 0

    def write(self, tt: TokenResult) -> None:
        self.results.append(tt)
        if tt.status == Status.OK:
            self.held = 0 if tt.op == Op.CLOSE else tt.position + 1


class TokenDriver(uvm_driver):  # type: ignore[misc]
    """Drives one burst at a time and waits for its end."""

    def build_phase(self) -> None:
        self.pins = find_pins()
        self.port = HostPort()
        self.timeout_cycles: int = ConfigDB().get(self, "", "TOKEN_TIMEOUT_CYCLES")
        self._reset: Reset = ConfigDB().get(self, "", "RESET")
        self._monitor: TokenMonitor = ConfigDB().get(self, "", "TOKEN_MONITOR")
        self.answers = _Answers("answers", self)
        self._play = 0
        self._burst: TokenBurst | None = None  # being played

    async def reset(self) -> ResetSeen | None:
        """Reset the chip; a token in flight, a load and a read-back are cut off.

        Returns:
            What it was doing; None the first time.
        """
        pins = self.pins
        self._monitor.collect()
        seen = self._doing() if self._reset.count else None
        self._reset.enter()
        self._monitor.ended.set()
        pins.rst_n.value = 0
        pins.play.value = 0
        pins.load_req.value = 0
        pins.rom_req.value = 0
        self._play = 0
        await Timer(RESET_CYCLES * CLOCK_NS, "ns")
        pins.rst_n.value = 1
        await Timer(CLOCK_NS, "ns")
        self._reset.leave()
        self.answers.held = 0
        return seen

    async def accepted(self) -> None:
        """Wait until the chip takes the next token."""
        await ValueChange(self.pins.ack)

    def _doing(self) -> ResetSeen:
        """What a reset cuts off: the token that was accepted and is not answered, by its place in its sequence."""
        pins = self.pins
        if self._burst is None or not self._monitor.in_flight:
            return ResetSeen(None, 0)
        opens = self._burst.requests[len(self.answers.results)].op == Op.FIRST
        return ResetSeen(0 if opens else self.answers.held, int(pins.cycle.value) - int(pins.ack_cycle.value))

    async def run_phase(self) -> None:
        cocotb.start_soon(self._watch())
        while True:
            item = await self.seq_item_port.get_next_item()
            await self._drive(item)
            self.seq_item_port.item_done()

    async def _watch(self) -> None:
        """Wake the driver when a token stays unanswered: one timer for all of them, not one for each."""
        burst, answered, deadline_ns = None, 0, 0.0
        while True:
            await Timer(self.timeout_cycles * CLOCK_NS, "ns")
            self._monitor.collect()
            now = get_sim_time("ns")
            if self._burst is None:
                continue
            if self._burst is not burst or len(self.answers.results) != answered:
                burst, answered = self._burst, len(self.answers.results)
                stalls = sum(request.request_stall + request.response_stall for request in burst.requests)
                deadline_ns = now + (self.timeout_cycles + stalls) * CLOCK_NS
            elif now >= deadline_ns:
                self._monitor.ended.set()

    async def _drive(self, item: TokenBurst) -> None:
        await self._reset.released.wait()
        resets, ended = self._reset.count, self._monitor.ended
        self.answers.results = item.results
        self._burst = item
        ended.clear()
        self.port.ask(
            item.requests,
            stop_tokens=item.stop_tokens,
            ends_at_refusal=item.ends_at_refusal,
            pause_cycles=PAUSE_CYCLES,
        )
        self._play ^= 1
        self.pins.play.value = self._play
        await ended.wait()
        self._burst = None
        item.paused, item.cut_off = self.port.paused, self._reset.count != resets
        if not item.cut_off and int(self.pins.done.value) != self._play:
            request = item.requests[len(item.results)]
            raise ResponseTimeoutError(
                f"timeout: no response to {request} within {self.timeout_cycles} cycles"
            )


class TokenMonitor(uvm_monitor):  # type: ignore[misc]
    """Publishes every response on ``ap``, whoever drove the token; at the latest at the end of its burst.

    Attributes:
        ended: set at the end of a burst.
    """

    def build_phase(self) -> None:
        self.pins = find_pins()
        self.ap = uvm_analysis_port("ap", self)
        self.port = HostPort()
        self.ended = Event()

    @property
    def in_flight(self) -> bool:
        """Whether a token was accepted whose response was not collected yet; call ``collect`` before."""
        return int(self.pins.ack.value) != int(self.pins.answered.value)

    def collect(self) -> None:
        """Publish what was answered since."""
        for result in self.port.results():
            self.ap.write(result)

    async def run_phase(self) -> None:
        while True:
            await ValueChange(self.pins.done)
            self.collect()
            self.ended.set()


class TokenAgent(uvm_agent):  # type: ignore[misc]
    """Sequencer, driver and monitor; each may be overridden through the factory."""

    def __init__(self, name: str, parent: uvm_component) -> None:
        super().__init__(name, parent)

    def build_phase(self) -> None:
        super().build_phase()
        ConfigDB().set(None, "*", "RESET", Reset())
        self.monitor = TokenMonitor.create("monitor", self)
        if self.active():
            self.sequencer = uvm_sequencer.create("sequencer", self)
            self.driver = TokenDriver.create("driver", self)
        ConfigDB().set(None, "*", "TOKEN_SEQUENCER", getattr(self, "sequencer", None))
        ConfigDB().set(None, "*", "TOKEN_MONITOR", self.monitor)

    def connect_phase(self) -> None:
        if self.active():
            self.driver.seq_item_port.connect(self.sequencer.seq_item_export)
            self.monitor.ap.connect(self.driver.answers.analysis_export)
