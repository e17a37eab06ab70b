"""The base of a test: a chip is fed, and everything that it computed is compared."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pyuvm import ConfigDB, uvm_component, uvm_test

from etchproof.compare.comparator import COMPARISON_FILE
from etchproof.compare.differing import KEPT_FILE
from etchproof.compare.dump import DumpWriter, Selection
from etchproof.sim.child import run_config, run_dir
from etchproof.sim.golden import GoldenClient
from etchproof.sim.progress import ProgressWriter


class ComparedTest(uvm_test):  # type: ignore[misc]  # pyuvm is untyped
    """Runs ``stimulus``, writes the comparison, fails unless all is clean.

    A subclass makes ``env``, whose ``scoreboard`` is a ``TapScoreboard``, in its build phase.
    """

    def build_phase(self) -> None:
        self.config: dict[str, Any] = run_config()
        self.progress = ProgressWriter(run_dir())
        self.golden = GoldenClient()
        self.env: uvm_component
        ConfigDB().set(None, "*", "GOLDEN", self.golden)

    def end_of_elaboration_phase(self) -> None:
        if not self.config.get("keep_taps", True):
            self.env.scoreboard.keeper = None

    async def begin(self) -> None:
        """What comes before the stimulus; overridden."""
        raise NotImplementedError

    async def stimulus(self) -> None:
        """What the test does; overridden."""
        raise NotImplementedError

    async def end(self) -> None:
        """What comes after it, before the comparison is closed."""

    def rescue(self) -> None:
        """Take what the chip answered before the simulation broke off; overridden."""

    async def run_phase(self) -> None:
        self.raise_objection()
        scoreboard = self.env.scoreboard
        if (wanted := self.config.get("dump_taps")) is not None:
            selection = Selection.model_validate(wanted.get("only", {}))
            scoreboard.dump = DumpWriter(Path(wanted["folder"]), scoreboard.reference.taps, selection)
        gc.collect()
        gc.freeze()  # what is there stays to the end: not to be looked at again and again between tokens
        if self.config.get("wait_golden"):  # for benchmarks
            scoreboard.wait()
            scoreboard.wait_s = 0.0
        started = time.perf_counter()
        try:
            await self.begin()
            await self.stimulus()
            await self.end()
        except BaseException:  # as cocotb ends a test whose simulation is over
            self.rescue()
            raise
        finally:
            comparison = scoreboard.finish(time.perf_counter() - started)
            (run_dir() / COMPARISON_FILE).write_text(comparison.model_dump_json(indent=1), encoding="utf-8")
            if scoreboard.keeper is not None:
                scoreboard.keeper.save(run_dir() / KEPT_FILE, self.golden.asked)
            if scoreboard.dump is not None:
                scoreboard.dump.close()
            self.progress.close()
        assert comparison.problem is None, comparison.problem
        self.drop_objection()

    def tell(self, sequence: int, tokens: Iterable[tuple[int, int, int, bool]]) -> None:
        """Say outside of the simulator which tokens of a generated text were answered.

        Args:
            sequence: of the run.
            tokens: position, token fed, token answered, and whether that continues the text.
        """
        self.progress.write(
            *(
                {
                    "event": "token",
                    "sequence": sequence,
                    "position": position,
                    "token_in": token_in,
                    "token_out": token_out,
                    "generated": generated,
                }
                for position, token_in, token_out, generated in tokens
            )
        )
