"""Host port and load port: every operation, every status, every order of events (docs/adapters.md, "On the chip")."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from etchproof.render.fabric import Setup, make_fabric
from etchproof.sim.build import CACHE_ENV, Build, build
from etchproof.sim.run import simulate
from etchproof.sim.sink import SinkError
from etchproof.tools import find_verilator
from tests.rtl.harness import HERE, SEED
from verif.load_port.port import LoadPort

pytestmark = pytest.mark.sim

SOURCES = (
    "hw/ep_pkg.sv",
    "hw/sim/ep_sram_pkg.sv",
    "hw/ep_clock_gate.sv",
    "hw/ep_host_port.sv",
    "hw/ep_lora.sv",
    "hw/ep_lora_load.sv",
    "verif/host_port/ep_host_bfm.sv",
    "verif/load_port/ep_load_bfm.sv",
    "tests/rtl/sv/ports_top.sv",
)
NATIVE = "verif/load_port/ep_load.cpp"
TESTS = (
    "host_statuses",
    "loads",
    "load_statuses",
    "any_load",
    "stalls",
    "reset_in_a_load",
    "beside_a_sequence",
    "races",
    "valid_with_the_answer",
)


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory, repo_root: Path) -> Build:
    folder = tmp_path_factory.mktemp("ports")
    for source in (*SOURCES, NATIVE):
        shutil.copy(repo_root / source, folder)
    native = Path(NATIVE).name
    (folder / "ports.vlt").write_text('`verilator_config\npublic_flat_rw -module "ports_top" -var "*"\n')
    names = ["ports.vlt", *(Path(source).name for source in SOURCES), native]
    named = os.environ.get(CACHE_ENV)
    cache = Path(named) if named else repo_root / "build" / "sim-cache"
    return build(
        make_fabric(folder, names, "ports_top", Setup(native=frozenset({native}))),
        "strict",
        verilator=find_verilator(),
        cache_dir=cache,
    )


def test_outside_a_simulation_there_is_no_load_port() -> None:
    with pytest.raises(SinkError, match="not_a_simulation"):
        LoadPort()


@pytest.mark.parametrize("test", TESTS)
def test_ports(test: str, simulator: Build, tmp_path: Path, repo_root: Path) -> None:
    index = tmp_path / "images.txt"
    index.write_text("")
    outcome = simulate(
        simulator,
        run_dir=tmp_path / "run",
        test_modules=["ports_bench"],
        test_case=test,
        images_index=index,
        config={},
        seed=SEED,
        timeout_s=300,
        python_path=[HERE / "benches", repo_root],
    )
    assert outcome.status == "passed", outcome.failures
