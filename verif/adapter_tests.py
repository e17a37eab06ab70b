"""The tests of adapters that cocotb runs: loads, swaps, faults. The scoreboard checks every answer and every tap.

The run's configuration names adapters that the golden model knows (``adapters``); each can be put into any slot.
"""

from __future__ import annotations

from collections.abc import Callable

import cocotb
import numpy as np
import pyuvm
from cocotb.triggers import Timer

from etchproof.uvm import LoadResult, TokenResult
from models.lora import MAGIC, Words, checksum, frame
from verif.adapter_agent import LoadSequence
from verif.agent import CLOCK_NS
from verif.reference import NO_SLOT, LoadStatus, Op, Status
from verif.sequences import RawSequence, StreamSequence, random_stalls
from verif.tests import ChipTest


def sealed(words: Words) -> Words:
    """Words with the checksum that fits them in the place of the last."""
    return np.append(words[:-1], checksum(words[:-1])).astype(np.uint32)


class AdapterTest(ChipTest):
    """Base: frames for any slot, sequences of random tokens under one, and what they were answered."""

    def build_phase(self) -> None:
        super().build_phase()
        self.plan = self.golden.plan
        self.answers: set[int] = set()  # of the load port

    def frame(self, adapter: int, slot: int) -> Words:
        """The frame of one of the run's adapters for a slot."""
        words = self.frames[adapter].astype(np.uint32)
        words[1] = slot
        return sealed(words)

    def by_size(self) -> list[int]:
        """The run's adapters, the one with the shortest frame first."""
        return sorted(range(len(self.frames)), key=lambda adapter: len(self.frames[adapter]))

    async def load(
        self, adapter: int, slot: int, wanted: LoadStatus = LoadStatus.OK, *, stalls: bool = False
    ) -> LoadResult | None:
        """Load an adapter; its answer has to be the wanted one."""
        return await self.send(self.frame(adapter, slot), wanted, stalls=stalls)

    async def send(
        self, words: Words, wanted: LoadStatus, *, cut: int | None = None, stalls: bool = False
    ) -> LoadResult | None:
        """Send a frame as it is; its answer has to be the wanted one."""
        seed = int(self.rng.integers(1, 2**32)) if stalls else 0
        answer_stall = int(self.rng.integers(0, 9)) if stalls else 0
        result = await self.answer(LoadSequence(words, seed, cut, answer_stall))
        status = result.status if result is not None else None
        self.expect(status == wanted, f"a load was answered with {status}, expected {wanted!r}")
        return result

    async def answer(self, load: LoadSequence) -> LoadResult | None:
        """Run a load and remember its answer."""
        result = await load.run()
        self.answers |= {result.status} if result is not None else set()
        return result

    async def stream(
        self, slot: int, length: int | None = None, stalls: Callable[[], int] | None = None
    ) -> list[TokenResult | None]:
        """A sequence of random tokens under a slot."""
        most = min(10, self.plan.context)
        count = length if length is not None else int(self.rng.integers(1, most + 1))
        sequence = self.sequence(slot, count, stalls)
        await sequence.run()
        return sequence.results

    def sequence(self, slot: int, length: int, stalls: Callable[[], int] | None = None) -> StreamSequence:
        """Random tokens under a slot, to be run."""
        return StreamSequence(self.rng.integers(self.plan.vocab_size, size=length).tolist(), stalls, slot)

    def answered(self) -> int:
        """Tokens that were answered of the burst that is being played."""
        self.env.agent.monitor.collect()
        return len(self.env.agent.driver.answers.results)

    async def ask(self, *requests: tuple[int, int, int], wanted: list[Status]) -> None:
        """Requests as they are; the answers have to be the wanted ones."""
        raw = RawSequence(requests)
        await raw.run()
        statuses = [result.status if result is not None else None for result in raw.results]
        self.expect(statuses == wanted, f"statuses {statuses}, expected {wanted}")


@pyuvm.test()
class AdapterSlots(AdapterTest):
    """Every adapter, every slot, and the base between them; then every slot with another adapter in it.

    Sequences follow each other without a pause, over the rows of keys and values that the last one left.
    """

    async def stimulus(self) -> None:
        slots, count = self.plan.lora_slots, len(self.frames)
        for turn in range(max(2, -(-count // slots) + 1)):
            for slot in range(slots):
                await self.ask((0, Op.FIRST, NO_SLOT), wanted=[Status.OK])  # frees the slot
                await self.load((slot + turn * slots) % count, slot)
            for slot in [
                *self.rng.permutation(slots).tolist(),
                NO_SLOT,
                *self.rng.permutation(slots).tolist(),
            ]:
                results = await self.stream(slot)
                self.expect(
                    all(result is not None and result.status == Status.OK for result in results),
                    f"a sequence under slot {slot} was refused",
                )


@pyuvm.test()
class AdapterTwice(AdapterTest):
    """The same tokens under the base and under each adapter, all in slot 0: their taps can be laid side by side."""

    async def stimulus(self) -> None:
        tokens = self.rng.integers(self.plan.vocab_size, size=min(8, self.plan.context)).tolist()
        await StreamSequence(tokens).run()
        for adapter in range(len(self.frames)):
            await self.load(adapter, 0)
            await StreamSequence(tokens, slot=0).run()
            await self.ask((0, Op.CLOSE, NO_SLOT), wanted=[Status.OK])


@pyuvm.test()
class AdapterTraffic(AdapterTest):
    """Tokens and loads beside each other at random, stalls everywhere: whatever meets is answered as it must be."""

    async def stimulus(self) -> None:
        loads = cocotb.start_soon(self.loads())
        stalls = random_stalls(self.rng)
        slots: list[int] = [NO_SLOT, *range(self.plan.lora_slots)]
        while not loads.done():
            slot = int(self.rng.choice(slots))
            await self.stream(slot, stalls=stalls)
            if self.rng.random() < 0.4:
                await RawSequence([(0, Op.CLOSE, NO_SLOT)]).run()
        await loads
        for slot in range(self.plan.lora_slots):
            await self.stream(slot)
        self.expect(LoadStatus.OK in self.answers, "no load was good")

    async def loads(self) -> None:
        """Loads of any adapter into any slot, now and then cut short or corrupt."""
        for _ in range(6 * len(self.frames)):
            adapter, slot = (
                int(self.rng.integers(len(self.frames))),
                int(self.rng.integers(self.plan.lora_slots)),
            )
            words, cut = self.frame(adapter, slot), None
            if self.rng.random() < 0.15:
                cut = int(self.rng.integers(1, len(words)))
            elif self.rng.random() < 0.15:
                words[int(self.rng.integers(len(words)))] ^= np.uint32(1 << int(self.rng.integers(32)))
            seed = int(self.rng.choice([0, int(self.rng.integers(1, 2**32))]))
            await self.answer(LoadSequence(words, seed, cut, int(self.rng.choice([0, 0, 1, 5]))))
            await Timer(int(self.rng.integers(1, 200)) * CLOCK_NS, "ns")


@pyuvm.test()
class LoadWhileGenerating(AdapterTest):
    """Loads into each other slot while one generates, or the base, which must not notice; its own slot is busy."""

    async def stimulus(self) -> None:
        count, slots, small = len(self.frames), self.plan.lora_slots, self.by_size()[:3]
        for slot in range(slots):
            await self.ask((0, Op.FIRST, NO_SLOT), wanted=[Status.OK])
            await self.load(slot % count, slot)
        for turn, slot in enumerate([*range(slots), NO_SLOT]):
            generating = self.sequence(slot, min(12, self.plan.context))
            running = cocotb.start_soon(generating.run())
            await Timer(20 * CLOCK_NS, "ns")
            if slot != NO_SLOT:
                await self.load(small[-1], slot, LoadStatus.SLOT_BUSY, stalls=True)
            for index, other in enumerate(one for one in range(slots) if one != slot):
                await self.load(small[(turn + index) % len(small)], other, stalls=bool(index % 2))
                while self.answered() <= index and not running.done():  # the next one later
                    await Timer(50 * CLOCK_NS, "ns")
                self.expect(not running.done(), "the load outlasted the sequence: nothing ran beside it")
            await running
            self.expect(
                all(result is not None and result.status == Status.OK for result in generating.results),
                f"the sequence under slot {slot} was disturbed",
            )


@pyuvm.test()
class LoadErrors(AdapterTest):
    """Every answer of the load port, with a sequence open and with none; what the slot holds then; a good load."""

    async def stimulus(self) -> None:
        good, slots, rank = self.frame(0, 0), self.plan.lora_slots, self.plan.lora_max_rank
        await self.send(good, LoadStatus.OK)
        await self.stream(0, 2)
        for words, status in (  # which leave every slot as it was
            (sealed(np.concatenate([[MAGIC ^ 1], good[1:]]).astype(np.uint32)), LoadStatus.BAD_HEADER),
            (np.zeros(1, np.uint32), LoadStatus.BAD_HEADER),
            (good[:1], LoadStatus.PARTIAL),
            (self.frame(0, slots), LoadStatus.BAD_SLOT),
            (self.frame(0, NO_SLOT), LoadStatus.BAD_SLOT),
            (self.frame(0, 2**31), LoadStatus.BAD_SLOT),
            (good, LoadStatus.SLOT_BUSY),
            (good[:2], LoadStatus.SLOT_BUSY),
        ):
            await self.send(words, status)
            await self.ask((1, Op.FIRST, 0), wanted=[Status.OK])
            if status is not LoadStatus.SLOT_BUSY:  # once more, with no sequence open
                await self.ask((1, Op.CLOSE, 0), wanted=[Status.OK])
                await self.send(words, status)
                await self.ask((1, Op.FIRST, 0), wanted=[Status.OK])
        for number, (words, status) in enumerate(self.broken(good, rank)):
            closed = number % 2 == 1
            await self.ask((1, Op.FIRST, NO_SLOT), wanted=[Status.OK])
            if closed:
                await self.ask((1, Op.CLOSE, NO_SLOT), wanted=[Status.OK])
            await self.send(words, status, stalls=bool(self.rng.integers(2)))
            after = Status.NO_SEQUENCE if closed else Status.OK
            await self.ask((1, Op.FIRST, 0), (1, Op.NEXT, 0), wanted=[Status.EMPTY_SLOT, after])
            await self.send(good, LoadStatus.OK)  # nothing of the broken one is left
            await self.stream(0, 2)
        await self.ask((1, Op.CLOSE, 0), wanted=[Status.OK])
        await self.send(good, LoadStatus.OK)  # the slot of a closed sequence is free
        await self.stream(0)
        self.expect(self.answers == set(LoadStatus), f"answers seen: {sorted(self.answers)}")

    def broken(self, good: Words, rank: int) -> list[tuple[Words, LoadStatus]]:
        """Frames for slot 0 that empty it, and the answer to each."""
        partial, section = LoadStatus.PARTIAL, LoadStatus.BAD_SECTION
        head, shifts = int(good[3]), int(good[4])

        def with_word(at: int, value: int) -> Words:
            words = good.copy()
            words[at] = value
            return sealed(words)

        cuts = [2, 3, 4, 5, 6, len(good) // 2, len(good) - 2, len(good) - 1]
        found: list[tuple[Words, LoadStatus]] = [(good[:cut], partial) for cut in cuts]
        found += [
            (
                with_word(2, int(good[2]) + 1),
                section,
            ),  # the checksum is no section's head: there is no room for it
            (with_word(2, 2), section),  # shorter than its first section
            (with_word(3, 7 << 24 | head & 0xFFFFFF), section),  # no such linear
            (with_word(3, head & ~0xFFFF | self.plan.n_layers), section),  # no such layer
            (with_word(3, head & ~0xFF0000), section),  # rank 0
            (with_word(3, head & ~0xFF0000 | rank + 1 << 16), section),
            (with_word(4, shifts & ~0xFF | 63), section),
            (with_word(4, shifts & ~0xFF00 | self.plan.max_b_shift + 1 << 8), section),
            (with_word(4, shifts | 1 << 16), section),
            (frame(0, [good[3:-1], good[3:-1]]), section),  # a linear twice
            (np.append(good, np.uint32(0)), LoadStatus.OVERLONG),
            (np.append(good, good), LoadStatus.OVERLONG),
        ]
        for at in (0, len(good) // 2, len(good) - 1):  # a bit of the elements, and of the checksum itself
            words = good.copy()
            words[max(at, 5)] ^= np.uint32(1 << int(self.rng.integers(32)))
            found.append((words, LoadStatus.CHECKSUM))
        return found


@pyuvm.test()
class ResetDuringLoad(AdapterTest):
    """Resets at random moments of a load, some while a token is on its way: every slot is empty, then a good load."""

    async def stimulus(self) -> None:
        slots, count = self.plan.lora_slots, len(self.frames)
        for turn in range(5):
            await self.load(turn % count, 0)
            other = (turn + 1) % slots
            words = self.frame((turn + 1) % count, other)
            sequence = LoadSequence(words, int(self.rng.integers(1, 2**32)) if turn % 2 else 0)
            tokens = cocotb.start_soon(self.stream(0, 2)) if other else None
            running = cocotb.start_soon(sequence.run())
            await Timer(int(self.rng.integers(1, len(words))) * CLOCK_NS, "ns")
            self.expect(sequence.result is None, "the load was over before the reset")
            await self.env.reset()
            await running
            if tokens is not None:
                await tokens
            self.expect(sequence.result is None, "a load that was cut off has an answer")
            await self.ask(
                *((0, Op.FIRST, slot) for slot in range(slots)),
                (0, Op.NEXT, NO_SLOT),
                wanted=[*([Status.EMPTY_SLOT] * slots), Status.NO_SEQUENCE],
            )
            await self.send(words, LoadStatus.OK)
            await self.stream(other, 3)
            await self.ask((0, Op.CLOSE, NO_SLOT), wanted=[Status.OK])


@pyuvm.test()
class AdapterStatus(AdapterTest):
    """What the host port answers about slots, and that a refusal leaves the open sequence and its slot as they were."""

    async def stimulus(self) -> None:
        slots = self.plan.lora_slots
        empty, ok = Status.EMPTY_SLOT, Status.OK
        await self.ask(*((1, Op.FIRST, slot) for slot in range(slots)), wanted=[empty] * slots)
        beyond = list(range(slots, NO_SLOT))
        await self.ask(*((1, Op.FIRST, slot) for slot in beyond), wanted=[Status.BAD_SLOT] * len(beyond))
        await self.load(0, 0)
        await self.ask((1, Op.FIRST, 0), (2, Op.NEXT, NO_SLOT), wanted=[ok, ok])
        refused = [(3, Op.FIRST, slot) for slot in range(1, NO_SLOT)]
        wanted = [empty] * (slots - 1) + [Status.BAD_SLOT] * len(beyond)
        await self.ask(*refused, (4, Op.NEXT, NO_SLOT), wanted=[*wanted, ok])
        await self.load(0, 0, LoadStatus.SLOT_BUSY)
        await self.ask((5, Op.NEXT, 0), wanted=[ok])
        await self.ask(
            (self.plan.vocab_size, Op.FIRST, NO_SLOT), (6, Op.NEXT, 0), wanted=[Status.BAD_TOKEN, ok]
        )
        await self.load(0, 0, LoadStatus.SLOT_BUSY)  # a refused first token has not freed it
        await self.ask((1, Op.FIRST, 0), (1, Op.FIRST, 0), wanted=[ok, ok])  # the same slot again, KV anew
        await self.ask((1, Op.CLOSE, 0), (1, Op.CLOSE, 0), wanted=[ok, Status.NO_SEQUENCE])
        loading = cocotb.start_soon(self.load(self.by_size()[-1], 0, stalls=True))
        await Timer(60 * CLOCK_NS, "ns")
        await self.ask((1, Op.FIRST, 0), (1, Op.FIRST, NO_SLOT), wanted=[empty, ok])  # while it is loaded
        self.expect(not loading.done(), "the load was over before the slot was asked for")
        await loading
        await self.stream(0)


@pyuvm.test()
class AdapterRanks(AdapterTest):
    """Every adapter in every slot, two tokens under each."""

    async def stimulus(self) -> None:
        slots, count = self.plan.lora_slots, len(self.frames)
        for turn in range(count):
            await self.ask((0, Op.FIRST, NO_SLOT), (0, Op.CLOSE, NO_SLOT), wanted=[Status.OK, Status.OK])
            for slot in range(slots):
                await self.load((turn + slot) % count, slot)
            for slot in range(slots):
                await self.stream(slot, min(2, self.plan.context))
