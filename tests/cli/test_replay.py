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
from etchproof.run.replay import REPLAY_FILE, ReplayRecord
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
    assert f"marker_set first_wrong {at}\n" in (replayed.out / "waves.sucl").read_text(encoding="utf-8")


def test_it_is_repeated_on_another_machine(replayed: Done, cli_env: dict[str, str], tmp_path: Path) -> None:
    """The folder is moved, and nothing but an installation and the project, under another name, is there."""
    moved = tmp_path / "away" / "replay"
    shutil.copytree(replayed.out, moved)
    script = (moved / "rerun.sh").read_text(encoding="utf-8")
    assert str(replayed.out) not in script
    assert "models/tiny" not in script
    project = tmp_path / "project"
    project.symlink_to(ROOT)
    out = tmp_path / "again"
    done = subprocess.run(
        ["sh", moved / "rerun.sh", "--out", out],
        cwd=tmp_path,
        env={**cli_env, "ETCHPROOF_PROJECT": str(project), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, ""), done.stdout + done.stderr
    one, other = (json.loads((folder / "run.json").read_bytes()) for folder in (replayed.out, out))
    fields = ("first_divergence", "taps", "prompt_tokens", "rom_sha256", "fabric_sha256", "injected")
    assert [one[field] for field in fields] == [other[field] for field in fields]


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
    record: dict[str, Any] = json.loads((broken / "run.json").read_bytes())
    record["model"]["sha256"] = "0" * 64
    (broken / "run.json").write_text(json.dumps(record), encoding="utf-8")
    assert "is not the model of the run any more" in _last(broken, tmp_path, cli_env)
    assert not (tmp_path / "out").exists()


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
