"""The tests that cocotb runs; ``etchproof.sim.run.simulate`` names one by its class."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyuvm
from pyuvm import ConfigDB

from etchproof.compare.readback import READBACK_FILE
from etchproof.render.images import read_images
from etchproof.sim.child import run_dir
from etchproof.uvm import ComparedTest, TokenResult
from etchproof.verdict.expect import PlannedRun
from verif.env import ChipEnv
from verif.host_port.sequences import GreedySequence, RawSequence
from verif.load_port.agent import FaultSequence, LoadSequence
from verif.protocol import NO_SLOT, Op
from verif.scenarios.player import Player
from verif.scenarios.stimulus import TESTS, acts

TOKEN_TIMEOUT_CYCLES = 20_000_000


class ChipTest(ComparedTest):
    """Base: the environment, a reset, and the images that the chip has loaded before ``stimulus``."""

    def build_phase(self) -> None:
        super().build_phase()
        self.adapters: list[dict[str, Any]] = self.config.get("adapters", [])
        self.frames = [np.fromfile(adapter["frame"], "<u4") for adapter in self.adapters]
        ConfigDB().set(None, "*", "ADAPTER_FRAMES", self.frames)
        ConfigDB().set(None, "*", "ROM_FOLDER", self.config.get("rom"))
        ConfigDB().set(
            None, "*", "TOKEN_TIMEOUT_CYCLES", self.config.get("timeout_cycles", TOKEN_TIMEOUT_CYCLES)
        )
        self.env = ChipEnv.create("env", self)

    async def begin(self) -> None:
        await self.env.reset()
        self.check_images()

    def check_images(self) -> None:
        """The chip loaded exactly the images of the run."""
        loaded = self.env.taps.sink.check_images()
        planned = self.config.get("images", loaded)
        assert loaded == planned, f"image_count: the chip loaded {loaded} ROM images of {planned}"

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
                self.tell(
                    index,
                    (
                        (result.position, result.token_in, result.token_out, generated)
                        for result, generated in tokens
                    ),
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
        faults = [fault for fault in self.config.get("adapter_faults", ()) if fault["slot"] == slot]
        if first and faults:
            await FaultSequence(faults).run()


class ActsTest(ChipTest):
    """Base: plays the acts that ``verif.scenarios.stimulus`` draws for the test's name from the run's seed."""

    async def stimulus(self) -> None:
        rom = self.config.get("rom")
        run = PlannedRun(
            plan=self.golden.plan,
            seed=int(os.environ["COCOTB_RANDOM_SEED"]),
            config=self.config,
            frames=self.frames,
            images=read_images(Path(rom)) if rom else None,
        )
        player = Player(self.env, self.expect)
        name = next(known.__name__ for known in type(self).__mro__ if known.__name__ in TESTS)
        for act in acts(name, run):
            await player.play(act)


@pyuvm.test()
class RandomTokens(ActsTest):
    """Random tokens with random stalls on both handshakes."""


@pyuvm.test()
class BackToBack(ActsTest):
    """Several sequences of random lengths without a pause or a reset; each must be as if it were alone."""


@pyuvm.test()
class ResetMidSequence(ActsTest):
    """Reset in every step of a token's way and between tokens; each time a whole sequence must be undisturbed after it.

    The layer, the cycle within the step and the token's position, 0 or 1, are random.
    """


@pyuvm.test()
class ContextLimit(ActsTest):
    """Fill the context to its last position, two tokens beyond, then a new sequence over the old rows."""


@pyuvm.test()
class HostErrors(ActsTest):
    """Every refusal of the host port, between tokens that must not notice."""


@pyuvm.test()
class VocabularySweep(ActsTest):
    """Every token of the vocabulary once, in random order, in sequences of at most 32 tokens."""


@pyuvm.test()
class DirectedTokens(ActsTest):
    """The configured sequences of tokens as they are, whatever the chip answers."""


@pyuvm.test()
class RomReadback(ActsTest):
    """Every word and every signature of every ROM through the test port, amid a sequence that must not notice.

    The ROM scoreboard holds each against the files on disk; ``readback.json`` has the result.
    """

    async def stimulus(self) -> None:
        await super().stimulus()
        readback = self.env.rom_scoreboard.readback()
        (run_dir() / READBACK_FILE).write_text(readback.model_dump_json(indent=1), encoding="utf-8")
        for unit in readback.units:
            self.expect(
                unit.words_hold, f"{unit.name}: {unit.read} of {unit.slices} slices read, {unit.wrong} wrong"
            )
            self.expect(unit.signature_holds, f"{unit.name}: signature {unit.signature}")
        self.expect(len(readback.units) > 0, "the chip has no ROM")


@pyuvm.test()
class RomTestPort(ActsTest):
    """Refusals of the ROM test port, stalls, a busy chip, a token that has to wait, a reset amid a walk."""
