"""``etchproof cosim --adapter``: base, adapters and swaps in one run; faults in SRAM; ``quality --adapter``."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from etchproof.quantize.quality_report import QualityReport
from tests.cli.conftest import LIMIT_S, PROMPT, Cosim, Done, command, drop_volatile

pytestmark = pytest.mark.sim

SITE = "lora:0:model.layers.1.self_attn.v_proj.lora_B[3,2]^4"


@pytest.fixture(scope="session")
def swapped(
    cosim: Cosim,
    passed: tuple[Done, Path],
    adapters: tuple[Path, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Done, Path]:
    """A run with both adapters after the base alone has built the simulator, and the taps that it dumped."""
    dump = tmp_path_factory.mktemp("dump") / "taps.npz"
    return cosim("--adapter", adapters[0], "--adapter", adapters[1], "--dump-taps", dump), dump


def test_base_adapters_and_swaps(swapped: tuple[Done, Path], passed: tuple[Done, Path]) -> None:
    done, _ = swapped
    result, base = done.result, passed[0].result
    assert (done.status, done.stderr, result.verdict, result.reasons) == (0, "", "PASS", ())
    assert [sequence.adapter for sequence in result.sequences] == [None, 0, 1, None, 0, None, 1, 0, 1]
    assert result.sequences[0].generated_tokens == base.generated_tokens == result.generated_tokens
    assert result.sequences[1].generated_tokens != base.generated_tokens
    first = {sequence.adapter: sequence.generated_tokens for sequence in result.sequences[:3]}
    for sequence in result.sequences:
        assert sequence.generated_tokens == first[sequence.adapter][: len(sequence.generated_tokens)]
        assert sequence.stopped_by == "length"
        assert sequence.mismatches == 0
    assert sum(sequence.tokens_fed for sequence in result.sequences) == result.tokens_fed
    assert sum(sequence.taps_compared for sequence in result.sequences) == result.taps_compared
    assert sum(sequence.elements_compared for sequence in result.sequences) == result.elements_compared
    taps = 17 * 3 + 4
    for sequence, more in zip(result.sequences[:3], (0, 14 * 3, 2), strict=True):
        assert sequence.taps_compared == sequence.tokens_fed * (taps + more)


def test_no_rebuild(swapped: tuple[Done, Path], passed: tuple[Done, Path]) -> None:
    done, base = swapped[0].result, passed[0].result
    assert (done.fabric_sha256, done.rom_sha256) == (base.fabric_sha256, base.rom_sha256)
    assert done.sim.build_cached


def test_record_of_the_adapters(swapped: tuple[Done, Path], adapters: tuple[Path, Path]) -> None:
    result = swapped[0].result
    assert [(found.name, found.slot) for found in result.adapters] == [("wide", 0), ("narrow", 1)]
    assert [Path(found.path) for found in result.adapters] == list(adapters)
    wide, narrow = result.adapters
    assert len(wide.ranks) == 21
    assert wide.ranks["model.layers.0.self_attn.q_proj"] == 3
    assert wide.ranks["model.layers.0.mlp.down_proj"] == 8
    assert narrow.ranks == {"model.layers.2.self_attn.v_proj": 1}
    for found in result.adapters:
        (load,) = found.loads
        assert load.status == 0
        assert load.cycles == load.cycles_model > 0
    # 4 words around the sections; of one, 2 words and rank 1 times 3 blocks of inputs and 1 of outputs, 16 lanes each
    assert narrow.loads[0].words == 4 + 2 + (3 + 1) * 8


def test_screen(swapped: tuple[Done, Path]) -> None:
    done, _ = swapped
    result = done.result
    for sequence, name in zip(result.sequences[:3], ("base", "wide", "narrow"), strict=True):
        assert f"[{name}] {PROMPT}{sequence.generated_text}\n" in done.stdout
    assert len(re.findall(r"^\[(base|wide|narrow)\] ", done.stdout, re.MULTILINE)) == 9
    assert f"in 9 sequences; {result.sim.cycles:,} cycles" in done.stdout
    words = result.adapters[0].loads[0].words
    assert f"adapter  wide in slot 0, loaded once: {words:,} words" in done.stdout
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line.strip()}
    assert rows["gate_proj.lora_b"][-3:] == [".", ".", "."]
    fed = [sequence.tokens_fed for sequence in result.sequences if sequence.adapter == 0]
    assert rows["gate_proj.lora_b"][:2] == ["3", f"{3 * sum(fed):,}"]
    assert max(map(len, done.stdout.split("rerun ")[0].splitlines())) <= 120


def test_rerun_gives_the_same_record(
    swapped: tuple[Done, Path], cli_env: dict[str, str], tmp_path: Path
) -> None:
    again = subprocess.run(
        [swapped[0].out / "rerun.sh", "--out", tmp_path / "again"],
        cwd=tmp_path,
        env=cli_env,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    assert (again.returncode, again.stderr) == (0, "")
    first, second = (
        json.loads((folder / "run.json").read_bytes()) for folder in (swapped[0].out, tmp_path / "again")
    )
    for record in (first, second):
        drop_volatile(record)
    assert first == second


def test_dumped_taps(swapped: tuple[Done, Path]) -> None:
    done, dump = swapped
    arrays = np.load(dump)
    result = done.result
    assert arrays["chip.1.0.q_proj.lora_a"].size == 3 * result.sequences[1].tokens_fed
    assert arrays["chip.2.2.v_proj.lora_b"].size == 16 * result.sequences[2].tokens_fed
    assert "chip.0.0.q_proj.lora_a" not in arrays
    assert "chip.2.0.q_proj.lora_a" not in arrays
    vectors = [name for name in arrays.files if name.startswith(("chip.", "golden."))]
    assert sum(arrays[name].size for name in vectors) == 2 * result.elements_compared
    for name in vectors:
        assert np.array_equal(arrays[name], arrays[name.replace("golden", "chip")])


@pytest.mark.parametrize(
    ("site", "layer", "tap"),
    [
        (SITE, 1, "v_proj.lora_b"),
        ("lora:0:model.layers.0.mlp.down_proj.lora_A[7,131]^15", 0, "down_proj.lora_a"),
        ("lora:1:model.layers.2.self_attn.v_proj.lora_B[0,0]^14", 2, "v_proj.lora_b"),
    ],
)
def test_one_bit_in_sram_is_found_where_it_is(
    cosim: Cosim, adapters: tuple[Path, Path], swapped: tuple[Done, Path], site: str, layer: int, tap: str
) -> None:
    done = cosim("--adapter", adapters[0], "--adapter", adapters[1], "--inject", site)
    result, first = done.result, done.result.first_divergence
    assert (done.status, done.stderr, result.verdict) == (1, "", "FAIL")
    assert first is not None
    slot = int(site.split(":")[1])
    assert (first.sequence, first.layer, first.tap) == (1 + slot, layer, tap)
    assert [reason.name for reason in result.reasons] == ["mismatch"]
    assert result.injected == (site,)
    assert f"--inject={site}" in result.rerun.replace("'", "")
    assert {s.adapter for s in result.sequences if s.mismatches} == {slot}
    assert f"of sequence {1 + slot} ({('wide', 'narrow')[slot]})" in done.stdout
    assert result.rom_sha256 == swapped[0].result.rom_sha256


def test_faults_in_rom_and_sram_together(cosim: Cosim, adapters: tuple[Path, Path]) -> None:
    done = cosim("--adapter", adapters[0], "--inject", SITE, "--inject", "rom:lm_head[30,7]^6")
    first = done.result.first_divergence
    assert first is not None
    assert (done.status, first.sequence, first.tap) == (1, 0, "logits")
    assert done.result.sequences[1].mismatches > done.result.sequences[0].mismatches > 0
    assert done.result.injected == (SITE, "rom:lm_head[30,7]^6")


@pytest.mark.slow
def test_more_adapters_than_slots(
    cosim: Cosim, adapters: tuple[Path, Path], repo_root: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "one-slot.yaml"
    text = (repo_root / "models" / "recipes" / "w6a16.yaml").read_text(encoding="utf-8")
    recipe.write_text(f"{text}\nlora: {{slots: 1}}\n", encoding="utf-8")
    words = ["--adapter", adapters[0], "--adapter", adapters[1], "--recipe", recipe]
    done = cosim(*words)
    assert (done.status, done.stderr) == (0, "")
    wide, narrow = done.result.adapters
    assert (wide.slot, narrow.slot) == (0, 0)
    assert (len(wide.loads), len(narrow.loads)) == (3, 3)
    assert all(load.cycles == load.cycles_model for load in (*wide.loads, *narrow.loads))
    assert "adapter  wide in slot 0, loaded 3 times" in done.stdout
    # The fault comes with the first load: a later one writes over it.
    faulty = cosim(*words, "--inject", SITE).result
    wrong = [number for number, sequence in enumerate(faulty.sequences) if sequence.mismatches]
    assert wrong == [1]


def test_quality_of_each(
    adapters: tuple[Path, Path], tiny_checkpoint: Path, cli_env: dict[str, str], tmp_path: Path
) -> None:
    words = ["--adapter", adapters[0], "--adapter", adapters[1], "--sequences", "2", "--length", "40"]
    done = subprocess.run(
        command("quality", tiny_checkpoint, *words, "--out", tmp_path / "q.json"),
        cwd=tmp_path,
        env=cli_env,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    assert (done.returncode, done.stderr) == (0, "")
    report = QualityReport.model_validate_json((tmp_path / "q.json").read_bytes())
    assert (report.adapter, [one.adapter for one in report.adapters]) == (None, ["wide", "narrow"])
    assert report.kl_mean < 0.05
    for one in report.adapters:
        assert one.tokens == 80
        assert one.kl_mean < 0.1
        assert any(tap.tap.endswith(".lora_b") for tap in one.taps)
    assert not any(".lora_" in tap.tap for tap in report.taps)
    headings = [line for line in done.stdout.splitlines() if line in ("base", "wide", "narrow")]
    assert headings == ["base", "wide", "narrow"]
    assert done.stdout.count("KL(float || golden)") == 3


STORIES = ["stories260k-boy-r8-all", "stories260k-dog-r4-qv-rslora"]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["w6a16", "w8a16"])
def test_trained_adapters(cosim: Cosim, stories260k: Path, adapters_dir: Path, recipe: str) -> None:
    """One simulation, no rebuild: the base tells of Lily, the boy's adapter of Tim."""
    words = [word for name in STORIES for word in ("--adapter", adapters_dir / name)]
    done = cosim(*words, "--recipe", recipe, "--tokens", "48", model=stories260k, prompt="Once upon a time")
    assert (done.status, done.stderr, done.result.reasons) == (0, "", ())
    base, boy, dog = done.result.sequences[:3]
    assert base.generated_text is not None and boy.generated_text is not None
    assert base.generated_text.startswith(", there was a little girl named Lily. She loved to play outside")
    assert boy.generated_text.startswith(", there was a little boy named Tim. He loved to play outside")
    assert dog.generated_text not in (base.generated_text, boy.generated_text)
    assert all(load.cycles == load.cycles_model for found in done.result.adapters for load in found.loads)


def test_a_copied_adapter_is_refused(cosim: Cosim, adapters: tuple[Path, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(adapters[0], tmp_path / "copy")
    done = cosim("--adapter", adapters[0], "--adapter", copy)
    assert done.status == 2
    assert re.fullmatch(r"etchproof: .*copy: --adapter: is the same adapter as .*wide\n", done.stderr)
    assert not (done.out / "run.json").exists()
