"""The testbench of the mini design; each test here is run alone by a test of ``tests/sim``."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cocotb
import numpy as np
import pytest
from cocotb.triggers import First, Timer, ValueChange

from etchproof.sim.child import run_config, run_dir
from etchproof.sim.progress import ProgressWriter
from etchproof.sim.sink import SinkError, TapBatch, TapRecord, TapSink
from etchproof.uvm import TokenResult
from verif.host_port.port import HostPort, HostRequest
from verif.load_port.port import LoadPort

NAMES = ("y8", "y16", "y32", "y64", "codes", "gains", "params", "cosines")
ECHO, BURST, FATAL, ERROR, WITHDRAW, CHANGE, HANG, COUNT, ROM = (op << 28 for op in range(9))


async def reset(dut: Any) -> None:
    """Three cycles of reset."""
    dut.rst_n.value = 0
    dut.req.value = 0
    dut.play.value = 0
    dut.load_req.value = 0
    dut.req_stall.value = 0
    dut.rsp_stall.value = 0
    await Timer(32, "ns")
    dut.rst_n.value = 1
    await Timer(10, "ns")


async def request(
    dut: Any, token: int, *, first: bool = False, stall: int = 0, rsp_stall: int = 0, slot: int = 0
) -> None:
    """Hands a token to the host and waits until the chip has taken it."""
    dut.req_token.value = token
    dut.req_op.value = int(first)
    dut.req_slot.value = slot
    dut.req_stall.value = stall
    dut.rsp_stall.value = rsp_stall
    dut.req.value = 1 - int(dut.req.value)
    await ValueChange(dut.ack)


async def send(dut: Any, token: int, **arguments: Any) -> tuple[int, int]:
    """Sends a token and waits for the answer: (token, position)."""
    await request(dut, token, **arguments)
    await ValueChange(dut.rsp)
    return int(dut.rsp_token.value), int(dut.rsp_pos.value)


def vector(token: int, count: int, bits: int) -> np.ndarray:
    """What the chip taps: the upper bits of a product modulo 2^64, signed."""
    full = [(token + 7 * i) * 0x9E3779B97F4A7C15 % 2**64 >> (64 - bits) for i in range(count)]
    return np.array(full, np.uint64).astype(f"u{bits // 8}").astype(f"i{bits // 8}")


def expected(token: int, pos: int) -> list[tuple[int, str, int, np.ndarray]]:
    """The records of one token, by name."""
    return [
        (0, "y16", pos, vector(token, 8, 16)),
        (1, "y32", pos, vector(token, 5, 32)),
        (2, "y64", pos, vector(token, 1 + pos % 2, 64)),
        (-1, "y8", pos, vector(token, 11, 8)),
    ]


def check(records: list[TapRecord], wanted: list[tuple[int, str, int, np.ndarray]]) -> None:
    """Every record as wanted; taps of one cycle may come in any order."""
    assert len(records) == len(wanted)
    for record, want in zip(sorted(records, key=lambda r: (r.pos, r.name)), wanted, strict=True):
        assert (record.layer, record.name, record.pos) == want[:3]
        assert record.data.dtype == want[3].dtype
        assert np.array_equal(record.data, want[3])
        assert not record.data.flags.writeable


@cocotb.test()
async def taps(dut: Any) -> None:
    """Taps of every width and shape, over several tokens; ``wrong`` in the configuration expects another token's."""
    wrong = run_config().get("wrong", 0)
    sink = TapSink(NAMES)
    await reset(dut)
    last_time = 0
    for pos in range(5):
        token = 0x01234500 * (pos + 1) & 0x0FFFFF00
        answer = await send(dut, token, first=pos == 0)
        assert answer == (token + 1, pos)
        records = sink.take().records()
        check(records, expected(token + wrong, pos))
        assert {record.time for record in records} == {records[0].time}
        assert last_time < records[0].time
        last_time = records[0].time
    assert sink.records_written == 20
    assert sink.take().records() == []


@cocotb.test()
async def disabled(dut: Any) -> None:
    """Switched off, taps leave nothing."""
    sink = TapSink(NAMES)
    sink.enable(False)
    await reset(dut)
    await send(dut, 256)
    assert sink.take().records() == []
    sink.enable()
    await send(dut, 512)
    assert len(sink.take().records()) == 4


@cocotb.test()
async def visibility(dut: Any) -> None:
    """The top's signals are public, those below are not."""
    assert int(dut.req.value) == 0
    assert dut.rsp_cycles.value.is_resolvable
    for hidden in ("u_host.cycle_q", "u_chip.token_q", "u_chip.y8"):
        found: Any = dut
        try:
            for part in hidden.split("."):
                found = getattr(found, part)
        except AttributeError:
            continue
        raise AssertionError(f"{hidden} is public")


@cocotb.test()
async def many(dut: Any) -> None:
    """Many times what the memory holds; what was taken stays, and may be read later and by another thread."""
    sink = TapSink(NAMES)
    assert sink.capacity == 4096
    await reset(dut)
    batches = []
    for pos in range(300):
        await send(dut, pos * 256, first=pos == 0)
        batches.append(sink.take())
    with ThreadPoolExecutor(1) as thread:
        parsed = list(thread.map(TapBatch.records, batches))
    for pos, records in enumerate(parsed):
        check(records, expected(pos * 256, pos))
    assert sum(batch.nbytes for batch in batches) > 10 * 4096
    assert sink.records_written == 1200


@cocotb.test()
async def several_tokens(dut: Any) -> None:
    """Records of many tokens at once."""
    sink = TapSink(NAMES)
    await reset(dut)
    for burst in range(3):
        for pos in range(12):
            await send(dut, pos * 256, first=pos == 0)
        records = sink.take().records()
        check(records, [want for pos in range(12) for want in expected(pos * 256, pos)])
        assert sink.records_written == 48 * (burst + 1)


@cocotb.test()
async def overflow(dut: Any) -> None:
    """More records than there is memory for."""
    sink = TapSink(NAMES)
    await reset(dut)
    await send(dut, BURST | 86 << 8)
    sink.take().records()


@cocotb.test()
async def full(dut: Any) -> None:
    """As many records as there is memory for."""
    sink = TapSink(NAMES)
    await reset(dut)
    await send(dut, BURST | 85 << 8)
    assert len(sink.take().records()) == 85


@cocotb.test()
async def unread_overflow(dut: Any) -> None:
    """A testbench that never looks at its taps."""
    await reset(dut)
    await send(dut, BURST | 86 << 8)


@cocotb.test()
async def lost(dut: Any) -> None:
    """A record whose number is not the one after the last."""
    sink = TapSink(NAMES)
    await reset(dut)
    await send(dut, 256)
    sink.take().records()
    sink._sequence += 1
    await send(dut, 256)
    sink.take().records()


@cocotb.test()
async def stolen(dut: Any) -> None:
    """Two sinks: what one has taken is not there for the other."""
    sink, other = TapSink(NAMES), TapSink(NAMES)
    await reset(dut)
    await send(dut, 256)
    other.take()
    await send(dut, 256)
    sink.take().records()


@cocotb.test()
async def unknown_tap(dut: Any) -> None:
    """A tap in the RTL of a name that is not declared, though it has written nothing yet."""
    sink = TapSink(NAMES[:-1])
    await reset(dut)
    sink.take().records()


@cocotb.test()
async def bad_count(dut: Any) -> None:
    """A tap that claims more elements than it has."""
    sink = TapSink(NAMES)
    await reset(dut)
    await send(dut, COUNT)
    sink.take().records()


@cocotb.test()
async def late_capacity(dut: Any) -> None:
    """The capacity cannot change once there is memory."""
    assert TapSink(NAMES, tap_bytes=8192).capacity == 8192
    with pytest.raises(SinkError, match=r"^tap_bytes"):
        TapSink(NAMES, tap_bytes=16384)


@cocotb.test()
async def roms(dut: Any) -> None:
    """Every ROM holds its image, and all images are held."""
    sink = TapSink(NAMES)
    await reset(dut)
    await send(dut, ROM)
    records = {(record.layer, record.name): record.data for record in sink.take().records()}
    images = {(layer, name): values for layer, name, values in run_config()["images"]}
    for layer in range(2):
        for name in ("codes", "gains", "params"):
            assert records[layer, name].tolist() == images[layer, name], (layer, name)
        assert records[layer, "cosines"].tolist() == images[-1, "cosines"]
    assert sink.check_images() == sink.images_loaded() == len(images)


@cocotb.test()
async def unread_roms(dut: Any) -> None:
    """A testbench that never asks whether the ROMs were loaded."""
    await reset(dut)


@cocotb.test()
async def stalls(dut: Any) -> None:
    """The host waits for exactly as many cycles as it is told, on both sides."""
    TapSink(NAMES).enable(False)
    await reset(dut)
    late = run_config().get("late", 0)
    for latency in (0, 3):
        for stall in (0, 1, 2, 5):
            for rsp_stall in (0, 1, 2, 3, 7):
                before = int(dut.cycle.value)
                await request(dut, latency, stall=stall, rsp_stall=rsp_stall)
                taken = int(dut.ack_cycle.value)
                # Seen at the next edge, valid after `stall` more, taken at the edge after that.
                assert taken == before + stall + 1 + late
                await ValueChange(dut.rsp)
                assert int(dut.rsp_cycles.value) == 2 + latency
                assert int(dut.rsp_cycle.value) == taken + 2 + latency
                assert int(dut.cycle.value) == taken + 2 + latency + rsp_stall + 1


@cocotb.test()
async def fields(dut: Any) -> None:
    """What the host hands on: first, position, status; and the cycles that the chip was busy."""
    await reset(dut)
    for token, first, pos in ((0x0A000000, True, 0), (0x0B000000, False, 1), (0x05000000, True, 0)):
        assert await send(dut, token, first=first) == (token + 1, pos)
        assert int(dut.rsp_status.value) == token >> 24
    assert int(dut.busy_cycles.value) == 3 * 2


@cocotb.test()
async def passed_on(dut: Any) -> None:
    """Operation and slot reach the chip as they were asked for."""
    await reset(dut)
    for op in range(4):
        dut.req_token.value, dut.req_op.value, dut.req_slot.value = op, op, 15 - op
        dut.req_stall.value, dut.rsp_stall.value = op % 2, 0
        dut.req.value = 1 - int(dut.req.value)
        await ValueChange(dut.tok_valid)
        assert (int(dut.tok_op.value), int(dut.tok_slot.value)) == (op, 15 - op)
        await ValueChange(dut.rsp)
        assert (int(dut.tok_op.value), int(dut.tok_slot.value)) == (3 - op, op), "no bit of it is left"


async def play(
    dut: Any, port: HostPort, *tokens: int | HostRequest | None, **rules: Any
) -> list[TokenResult]:
    """Plays a burst; a mere token goes on in the sequence."""
    requests = [token if isinstance(token, HostRequest) else HostRequest(token, 0, 0) for token in tokens]
    port.ask(requests, **{"pause_cycles": 1 << 40, **rules})
    dut.play.value = 1 - int(dut.play.value)
    await ValueChange(dut.done)
    return port.results()


@cocotb.test()
async def bursts(dut: Any) -> None:
    """A burst: what is asked for, what is answered, each token's taps, and how many cycles lie between."""
    late = run_config().get("late", 0)
    sink, port = TapSink(NAMES), HostPort()
    dut.use_queue.value = 1
    await reset(dut)
    asked = [
        HostRequest(0x0A000003 + 256 * index, index == 0, 15 - index, request_stall, response_stall)
        for index, (request_stall, response_stall) in enumerate([(0, 0), (0, 0), (5, 0), (0, 0), (0, 3)])
    ]
    begun = int(dut.cycle.value)
    results = await play(dut, port, *asked)
    assert results == [
        TokenResult(
            request.token,
            request.op,
            request.slot,
            request.token + 1,
            pos,
            request.token >> 24,
            2 + 3,
            request.request_stall,
            request.response_stall,
        )
        for pos, request in enumerate(asked)
    ]
    # An answer comes 5 cycles after the acceptance, is handed over at the edge after the one that takes it; there the
    # next request is taken up, which the chip takes two edges later.
    assert int(dut.ack_cycle.value) - begun == 2 + 4 * (5 + 1 + 2) + 5 + late
    assert int(dut.cycle.value) - int(dut.ack_cycle.value) == 5 + 3 + 1 + 1
    assert not port.paused
    assert port.results() == []
    for pos, request in enumerate(asked):
        check(sink.take_token().records(), expected(request.token, pos))
    with pytest.raises(SinkError, match="no_token"):
        sink.take_token()


@cocotb.test()
async def burst_rules(dut: Any) -> None:
    """What is fed back, what ends a burst, what pauses it."""
    TapSink(NAMES).enable(False)
    port = HostPort()
    dut.use_queue.value = 1
    await reset(dut)

    async def tokens(*asked: int | None, **rules: Any) -> list[int]:
        return [result.token_in for result in await play(dut, port, *asked, **rules)]

    assert await tokens(256, None, None, 512, None) == [256, 257, 258, 512, 513]
    assert await tokens(256, None, None, None, stop_tokens={259, 300}) == [256, 257, 258]
    assert not port.paused
    assert await tokens(259, 259, stop_tokens={259}) == [259, 259], "only what is fed back stops"
    refused = 0x01000000
    assert await tokens(5, refused, 6, ends_at_refusal=True) == [5, refused]
    assert not port.paused
    assert await tokens(5, refused, 6) == [5, refused, 6]
    assert await tokens(0, 0, 0, 0, pause_cycles=3) == [0, 0]
    assert port.paused
    assert await tokens(0, 0, pause_cycles=3) == [0, 0]
    assert not port.paused, "nothing was left"


@cocotb.test()
async def burst_memory(dut: Any) -> None:
    """A burst pauses where memory for taps runs out; nothing is lost."""
    sink, port = TapSink(NAMES), HostPort()
    dut.use_queue.value = 1
    await reset(dut)
    left = [HostRequest(256 * index, index == 0, 0) for index in range(100)]
    pauses = 0
    while left:
        results = await play(dut, port, *left)
        for result in results:
            check(sink.take_token().records(), expected(result.token_in, result.position))
        assert port.paused == (len(results) < len(left))
        pauses += port.paused
        left = left[len(results) :]
    assert pauses > 3
    assert sink.records_written == 400


@cocotb.test()
async def reset_in_burst(dut: Any) -> None:
    """Reset amid a burst: what was answered stays, the token in flight is gone; then as new."""
    sink, port = TapSink(NAMES), HostPort()
    dut.use_queue.value = 1
    await reset(dut)
    for wait_ns in (20, 95, 100, 105, 110, 130, 145, 205):
        port.ask([HostRequest(token, 0, 0) for token in (0, 256, 512)], pause_cycles=1 << 40)
        dut.play.value = 1 - int(dut.play.value)
        await Timer(wait_ns, "ns")
        await reset(dut)
        answered = port.results()
        assert [result.token_in for result in answered] == [0, 256, 512][: len(answered)]
        for result in answered:
            check(sink.take_token().records(), expected(result.token_in, result.position))
        sink.take()
        assert [int(dut.done.value), int(dut.answered.value), int(dut.ack.value)] == [0, 0, 0]
        assert isinstance(await First(ValueChange(dut.done), ValueChange(dut.ack), Timer(300, "ns")), Timer)
        assert port.results() == []
        (result,) = await play(dut, port, HostRequest(256, 1, 0))
        assert (result.token_out, result.position) == (257, 0)
        check(sink.take_token().records(), expected(256, 0))


@cocotb.test()
async def play_in_reset(dut: Any) -> None:
    """Python leaves its toggle high in reset."""
    TapSink(NAMES).enable(False)
    dut.use_queue.value = 1
    await reset(dut)
    await play(dut, HostPort(), 0)
    dut.rst_n.value = 0
    await Timer(30, "ns")


def begin_load(
    dut: Any, words: list[int], *, seed: int = 0, rsp_stall: int = 0, sent: int | None = None
) -> None:
    """Hands a frame to the host; only ``sent`` of its words are to be sent, if given."""
    LoadPort().offer(np.array(words, np.uint32))
    dut.load_words.value = sent or len(words)
    dut.load_seed.value = seed
    dut.load_rsp_stall.value = rsp_stall
    dut.load_req.value = 1 - int(dut.load_req.value)


def frame(pause: int, latency: int, status: int, length: int, misbehave: int = 0) -> list[int]:
    """Words for the mini load port."""
    rng = np.random.default_rng(length)
    first = pause | latency << 8 | status << 16 | misbehave << 20
    return [first, *rng.integers(0, 2**32, length - 1).tolist()]


@cocotb.test()
async def loads(dut: Any) -> None:
    """Every word arrives once and in order, whatever the chip's pace; the answer is handed on with its cycles."""
    await reset(dut)
    await send(dut, 1, first=True)  # from an edge on
    late = run_config().get("late", 0)
    for length in (1, 2, 3, 50):
        for pause in (0, 1, 3):
            for latency in (0, 5):
                for rsp_stall in (0, 1, 4):
                    words = frame(pause, latency, length % 8, length)
                    before = int(dut.cycle.value)
                    begin_load(dut, words, rsp_stall=rsp_stall)
                    await ValueChange(dut.load_answered)
                    answered = before + 1 + (length - 1) * (pause + 1) + latency + 2 + late
                    assert int(dut.cycle.value) == answered + 1
                    assert int(dut.load_cycles.value) == answered - before - 1
                    assert (int(dut.load_sum.value), int(dut.load_count.value)) == (
                        sum(words) % 2**32,
                        length if rsp_stall else 0,
                    )
                    if rsp_stall:
                        await ValueChange(dut.load_done)
                    assert int(dut.cycle.value) == answered + 1 + rsp_stall
                    assert int(dut.load_taken.value) == length
                    assert int(dut.load_status.value) == length % 8
                    assert int(dut.load_slot.value) == sum(words) % 16
                    assert int(dut.load_checked.value) == int(dut.load_answered.value)
    assert LoadPort().offered().tolist() == words


@cocotb.test()
async def load_checked(dut: Any) -> None:
    """The toggle of the second word comes with it, or with the answer when there is none."""
    await reset(dut)
    await send(dut, 1, first=True)
    for length, after in ((1, 1 + 3), (2, 2), (9, 2)):
        before = int(dut.cycle.value)
        begin_load(dut, frame(0, 1, 0, length))
        await ValueChange(dut.load_checked)
        assert int(dut.cycle.value) == before + 1 + after, length
        if length > 1:
            await ValueChange(dut.load_done)


@cocotb.test()
async def load_stalls(dut: Any) -> None:
    """A seed puts pauses between words: the same ones each time, others with another seed; nothing else changes."""
    await reset(dut)
    words = frame(0, 0, 3, 400)
    cycles = []
    for seed in (1, 2, 1, 0, 0x80000000):
        begin_load(dut, words, seed=seed)
        await ValueChange(dut.load_done)
        assert int(dut.load_sum.value) == sum(words) % 2**32
        cycles.append(int(dut.load_cycles.value))
    assert cycles[3] == 400 + 1
    assert cycles[0] == cycles[2]
    assert len(set(cycles)) == 4
    assert min(cycles[:3]) > 500
    assert max(cycles) < 1200


@cocotb.test()
async def load_cut(dut: Any) -> None:
    """Fewer words than offered: last goes with the last one sent; beyond the offered ones is an error of the run."""
    await reset(dut)
    words = frame(0, 0, 5, 20)
    for sent in (1, 2, 19, 20):
        begin_load(dut, words, sent=sent)
        await ValueChange(dut.load_done)
        assert int(dut.load_taken.value) == sent
        assert int(dut.load_sum.value) == sum(words[:sent]) % 2**32
    if run_config().get("beyond"):
        begin_load(dut, words, sent=21)
        await ValueChange(dut.load_done)


@cocotb.test()
async def reset_in_load(dut: Any) -> None:
    """Reset anywhere in a load: idle, then as new, beside a token that is not disturbed."""
    await reset(dut)
    words = frame(1, 6, 2, 12)
    for wait_ns in range(10, 420, 30):
        begin_load(dut, words, seed=wait_ns % 4, rsp_stall=5)
        await Timer(wait_ns, "ns")
        await reset(dut)
        pins = (dut.load_checked, dut.load_answered, dut.load_done, dut.load_taken)
        assert [int(pin.value) for pin in pins] == [0, 0, 0, 0]
        quiet = await First(ValueChange(dut.load_answered), ValueChange(dut.load_checked), Timer(300, "ns"))
        assert isinstance(quiet, Timer)
        begin_load(dut, words)
        assert await send(dut, 7, first=True) == (8, 0)
        await First(ValueChange(dut.load_done), Timer(1000, "ns"))
        assert (int(dut.load_done.value), int(dut.load_status.value)) == (1, 2)
        assert int(dut.load_sum.value) == sum(words) % 2**32


@cocotb.test()
async def load_misbehaves(dut: Any) -> None:
    """A chip that breaks the load port's protocol, as configured, while its answer is held off."""
    await reset(dut)
    misbehave = {"withdraw": 1, "change": 2, "obey": 0}[run_config()["op"]]
    begin_load(dut, frame(0, 0, 1, 3, misbehave), rsp_stall=4)
    await ValueChange(dut.load_done)


@cocotb.test()
async def load_in_reset(dut: Any) -> None:
    """Python leaves its load request high in reset."""
    await reset(dut)
    begin_load(dut, frame(0, 0, 1, 3))
    await ValueChange(dut.load_done)
    dut.rst_n.value = 0
    await Timer(30, "ns")


@cocotb.test()
async def reset_in_flight(dut: Any) -> None:
    """Reset while a request waits, while the chip works and while the answer is held off: idle, then as new."""
    await reset(dut)
    await send(dut, 1)  # leaves every toggle at 1
    for stall, latency, rsp_stall, wait_ns in ((9, 0, 0, 50), (0, 9, 0, 50), (0, 0, 9, 80)):
        dut.req_token.value = latency
        dut.req_stall.value = stall
        dut.rsp_stall.value = rsp_stall
        dut.req.value = 1 - int(dut.req.value)
        await Timer(wait_ns, "ns")
        await reset(dut)
        assert [int(dut.ack.value), int(dut.rsp.value), int(dut.ack_cycle.value)] == [0, 0, 0]
        quiet = await First(ValueChange(dut.rsp), ValueChange(dut.ack), Timer(300, "ns"))
        assert isinstance(quiet, Timer)
        assert await send(dut, 3, first=True) == (4, 0)
        assert int(dut.rsp_cycles.value) == 5


@cocotb.test()
async def misbehaves(dut: Any) -> None:
    """A chip that breaks the protocol, as configured, while its answer is held off."""
    await reset(dut)
    op = {"withdraw": WITHDRAW, "change": CHANGE, "echo": ECHO}[run_config()["op"]]
    await send(dut, op, rsp_stall=4)


@cocotb.test()
async def request_in_reset(dut: Any) -> None:
    """Python leaves its request high in reset."""
    await reset(dut)
    await send(dut, 0)
    dut.rst_n.value = 0
    await Timer(30, "ns")


@cocotb.test()
async def fatal(dut: Any) -> None:
    """$fatal in RTL."""
    await reset(dut)
    await send(dut, FATAL)


@cocotb.test()
async def error(dut: Any) -> None:
    """$error in RTL."""
    await reset(dut)
    await send(dut, ERROR)


@cocotb.test()
async def hang(dut: Any) -> None:
    """A chip that never answers; the clock keeps the simulation alive."""
    with ProgressWriter(run_dir()) as progress:
        progress.write({"pid": os.getpid()})
    await reset(dut)
    await send(dut, HANG)


@cocotb.test()
async def early(dut: Any) -> None:
    """Ends at an answer, while another task waits for a time that is far off."""
    cocotb.start_soon(_far_off())
    await reset(dut)
    await send(dut, 1)


async def _far_off() -> None:
    await Timer(1, "ms")


@cocotb.test()
async def progress(dut: Any) -> None:
    """Events for the parent."""
    with ProgressWriter(run_dir()) as writer:
        for done in range(run_config()["events"]):
            writer.write({"done": done})
        writer._file.write(b"half a line")
    await Timer(1, "ns")


@cocotb.test()
async def fails(dut: Any) -> None:
    """A check that does not hold."""
    await Timer(1, "ns")
    raise AssertionError("seven is not eight")


@cocotb.test()
async def skips(dut: Any) -> None:
    """A test that skips itself."""
    pytest.skip("not today")


@cocotb.test()
async def exits(dut: Any) -> None:
    """The process ends by a signal of the configuration, or with its status."""
    config = run_config()
    if "status" in config:
        os._exit(config["status"])
    os.kill(os.getpid(), getattr(signal, config["signal"]))
    await Timer(1, "ns")


@cocotb.test()
async def environment(dut: Any) -> None:
    """What a run passes down."""
    assert cocotb.RANDOM_SEED is not None
    assert os.environ["COCOTB_RANDOM_SEED"] == "7"
    assert run_config() == {"text": "é", "numbers": [1, 2.5]}
    assert cocotb.plusargs["mini"] == "yes"


@cocotb.test()
async def surroundings(dut: Any) -> None:
    """What the simulator finds, and where it imports from, left in the run's folder for the test outside."""
    module = importlib.import_module(run_config()["import"])
    importlib.invalidate_caches()
    sys.modules.pop(module.__name__)
    again = importlib.import_module(module.__name__)
    found = {
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "utf8": sys.flags.utf8_mode,
        "imported": [module.__file__, again.__file__],
        "bench": __file__,
    }
    (run_dir() / "surroundings").write_text(json.dumps(found), encoding="utf-8")
