"""A model's chip, built twice: as it is co-simulated, and with a bare C++ main."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cocotb_tools.config

from bench.measure import ROOT
from etchproof.project.declaration import load_project
from etchproof.render.images_index import write_images_index
from etchproof.run import flow, testrun
from etchproof.run.design import Design
from etchproof.run.testrun import prepare, run_test
from etchproof.sim.build import Build, build
from etchproof.tools import find_verilator

PROJECT = load_project(ROOT)


@dataclass(frozen=True)
class CosimRun:
    """A co-simulation that passed.

    Attributes:
        loop_s: from the reset to the last comparison; process start, imports and model loading are not in it.
        wall_s: of the simulator's process.
        tokens: fed to the chip.
        answers: the chip's.
        cycles: of each token.
    """

    loop_s: float
    wall_s: float
    tokens: list[int]
    answers: list[int]
    cycles: list[int]


@dataclass(frozen=True)
class BareRun:
    """As ``CosimRun``, without Python and without taps.

    Attributes:
        reset_s: seconds of the reset, with the loading of the ROMs.
        token_s: seconds of each token.
    """

    reset_s: float
    wall_s: float
    answers: list[int]
    token_s: list[float]

    @property
    def loop_s(self) -> float:
        """From the reset to the last answer."""
        return self.reset_s + sum(self.token_s)


@dataclass(frozen=True)
class Chip:
    """A checkpoint's chip.

    Attributes:
        fast: the simulator as users have it.
        bare: the same Verilated RTL under ``bare_main.cpp``.
    """

    fast: testrun.Chip
    bare: Build

    @property
    def index(self) -> Path:
        return self.fast.folder / "images.txt"

    def cosim(self, prompt: Sequence[int], new_tokens: int) -> CosimRun:
        """Generate; everything is compared, and must be equal.

        The golden model is ready before the clock starts: making it is part of the start.
        """
        config = {
            "wait_golden": True,
            "sequences": [{"prompt": list(prompt), "new_tokens": new_tokens, "stop_tokens": []}],
        }
        with tempfile.TemporaryDirectory() as folder:
            run = run_test(self.fast, PROJECT.verif.generation, Path(folder), seed=1, config=config)
        comparison, wall_s = run.comparison, run.outcome.wall_s
        assert run.passed and comparison is not None, run.reasons
        tokens = comparison.tokens
        return CosimRun(
            loop_s=comparison.sim_s + comparison.wait_s,
            wall_s=wall_s,
            tokens=[token.token_in for token in tokens],
            answers=[token.token_out for token in tokens],
            cycles=[token.cycles for token in tokens],
        )

    def bare_run(self, tokens: Sequence[int]) -> BareRun:
        """The same tokens through the same RTL."""
        file = self.fast.folder / "tokens.txt"
        file.write_text("".join(f"{token}\n" for token in tokens), encoding="ascii")
        env = {
            **os.environ,
            "ETCHPROOF_IMAGES": str(self.index),
            "LD_LIBRARY_PATH": str(cocotb_tools.config.libs_dir),
        }
        start = time.perf_counter()
        done = subprocess.run(
            [self.bare.executable, file], env=env, capture_output=True, text=True, check=True
        )
        wall_s = time.perf_counter() - start
        reset_s, *lines = done.stdout.splitlines()
        rows = [line.split() for line in lines]
        return BareRun(
            reset_s=float(reset_s),
            wall_s=wall_s,
            answers=[int(answer) for answer, _ in rows],
            token_s=[float(seconds) for _, seconds in rows],
        )


def make_chip(model_dir: Path, recipe: str, folder: Path) -> Chip:
    """Everything up to the simulation."""
    return make_chip_of(flow.plan_design(PROJECT, model_dir, flow.read_recipe(PROJECT, recipe)), folder)


def make_chip_of(design: Design, folder: Path) -> Chip:
    """As ``make_chip``, of a design."""
    cache = flow.cache_folder()
    fast = prepare(design, folder, "fast", cache)
    write_images_index(folder / "images.txt", fast.images.index())
    main = ROOT / "bench" / "bare_main.cpp"
    bare = build(fast.fabric, "fast", verilator=find_verilator(), cache_dir=cache, main=main)
    return Chip(fast, bare)
