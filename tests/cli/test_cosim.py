"""``etchproof cosim`` from checkpoint to verdict: what it prints, writes, repeats, and that it can fail."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import LIMIT_S, PROMPT, TOKENS, Cosim, Done, command, drop_volatile
from tests.taps import tap_plan

pytestmark = pytest.mark.sim

LAYERS = 3


def test_pass(passed: tuple[Done, Path], tiny_checkpoint: Path) -> None:
    done, _ = passed
    result = done.result
    assert (done.status, done.stderr, result.verdict, result.reasons) == (0, "", "PASS", ())
    fed = len(result.prompt_tokens) + TOKENS - 1
    assert result.tokens_fed == fed
    assert [(count.layer, count.tap) for count in result.taps] == list(tap_plan(LAYERS))
    assert {count.vectors for count in result.taps} == {fed}
    assert result.taps_compared == fed * len(result.taps)
    assert result.elements_compared == sum(count.elements for count in result.taps) > 0
    assert (result.mismatches, result.first_divergence, result.injected) == (0, None, ())
    assert len(result.generated_tokens) == TOKENS
    assert (result.prompt_text, result.stopped_by) == (PROMPT, "length")
    assert result.model.name == "tiny"
    assert Path(result.model.path) == tiny_checkpoint
    assert result.recipe.name == "w6a16"
    assert result.sim.cycles > 0
    assert (result.sim.kind, done.stdout.count("fast, rewritten, ")) == ("fast", 1)
    assert result.sim.rewrites is not None
    assert result.sim.rewrites.merged_functions > 0


def test_screen(passed: tuple[Done, Path]) -> None:
    done, _ = passed
    assert not [c for c in done.stdout if ord(c) < 32 and c != "\n"]
    assert max(map(len, done.stdout.split("rerun ")[0].splitlines())) <= 120
    assert f"{PROMPT}{done.result.generated_text}" in done.stdout
    for tap in {tap for _, tap in tap_plan(LAYERS)}:
        assert f"\n{tap} " in done.stdout
    assert f"{done.result.elements_compared:,} elements; 0 mismatches" in done.stdout
    assert "\nPASS " in done.stdout
    assert done.result.rerun in done.stdout


def test_run_folder(passed: tuple[Done, Path]) -> None:
    done, _ = passed
    names = {path.name for path in done.out.iterdir()}
    assert {"run.json", "etchproof.log", "sim.log", "rerun.sh", "fabric", "rom", "images.index"} <= names
    assert not [name for name in names if name.startswith(".")]
    assert (done.out / "fabric" / "ep_chip.sv").is_file()
    assert (done.out / "rom" / "manifest.json").is_file()
    assert "verdict: PASS" in (done.out / "etchproof.log").read_text(encoding="utf-8")


def test_rerun_gives_the_same_record(
    passed: tuple[Done, Path], cli_env: dict[str, str], tmp_path: Path
) -> None:
    done, _ = passed
    out = tmp_path / "again"
    again = subprocess.run(
        [done.out / "rerun.sh", "--out", out],
        cwd=tmp_path,
        env=cli_env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (again.returncode, again.stderr) == (0, "")
    first, second = (json.loads((folder / "run.json").read_bytes()) for folder in (done.out, out))
    assert second["sim"]["build_cached"] is True
    for record in (first, second):
        drop_volatile(record)
    assert first == second


def test_dumped_taps(passed: tuple[Done, Path]) -> None:
    done, dump = passed
    arrays = np.load(dump)
    named = [name for name in arrays.files if name.startswith(("chip.", "golden."))]
    assert len(named) == 2 * len(done.result.taps)
    for count in done.result.taps:
        chip, golden = (arrays[f"{side}.0.{count.layer}.{count.tap}"] for side in ("chip", "golden"))
        assert chip.size == golden.size == count.elements
        assert np.array_equal(chip, golden)
    fed = [*done.result.prompt_tokens, *done.result.generated_tokens][1:]
    chosen = arrays["chip.0.-1.token"].tolist()
    assert chosen[-TOKENS:] == fed[-TOKENS:]


@pytest.mark.parametrize(
    ("site", "layer", "tap"),
    [
        ("model.layers.2.mlp.down_proj[17,5]^1", 2, "down_proj"),
        ("model.layers.0.self_attn.q_proj[3,40]^4", 0, "q_proj"),
        ("model.layers.1.mlp.gate_proj.scales[7,2]^12", 1, "gate_proj"),
        ("model.embed_tokens[1,5]^6", -1, "embedding"),
        ("model.embed_tokens.scales[1,0]^13", -1, "embedding"),
        ("lm_head[30,7]^6", -1, "logits"),
        ("model.norm[5]^12", -1, "final_norm"),
        ("model.layers.1.input_layernorm[5]^12", 1, "attn_norm"),
        ("model.layers.0.post_attention_layernorm[47]^12", 0, "mlp_norm"),
    ],
)
def test_one_bit_is_found_where_it_is(
    cosim: Cosim, passed: tuple[Done, Path], site: str, layer: int, tap: str
) -> None:
    done = cosim("--inject", f"rom:{site}")
    result, first = done.result, done.result.first_divergence
    assert (done.status, done.stderr, result.verdict) == (1, "", "FAIL")
    assert first is not None
    assert (first.layer, first.tap) == (layer, tap)
    assert first.expected != first.got
    assert [reason.name for reason in result.reasons] == ["mismatch"]
    assert result.mismatches > 0
    assert result.injected == (f"rom:{site}",)
    assert f"--inject=rom:{site}" in result.rerun
    clean = passed[0].result
    assert (result.rom_sha256, result.fabric_sha256) == (clean.rom_sha256, clean.fabric_sha256)
    assert "\nFAIL " in done.stdout


def test_several_bits_of_one_image(cosim: Cosim, tmp_path: Path) -> None:
    sites = ["rom:lm_head[30,7]^6", "rom:lm_head[31,8]^6"]
    dump = tmp_path / "taps.npz"
    done = cosim("--inject", sites[0], "--inject", sites[1], "--dump-taps", dump)
    assert (done.status, done.result.injected) == (1, tuple(sites))
    arrays = np.load(dump)
    chip, golden = (arrays[f"{side}.0.-1.logits"].reshape(-1, 397) for side in ("chip", "golden"))
    assert np.flatnonzero((chip != golden).any(axis=0)).tolist() == [30, 31]


def test_stop_token_ends_the_text(
    cosim: Cosim, passed: tuple[Done, Path], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    made = passed[0].result.generated_tokens
    at = next(index for index in range(2, TOKENS) if made[index] not in made[:index])
    model = Path(shutil.copytree(tiny_checkpoint, tmp_path / "model"))
    (model / "generation_config.json").write_text(json.dumps({"eos_token_id": [made[at]]}), encoding="utf-8")
    done = cosim(model=model)
    assert (done.status, done.result.stopped_by) == (0, "stop_token")
    assert done.result.generated_tokens == made[: at + 1]
    assert "ended by a stop token" in done.stdout


def test_ids_without_a_tokenizer(cosim: Cosim, tiny_checkpoint: Path, tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("tokenizer*")
    model = Path(shutil.copytree(tiny_checkpoint, tmp_path / "model", ignore=ignored))
    done = cosim("--prompt-ids", "1,5,6", model=model, prompt=None)
    assert done.status == 0
    assert done.result.prompt_tokens == (1, 5, 6)
    assert (done.result.prompt_text, done.result.generated_text) == (None, None)
    assert " ".join(map(str, [1, 5, 6, *done.result.generated_tokens])) in done.stdout


CHAT = "{{ bos_token }}In {{ strftime_now('%Y') }}: {{ messages[0].content }}{% if add_generation_prompt %},{% endif %}"


def test_a_chat_is_what_the_template_makes_of_it(cosim: Cosim, tiny_checkpoint: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(tiny_checkpoint, tmp_path / "model"))
    (model / "chat_template.jinja").write_text(CHAT, encoding="utf-8")
    done = cosim("--chat", PROMPT, model=model, prompt=None)
    result = done.result
    assert (done.status, result.verdict) == (0, "PASS")
    assert result.chat is not None and result.chat.now is not None
    assert (result.chat.message, result.chat.template) == (PROMPT, "chat_template.jinja")
    assert result.chat.template_sha256 == hashlib.sha256(CHAT.encode()).hexdigest()
    year = result.chat.now[:4]
    assert result.prompt_text == f"In {year}: {PROMPT},"
    assert "another day gives other ids" in done.stderr
    ids = ",".join(map(str, result.prompt_tokens))
    assert result.prompt_tokens[0] == 1 and result.prompt_tokens[1] != 1
    assert f"--prompt-ids={ids}" in result.rerun and "--chat" not in result.rerun
    assert (done.out / "model" / "chat_template.jinja").read_text(encoding="utf-8") == CHAT


def test_no_prompt_is_bos_and_the_context_can_be_filled(cosim: Cosim, passed: tuple[Done, Path]) -> None:
    done = cosim("--tokens", "256", prompt=None)
    assert done.status == 0
    assert done.result.prompt_tokens == (1,)
    assert done.result.tokens_fed == 256 or done.result.stopped_by == "stop_token"


def test_timeout_is_a_failure_with_a_name(cosim: Cosim, passed: tuple[Done, Path]) -> None:
    done = cosim("--timeout", "0.2")
    assert (done.status, done.result.verdict) == (1, "FAIL")
    assert {"timeout", "comparison_missing"} <= {reason.name for reason in done.result.reasons}
    assert done.result.elements_compared == 0


def test_two_at_once(
    passed: tuple[Done, Path], cli_env: dict[str, str], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    words = command("cosim", tiny_checkpoint, "--tokens", "3")
    both = [subprocess.Popen(words, cwd=tmp_path, env=cli_env, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(LIMIT_S) for process in both] == [0, 0]
    folders = list((tmp_path / "runs").iterdir())
    assert len(folders) == 2
    assert all("-tiny-w6a16" in folder.name and (folder / "run.json").is_file() for folder in folders)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interruption_leaves_no_child_and_no_verdict(
    passed: tuple[Done, Path],
    cli_env: dict[str, str],
    tiny_checkpoint: Path,
    tmp_path: Path,
    number: signal.Signals,
    status: int,
) -> None:
    out = tmp_path / "out"
    process = subprocess.Popen(
        command("cosim", tiny_checkpoint, "--tokens", "200", "--out", out),
        env=cli_env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + LIMIT_S
        while not processes_in(out):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == status
    assert len(stderr.splitlines()) == 1
    while processes_in(out):  # interrupted while it was being started, it ends by itself
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not (out / "run.json").exists()
    assert "interrupted: no verdict" in (out / "etchproof.log").read_text(encoding="utf-8")


def processes_in(folder: Path) -> list[int]:
    """Processes whose working folder it is: the simulator's."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.readlink(entry / "cwd") == str(folder):
                    found.append(int(entry.name))
            except OSError:  # ended meanwhile, or another user's
                continue
    return found
