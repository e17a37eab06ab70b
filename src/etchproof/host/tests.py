"""The tests that the engine brings for a chip with a ``[host]``, and their testbench (pyuvm); cocotb runs them."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import cocotb
import numpy as np
import pyuvm
from cocotb.handle import HierarchyObject, LogicObject
from cocotb.triggers import Timer, ValueChange
from pyuvm import (
    ConfigDB,
    uvm_agent,
    uvm_analysis_port,
    uvm_component,
    uvm_driver,
    uvm_env,
    uvm_sequence,
    uvm_sequence_item,
    uvm_sequencer,
    uvm_subscriber,
)

from etchproof.contract.taps import TapKey, TapPlan, TokenArrays
from etchproof.host import stimulus
from etchproof.host.port import Answer, Item, StreamPort
from etchproof.host.stimulus import StreamFacts
from etchproof.sim.golden import GoldenClient
from etchproof.uvm import (
    ComparedTest,
    Expected,
    ExpectedLoad,
    LoadResult,
    LoadStart,
    Opened,
    TapMonitor,
    TapScoreboard,
    TokenResult,
)

BURST: Final = 16
IDLE_NS: Final = 256
"""After the last answer; the clock's period is 2."""


class StreamBurst(uvm_sequence_item):  # type: ignore[misc]  # pyuvm is untyped
    """Items for the chip, one after the other; the driver fills in their answers."""

    def __init__(self, items: Sequence[Item], stop: Collection[int] = ()) -> None:
        super().__init__("burst")
        self.items, self.stop = items, stop
        self.answers: list[Answer] = []
        self.paused = False


class StreamDriver(uvm_driver):  # type: ignore[misc]
    """Has the host play one burst at a time, and publishes each answer on ``ap``."""

    def build_phase(self) -> None:
        self.ap = uvm_analysis_port("ap", self)
        self.port = StreamPort()
        self._facts: StreamFacts = ConfigDB().get(self, "", "FACTS")

    async def run_phase(self) -> None:
        top = cocotb.top
        assert isinstance(top, HierarchyObject)
        play, done, level = top["play"], top["done"], 0
        assert isinstance(play, LogicObject) and isinstance(done, LogicObject)
        await Timer(1, "ns")  # until the initial blocks have run: a strict simulator starts at random values
        while True:
            burst = await self.seq_item_port.get_next_item()
            self.port.ask(burst.items, stop=burst.stop, limit=self._facts.timeout_cycles)
            level ^= 1
            play.value = level
            while int(done.value) != level:
                await ValueChange(done)
            burst.answers, burst.paused = self.take(), self.port.paused
            self.seq_item_port.item_done()

    def take(self) -> list[Answer]:
        """Publish what was answered since the last call."""
        answers = self.port.answers()
        for answer in answers:
            self.ap.write(answer)
        return answers


class StreamMonitor(uvm_subscriber):  # type: ignore[misc]
    """Gives each answer its place in the run: a vector its number, an item its position in its sequence."""

    def build_phase(self) -> None:
        self.ap = uvm_analysis_port("ap", self)
        self.vectors: dict[
            int, tuple[int, ...]
        ] = {}  # that the golden model has not been asked for, by number
        self._facts: StreamFacts = ConfigDB().get(self, "", "FACTS")
        self._number = self._position = 0

    def write(self, tt: Answer) -> None:
        self._position = 0 if tt.first else self._position
        is_token = self._facts.vocab_size is not None
        if not is_token:
            self.vectors[self._number] = tt.fed
        self.ap.write(
            TokenResult(
                token_in=tt.fed[0] if is_token else self._number,
                op=int(tt.first),
                slot=0,
                token_out=tt.words[0],
                position=self._position,
                status=tt.status,
                cycles=tt.cycles,
                request_stall=tt.request_stall,
                response_stall=tt.response_stall,
                answer=tt.words,
                sha256=None if is_token else stimulus.payload_sha256(tt.fed),
            )
        )
        self._number += 1
        self._position += 1


class StreamReference(uvm_component):  # type: ignore[misc]
    """Predicts every answer and every tap; an ``etchproof.uvm.Reference``."""

    def build_phase(self) -> None:
        self.golden: GoldenClient = ConfigDB().get(self, "", "GOLDEN")
        self._facts: StreamFacts = ConfigDB().get(self, "", "FACTS")
        self.taps: TapPlan = self.golden.taps
        self.answer: TapKey | None = None if self._facts.answer is None else (-1, self._facts.answer)
        self.answer_bits = self._facts.out_bits
        self.monitor: StreamMonitor
        self.reset()

    def reset(self) -> None:
        self._held = 0

    def wait_ready(self) -> None:
        self.golden.wait_ready()

    def respond(self, request: TokenResult) -> Expected:
        opens = Opened(None, self.taps.due()) if request.op else None
        position = self._held = 0 if request.op else self._held
        self._held += 1
        cycles, stalled = self._facts.cycles, request.request_stall or request.response_stall
        due = None if cycles is None or stalled else cycles[position]
        return Expected(0, position, due, computes=True, opens=opens)

    def start_load(self, load: LoadStart) -> None:
        raise AssertionError("the chip has no load port")

    def end_load(self, load: LoadResult) -> ExpectedLoad:
        raise AssertionError("the chip has no load port")

    def predict(
        self, tokens: Sequence[int], first: bool, adapter: int | None
    ) -> Mapping[TapKey, TokenArrays]:
        if self._facts.vocab_size is not None:
            return self.golden.predict(tokens, first)
        rows = [self._facts.values(self.monitor.vectors.pop(number)) for number in tokens]
        return self.golden.predict(np.array(rows, np.int64), first)


class StreamAgent(uvm_agent):  # type: ignore[misc]
    """Sequencer, driver and monitor; each may be overridden through the factory."""

    def build_phase(self) -> None:
        super().build_phase()
        self.sequencer = uvm_sequencer.create("sequencer", self)
        self.driver = StreamDriver.create("driver", self)
        self.monitor = StreamMonitor.create("monitor", self)
        ConfigDB().set(None, "*", "STREAM_SEQUENCER", self.sequencer)

    def connect_phase(self) -> None:
        self.driver.seq_item_port.connect(self.sequencer.seq_item_export)
        self.driver.ap.connect(self.monitor.analysis_export)


class StreamEnv(uvm_env):  # type: ignore[misc]
    """Everything around the chip; each part may be overridden through the factory."""

    def build_phase(self) -> None:
        self.agent = StreamAgent.create("agent", self)
        self.taps = TapMonitor.create("taps", self)
        self.reference = StreamReference.create("reference", self)
        self.scoreboard = TapScoreboard.create("scoreboard", self)

    def connect_phase(self) -> None:
        self.agent.monitor.ap.connect(self.taps.analysis_export)
        self.taps.ap.connect(self.scoreboard.analysis_export)
        self.reference.monitor = self.agent.monitor
        self.scoreboard.reference = self.reference


class ItemSequence(uvm_sequence):  # type: ignore[misc]
    """Feeds items in bursts; an answer with a status other than 0, or a stop word that would be fed, ends it."""

    def __init__(self, items: Sequence[Item], stop: Collection[int] = ()) -> None:
        super().__init__("items")
        self.items, self.stop = list(items), stop
        self.answers: list[Answer] = []

    async def body(self) -> None:
        left = self.items
        while left:
            burst = StreamBurst(left[:BURST], self.stop)
            await self.start_item(burst)
            await self.finish_item(burst)
            self.answers += burst.answers
            left = left[len(burst.answers) :]
            if not burst.answers or burst.answers[-1].status:
                return
            if len(burst.answers) < len(burst.items) and not burst.paused:
                return
            if left and left[0].words is None:
                word = burst.answers[-1].words[0]
                if word in self.stop:
                    return
                left[0] = left[0]._replace(words=(word,))

    async def run(self) -> None:
        """Start on the environment's sequencer."""
        await self.start(ConfigDB().get(None, "", "STREAM_SEQUENCER"))


class StreamTest(ComparedTest):
    """Base: feeds the sequences of ``etchproof.host.stimulus`` for the test's name."""

    def build_phase(self) -> None:
        super().build_phase()
        self.facts = StreamFacts(**self.config[stimulus.CONFIG])
        ConfigDB().set(None, "*", "FACTS", self.facts)
        self.env = StreamEnv.create("env", self)

    async def begin(self) -> None:
        self.env.scoreboard.reset()

    async def stimulus(self) -> None:
        seed = int(os.environ["COCOTB_RANDOM_SEED"])
        for items in stimulus.items(type(self).__name__, self.facts, seed, self.config):
            await ItemSequence(items).run()

    def rescue(self) -> None:
        self.env.agent.driver.take()

    async def end(self) -> None:
        await Timer(IDLE_NS, "ns")  # whatever still comes is of no item
        for record in self.env.taps.sink.take().records():
            place = f"layer {record.layer} {record.name} of position {record.pos}"
            self.env.scoreboard.fail("stray_tap", f"{place} after the last answer")


@pyuvm.test()
class GreedyGeneration(StreamTest):
    """Greedy text from each configured prompt; the chip's own answers drive it."""

    async def stimulus(self) -> None:
        for number, planned in enumerate(self.config["sequences"]):
            prompt, new = planned["prompt"], planned["new_tokens"]
            items = [Item(self.facts.words([token]), index == 0) for index, token in enumerate(prompt)]
            sequence = ItemSequence(
                [*items, *[Item(None, False)] * (new - 1)], planned.get("stop_tokens", ())
            )
            await sequence.run()
            self.tell(
                number,
                (
                    (position, answer.fed[0], answer.words[0], position >= len(prompt) - 1)
                    for position, answer in enumerate(sequence.answers)
                ),
            )


@pyuvm.test()
class DirectedTokens(StreamTest):
    """The configured sequences of tokens as they are, whatever the chip answers."""


@pyuvm.test()
class GivenVectors(StreamTest):
    """The vectors of a file, in order, as one sequence."""


@pyuvm.test()
class RandomInputs(StreamTest):
    """Random sequences with random stalls, one as long as the context; then one more of that length without stalls."""
