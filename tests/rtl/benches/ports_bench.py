"""The testbench of host port and load port; each test here is run alone by ``tests/rtl/test_ports.py``."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cocotb
import numpy as np
import pytest
from cocotb.triggers import Timer, ValueChange

from etchproof.checkpoint.linears import LINEARS
from etchproof.quantize.quantized_model import AdapterMatrix
from etchproof.sim.sink import SinkError
from models import lora
from models.chip import LinearPlan
from verif.load_port.port import LoadPort

SLOTS, MAX_RANK, LAYERS, LANES, VOCAB, CONTEXT = 3, 5, 2, 4, 20, 4
IN_BLOCKS, OUT_BLOCKS = (1, 2, 1, 3, 1, 1, 2), (2, 1, 1, 1, 3, 1, 1)
MAX_B_SHIFT = 30 - 3
NEXT, FIRST, CLOSE, NO_OP = range(4)
OK, BAD_TOKEN, CONTEXT_FULL, NO_SEQUENCE, BAD_SLOT, EMPTY_SLOT, BAD_OP = range(7)
LOAD_OK, BAD_HEADER, LOAD_BAD_SLOT, BUSY, PARTIAL, OVERLONG, BAD_SECTION, CHECKSUM = range(8)
NONE = 15
COMPUTED_CYCLES = 2 + 9  # host, pipeline
PLANS = tuple(
    LinearPlan(
        name, OUT_BLOCKS[n] * LANES - n % 3, IN_BLOCKS[n] * LANES - n % 2, 6, 16, 16, False, LANES, 16, 16
    )
    for n, name in enumerate(LINEARS)
)

Words = np.ndarray[Any, np.dtype[np.uint32]]
Sections = dict[tuple[int, int], AdapterMatrix]
"""By layer and number of the linear."""


def rng() -> np.random.Generator:
    return np.random.default_rng(int(os.environ["COCOTB_RANDOM_SEED"]))


async def reset(dut: Any) -> None:
    dut.rst_n.value = 0
    dut.req.value = 0
    dut.load_req.value = 0
    await Timer(8, "ns")
    dut.rst_n.value = 1
    await Timer(2, "ns")


@dataclass
class Answer:
    """Of the host port."""

    status: int
    position: int
    token: int
    cycles: int


def ask(dut: Any, op: int, token: int, slot: int = NONE, stall: int = 0, rsp_stall: int = 0) -> None:
    dut.req_token.value = token
    dut.req_op.value = op
    dut.req_slot.value = slot
    dut.req_stall.value = stall
    dut.rsp_stall.value = rsp_stall
    dut.req.value = 1 - int(dut.req.value)


async def answer(dut: Any) -> Answer:
    await ValueChange(dut.rsp)
    return Answer(*(int(pin.value) for pin in (dut.rsp_status, dut.rsp_pos, dut.rsp_token, dut.rsp_cycles)))


async def request(dut: Any, op: int, token: int = 0, slot: int = NONE, **stalls: int) -> Answer:
    ask(dut, op, token, slot, **stalls)
    return await answer(dut)


@dataclass
class Load:
    """An answer of the load port."""

    status: int
    slot: int
    cycles: int
    taken: int


def begin_load(dut: Any, port: LoadPort, words: Words, seed: int = 0, rsp_stall: int = 0) -> None:
    port.offer(words)
    dut.load_words.value = len(words)
    dut.load_seed.value = seed
    dut.load_rsp_stall.value = rsp_stall
    dut.load_req.value = 1 - int(dut.load_req.value)


async def loaded(dut: Any) -> Load:
    await ValueChange(dut.load_done)
    return Load(
        *(int(pin.value) for pin in (dut.load_status, dut.load_slot, dut.load_cycles, dut.load_taken))
    )


async def load(dut: Any, port: LoadPort, words: Words, seed: int = 0, rsp_stall: int = 0) -> Load:
    begin_load(dut, port, words, seed, rsp_stall)
    return await loaded(dut)


def matrix(draw: np.random.Generator, number: int, rank: int) -> AdapterMatrix:
    plan = PLANS[number]
    a = draw.integers(-(2**15), 2**15, (rank, plan.cols)).astype(np.int16)
    b = draw.integers(-(2**15), 2**15, (plan.rows, rank)).astype(np.int16)
    a_shift, b_shift = draw.choice([0, 7, 62]), draw.choice([0, 9, MAX_B_SHIFT])
    return AdapterMatrix(a, b, int(a_shift), int(b_shift), 0, 0, 0)


def sections(draw: np.random.Generator, count: int = 14) -> Sections:
    """Some linears, in any order, of any ranks."""
    sites = draw.permutation(14)[:count]
    return {
        (int(site) // 7, int(site) % 7): matrix(draw, int(site) % 7, int(draw.integers(1, MAX_RANK + 1)))
        for site in sites
    }


def framed(slot: int, held: Sections) -> Words:
    return lora.frame(slot, [lora.section(PLANS[n], layer, m) for (layer, n), m in held.items()])


def resealed(words: Words) -> Words:
    """With the checksum that belongs to them."""
    return np.append(words[:-1], lora.checksum(words[:-1])).astype(np.uint32)


def held_in(port: LoadPort, slot: int, held: Sections) -> bool:
    """Whether the SRAMs hold what was loaded."""
    for (layer, n), m in held.items():
        plan, rank = PLANS[n], m.rank
        a, b = (port.sram(7 * layer + n, f"linear.lora_{side}") for side in "ab")
        for index in np.ndindex(m.a.shape):
            word = slot * MAX_RANK * plan.in_blocks + index[0] * plan.in_blocks + index[1] // LANES
            if a[word, index[1] % LANES] != m.a[index]:
                return False
        for index in np.ndindex(m.b.shape):
            word = slot * MAX_RANK * plan.blocks + index[0] // LANES * rank + index[1]
            if b[word, index[0] % LANES] != m.b[index]:
                return False
    return True


async def usable(dut: Any, slot: int) -> bool:
    """Whether a sequence opens with the slot; it is closed again."""
    got = await request(dut, FIRST, 3, slot)
    if got.status == OK:
        assert got.token == 3 + 1000 * slot
        assert (await request(dut, CLOSE)).status == OK
        return True
    assert got.status == EMPTY_SLOT
    return False


def judge(words: Words, busy: int | None = None) -> tuple[int, int]:
    """(status, slot) of a frame, from its definition; ``busy`` is the slot of the open sequence."""
    data = [int(word) for word in words]
    slot = NONE
    at = 0

    def last() -> bool:
        return at == len(data) - 1

    if data[0] != lora.MAGIC:
        return BAD_HEADER, slot
    if last():
        return PARTIAL, slot
    at = 1
    if data[1] >= SLOTS:
        return LOAD_BAD_SLOT, slot
    slot = data[1]
    if slot == busy:
        return BUSY, slot
    if last():
        return PARTIAL, slot
    at = 2
    if last():
        return PARTIAL, slot
    end, at = 3 + data[2], 3
    seen = set()
    while at < end:
        n, rank, layer = data[at] >> 24, data[at] >> 16 & 255, data[at] & 0xFFFF
        if n >= 7 or layer >= LAYERS or not 1 <= rank <= MAX_RANK or (layer, n) in seen:
            return BAD_SECTION, slot
        size = rank * (IN_BLOCKS[n] + OUT_BLOCKS[n]) * LANES // 2
        if at + 2 + size > end:
            return BAD_SECTION, slot
        seen.add((layer, n))
        if last():
            return PARTIAL, slot
        at += 1
        if data[at] >> 16 or data[at] >> 8 & 255 > MAX_B_SHIFT or data[at] & 255 > 62:
            return BAD_SECTION, slot
        if at + size >= len(data) - 1:
            return PARTIAL, slot
        at += 1 + size
    if not last():
        return OVERLONG, slot
    return (LOAD_OK if data[at] == int(lora.checksum(words[:-1])) else CHECKSUM), slot


@cocotb.test()
async def host_statuses(dut: Any) -> None:
    """Every status of the host port; what is refused changes nothing, with and without stalls."""
    port, draw = LoadPort(), rng()
    for stalls in ({}, {"stall": 3, "rsp_stall": 5}):
        await reset(dut)

        async def expect(
            op: int, token: int, slot: int, status: int, position: int, stalls: Any = stalls
        ) -> None:
            got = await request(dut, op, token, slot, **stalls)
            assert (got.status, got.position) == (status, position), (op, token, slot, got)
            computed = status == OK and op != CLOSE
            assert got.cycles == (COMPUTED_CYCLES if computed else 1)
            assert computed or got.token == 0

        await expect(NEXT, 1, NONE, NO_SEQUENCE, 0)
        await expect(NEXT, VOCAB, NONE, NO_SEQUENCE, 0)  # before BAD_TOKEN
        await expect(CLOSE, 1, NONE, NO_SEQUENCE, 0)
        await expect(NO_OP, 1, NONE, BAD_OP, 0)
        await expect(FIRST, VOCAB, 9, BAD_TOKEN, 0)  # before BAD_SLOT
        await expect(FIRST, 1, SLOTS, BAD_SLOT, 0)
        await expect(FIRST, 1, 14, BAD_SLOT, 0)
        for slot in range(SLOTS):
            await expect(FIRST, 1, slot, EMPTY_SLOT, 0)
        assert (await load(dut, port, framed(1, sections(draw)))).status == LOAD_OK
        await expect(NEXT, 1, NONE, NO_SEQUENCE, 0)  # nothing so far has opened one
        await expect(FIRST, 7, NONE, OK, 0)
        assert int(dut.rsp_token.value) == 15007
        await expect(FIRST, 1, 0, EMPTY_SLOT, 1)  # the sequence stays, with its slot
        await expect(NEXT, VOCAB - 1, 1, OK, 1)  # the slot is read with FIRST only
        assert int(dut.rsp_token.value) == 15000 + VOCAB - 1
        await expect(FIRST, 2**32 - 1, 1, BAD_TOKEN, 2)
        await expect(FIRST, 2, 1, OK, 0)
        assert int(dut.rsp_token.value) == 1002
        await expect(FIRST, 2, 3, BAD_SLOT, 1)
        await expect(NO_OP, 2, 1, BAD_OP, 1)
        for position in range(1, CONTEXT):
            await expect(NEXT, 5, NONE, OK, position)
            assert int(dut.rsp_token.value) == 1005  # still slot 1
        await expect(NEXT, VOCAB, NONE, BAD_TOKEN, CONTEXT)  # before CONTEXT_FULL
        await expect(NEXT, 5, NONE, CONTEXT_FULL, CONTEXT)
        await expect(CLOSE, 2**32 - 1, 9, OK, CONTEXT)  # neither token nor slot counts
        await expect(NEXT, 5, NONE, NO_SEQUENCE, 0)
        await expect(CLOSE, 5, NONE, NO_SEQUENCE, 0)
        await expect(FIRST, 5, 1, OK, 0)
    await reset(dut)
    await expect(FIRST, 5, 1, EMPTY_SLOT, 0)  # slots are empty after reset
    await expect(NEXT, 5, NONE, NO_SEQUENCE, 0)


@cocotb.test()
async def loads(dut: Any) -> None:
    """Every slot, every rank, every linear: what was sent is what the SRAMs hold, and takes a cycle a word."""
    port, draw = LoadPort(), rng()
    await reset(dut)
    last: dict[int, Sections] = {}
    for turn in range(24):
        slot = turn % SLOTS
        held = {
            (layer, n): matrix(draw, n, (turn + layer + n) % MAX_RANK + 1)
            for layer in range(LAYERS)
            for n in range(7)
        }
        last[slot] = held if turn < 12 else sections(draw, turn % 5)  # an empty one too
        words = framed(slot, last[slot])
        got = await load(dut, port, words, rsp_stall=turn % 3)
        assert got == Load(LOAD_OK, slot, len(words), len(words))
        for other, content in last.items():
            assert held_in(port, other, content)
            assert await usable(dut, other)
    assert not held_in(port, 0, {(0, 0): matrix(draw, 0, 3)})  # the check can fail
    with pytest.raises(SinkError, match=r"sram_unknown: layer 3 linear\.lora_c"):
        port.sram(3, "linear.lora_c")


def corruptions(slot: int, draw: np.random.Generator) -> list[tuple[str, Words, int, int, bool]]:
    """(what, words, status, slot in the answer, whether the slot keeps what it held)."""
    good = framed(slot, {(1, 3): matrix(draw, 3, 2), (0, 0): matrix(draw, 0, 1)})
    first = 3  # word of the first section
    second = first + 2 + 2 * 4 * 2

    def at(index: int, value: int, seal: bool = True) -> Words:
        words = good.copy()
        words[index] = value & 0xFFFFFFFF
        return resealed(words) if seal else words

    def section(linear: int, rank: int, layer: int) -> int:
        return linear << 24 | rank << 16 | layer

    found = [
        ("magic", at(0, 0x41524F4D), BAD_HEADER, NONE, True),
        ("one wrong word", at(0, 0)[:1], BAD_HEADER, NONE, True),
        ("one right word", good[:1], PARTIAL, NONE, True),
        ("slot", at(1, SLOTS), LOAD_BAD_SLOT, NONE, True),
        ("slot 15", at(1, 15), LOAD_BAD_SLOT, NONE, True),
        ("slot of 32 bits", at(1, 2**31 + slot), LOAD_BAD_SLOT, NONE, True),
        ("two words", good[:2], PARTIAL, slot, False),
        ("three words", good[:3], PARTIAL, slot, False),
        ("without its checksum", good[:-1], PARTIAL, slot, False),
        ("within A", good[: first + 5], PARTIAL, slot, False),
        ("after A", good[: first + 2 + 12], PARTIAL, slot, False),
        ("between sections", good[:second], PARTIAL, slot, False),
        ("within a section's head", good[: second + 1], PARTIAL, slot, False),
        ("checksum", at(len(good) - 1, int(good[-1]) ^ 1 << 31, seal=False), CHECKSUM, slot, False),
        ("an element", at(first + 4, int(good[first + 4]) ^ 1, seal=False), CHECKSUM, slot, False),
        ("a word more", np.append(good, 0).astype(np.uint32), OVERLONG, slot, False),
        ("many more", np.append(good, good).astype(np.uint32), OVERLONG, slot, False),
        ("linear", at(first, section(7, 2, 1)), BAD_SECTION, slot, False),
        ("linear of 8 bits", at(first, section(0x83, 2, 1)), BAD_SECTION, slot, False),
        ("layer", at(first, section(3, 2, LAYERS)), BAD_SECTION, slot, False),
        ("layer of 16 bits", at(first, section(3, 2, 0x8001)), BAD_SECTION, slot, False),
        ("rank 0", at(first, section(3, 0, 1)), BAD_SECTION, slot, False),
        (
            "rank above the largest",
            framed(slot, {(1, 3): matrix(draw, 3, MAX_RANK + 1)}),
            BAD_SECTION,
            slot,
            False,
        ),
        ("a_shift", at(first + 1, 63), BAD_SECTION, slot, False),
        ("b_shift", at(first + 1, (MAX_B_SHIFT + 1) << 8), BAD_SECTION, slot, False),
        ("bits above the shifts", at(first + 1, 1 << 16), BAD_SECTION, slot, False),
        ("twice", framed_twice(slot, draw), BAD_SECTION, slot, False),
        ("longer than the payload", at(2, int(good[2]) - 1), BAD_SECTION, slot, False),
        ("longer, and the last word", at(2, int(good[2]) - 1)[: second + 1], BAD_SECTION, slot, False),
        ("shorter than the payload", at(2, int(good[2]) + 1), BAD_SECTION, slot, False),
        ("a length of none", at(2, 0), OVERLONG, slot, False),
        ("a length of 32 bits", at(2, 2**32 - 1), BAD_SECTION, slot, False),
        ("wrong, and the last word", at(first, section(7, 2, 1))[: first + 1], BAD_SECTION, slot, False),
        ("right, and the last word", good[: first + 1], PARTIAL, slot, False),
    ]
    return found


def framed_twice(slot: int, draw: np.random.Generator) -> Words:
    one = lora.section(PLANS[2], 1, matrix(draw, 2, 2))
    return lora.frame(slot, [one, lora.section(PLANS[2], 0, matrix(draw, 2, 1)), one])


@cocotb.test()
async def load_statuses(dut: Any) -> None:
    """Every way in which a frame can be wrong, into a slot that held something, and a good load after each."""
    port, draw = LoadPort(), rng()
    for seed in (0, 77):
        await reset(dut)
        others = {slot: sections(draw) for slot in range(SLOTS)}
        for slot, held in others.items():
            assert (await load(dut, port, framed(slot, held))).status == LOAD_OK
        for turn, (what, words, status, slot, keeps) in enumerate(corruptions(1, draw)):
            got = await load(dut, port, words, seed=seed + turn if seed else 0)
            assert (got.status, got.slot, got.taken) == (status, slot, len(words)), (what, got)
            assert seed or got.cycles == len(words)
            assert judge(words) == (status, slot), what
            assert await usable(dut, 1) == keeps, what
            for other in (0, 2):
                assert held_in(port, other, others[other]), what
                assert await usable(dut, other), what
            held = sections(draw)
            assert (await load(dut, port, framed(1, held), seed=seed)).status == LOAD_OK, what
            assert held_in(port, 1, held)
            assert await usable(dut, 1)


@cocotb.test()
async def any_load(dut: Any) -> None:
    """Random frames, broken at random, beside sequences that hold a slot, against a reading of the definition."""
    port, draw = LoadPort(), rng()
    await reset(dut)
    valid: set[int] = set()
    seen = set()
    for turn in range(600):
        held = sections(draw, int(draw.integers(0, 5)))
        words = framed(int(draw.integers(0, SLOTS)), held)
        kind = int(draw.integers(0, 8))
        if kind == 0:
            words = words[: int(draw.integers(1, len(words)))]
        elif kind == 1:
            words = np.append(words, draw.integers(0, 2**32, int(draw.integers(1, 5)))).astype(np.uint32)
        elif kind in (2, 3, 4):
            # Mostly in the header words, where it tells.
            index = int(draw.integers(0, len(words) if kind == 2 else min(5, len(words))))
            words[index] ^= np.uint32(1 << int(draw.integers(0, 32)))
            words = resealed(words) if draw.random() < 0.7 and index < len(words) - 1 else words
        busy = None
        if valid and draw.random() < 0.4:
            busy = int(draw.choice(sorted(valid)))
            assert (await request(dut, FIRST, 1, busy)).status == OK
        status, slot = judge(words, busy)
        got = await load(dut, port, words, seed=int(draw.integers(0, 2)) * (turn + 1))
        assert (got.status, got.slot, got.taken) == (status, slot, len(words)), (
            turn,
            kind,
            got,
            status,
            slot,
        )
        seen.add(status)
        if busy is not None:
            assert (await request(dut, NEXT, 2)).token == 2 + 1000 * busy
            assert (await request(dut, CLOSE)).status == OK
        if status not in (BAD_HEADER, LOAD_BAD_SLOT, BUSY) and slot != NONE:
            valid.discard(slot)
        if status == LOAD_OK:
            valid.add(slot)
            assert held_in(port, slot, held) or kind in (2, 3, 4)
        for each in range(SLOTS):
            assert await usable(dut, each) == (each in valid), (turn, each)
    assert seen == set(range(8)), seen


@cocotb.test()
async def stalls(dut: Any) -> None:
    """Pauses anywhere change nothing but the cycles."""
    port, draw = LoadPort(), rng()
    await reset(dut)
    assert not await usable(dut, 0)  # from an edge on
    for seed in range(1, 12):
        held = sections(draw, 3)
        words = framed(seed % SLOTS, held)
        before = int(dut.cycle.value)
        got = await load(dut, port, words, seed=seed * 0x01234567 & 0xFFFFFFFF, rsp_stall=seed)
        assert (got.status, got.slot, got.taken) == (LOAD_OK, seed % SLOTS, len(words))
        assert len(words) < got.cycles
        # One edge to see the toggle, one to take the first word; the answer is held off.
        assert int(dut.cycle.value) == before + 2 + got.cycles + seed
        assert held_in(port, seed % SLOTS, held)


@cocotb.test()
async def reset_in_a_load(dut: Any) -> None:
    """A reset anywhere in a load: every slot is empty, then a good load works."""
    port, draw = LoadPort(), rng()
    await reset(dut)
    held = sections(draw, 4)
    words = framed(2, held)
    for turn in range(40):
        assert (await load(dut, port, framed(0, sections(draw, 1)))).status == LOAD_OK
        begin_load(dut, port, words, seed=turn % 2 * (turn + 1))
        await Timer(2 * int(draw.integers(1, len(words) + 8)), "ns")
        await reset(dut)
        for slot in range(SLOTS):
            assert not await usable(dut, slot)
        got = await load(dut, port, words)
        assert got == Load(LOAD_OK, 2, len(words), len(words))
        assert held_in(port, 2, held)
        assert await usable(dut, 2)


@cocotb.test()
async def beside_a_sequence(dut: Any) -> None:
    """Loads into another slot while one generates; its own slot is busy until it is closed or another begins."""
    port, draw = LoadPort(), rng()
    await reset(dut)
    kept = sections(draw)
    assert (await load(dut, port, framed(1, kept))).status == LOAD_OK
    assert (await request(dut, FIRST, 4, 1)).token == 1004
    held = sections(draw)
    loading = cocotb.start_soon(load(dut, port, framed(2, held), seed=5))
    tokens = 0
    while not loading.done():
        got = await request(dut, NEXT if tokens % 3 else FIRST, 6, 1)
        assert (got.token, got.cycles) == (1006, COMPUTED_CYCLES)
        tokens += 1
    assert tokens > 5
    assert loading.result().status == LOAD_OK
    assert held_in(port, 2, held) and held_in(port, 1, kept)
    busy = await load(dut, port, framed(1, sections(draw)))
    assert (busy.status, busy.slot) == (BUSY, 1)
    assert held_in(port, 1, kept)
    assert (await request(dut, NEXT, 5)).token == 1005
    assert (await request(dut, FIRST, 5, 0)).status == EMPTY_SLOT  # changes nothing: still busy
    assert (await load(dut, port, framed(1, sections(draw)))).status == BUSY
    assert (await request(dut, FIRST, 5, 2)).token == 2005  # another slot: the first is free
    assert (await load(dut, port, framed(1, kept))).status == LOAD_OK
    assert (await load(dut, port, framed(2, kept))).status == BUSY
    assert (await request(dut, CLOSE)).status == OK
    assert (await load(dut, port, framed(2, kept))).status == LOAD_OK
    assert (await request(dut, FIRST, 5, NONE)).token == 15005
    for slot in range(SLOTS):  # a sequence without an adapter holds none
        assert (await load(dut, port, framed(slot, kept))).status == LOAD_OK


async def race(
    dut: Any, port: LoadPort, op: int, words: Words, offsets: range, prepare: Callable[[], Any]
) -> set[tuple[int, int]]:
    """(status of the request, of the load) at each distance between a request and a load."""
    found = set()
    for offset in offsets:
        await prepare()
        port.offer(words)
        dut.load_words.value = len(words)
        dut.load_seed.value = 0
        dut.load_rsp_stall.value = 0
        dut.load_req.value = 1 - int(dut.load_req.value)
        dut.req_token.value, dut.req_op.value, dut.req_slot.value = 3, op, 1
        dut.req_stall.value, dut.rsp_stall.value = offset, 0
        dut.req.value = 1 - int(dut.req.value)
        answers = cocotb.start_soon(answer(dut))
        got = await loaded(dut)
        await answers
        found.add((int(dut.rsp_status.value), got.status))
        if int(dut.rsp_status.value) == OK and op == FIRST:
            await request(dut, CLOSE)
    return found


@cocotb.test()
async def races(dut: Any) -> None:
    """A sequence opens, or ends, around the edge at which a load of its slot is accepted, or answered."""
    port, draw = LoadPort(), rng()
    await reset(dut)
    words = framed(1, {(0, 2): matrix(draw, 2, 1)})

    async def filled() -> None:
        assert (await load(dut, port, words)).status == LOAD_OK

    async def opened() -> None:
        await filled()
        assert (await request(dut, FIRST, 1, 1)).status == OK

    # Whoever comes first wins: never both, and both orders are seen.
    around = await race(dut, port, FIRST, words, range(len(words) + 12), filled)
    assert around == {(OK, BUSY), (EMPTY_SLOT, LOAD_OK), (OK, LOAD_OK)}, around
    early = await race(dut, port, FIRST, words, range(len(words) - 2), filled)
    assert early == {(OK, BUSY), (EMPTY_SLOT, LOAD_OK)}, early
    ends = await race(dut, port, CLOSE, words, range(8), opened)
    assert ends == {(OK, LOAD_OK), (OK, BUSY)}, ends


@cocotb.test()
async def valid_with_the_answer(dut: Any) -> None:
    """A slot becomes valid at the edge at which the answer is seen: a request accepted there comes too early still."""
    port, draw = LoadPort(), rng()
    words = framed(1, {(0, 2): matrix(draw, 2, 1)})
    outcomes = []
    for offset in range(len(words) + 6):
        await reset(dut)
        dut.req_token.value, dut.req_op.value, dut.req_slot.value = 3, FIRST, 1
        dut.req_stall.value, dut.rsp_stall.value = offset, 0
        dut.req.value = 1 - int(dut.req.value)
        begin_load(dut, port, words)
        answers = cocotb.start_soon(answer(dut))
        await ValueChange(dut.load_answered)
        seen = int(dut.cycle.value)
        got = await answers
        outcomes.append((int(dut.ack_cycle.value) - (seen - 1), got.status))
    for distance, status in outcomes:
        assert status == (OK if distance > 0 else EMPTY_SLOT), outcomes
    assert {0, 1} <= {distance for distance, _ in outcomes}
