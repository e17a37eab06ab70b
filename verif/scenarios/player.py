"""Plays acts on the chip's ports, inside the simulator; each answer has to be the act's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import cocotb
from cocotb.triggers import Timer

from verif.env import ChipEnv
from verif.host_port.agent import CLOCK_NS
from verif.host_port.sequences import RawSequence, StreamSequence
from verif.load_port.agent import LoadSequence
from verif.protocol import LoadStatus
from verif.rom_port.agent import RomSequence
from verif.scenarios.acts import (
    Act,
    Ask,
    Beside,
    LoadFrame,
    LoadsDuring,
    ReadRom,
    ReadWhole,
    ResetIdle,
    ResetLoad,
    ResetRom,
    ResetToken,
    Stream,
    Traffic,
)

_PATIENCE_CYCLES: Final = 50  # between two looks at how far a sequence is


class Player:
    """Plays acts.

    Args:
        env: whose agents do it.
        expect: ``expect(condition, message)``, a check beside the scoreboard's.
    """

    def __init__(self, env: ChipEnv, expect: Callable[[bool, str], None]) -> None:
        self._env, self._expect = env, expect

    async def play(self, act: Act) -> None:
        """Play one act to its end."""
        match act:
            case Stream():
                await self._stream(act)
            case Ask():
                await self._ask(act)
            case LoadFrame():
                await self._load(act)
            case ReadRom():
                await self._read(act)
            case ReadWhole():
                await RomSequence(act.ranges, act.slices).run()
            case Beside():
                await self._beside(act)
            case LoadsDuring():
                await self._loads_during(act)
            case ResetToken():
                await self._reset_token(act)
            case ResetLoad():
                await self._reset_load(act)
            case ResetRom():
                walk = cocotb.start_soon(RomSequence([act.asked]).run())
                await _cycles(act.cycles)
                await self._env.reset()
                self._expect(await walk == [], "an answer came from before the reset")
            case ResetIdle():
                await self._env.reset()
            case Traffic():
                await self._traffic(act)

    async def _stream(self, act: Stream) -> None:
        sequence = _sequence(act)
        await sequence.run()
        if act.sure:
            self._answered(sequence, act.answers)

    async def _ask(self, act: Ask) -> None:
        sequence = RawSequence(act.requests)
        await sequence.run()
        self._answered(sequence, act.wanted)

    def _answered(self, sequence: StreamSequence | RawSequence, wanted: Sequence[int]) -> None:
        found = [result.status if result is not None else None for result in sequence.results]
        self._expect(found == list(wanted), f"statuses {_short(found)}, expected {_short(wanted)}")

    async def _load(self, act: LoadFrame) -> None:
        status = await _send(act)
        self._expect(status == act.wanted, f"a load was answered with {status}, expected {act.wanted!r}")

    async def _read(self, act: ReadRom) -> None:
        results = await RomSequence([act.asked]).run()
        found = results[0].answer.status if results else None
        self._expect(found == act.wanted, f"{act.asked}: status {found}, expected {act.wanted!r}")

    async def _beside(self, act: Beside) -> None:
        first = cocotb.start_soon(self.play(act.first))
        await _cycles(act.cycles)
        for other in act.then:
            await self.play(other)
        self._expect(not (act.outlasts and first.done()), "what the others had to be beside was over")
        await first

    async def _loads_during(self, act: LoadsDuring) -> None:
        sequence = _sequence(act.stream)
        running = cocotb.start_soon(sequence.run())
        await _cycles(20)
        if act.busy is not None:
            await self._load(act.busy)
        for index, load in enumerate(act.loads):
            await self._load(load)
            while self._tokens_answered() <= index and not running.done():  # the next one later
                await _cycles(_PATIENCE_CYCLES)
            self._expect(not running.done(), "the load outlasted the sequence: nothing ran beside it")
        await running
        self._answered(sequence, act.stream.answers)

    def _tokens_answered(self) -> int:
        """Of the burst that is being played."""
        self._env.agent.monitor.collect()
        return len(self._env.agent.driver.answers.results)

    async def _reset_token(self, act: ResetToken) -> None:
        running = cocotb.start_soon(_sequence(act.stream).run())
        for _ in range(act.position + 1):
            await self._env.agent.driver.accepted()
        await _cycles(act.cycles)
        await self._env.reset()
        await running

    async def _reset_load(self, act: ResetLoad) -> None:
        load = LoadSequence(act.load.words, act.load.stall_seed)
        stream = cocotb.start_soon(_sequence(act.stream).run()) if act.stream is not None else None
        running = cocotb.start_soon(load.run())
        await _cycles(act.cycles)
        self._expect(load.result is None, "the load was over before the reset")
        await self._env.reset()
        await running
        if stream is not None:
            await stream
        self._expect(load.result is None, "a load that was cut off has an answer")

    async def _traffic(self, act: Traffic) -> None:
        statuses: set[int | None] = set()

        async def loads() -> None:
            for load, gap in act.loads:
                statuses.add(await _send(load))
                await _cycles(gap)

        loading = cocotb.start_soon(loads())
        tokens = iter(act.tokens)
        while not loading.done():
            other = next(tokens)
            await (_sequence(other) if isinstance(other, Stream) else RawSequence(other.requests)).run()
        await loading
        self._expect(LoadStatus.OK in statuses, "no load was good")


def _sequence(act: Stream) -> StreamSequence:
    draws = (stall for stalls in act.stalls for stall in stalls)
    return StreamSequence(act.tokens, lambda: next(draws), act.slot)


async def _send(act: LoadFrame) -> int | None:
    """The status of a load's answer; None when a reset cut it off."""
    result = await LoadSequence(act.words, act.stall_seed, response_stall=act.response_stall).run()
    return result.status if result is not None else None


async def _cycles(count: int) -> None:
    await Timer(count * CLOCK_NS, "ns")


def _short(statuses: Sequence[int | None]) -> str:
    """The end of a long list is what matters."""
    shown = [None if status is None else int(status) for status in statuses]
    return str(shown) if len(shown) <= 24 else f"... {shown[-24:]}"
