"""The tests that cocotb runs; ``etchproof.sim.run.simulate`` names one by its class."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Sequence
from typing import Any

import cocotb
import numpy as np
import pyuvm
from cocotb.triggers import Timer
from pyuvm import ConfigDB, uvm_test

from etchproof.compare import COMPARISON_FILE, Comparison
from etchproof.readback import READBACK_FILE
from etchproof.sim.child import run_config, run_dir
from etchproof.sim.golden import GoldenClient
from etchproof.sim.progress import ProgressWriter
from etchproof.sim.rom_port import RomRange
from etchproof.uvm import TokenResult
from models.cycles import token_steps
from verif.adapter_agent import FaultSequence, LoadSequence
from verif.agent import CLOCK_NS
from verif.env import ChipEnv
from verif.reference import NO_SLOT, Op, Status
from verif.rom_agent import RomResult, RomSequence, read_whole
from verif.rom_test import RomOp, RomStatus
from verif.sequences import GreedySequence, RawSequence, StreamSequence, random_stalls

TOKEN_TIMEOUT_CYCLES = 20_000_000


class ChipTest(uvm_test):  # type: ignore[misc]  # pyuvm is untyped
    """Base: builds golden and environment, resets, runs ``stimulus``, writes the comparison, fails unless it is clean.

    Every random choice of a subclass is drawn from ``self.rng``, seeded by the run's seed.
    """

    def build_phase(self) -> None:
        self.config: dict[str, Any] = run_config()
        self.rng = np.random.default_rng(int(os.environ["COCOTB_RANDOM_SEED"]))
        self.progress = ProgressWriter(run_dir())
        self.golden = GoldenClient()
        ConfigDB().set(None, "*", "GOLDEN", self.golden)
        self.adapters: list[dict[str, Any]] = self.config.get("adapters", [])
        self.frames = [np.fromfile(adapter["frame"], "<u4") for adapter in self.adapters]
        ConfigDB().set(None, "*", "ADAPTER_FRAMES", self.frames)
        ConfigDB().set(None, "*", "ROM_FOLDER", self.config.get("rom"))
        ConfigDB().set(
            None, "*", "TOKEN_TIMEOUT_CYCLES", self.config.get("timeout_cycles", TOKEN_TIMEOUT_CYCLES)
        )
        self.env = ChipEnv.create("env", self)

    async def stimulus(self) -> None:
        """What the test does; overridden."""
        raise NotImplementedError

    async def run_phase(self) -> None:
        self.raise_objection()
        scoreboard = self.env.scoreboard
        if self.config.get("dump_taps"):
            scoreboard.dump = []
        gc.collect()
        gc.freeze()  # what is there stays to the end: not to be looked at again and again between tokens
        if self.config.get("wait_golden"):  # for benchmarks
            scoreboard.wait()
            scoreboard.wait_s = 0.0
        started = time.perf_counter()
        try:
            await self.env.reset()
            self.check_images()
            await self.stimulus()
        finally:
            comparison = scoreboard.finish(time.perf_counter() - started)
            (run_dir() / COMPARISON_FILE).write_text(comparison.model_dump_json(indent=1), encoding="utf-8")
            if scoreboard.dump is not None:
                self.dump_taps(scoreboard.dump)
            self.progress.close()
        self.verdict(comparison)
        self.drop_objection()

    def check_images(self) -> None:
        """The chip loaded exactly the images of the run."""
        loaded = self.env.taps.sink.check_images()
        planned = self.config.get("images", loaded)
        assert loaded == planned, f"image_count: the chip loaded {loaded} ROM images of {planned}"

    def dump_taps(self, dump: list[Any]) -> None:
        """Every tap as chip and golden have it: arrays ``{chip,golden}.sequence.layer.tap``, tokens end to end."""
        arrays: dict[str, list[Any]] = {}
        for sequence, (layer, tap), chip, golden in dump:
            arrays.setdefault(f"chip.{sequence}.{layer}.{tap}", []).extend(chip)
            arrays.setdefault(f"golden.{sequence}.{layer}.{tap}", []).extend(golden)
        flat: dict[str, Any] = {
            name: np.concatenate([np.ravel(part) for part in parts])
            for name, parts in arrays.items()
            if parts
        }
        np.savez_compressed(self.config["dump_taps"], **flat)

    def verdict(self, comparison: Comparison) -> None:
        failures = comparison.failures
        assert not failures, f"{failures[0].name}: {failures[0].message} ({len(failures)} failures)"
        first = comparison.first_divergence
        assert first is None, (
            f"mismatch: layer {first.layer} {first.tap} element {first.element} of token {first.token}"
        )

    def expect(self, condition: bool, message: str) -> None:
        """A check of the test's own, beside the scoreboard."""
        if not condition:
            self.env.scoreboard.fail("test_check", message)


@pyuvm.test()
class GreedyGeneration(ChipTest):
    """Greedy text from each configured prompt; the chip's own argmax drives it.

    An adapter is loaded before a sequence of its own when its slot holds another one. Where that is the slot of the
    sequence before, that one is closed first. Faults in SRAM come with a slot's first load.
    """

    async def stimulus(self) -> None:
        held: dict[int, int] = {}  # adapter by slot
        open_slot = NO_SLOT
        for index, planned in enumerate(self.config["sequences"]):
            adapter, slot = planned.get("adapter"), NO_SLOT
            if adapter is not None:
                slot = self.adapters[adapter]["slot"]
                if held.get(slot) != adapter:
                    if slot == open_slot:
                        await RawSequence([(0, Op.CLOSE, NO_SLOT)]).run()
                    await self.load(adapter, first=slot not in held)
                    held[slot] = adapter
            open_slot = slot

            def report(tokens: Sequence[tuple[TokenResult, bool]], index: int = index) -> None:
                self.progress.write(
                    *(
                        {
                            "event": "token",
                            "sequence": index,
                            "position": result.position,
                            "token_in": result.token_in,
                            "token_out": result.token_out,
                            "generated": generated,
                        }
                        for result, generated in tokens
                    )
                )

            sequence = GreedySequence(
                planned["prompt"],
                planned["new_tokens"],
                planned.get("stop_tokens", ()),
                report,
                slot=slot,
            )
            await sequence.run()

    async def load(self, adapter: int, first: bool) -> None:
        """Load one of the run's adapters into its slot, with the faults there if it is the slot's first."""
        slot = self.adapters[adapter]["slot"]
        await LoadSequence(self.frames[adapter]).run()
        faults = [fault for fault in self.config.get("lora_faults", ()) if fault["slot"] == slot]
        if first and faults:
            await FaultSequence(faults).run()


@pyuvm.test()
class RandomTokens(ChipTest):
    """Random tokens with random stalls on both handshakes."""

    async def stimulus(self) -> None:
        plan = self.golden.plan
        tokens = self.rng.integers(plan.vocab_size, size=min(24, plan.context))
        await StreamSequence(tokens.tolist(), random_stalls(self.rng)).run()


@pyuvm.test()
class BackToBack(ChipTest):
    """Several sequences of random lengths without a pause or a reset; each must be as if it were alone."""

    async def stimulus(self) -> None:
        plan = self.golden.plan
        for _ in range(4):
            length = int(self.rng.integers(1, min(10, plan.context) + 1))
            await StreamSequence(self.rng.integers(plan.vocab_size, size=length).tolist()).run()


@pyuvm.test()
class ResetMidSequence(ChipTest):
    """Reset in every step of a token's way and between tokens; each time a whole sequence must be undisturbed after it.

    The layer, the cycle within the step and the token's position, 0 or 1, are random.
    """

    async def stimulus(self) -> None:
        plan = self.golden.plan
        steps = list(dict.fromkeys(step for _, step, _ in token_steps(plan, 0)))
        for step in self.rng.permutation(steps).tolist():
            position = int(self.rng.integers(2))
            sequence = StreamSequence(self.rng.integers(plan.vocab_size, size=3).tolist())
            running = cocotb.start_soon(sequence.run())
            for _ in range(position + 1):
                await self.env.agent.driver.accepted()
            await Timer(self._moment(step, position) * CLOCK_NS, "ns")
            await self.env.reset()
            await running
            await self._nothing_is_open()
        await StreamSequence(self.rng.integers(plan.vocab_size, size=2).tolist()).run()
        await self.env.reset()  # between tokens
        await self._nothing_is_open()
        await StreamSequence(self.rng.integers(plan.vocab_size, size=min(8, plan.context)).tolist()).run()

    def _moment(self, step: str, position: int) -> int:
        """A random cycle, from acceptance, of one of the steps of that name."""
        moments, start = [], 0
        for _, name, cycles in token_steps(self.golden.plan, position):
            if name == step:
                moments.append(start + int(self.rng.integers(cycles)))
            start += cycles
        return max(1, int(self.rng.choice(moments)))

    async def _nothing_is_open(self) -> None:
        raw = RawSequence([(0, Op.NEXT, NO_SLOT)])
        await raw.run()
        status = raw.results[0].status if raw.results[0] else None
        self.expect(status == Status.NO_SEQUENCE, f"a token after reset got status {status}")


@pyuvm.test()
class ContextLimit(ChipTest):
    """Fill the context to its last position, one beyond, then a new sequence over the old rows."""

    async def stimulus(self) -> None:
        plan = self.golden.plan
        full = StreamSequence(self.rng.integers(plan.vocab_size, size=plan.context + 2).tolist())
        await full.run()
        statuses = [result.status for result in full.results if result is not None]
        expected = [Status.OK] * plan.context + [Status.CONTEXT_FULL] * 2
        self.expect(statuses == expected, f"statuses at the end of the context: {statuses[-3:]}")
        await StreamSequence(self.rng.integers(plan.vocab_size, size=min(6, plan.context)).tolist()).run()


@pyuvm.test()
class HostErrors(ChipTest):
    """Every refusal of the host port, between tokens that must not notice."""

    async def stimulus(self) -> None:
        vocab, slots = self.golden.plan.vocab_size, self.golden.plan.lora_slots
        raw = RawSequence(
            [
                (0, Op.NEXT, NO_SLOT),  # nothing open
                (0, Op.CLOSE, NO_SLOT),
                (vocab, Op.FIRST, NO_SLOT),  # just outside the vocabulary
                (0, Op.NEXT, NO_SLOT),  # the refused token opened nothing
                (1, Op.FIRST, NO_SLOT),
                (2**32 - 1, Op.NEXT, NO_SLOT),
                (2, Op.NEXT, 3),  # continues at position 1, whatever slot it names
                (vocab, Op.FIRST, NO_SLOT),  # refused: the open sequence stays
                (1, Op.FIRST, slots),  # no such slot
                (1, Op.FIRST, 0),  # nothing in it, or no such slot
                (1, 3, NO_SLOT),  # no operation
                (3, Op.NEXT, NO_SLOT),  # continues at position 2
                (vocab, Op.CLOSE, slots),  # its token and slot are nobody's
                (3, Op.NEXT, NO_SLOT),
                (3, Op.CLOSE, NO_SLOT),
                (1, Op.FIRST, slots),
                (1, Op.FIRST, 0),
                (1, 3, NO_SLOT),
            ]
        )
        await raw.run()
        statuses = [result.status for result in raw.results if result is not None]
        no, bad, ok = Status.NO_SEQUENCE, Status.BAD_TOKEN, Status.OK
        nothing = Status.EMPTY_SLOT if slots else Status.BAD_SLOT
        expected = [
            no,
            no,
            bad,
            no,
            ok,
            bad,
            ok,
            bad,
            Status.BAD_SLOT,
            nothing,
            Status.BAD_OP,
            ok,
            ok,
            no,
            no,
            Status.BAD_SLOT,
            nothing,
            Status.BAD_OP,
        ]
        self.expect(statuses == expected, f"statuses {statuses}")


@pyuvm.test()
class VocabularySweep(ChipTest):
    """Every token of the vocabulary once, in random order, in sequences of at most 32 tokens."""

    async def stimulus(self) -> None:
        plan = self.golden.plan
        order = self.rng.permutation(plan.vocab_size)
        for start in range(0, len(order), min(32, plan.context)):
            await StreamSequence(order[start : start + min(32, plan.context)].tolist()).run()


@pyuvm.test()
class DirectedTokens(ChipTest):
    """The configured sequences of tokens as they are, whatever the chip answers."""

    async def stimulus(self) -> None:
        for tokens in self.config["directed"]:
            sequence = StreamSequence(tokens)
            await sequence.run()
            statuses = [result.status for result in sequence.results if result is not None]
            self.expect(statuses == [Status.OK] * len(tokens), f"statuses of directed tokens: {statuses}")


@pyuvm.test()
class RomReadback(ChipTest):
    """Every word and every signature of every ROM through the test port, amid a sequence that must not notice.

    The ROM scoreboard holds each against the files on disk; ``readback.json`` has the result.
    """

    async def stimulus(self) -> None:
        plan, roms = self.golden.plan, self.env.rom_scoreboard
        tokens = self.rng.integers(plan.vocab_size, size=min(6, plan.context)).tolist()
        middle = len(tokens) // 2
        await StreamSequence(tokens[:middle] or tokens).run()
        for unit in roms.units.values():
            await read_whole(unit).run()
        await RawSequence([(token, Op.NEXT, NO_SLOT) for token in tokens[middle:]]).run()
        readback = roms.readback()
        (run_dir() / READBACK_FILE).write_text(readback.model_dump_json(indent=1), encoding="utf-8")
        for unit in readback.units:
            self.expect(
                unit.words_hold, f"{unit.name}: {unit.read} of {unit.slices} slices read, {unit.wrong} wrong"
            )
            self.expect(unit.signature_holds, f"{unit.name}: signature {unit.signature}")
        self.expect(len(readback.units) > 0, "the chip has no ROM")


@pyuvm.test()
class RomTestPort(ChipTest):
    """Refusals of the ROM test port, stalls, a busy chip, a token that has to wait, a reset amid a walk."""

    async def stimulus(self) -> None:
        plan, units = self.golden.plan, [*self.env.rom_scoreboard.units.values()]
        token, *rest = self.rng.integers(plan.vocab_size, size=min(4, plan.context)).tolist()
        await StreamSequence([token]).run()
        for stage in range(plan.n_layers + 2):
            there = [unit for unit in units if unit.stage == stage]
            unit = there[int(self.rng.integers(len(there)))]
            await self.corners(unit.number, unit.words)
        for number in (32 * (plan.n_layers + 2), 0xFFFF, 31, 32 * (plan.n_layers + 1) + 31):
            for op in RomOp:
                await self.ask(RomStatus.BAD_UNIT, op, number, 0)
        await read_whole(min(units, key=lambda unit: unit.words * unit.slices), stall_seed=self.seed()).run()
        await self.beside_tokens(units[0].number, token)
        if plan.lora_slots:
            await self.beside_frames(units[0].number)
        walk = cocotb.start_soon(RomSequence([RomRange(RomOp.SIGNATURE, units[0].number, 0, 1, 0)]).run())
        await Timer(int(self.rng.integers(1, 60)) * CLOCK_NS, "ns")
        await self.env.reset()
        self.expect(await walk == [], "an answer came from before the reset")
        await read_whole(units[-1]).run()
        await StreamSequence([token, *rest]).run()

    async def corners(self, unit: int, words: int) -> None:
        """First and last word, one beyond, far beyond, and a range that leaves the ROM."""
        await self.ask(RomStatus.OK, RomOp.READ, unit, words - 1)
        await self.ask(RomStatus.BAD_WORD, RomOp.READ, unit, words)
        await self.ask(RomStatus.BAD_WORD, RomOp.READ, unit, 0xFFFFFFFF)
        await self.ask(RomStatus.BAD_WORD, RomOp.READ, unit, words - 1, words=3)
        await self.ask(RomStatus.OK, RomOp.READ, unit, 0, stall_seed=self.seed())

    async def beside_tokens(self, unit: int, token: int) -> None:
        """A chip that computes is busy; a token offered amid a walk waits for its end."""
        computing = cocotb.start_soon(StreamSequence([token]).run())
        await Timer(20 * CLOCK_NS, "ns")
        await self.ask(RomStatus.BUSY, RomOp.READ, unit, 0)
        await self.ask(RomStatus.BUSY, RomOp.SIGNATURE, unit, 0)
        await computing
        walk = cocotb.start_soon(RomSequence([RomRange(RomOp.SIGNATURE, unit, 0, 1, 0)]).run())
        await Timer(8 * CLOCK_NS, "ns")
        waited = StreamSequence([token])
        await waited.run()
        statuses = [result.answer.status for result in await walk]
        self.expect(statuses == [RomStatus.OK], f"a walk beside a waiting token got {statuses}")
        self.expect(len(waited.results) == 1, "the token that waited got no answer")

    async def beside_frames(self, unit: int) -> None:
        """A chip that takes a frame is busy, whatever is in it; a frame offered amid a walk waits for its end."""
        frame = np.zeros(400, np.uint32)
        loading = cocotb.start_soon(LoadSequence(frame).run())
        await Timer(20 * CLOCK_NS, "ns")
        await self.ask(RomStatus.BUSY, RomOp.READ, unit, 0, stall_seed=0x1F)  # held off for 7 cycles
        await loading
        walk = cocotb.start_soon(RomSequence([RomRange(RomOp.SIGNATURE, unit, 0, 1, 0)]).run())
        await Timer(8 * CLOCK_NS, "ns")
        await LoadSequence(frame).run()
        statuses = [result.answer.status for result in await walk]
        self.expect(statuses == [RomStatus.OK], f"a walk beside a waiting frame got {statuses}")

    async def ask(
        self, status: RomStatus, op: RomOp, unit: int, word: int, words: int = 1, stall_seed: int = 0
    ) -> RomResult | None:
        """One range, which must be answered with this status."""
        results = await RomSequence([RomRange(op, unit, word, words, stall_seed)]).run()
        found = results[0].answer.status if results else None
        self.expect(
            found == status, f"{op.name} of word {word} of unit {unit:#x}: status {found}, not {status}"
        )
        return results[0] if results else None

    def seed(self) -> int:
        return int(self.rng.integers(1, 1 << 31))
