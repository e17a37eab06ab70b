"""The ROM linear alone: nanoseconds per multiply-accumulate, against a plain C++ loop in the same process."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np

from bench.measure import ROOT, Pair
from etchproof.quantize.quantized_model import QuantizedMatrix
from etchproof.render.fabric import make_fabric
from etchproof.render.images import write_images
from etchproof.render.images_index import write_images_index
from etchproof.sim.build import build
from etchproof.tools import find_verilator
from models.chip import LinearPlan
from models.rom import writer

SOURCES = ("hw/ep_pkg.sv", "hw/sim/ep_rom_pkg.sv", "hw/ep_linear.sv", "bench/linear_bench.sv")
ROWS = COLS = 1024
SHIFT = 24


def linear_pairs(bits: int, group: int, repeats: int, folder: Path) -> list[Pair]:
    """Nanoseconds per multiply-accumulate of (module, loop), after a pass of each that warms up.

    Both compute the same 1024 x 1024 linear, tile 16 x 64, 16-bit inputs; each result is compared with numpy's.
    """
    sources = folder / "sources"
    sources.mkdir(parents=True)
    for name in SOURCES:
        shutil.copyfile(ROOT / name, sources / Path(name).name)
    top = sources / "linear_bench.sv"
    top.write_text(
        top.read_text().replace("Bits = 6", f"Bits = {bits}").replace("Size = 16", f"Size = {group}")
    )
    fabric = make_fabric(sources, [Path(name).name for name in SOURCES], "linear_bench")
    built = build(fabric, "fast", verilator=find_verilator(), main=ROOT / "bench" / "linear_main.cpp")

    draw = np.random.default_rng(1)
    largest = (1 << (bits - 1)) - 1
    codes = draw.integers(-largest, largest + 1, (ROWS, COLS)).astype(np.int8)
    scales = draw.integers(1, 1 << 16, (ROWS, COLS // group)).astype(np.uint16)
    x = draw.integers(-(1 << 13), 1 << 13, COLS).astype(np.int16)
    parts = (codes.astype(np.int64) * x).reshape(ROWS, -1, group).sum(axis=2)
    rounded = ((parts * scales).sum(axis=1) + (1 << (SHIFT - 1))) >> SHIFT
    y = rounded.clip(-(1 << 15), (1 << 15) - 1).astype(np.int16)

    plan = LinearPlan("linear", ROWS, COLS, bits, group, 16, False, 16, 64, 16)
    matrix = QuantizedMatrix(bits, group, codes, scales, 0, None)
    images = write_images(folder / "rom", writer.linear_images(0, matrix, plan))
    write_images_index(folder / "images.txt", images.index())
    files = []
    for name, array in (("codes", codes), ("scales", scales), ("x", x), ("y", y)):
        files.append(folder / f"{name}.bin")
        array.tofile(files[-1])
    words = [built.executable, ROWS, COLS, group, SHIFT, *files, repeats + 1]
    env = {**os.environ, "ETCHPROOF_IMAGES": str(folder / "images.txt")}
    done = subprocess.run([*map(str, words)], env=env, capture_output=True, text=True, check=True)
    lines = [line.split() for line in done.stdout.splitlines()]
    return [Pair(float(module) / (ROWS * COLS), float(loop) / (ROWS * COLS)) for module, loop in lines[1:]]
