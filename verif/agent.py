"""The token agent: sequencer, driver and monitor on the chip's host port, through the transactor ``ep_host_bfm``."""

from __future__ import annotations

from typing import Any, Final

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
from verif.reference import NO_SLOT, Op, Status

CLOCK_NS: Final = 2
RESET_CYCLES: Final = 4
_WORD: Final = (1 << 32) - 1


class TokenItem(uvm_sequence_item):  # type: ignore[misc]  # pyuvm is untyped
    """One request for the chip; the driver fills in ``result``.

    Attributes:
        token: its id, 32 bits; need not be in the vocabulary.
        op: what is asked for, 2 bits: an ``Op``, or what is none.
        slot: of the sequence's adapter, 4 bits; read where a sequence is opened.
        request_stall: clock cycles before it is offered.
        response_stall: clock cycles for which the response is held off.
        result: the response, None when a reset cut the token off.
    """

    def __init__(
        self,
        token: int,
        op: int,
        slot: int = NO_SLOT,
        request_stall: int = 0,
        response_stall: int = 0,
        name: str = "token",
    ) -> None:
        super().__init__(name)
        self.token, self.op, self.slot = token, op, slot
        self.request_stall, self.response_stall = request_stall, response_stall
        self.result: TokenResult | None = None

    def __str__(self) -> str:
        return f"token {self.token} op {self.op} slot {self.slot} stalls {self.request_stall} {self.response_stall}"


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


def read_result(dut: Any) -> TokenResult:
    """The token that was just answered, from the transactor's ``answer`` (hw/sim/ep_sim_top.sv), and its stalls."""
    answer = int(dut.answer.value)
    return TokenResult(
        token_in=answer >> 12 & _WORD,
        op=answer & 0xF,
        slot=answer >> 4 & 0xF,
        token_out=answer >> 44 & _WORD,
        position=answer >> 76 & _WORD,
        status=answer >> 8 & 0xF,
        cycles=answer >> 108,
        request_stall=int(dut.req_stall.value),
        response_stall=int(dut.rsp_stall.value),
    )


class _Answers(uvm_subscriber):  # type: ignore[misc]
    """Where the driver hears from the monitor that its token was answered."""

    def __init__(self, name: str, parent: uvm_component) -> None:
        super().__init__(name, parent)
        self.result: TokenResult | None = None
        self.heard = Event()

    def write(self, tt: TokenResult) -> None:
        self.result = tt
        self.heard.set()


class TokenDriver(uvm_driver):  # type: ignore[misc]
    """Drives one token at a time and waits for its response."""

    def build_phase(self) -> None:
        self.dut = cocotb.top
        self.timeout_cycles: int = ConfigDB().get(self, "", "TOKEN_TIMEOUT_CYCLES")
        self._reset: Reset = ConfigDB().get(self, "", "RESET")
        self.answers = _Answers("answers", self)
        self._request = 0
        self._pins: dict[str, int] = {}
        self._held = 0  # tokens of the open sequence
        self._deadline_ns: float | None = None  # of the token in flight

    async def reset(self) -> ResetSeen | None:
        """Reset the chip; a token in flight, a load and a read-back are cut off.

        Returns:
            What it was doing; None the first time.
        """
        dut = self.dut
        seen = self._doing() if self._reset.count else None
        self._reset.enter()
        self.answers.heard.set()
        dut.rst_n.value = 0
        self._put("req", 0)
        dut.load_req.value = 0
        dut.rom_req.value = 0
        self._request = 0
        await Timer(RESET_CYCLES * CLOCK_NS, "ns")
        dut.rst_n.value = 1
        await Timer(CLOCK_NS, "ns")
        self._reset.leave()
        self._held = 0
        return seen

    async def accepted(self) -> None:
        """Wait until the chip takes the next token."""
        await ValueChange(self.dut.ack)

    def _doing(self) -> ResetSeen:
        """What a reset cuts off: the token that was accepted and is not answered, by its place in its sequence."""
        dut = self.dut
        if int(dut.ack.value) == int(dut.rsp.value):
            return ResetSeen(None, 0)
        position = 0 if self._pins["req_op"] == Op.FIRST else self._held
        return ResetSeen(position, int(dut.cycle.value) - int(dut.ack_cycle.value))

    async def run_phase(self) -> None:
        cocotb.start_soon(self._watch())
        while True:
            item = await self.seq_item_port.get_next_item()
            await self._drive(item)
            self.seq_item_port.item_done()

    def _put(self, pin: str, value: int) -> None:
        """Drive a pin of the transactor, if it has to change: a write costs more than the memory of the last one."""
        if self._pins.get(pin) != value:
            self._pins[pin] = value
            getattr(self.dut, pin).value = value

    async def _watch(self) -> None:
        """Wake the driver when a token stays unanswered: one timer for all of them, not one for each."""
        while True:
            await Timer(self.timeout_cycles * CLOCK_NS, "ns")
            if self._deadline_ns is not None and get_sim_time("ns") > self._deadline_ns:
                self.answers.heard.set()

    async def _drive(self, item: TokenItem) -> None:
        await self._reset.released.wait()
        answers, resets = self.answers, self._reset.count
        answers.result = None
        answers.heard.clear()
        stalls = item.request_stall + item.response_stall
        self._deadline_ns = get_sim_time("ns") + (self.timeout_cycles + stalls) * CLOCK_NS
        self._put("req_token", item.token)
        self._put("req_op", int(item.op))
        self._put("req_slot", item.slot)
        self._put("req_stall", item.request_stall)
        self._put("rsp_stall", item.response_stall)
        self._request ^= 1
        self._put("req", self._request)
        await answers.heard.wait()
        self._deadline_ns = None
        if answers.result is not None:
            item.result = answers.result
            if item.result.status == Status.OK:
                self._held = 0 if item.op == Op.CLOSE else item.result.position + 1
        elif self._reset.count == resets:
            raise ResponseTimeoutError(f"timeout: no response to {item} within {self.timeout_cycles} cycles")


class TokenMonitor(uvm_monitor):  # type: ignore[misc]
    """Publishes every response on ``ap``, whoever drove the token."""

    def build_phase(self) -> None:
        self.dut = cocotb.top
        self.ap = uvm_analysis_port("ap", self)
        self._reset: Reset = ConfigDB().get(self, "", "RESET")
        self._published = 0  # the response's toggle as of the last one published

    @property
    def in_flight(self) -> bool:
        """Whether a token was accepted whose response is not published yet."""
        return int(self.dut.ack.value) != self._published

    async def run_phase(self) -> None:
        dut = self.dut
        while True:
            await ValueChange(dut.rsp)
            self._published = int(dut.rsp.value)
            # A reset returns the toggle to 0, from a random value the first time in a strict build.
            if int(dut.rst_n.value) and not self._reset.asserted.is_set():
                self.ap.write(read_result(dut))


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
