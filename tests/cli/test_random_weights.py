"""``etchproof cosim --shape``: one layer of a shape with random weights, from a seed to a verdict and a profile."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Cosim, Done, drop_volatile
from tests.taps import tap_plan

pytestmark = pytest.mark.sim

SHAPE = """\
vocab_size: 640
hidden_size: 32
intermediate_size: 48
n_layers: 3
n_heads: 4
n_kv_heads: 2
head_dim: 8
context: 1024
rope:
  theta: 500000.0
  scaling:
    rope_type: llama3
    factor: 8.0
    low_freq_factor: 1.0
    high_freq_factor: 4.0
    original_max_position_embeddings: 64
bos_token_id: 600
eos_token_ids: [5]
"""


@pytest.fixture(scope="module")
def shape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shapes") / "small.yaml"
    path.write_text(SHAPE, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def drawn(cosim: Cosim, shape: Path) -> Done:
    words = ("--shape", shape, "--layers", "1", "--random-weights", "7", "--recipe", "w4a16", "--profile")
    return cosim(*words, model=None, prompt=None)


def test_pass(drawn: Done) -> None:
    result = drawn.result
    assert (drawn.status, drawn.stderr, result.verdict, result.mismatches) == (0, "", "PASS", 0)
    assert [(count.layer, count.tap) for count in result.taps] == list(tap_plan(1))
    assert result.model.name == "small-layers1-seed7"
    assert (result.prompt_tokens, result.prompt_text, result.stopped_by) == ((0,), None, "length")
    logits = next(count for count in result.taps if count.tap == "logits")
    assert logits.elements == logits.vectors * 512


def test_what_changed_in_the_recipe_is_recorded(drawn: Done) -> None:
    recipe = drawn.result.recipe
    assert (recipe.name, recipe.context) == ("w4a16", 512)
    assert (recipe.method, recipe.calibration) == ("rtn", "random")
    said = "w4a16: 16-bit activations, 16-bit cache, rtn in place of gptq, calibrated on random tokens"
    assert said in drawn.stdout
    assert f"recipe: {said}" in (drawn.out / "etchproof.log").read_text(encoding="utf-8")


def test_profile(drawn: Done) -> None:
    profile = drawn.result.profile
    assert profile is not None
    rows = {stage.name: stage.wall_s for stage in profile.stages}
    split = ["startup", "simulate", "wait", "other"]
    assert list(rows) == ["start", "draw", "import", "quantize", "render", "etch", "build", "health", *split]
    assert sum(rows.values()) == pytest.approx(profile.total_s, abs=0.02)
    assert all(
        peak and peak > 10 << 20 for peak in (profile.peak_rss_bytes, profile.simulator_peak_rss_bytes)
    )
    shown = drawn.stdout.partition("\nrerun ")[2]
    assert [line.split()[0] for line in shown.splitlines() if line][-len(rows) - 4 :] == [
        *rows,
        "total",
        *(["beside:"] * 2),
        "memory",
    ]


def test_rerun_gives_the_same_record(drawn: Done, cli_env: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "again"
    words = [drawn.out / "rerun.sh", "--out", out]
    again = subprocess.run(words, cwd=tmp_path, env=cli_env, capture_output=True, text=True, check=False)
    assert (again.returncode, again.stderr) == (0, "")
    assert "random weights, cached" in again.stdout
    first, second = (json.loads((folder / "run.json").read_bytes()) for folder in (drawn.out, out))
    for record in (first, second):
        drop_volatile(record)
    assert first == second


def test_a_seed_is_of_the_weights_not_of_the_chip(cosim: Cosim, drawn: Done, shape: Path) -> None:
    words = ("--shape", shape, "--layers", "1", "--random-weights", "8", "--recipe", "w4a16")
    other = cosim(*words, "--prompt-ids", "3,4", model=None, prompt=None)
    first, second = drawn.result, other.result
    assert (other.status, second.verdict, second.prompt_tokens) == (0, "PASS", (3, 4))
    assert first.fabric_sha256 == second.fabric_sha256
    assert first.rom_sha256 != second.rom_sha256
    assert second.sim.build_cached


def test_without_profile_there_is_none(passed: tuple[Done, Path]) -> None:
    done, _ = passed
    assert done.result.profile is None
    assert json.loads((done.out / "run.json").read_bytes())["profile"] is None
    assert (done.result.recipe.method, done.result.recipe.calibration) == ("rtn", "sampled")
