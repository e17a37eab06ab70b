"""``etchproof cosim --waves``: an independent reader finds in the file what the taps have, also after a kill."""

from __future__ import annotations

import os
import re
import shutil
import signal
import struct
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import pywellen

from etchproof.compare.comparator import Comparison
from etchproof.compare.kept import TapDump
from etchproof.files.json_record import read_json_record
from etchproof.waves import layout
from etchproof.waves.fst import finish
from tests.cli.conftest import LIMIT_S, Cosim, Done, Refused, command
from tests.cli.test_cosim import processes_in

pytestmark = pytest.mark.sim

SITE = "rom:model.layers.2.mlp.down_proj[17,5]^4"


def read(file: Path) -> dict[str, Any]:
    """The signals of a file by their full names, as wellen has them, which is the reader of Surfer."""
    return {one.full_name: one for one in pywellen.Waveform(str(file)).all_vars()}


def value(found: Any, time_ps: int, *, signed: bool = True) -> int:
    bits = int(found.signal.value_at(time_ps))
    return bits - (1 << found.bitwidth) if signed and bits >> (found.bitwidth - 1) else bits


@pytest.fixture(scope="module")
def waved(cosim: Cosim, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """A run with a fault, its waves and its taps."""
    out = tmp_path_factory.mktemp("waves") / "run"
    done = cosim("--waves", "--inject", SITE, "--out", out, "--dump-taps", out / "taps")
    return Done(done.status, done.stdout, done.stderr, out)


def test_every_tap_is_in_the_waves(waved: Done) -> None:
    """With the values that the testbench has, of each token, at the time of its record."""
    assert (waved.status, waved.stderr, waved.result.sim.kind) == (1, "", "waves")
    assert f"waves    {waved.out / 'waves.fst'}: " in waved.stdout
    signals = read(waved.out / "waves.fst")
    tokens = list(TapDump(waved.out).read())
    keys = list(tokens[0].chip)
    assert len(keys) == 17 * 3 + 4
    for key, scope in layout.scopes(keys).items():
        own = "taps." + ".".join(scope)
        times = [at for at, count in signals[f"{own}.records"].tv if count]
        assert len(times) == len(tokens)
        lanes = [
            signals[f"{own}.lane_{lane}"] for lane in range(max(token.chip[key].size for token in tokens))
        ]
        for token, at in zip(tokens[::5], times[::5], strict=True):
            vector = token.chip[key].tolist()
            assert value(signals[f"{own}.pos"], at) == token.position
            assert value(signals[f"{own}.count"], at) == len(vector)
            assert [value(lane, at) for lane in lanes[: len(vector)]] == vector, (key, token.position)


def test_the_marker_is_where_the_first_wrong_value_comes(waved: Done) -> None:
    first = waved.result.first_divergence
    at = read_json_record(waved.out / "comparison.json", Comparison).divergence_ps
    assert first is not None
    assert at is not None
    signals = read(waved.out / "waves.fst")
    name = f"taps.layer_{first.layer}.{first.tap}.lane_{first.element}"
    assert value(signals[name], at) == first.got
    assert value(signals[name], at - 1) != first.got, "it came at that edge"
    assert value(signals["ep_sim_top.clk"], at, signed=False) == 1
    gtkw = (waved.out / "waves.gtkw").read_text(encoding="utf-8")
    assert re.search(rf"^\*-[0-9.]+ {at}( -1){{26}}$", gtkw, re.MULTILINE)
    said = f"-layer 2 down_proj: lane 17 of token 0, expected {first.expected}, got {first.got}"
    assert gtkw.splitlines().count(said) == 2
    assert f"marker_set first_wrong {at}\n" in (waved.out / "waves.sucl").read_text(encoding="utf-8")


def test_every_name_of_the_layouts_is_a_signal(waved: Done) -> None:
    signals = read(waved.out / "waves.fst")
    surfer = (waved.out / "waves.sucl").read_text(encoding="utf-8").splitlines()
    added = [line.removeprefix("variable_add ") for line in surfer if line.startswith("variable_add ")]
    assert len(added) > 100
    assert [name for name in added if name not in signals] == []
    gtkw = (waved.out / "waves.gtkw").read_text(encoding="utf-8").splitlines()
    named = [re.sub(r"\[[0-9:]+\]$", "", line) for line in gtkw if re.match(r"[a-z_]+\.", line)]
    assert len(named) > len(added)
    assert [name for name in named if name not in signals] == []
    around = "ep_sim_top.u_chip.u_layer2"
    assert {f"-addresses in {around}", f"-state in {around}"} <= set(gtkw)
    assert f"{around}.u_down_proj.addr_q" in added


def test_the_chip_does_what_it_does_without(waved: Done, cosim: Cosim) -> None:
    plain = cosim("--inject", SITE).result
    assert plain.taps == waved.result.taps
    assert (plain.first_divergence, plain.sim.cycles) == (
        waved.result.first_divergence,
        waved.result.sim.cycles,
    )


def test_a_file_that_was_cut_anywhere(waved: Done, tmp_path: Path) -> None:
    """As a killed simulator leaves it: no header, no names, a block that was being written."""
    whole = (waved.out / "waves.fst").read_bytes()
    header = 330
    blocks = []
    at = header
    while at < len(whole):
        length = struct.unpack_from(">Q", whole, at + 1)[0]
        blocks.append((whole[at], at, at + 1 + length))
        at += 1 + length
    changes = [block for block in blocks if block[0] == 8]
    head = tmp_path / "head.fst"
    shutil.copyfile(waved.out / "waves.fst", head)
    wanted = list(read(waved.out / "waves.fst")["ep_sim_top.u_chip.u_layer2.pos"].tv)
    assert len(changes) > 1
    for kept in range(1, len(changes) + 1):
        end = changes[kept - 1][2]
        cut = tmp_path / f"cut{kept}.fst"
        torn = b"\x08" + struct.pack(">Q", 8) + whole[end + 9 : end + 700]  # its length comes in the end
        cut.write_bytes(bytes(header) + whole[header:end] + (torn if kept < len(changes) else b"\x08\0\0"))
        waves = finish(cut, head, 50_000_000)
        found = read(cut)
        assert len(found) == len(waves.signals)
        changed = list(found["ep_sim_top.u_chip.u_layer2.pos"].tv)
        assert changed == [one for one in wanted if one[0] <= waves.end]
    assert (tmp_path / f"cut{len(changes)}.fst").read_bytes()[header:] == whole[header:]


def test_a_file_that_is_too_large(waved: Done, tmp_path: Path) -> None:
    file, head = tmp_path / "waves.fst", tmp_path / "head.fst"
    for copy in (file, head):
        shutil.copyfile(waved.out / "waves.fst", copy)
    before = finish(file, head, 50_000_000)
    assert file.read_bytes() == head.read_bytes(), "a good file stays as it is"
    most = before.size_bytes - 1
    waves = finish(file, head, most)
    assert waves.size_bytes == file.stat().st_size <= most
    assert waves.end < before.end
    assert len(read(file)) == len(before.signals)


def test_a_simulator_that_is_killed(
    waved: Done, cli_env: dict[str, str], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = subprocess.Popen(
        command("cosim", tiny_checkpoint, "--tokens", "250", "--waves", "--out", out),
        env=cli_env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + LIMIT_S
        while not (out / "waves.fst").exists() or (out / "waves.fst").stat().st_size < 500_000:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.005)
        time.sleep(0.6)  # two more blocks
        assert process.poll() is None
        for pid in processes_in(out):
            os.kill(pid, signal.SIGKILL)
        assert process.wait(LIMIT_S) == 1
    finally:
        process.kill()
        process.wait()
    signals = read(out / "waves.fst")
    assert list(signals["taps.layer_0.q_proj.records"].tv)[-1][1] > 1
    assert (out / "waves.gtkw").is_file()
    assert not (out / "waves.head.fst").exists()


def test_waves_have_a_build_of_their_own(refused: Refused, tiny_checkpoint: Path) -> None:
    line = refused("cosim", tiny_checkpoint, "--waves", "--build", "strict")
    assert line == "--waves: stands beside --build (waves have a simulator of their own)"
