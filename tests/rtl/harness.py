"""Unit cases: a hardware unit with its parameters, vectors in image files, and what the golden op makes of them.

A bench is many cases side by side in one simulator (``sv/ut_<unit>.sv`` around each); one run serves all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from etchproof.render.images import Image, write_images
from etchproof.render.images_index import write_images_index
from etchproof.sim.build import Build
from etchproof.sim.run import simulate

HERE = Path(__file__).parent
TAPS = ("y", "scores", "softmax", "stream", "rounded", "saturated", "length", "h", "d", "signature")
"""The names that the taps of the benches have."""

CLOCK_PS = 2000
SEED = 20260

Integers = np.ndarray[Any, np.dtype[np.integer[Any]]]


@dataclass(frozen=True)
class Stimulus:
    """What a case is fed with and what must come out.

    Attributes:
        images: of its layer, the case's number; that is how the images of cases are told apart.
        expected: tap -> a record per vector, flat.
        latency: cycles from start to the end of busy, per vector, as the unit's header says; None: not fixed.
        prep: cycles in which the bench takes a vector's inputs.
    """

    images: Sequence[Image]
    expected: Mapping[str, Sequence[Integers]]
    latency: Sequence[int] | None = None
    prep: int = 1


@dataclass(frozen=True)
class Case:
    """A unit with its parameters.

    Attributes:
        unit: the module is ``ep_<unit>``, its bench ``ut_<unit>``.
        name: what this case is about.
        params: of the bench; ``Vectors`` among them.
        make: the stimulus, made when it is needed.
        solo: runs alone, since its images have fixed names.
    """

    unit: str
    name: str
    params: Mapping[str, int]
    make: Callable[[int, np.random.Generator], Stimulus]
    solo: bool = False

    @property
    def id(self) -> str:
        return f"{self.unit}-{self.name}"


class Bench:
    """Cases built together."""

    def __init__(self, name: str, cases: Sequence[Case]) -> None:
        ids = [case.id for case in cases]
        assert len(set(ids)) == len(ids), ids
        self.name, self.cases = name, tuple(cases)
        self._stimuli: dict[int, Stimulus] = {}

    def stimulus(self, number: int) -> Stimulus:
        """The stimulus of a case, always the same."""
        if number not in self._stimuli:
            case = self.cases[number]
            draw = np.random.default_rng([SEED, *case.id.encode()])
            self._stimuli[number] = case.make(number, draw)
        return self._stimuli[number]

    @cached_property
    def top(self) -> str:
        """SystemVerilog of the top: clock, reset, one instance for each case."""
        count = len(self.cases)
        instances = []
        for number, case in enumerate(self.cases):
            chosen = f"only == {number}" if case.solo else "only < 0"
            params = {"Case": number, **case.params}
            bound = ", ".join(f".{key}({_literal(value)})" for key, value in params.items())
            instances.append(
                f"  // {case.id}\n"
                f"  assign en[{number}] = {chosen};\n"
                f"  ut_{case.unit} #({bound}) u_case{number} (\n"
                f"      .clk_i(clk), .rst_ni(rst_n), .load_i(load && en[{number}]), .en_i(en[{number}]),\n"
                f"      .done_o(done[{number}])\n  );\n"
            )
        return (
            "// Every case of one bench side by side; +only=N runs case N alone.\n\n"
            "module ut_top;\n\n"
            "  timeunit 1ns; timeprecision 1ps;\n\n"
            "  logic clk = 1'b0;\n  logic rst_n = 1'b0;\n  logic load = 1'b0;\n  logic ended;\n"
            f"  int only = -1;\n  logic [{count - 1}:0] en, done;\n\n"
            "  initial begin\n"
            '    if ($value$plusargs("only=%d", only) == 0) only = -1;\n'
            "    #1 load = 1'b1;\n    #20 rst_n = 1'b1;\n  end\n\n"
            "  initial begin\n    #1;\n    forever #1 clk = ~clk;\n  end\n\n"
            "  assign ended = &done;\n\n" + "\n".join(instances) + "\nendmodule\n"
        )

    def run(self, build: Build, folder: Path, number: int) -> dict[str, Integers]:
        """Simulates the case, with all others that do not run alone unless it does; what the taps saw, by number."""
        solo = self.cases[number].solo
        numbers = [number] if solo else [i for i, case in enumerate(self.cases) if not case.solo]
        images = write_images(
            folder / "images", (image for i in numbers for image in self.stimulus(i).images)
        )
        index = folder / "images.txt"
        write_images_index(index, images.index())
        outcome = simulate(
            build,
            run_dir=folder / "run",
            test_modules=["unit_bench"],
            test_case="vectors",
            images_index=index,
            config={"taps": TAPS},
            seed=SEED,
            timeout_s=300,
            python_path=[HERE / "benches"],
            plusargs=[f"+only={number}"] if solo else [],
        )
        assert outcome.status == "passed", outcome.failures
        with np.load(folder / "run" / "taps.npz") as taps:
            return dict(taps)


def _literal(value: int) -> str:
    return str(value) if value < 1 << 31 else f"63'd{value}"


def ctl(number: int, words: Sequence[Sequence[int]] | Integers) -> Image:
    """The image of the words that a bench applies beside each vector."""
    return Image(number, "ctl", 32, np.asarray(words, dtype=np.int32))


def lanes(number: int, name: str, vectors: Integers, blocks: int, width: int, bits: int) -> Image:
    """Vectors (count, size) as an image of blocks of lanes, zeros after the end."""
    padded = np.zeros((len(vectors), blocks * width), dtype=f"i{bits // 8}")
    padded[:, : vectors.shape[1]] = vectors
    return Image(number, name, bits, padded.reshape(len(vectors), blocks, width))


def extremes(draw: np.random.Generator, shape: tuple[int, ...], bits: int) -> Integers:
    """Random integers of so many bits: any, only small ones, only the two ends; by vector (first axis)."""
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    result = draw.integers(low, high + 1, shape)
    small = draw.integers(0, bits, (shape[0],) + (1,) * (len(shape) - 1))
    result = np.where(draw.random(result.shape[:1] + (1,) * (len(shape) - 1)) < 0.5, result, result >> small)
    ends = np.where(draw.random(shape) < 0.5, low, high)
    for index, content in enumerate((0, low, high, ends, -1)):
        if index < shape[0]:
            result[index] = content[index] if isinstance(content, np.ndarray) else content
    return result


def check(bench: Bench, number: int, seen: Mapping[str, Integers]) -> int:
    """Compares a case's taps with the golden op, record by record; returns how many elements were compared.

    The message names the unit, its parameters, the first element that differs, and the command that shows it again.
    """
    case, stimulus = bench.cases[number], bench.stimulus(number)
    again = f"pytest 'tests/rtl/test_units.py::test_unit_equals_golden[{case.id}]'"
    params = ", ".join(f"{key}={value}" for key, value in case.params.items())
    where = f"ep_{case.unit} ({case.name}: {params})"
    compared = 0
    found = {key.split(".")[1] for key in seen if key.startswith(f"{number}.")}
    assert found == set(stimulus.expected), f"{where}: taps {sorted(found)}\n{again}"
    for tap, wanted in stimulus.expected.items():
        data, meta = seen[f"{number}.{tap}.data"], seen[f"{number}.{tap}.meta"]
        assert len(wanted) == case.params["Vectors"] == len(meta), (
            f"{where}: {len(meta)} records of {tap}\n{again}"
        )
        at = 0
        for vector, (want, (count, index, _)) in enumerate(zip(wanted, meta, strict=True)):
            got = data[at : at + count]
            at += count
            assert (index, count) == (vector, len(want)), (
                f"{where}: vector {vector} of {tap}: {count} elements of vector {index}\n{again}"
            )
            if not np.array_equal(got, want):
                bad = np.flatnonzero(got != want)
                raise AssertionError(
                    f"{where}: vector {vector}, {tap}[{bad[0]}]: RTL {got[bad[0]]}, golden {want[bad[0]]}; "
                    f"{len(bad)} of {count} elements differ\n{again}"
                )
            compared += count
    if stimulus.latency is not None:
        times = next(seen[f"{number}.{tap}.meta"][:, 2] for tap in stimulus.expected)
        cycles = np.diff(times) // CLOCK_PS - 1 - stimulus.prep
        for vector, (got, want) in enumerate(zip(cycles, stimulus.latency[1:], strict=True), start=1):
            assert got == want, f"{where}: vector {vector} took {got} cycles, its header says {want}\n{again}"
    return compared
