"""``etchproof replay``: the fewest tokens that fail, a folder that repeats it elsewhere, waves of a window."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pywellen

from etchproof.compare.comparator import Comparison
from etchproof.files.json_record import read_json_record
from etchproof.replay.record import REPLAY_FILE, FedSequence, ReplayRecord
from tests.cli.conftest import LIMIT_S, Cosim, Done, Refused, command
from tests.conftest import ROOT

pytestmark = pytest.mark.sim

FIFTH = "rom:rope.cos[5,3]^12"
"""A fault that shows itself at position 5 and nowhere else: six tokens are needed."""

Replay = Callable[..., Done]


@pytest.fixture(scope="module")
def replay(cli_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Replay:
    def run(*words: str | Path) -> Done:
        out = tmp_path_factory.mktemp("replay") / "out"
        done = subprocess.run(
            command("replay", *words, "--out", out),
            cwd=out.parent,
            env=cli_env,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr, out)

    return run


@pytest.fixture(scope="module")
def failed(cosim: Cosim) -> Done:
    """A run that differs at position 5 first, and whatever reads its keys later."""
    done = cosim("--inject", FIFTH)
    assert done.status == 1
    assert done.result.first_divergence is not None
    assert done.result.first_divergence.token == 5
    return done


@pytest.fixture(scope="module")
def replayed(failed: Done, replay: Replay) -> Done:
    return replay(failed.out, "--waves")


def test_as_many_tokens_as_it_takes(failed: Done, replayed: Done) -> None:
    assert (replayed.status, replayed.stderr) == (1, "")
    record = read_json_record(replayed.out / REPLAY_FILE, ReplayRecord)
    first, again = failed.result.first_divergence, replayed.result.first_divergence
    assert first is not None
    assert again is not None
    assert (record.layer, record.tap) == (first.layer, first.tap) == (again.layer, again.tap)
    assert len(record.places) == 6, "position 5 has to be reached"
    assert record.minimal
    assert record.fed == failed.result.tokens_fed > 6
    assert (replayed.result.tokens_fed, again.token) == (6, 5)
    unit = f"{first.layer}.{first.tap}"
    assert f"replay   {unit} differs with 6 of {record.fed} tokens, " in replayed.stdout


def test_waves_of_a_window(replayed: Done) -> None:
    at = read_json_record(replayed.out / "comparison.json", Comparison).divergence_ps
    first = replayed.result.first_divergence
    assert at is not None
    assert first is not None
    file = replayed.out / "waves.fst"
    signals = {one.full_name: one for one in pywellen.Waveform(str(file)).all_vars()}
    lane = signals[f"taps.layer_{first.layer}.{first.tap}.lane_{first.element}"]
    assert int(lane.signal.value_at(at)) == first.got % (1 << lane.bitwidth)
    clock = [time for time, _ in signals["ep_sim_top.clk"].tv]
    assert clock[0] >= max(0, at - 2_000_000)
    assert clock[-1] <= at + 500_000
    assert at in clock
    # The unit makes the first wrong value: RoPE of layer 0. It reads q_proj, and attention reads it.
    modules = {one.full_name.rpartition(".")[0] for one in signals.values()}
    layer = "ep_sim_top.u_chip.u_layer0"
    assert {"ep_sim_top", layer, f"{layer}.u_q_rope", f"{layer}.u_q_proj", f"{layer}.u_attention"} <= modules
    assert not [name for name in modules if "u_layer1" in name or "u_mlp_norm" in name or "u_tail" in name]
    assert {name.split(".")[1] for name in modules if name.startswith("taps.")} == {
        *("model", "layer_0", "layer_1", "layer_2"),
    }
    sucl = (replayed.out / "waves.sucl").read_text(encoding="utf-8").splitlines()
    added = [line.removeprefix("variable_add ") for line in sucl if line.startswith("variable_add ")]
    assert added and not [name for name in added if name not in signals]
    assert f"divider_add state in {layer}.u_q_rope" in sucl
    gtkw = (replayed.out / "waves.gtkw").read_text(encoding="utf-8")
    assert f"-beside it: {layer}.u_attention\n" in gtkw
    assert f"marker_set first_wrong {at}\n" in (replayed.out / "waves.sucl").read_text(encoding="utf-8")


def test_it_is_repeated_on_another_machine(replayed: Done, cli_env: dict[str, str], tmp_path: Path) -> None:
    _repeated_elsewhere(replayed, cli_env, tmp_path)


def _repeated_elsewhere(replayed: Done, env: dict[str, str], tmp_path: Path) -> None:
    """The folder is moved, and nothing but an installation and the project, under another name, is there."""
    moved = tmp_path / "away" / "replay"
    shutil.copytree(replayed.out, moved)
    for name in ("rerun.sh", REPLAY_FILE):
        assert str(replayed.out) not in (moved / name).read_text(encoding="utf-8")
    assert "models/tiny" not in (moved / "rerun.sh").read_text(encoding="utf-8")
    project = tmp_path / "project"
    project.symlink_to(ROOT)
    out = tmp_path / "again"
    done = subprocess.run(
        ["sh", moved / "rerun.sh", "--out", out],
        cwd=tmp_path,
        env={**env, "ETCHPROOF_PROJECT": str(project), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, ""), done.stdout + done.stderr
    one, other = (json.loads((folder / "run.json").read_bytes()) for folder in (replayed.out, out))
    fields = ("first_divergence", "taps", "prompt_tokens", "rom_sha256", "fabric_sha256", "injected")
    assert [one[field] for field in fields] == [other[field] for field in fields]
    assert [each["adapter"] for each in one["sequences"]] == [each["adapter"] for each in other["sequences"]]


ADAPTED = "lora:0:model.layers.1.self_attn.v_proj.lora_B[3,2]^4"


def test_a_run_with_adapters(
    cosim: Cosim, adapters: tuple[Path, Path], replay: Replay, cli_env: dict[str, str], tmp_path: Path
) -> None:
    """A fault in the adapter's memory: one sequence under it is left, and a copy of it lies in the folder."""
    failed = cosim("--adapter", adapters[0], "--inject", ADAPTED)
    assert failed.status == 1
    done = replay(failed.out)
    assert (done.status, done.stderr) == (1, "")
    record = read_json_record(done.out / REPLAY_FILE, ReplayRecord)
    assert record.unit == (1, "v_proj.lora_b")
    assert [one.adapter for one in record.sequences] == [0]
    assert len(record.places) == 1, "an adapter's product has no memory"
    assert record.spec.adapters == (f"peft/0/{adapters[0].name}",)
    (loaded,) = done.result.adapters
    assert (loaded.name, loaded.path) == (adapters[0].name, str(adapters[0]))
    away = tmp_path / "away"
    away.mkdir()
    _repeated_elsewhere(done, cli_env, away)


@pytest.fixture(scope="module")
def other_golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose golden model rounds one element of layer 1 otherwise: every run of its chip fails there."""
    root = tmp_path_factory.mktemp("project")
    for name in ("hw", "templates", "models", "verif"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "etchproof.toml", root)
    golden = root / "models" / "golden.py"
    text = golden.read_text(encoding="utf-8")
    planted = text.replace(
        '        h = linear("down_proj", h)\n',
        '        h = linear("down_proj", h)\n        if self._index == 1 and int(cache.shape[1]) > 2: h[-1, 5] += 1\n',
    ).replace("        self._plan = plan\n", "        self._plan, self._index = plan, index\n", 1)
    assert planted.count("_index") == 2
    golden.write_text(planted, encoding="utf-8")
    return root


def test_an_item_of_a_regression(
    other_golden: Path, replay: Replay, cli_env: dict[str, str], tmp_path: Path
) -> None:
    """Random tokens with stalls, under drawn adapters or none: the tokens alone fail, and three are enough."""
    item = tmp_path / "item"
    words = ("AdapterTwice", ROOT / "models" / "tiny", "--adapter", "@corners", "--seed", "3")
    failed = _run(command("test", *words, "--project", other_golden, "--out", item), tmp_path, cli_env)
    assert failed.returncode == 1, failed.stdout + failed.stderr
    done = replay(item, "--project", other_golden)
    assert (done.status, done.stderr) == (1, ""), done.stdout
    record = read_json_record(done.out / REPLAY_FILE, ReplayRecord)
    assert (record.unit, record.scenario, record.minimal) == ((1, "down_proj"), None, True)
    assert record.spec.adapters == ("@corners",)
    assert record.fed > 10 and len(record.places) == 3, "the fault begins at position 2"
    assert not done.result.injected


def _run(words: list[str], folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, cwd=folder, env=env, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )


ALONE = "rom:model.layers.1.mlp.up_proj[7,5]^4"


@pytest.fixture(scope="module")
def layer_alone(cosim: Cosim, replay: Replay) -> tuple[Done, Done]:
    """A run with two faults, and a replay of the layer of the second one alone."""
    failed = cosim("--inject", FIFTH, "--inject", ALONE)
    assert failed.status == 1
    return failed, replay(failed.out, "--alone", "--unit", "1.up_proj", "--waves")


@pytest.mark.slow  # builds a simulator
def test_a_layer_alone(layer_alone: tuple[Done, Done]) -> None:
    failed, done = layer_alone
    assert (done.status, done.stderr) == (1, ""), done.stdout
    record = read_json_record(done.out / REPLAY_FILE, ReplayRecord)
    assert (record.unit, record.alone, record.minimal) == ((1, "up_proj"), True, True)
    assert len(record.places) == 1, "a linear has no memory"
    assert record.sequences == (FedSequence(adapter=None, items=(record.places[0],)),)
    layers = {count.layer for count in done.result.taps}
    assert layers == {-1, 0}
    (own,) = [one for one in done.result.taps if one.tap == "up_proj"]
    assert own.mismatches == 1
    assert "replay   1.up_proj differs with 1 of " in done.stdout
    assert "layer 1 alone as layer 0" in done.stdout
    assert done.result.sim.cycles * 2 < failed.result.sim.cycles_per_token, (
        "one layer of three, and a short tail"
    )


@pytest.mark.slow  # builds a simulator
def test_waves_of_a_layer_alone(layer_alone: tuple[Done, Done]) -> None:
    _, done = layer_alone
    at = read_json_record(done.out / "comparison.json", Comparison).divergence_ps
    first = done.result.first_divergence
    assert at is not None and first is not None
    assert (first.layer, first.tap, first.element) == (0, "up_proj", 7)
    signals = {one.full_name: one for one in pywellen.Waveform(str(done.out / "waves.fst")).all_vars()}
    lane = signals["taps.layer_0.up_proj.lane_7"]
    assert int(lane.signal.value_at(at)) == first.got % (1 << lane.bitwidth)
    assert "ep_sim_top.u_chip.u_layer0.u_up_proj.addr_q" in signals


@pytest.mark.slow  # builds a simulator
def test_a_layer_alone_elsewhere(
    layer_alone: tuple[Done, Done], cli_env: dict[str, str], tmp_path: Path
) -> None:
    _repeated_elsewhere(layer_alone[1], cli_env, tmp_path)


@pytest.mark.slow  # builds a simulator
def test_what_is_not_in_the_layer(cosim: Cosim, cli_env: dict[str, str], tmp_path: Path) -> None:
    """Layer 2 follows from its inputs: that it differs is another layer's fault."""
    failed = cosim("--inject", ALONE)
    words = ("replay", failed.out, "--alone", "--waves", "--out", tmp_path / "out")
    done = _run(command(*words, "--unit", "2.up_proj"), tmp_path, cli_env)
    assert done.returncode == 2, done.stdout
    assert "--alone: 2.up_proj does not differ in its layer alone" in done.stderr
    done = _run(command(*words, "--unit", "logits"), tmp_path, cli_env)
    assert "--alone: stands with a unit outside the layers" in done.stderr


def test_a_unit_that_differs_later(failed: Done, replay: Replay) -> None:
    """The logits differ because of the cache: whatever the first difference is, they have to differ."""
    logits = next(one for one in failed.result.taps if one.tap == "logits")
    assert logits.mismatches
    done = replay(failed.out, "--unit", "logits")
    record = read_json_record(done.out / REPLAY_FILE, ReplayRecord)
    assert (record.layer, record.tap, record.minimal) == (-1, "logits", True)
    assert next(one.mismatches for one in done.result.taps if one.tap == "logits")


def test_bad_input(
    refused: Refused, failed: Done, passed: tuple[Done, Path], cli_env: dict[str, str], tmp_path: Path
) -> None:
    words = ("replay", failed.out, "--out", tmp_path / "out")
    assert "has no tap that differs" in refused("replay", passed[0].out, "--out", tmp_path / "out")
    assert "--unit: 0.v_proj does not differ" in refused(*words, "--unit", "0.v_proj")
    assert "--unit: is 'a b', expected LAYER.TAP" in refused(*words, "--unit", "a b")
    assert "file not found" in refused("replay", tmp_path, "--out", tmp_path / "out")
    broken = tmp_path / "run"
    shutil.copytree(failed.out, broken)
    record: dict[str, Any] = json.loads((broken / "subject.json").read_bytes())
    record["model_sha256"] = "0" * 64
    (broken / "subject.json").write_text(json.dumps(record), encoding="utf-8")
    assert "is not the model of the run any more" in _last(broken, tmp_path, cli_env)
    assert not (tmp_path / "out").exists()


def test_a_replay_is_made_as_it_is(refused: Refused, replayed: Done, tmp_path: Path) -> None:
    words = ("replay", replayed.out, "--out", tmp_path / "out")
    for key in (("--unit", "logits"), ("--alone",)):
        assert f"{key[0]}: stands with the folder of a replay" in refused(*words, *key)


def test_what_does_not_fail_again(failed: Done, cli_env: dict[str, str], tmp_path: Path) -> None:
    """The fault is taken out of the record: the chip is a good one."""
    mended = tmp_path / "run"
    shutil.copytree(failed.out, mended)
    record: dict[str, Any] = json.loads((mended / "run.json").read_bytes())
    record["injected"] = []
    (mended / "run.json").write_text(json.dumps(record), encoding="utf-8")
    assert "does not fail again at " in _last(mended, tmp_path, cli_env)


def _last(run: Path, tmp_path: Path, env: dict[str, str]) -> str:
    """The line of a replay that is refused after it has begun."""
    done = subprocess.run(
        command("replay", run, "--out", tmp_path / "out"),
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    return line
