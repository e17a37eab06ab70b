"""The benches of ``cases/``, each built once, and one run of all their cases."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from etchproof.render.fabric import Setup, make_fabric
from etchproof.render.templates import LIBRARY
from etchproof.sim.build import CACHE_ENV, Build, BuildError, build
from etchproof.tools import find_verilator
from models.numerics import tables
from tests.rtl.cases import BENCHES
from tests.rtl.harness import HERE, Integers

RunCase = Callable[[str, int], Mapping[str, Integers]]


def _tables_package() -> str:
    """ep_tables_pkg as the template renders it, without the formatter."""
    widths = {"rsqrt": 16, "recip": 16, "exp2": 25, "sigmoid": 21}
    lines = []
    for name, bits in widths.items():
        values = getattr(tables, f"{name}_table")()
        entries = ", ".join(f"{bits}'d{value}" for value in values)
        lines.append(f"  localparam logic [{bits - 1}:0] {name.upper()}[{len(values)}] = '{{{entries}}};\n")
    return "package ep_tables_pkg;\n" + "".join(lines) + "endpackage\n"


def make_bench(name: str, folder: Path, repo_root: Path, cache: Path) -> Build:
    """The simulator of a bench; strict, so that registers start at random values."""
    bench = BENCHES[name]
    units = {case.unit for case in bench.cases}
    hardware = {"pkg": [], "lora": ["ep_lora", "ep_linear"], "roms": ["ep_rope_table", "ep_param_rom"]}
    modules = sorted({module for unit in units for module in hardware.get(unit, [f"ep_{unit}"])})
    written = "ep_tables_pkg.sv"
    sim_only = ["ep_rom_pkg.sv", "ep_sram_pkg.sv"]
    taps = ["ep_tap_pkg.sv", "ep_tap.sv"]
    names = [written, "ep_pkg.sv", *sim_only, *(f"{module}.sv" for module in modules), *taps]
    (folder / written).write_text(_tables_package(), encoding="utf-8")
    for file in names[1:]:
        where = repo_root / ("hw/sim" if file in sim_only else "hw")
        shutil.copyfile((LIBRARY if file in taps else where) / file, folder / file)
    for file in ("ut_driver.sv", *(f"ut_{unit}.sv" for unit in sorted(units))):
        shutil.copyfile(HERE / "sv" / file, folder / file)
        names.append(file)
    (folder / "ut_top.sv").write_text(bench.top, encoding="utf-8")
    (folder / "ut.vlt").write_text(
        '`verilator_config\npublic_flat_rw -module "ut_top" -var "ended"\n', encoding="utf-8"
    )
    native = "ep_load.cpp"  # of the SRAM behind the load port
    shutil.copyfile(repo_root / "verif" / "load_port" / native, folder / native)
    setup = Setup(native=frozenset({native}))
    fabric = make_fabric(folder, ["ut.vlt", *names, "ut_top.sv", native], "ut_top", setup)
    return build(fabric, "strict", verilator=find_verilator(), cache_dir=cache)


@pytest.fixture(scope="session")
def run_case(tmp_path_factory: pytest.TempPathFactory, repo_root: Path) -> RunCase:
    """What the taps saw of a case of a bench; cases that run together run once a session."""
    named = os.environ.get(CACHE_ENV)
    cache = Path(named) if named else repo_root / "build" / "sim-cache"
    builds: dict[str, Build | Exception] = {}
    runs: dict[tuple[str, int], dict[str, np.ndarray]] = {}

    def run(name: str, number: int) -> Mapping[str, Integers]:
        if name not in builds:
            try:
                builds[name] = make_bench(name, tmp_path_factory.mktemp(name), repo_root, cache)
            except BuildError as error:  # once, not for every case
                builds[name] = error
        built = builds[name]
        if isinstance(built, Exception):
            raise built
        bench = BENCHES[name]
        key = (name, number if bench.cases[number].solo else -1)
        if key not in runs:
            runs[key] = bench.run(built, tmp_path_factory.mktemp(f"{name}-run"), number)
        return runs[key]

    return run
