"""The token agent: sequencer, driver and monitor on the chip's host port, through the transactor ``ep_host_bfm``."""

from __future__ import annotations

from typing import Any, Final

import cocotb
from cocotb.triggers import Event, First, Timer, ValueChange
from pyuvm import (
    ConfigDB,
    uvm_agent,
    uvm_analysis_port,
    uvm_component,
    uvm_driver,
    uvm_monitor,
    uvm_sequence_item,
    uvm_sequencer,
)

from etchproof.uvm import TokenResult

CLOCK_NS: Final = 2
RESET_CYCLES: Final = 4


class TokenItem(uvm_sequence_item):  # type: ignore[misc]  # pyuvm is untyped
    """One token for the chip; the driver fills in ``result``.

    Attributes:
        token: its id, 32 bits; need not be in the vocabulary.
        first: opens a sequence.
        request_stall: clock cycles before it is offered.
        response_stall: clock cycles for which the response is held off.
        result: the response, None when a reset cut the token off.
    """

    def __init__(
        self, token: int, first: bool, request_stall: int = 0, response_stall: int = 0, name: str = "token"
    ) -> None:
        super().__init__(name)
        self.token, self.first = token, first
        self.request_stall, self.response_stall = request_stall, response_stall
        self.result: TokenResult | None = None

    def __str__(self) -> str:
        return f"token {self.token} first {self.first} stalls {self.request_stall} {self.response_stall}"


class ResponseTimeoutError(AssertionError):
    """The chip did not answer a token."""


def read_result(dut: Any) -> TokenResult:
    """The token that was just answered, from the pins of the transactor."""
    return TokenResult(
        token_in=int(dut.tok_id.value),
        first=bool(int(dut.tok_first.value)),
        token_out=int(dut.rsp_token.value),
        position=int(dut.rsp_pos.value),
        status=int(dut.rsp_status.value),
        cycles=int(dut.rsp_cycles.value),
    )


class TokenDriver(uvm_driver):  # type: ignore[misc]
    """Drives one token at a time and waits for its response."""

    def build_phase(self) -> None:
        self.dut = cocotb.top
        self.timeout_cycles: int = ConfigDB().get(self, "", "TOKEN_TIMEOUT_CYCLES")
        self._reset = Event()  # set while the chip is in reset
        self._running = Event()  # set while it is not
        self._running.set()
        self._request = 0

    async def reset(self) -> None:
        """Reset the chip; a token in flight is cut off."""
        dut = self.dut
        self._running.clear()
        self._reset.set()
        dut.rst_n.value = 0
        dut.req.value = 0
        self._request = 0
        await Timer(RESET_CYCLES * CLOCK_NS, "ns")
        dut.rst_n.value = 1
        await Timer(CLOCK_NS, "ns")
        self._reset.clear()
        self._running.set()

    async def run_phase(self) -> None:
        while True:
            item = await self.seq_item_port.get_next_item()
            await self._drive(item)
            self.seq_item_port.item_done()

    async def _drive(self, item: TokenItem) -> None:
        dut = self.dut
        await self._running.wait()
        dut.req_token.value = item.token
        dut.req_first.value = int(item.first)
        dut.req_stall.value = item.request_stall
        dut.rsp_stall.value = item.response_stall
        self._request ^= 1
        dut.req.value = self._request
        patience = (self.timeout_cycles + item.request_stall + item.response_stall) * CLOCK_NS
        answered, cut_off = ValueChange(dut.rsp), self._reset.wait()
        fired = await First(answered, cut_off, Timer(patience, "ns"))
        if fired is answered:
            item.result = read_result(dut)
        elif not self._reset.is_set():
            raise ResponseTimeoutError(f"timeout: no response to {item} within {self.timeout_cycles} cycles")


class TokenMonitor(uvm_monitor):  # type: ignore[misc]
    """Publishes every response on ``ap``, whoever drove the token."""

    def build_phase(self) -> None:
        self.dut = cocotb.top
        self.ap = uvm_analysis_port("ap", self)

    async def run_phase(self) -> None:
        dut = self.dut
        while True:
            await ValueChange(dut.rsp)
            if int(dut.rst_n.value):  # a reset returns the toggle to 0
                self.ap.write(read_result(dut))


class TokenAgent(uvm_agent):  # type: ignore[misc]
    """Sequencer, driver and monitor; each may be overridden through the factory."""

    def __init__(self, name: str, parent: uvm_component) -> None:
        super().__init__(name, parent)

    def build_phase(self) -> None:
        super().build_phase()
        self.monitor = TokenMonitor.create("monitor", self)
        if self.active():
            self.sequencer = uvm_sequencer.create("sequencer", self)
            self.driver = TokenDriver.create("driver", self)
        ConfigDB().set(None, "*", "TOKEN_SEQUENCER", getattr(self, "sequencer", None))

    def connect_phase(self) -> None:
        if self.active():
            self.driver.seq_item_port.connect(self.sequencer.seq_item_export)
