"""``etchproof diagnose``, and the diagnosis at the end of a FAIL: the cause, on the screen and as a record."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from etchproof.cli import diagnose as screen
from etchproof.cli.console import make_console
from etchproof.diagnose.limit import TimeUp
from etchproof.diagnose.result import DIAGNOSIS_FILE, PAGE_FILE, Diagnosis, json_schema
from etchproof.regress.subject import SUBJECT_FILE
from tests.cli.conftest import LIMIT_S, Cosim, Done, Refused, command

pytestmark = pytest.mark.sim

SITE = "rom:model.layers.2.mlp.down_proj[17,5]^1"


def record(folder: Path) -> Diagnosis:
    return Diagnosis.model_validate_json((folder / DIAGNOSIS_FILE).read_bytes(), strict=True)


def screen_of(text: str) -> str:
    """The causes on the screen, without the page's place."""
    return text[text.index("\nCAUSE") : text.index("\npage ")]


def said(env: dict[str, str], folder: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """A command, called from a folder."""
    return subprocess.run(
        command(*words), env=env, cwd=folder, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )


@pytest.fixture(scope="module")
def failed(cosim: Cosim) -> Done:
    """A run with a bit inverted."""
    return cosim("--inject", SITE)


@pytest.mark.parametrize(
    ("site", "unit"),
    [
        (SITE, "model.layers.2.mlp.down_proj"),
        ("rom:model.layers.1.mlp.gate_proj.scales[7,2]^12", "model.layers.1.mlp.gate_proj"),
        ("rom:model.embed_tokens[1,5]^4", "model.embed_tokens"),
        ("rom:lm_head[30,7]^4", "lm_head"),
        ("rom:model.layers.1.input_layernorm[5]^12", "model.layers.1.input_layernorm"),
        ("rom:rope.sin[3,1]^11", "model.layers.0.self_attn.q_rope"),
        ("rom:model.layers.0.params[17]^2", "model.layers.0.self_attn.softmax"),
    ],
)
def test_an_injected_bit_is_named(cosim: Cosim, failed: Done, site: str, unit: str) -> None:
    done = failed if site == SITE else cosim("--inject", site)
    assert done.status == 1 and done.stderr == ""
    found = record(done.out)
    assert found.origins[0].unit == unit
    (cause,) = found.causes
    assert (cause.kind, cause.where.inject) == ("bit", (site,))
    assert "cause    bit" in done.stdout and f"where    {site}\n" in done.stdout
    assert done.result.verdict == "FAIL"


def test_several_bits_and_their_units(cosim: Cosim) -> None:
    sites = ("rom:model.layers.0.self_attn.v_proj[2,9]^4", "rom:model.layers.1.mlp.up_proj[40,7]^4")
    done = cosim("--inject", sites[0], "--inject", sites[1])
    found = record(done.out)
    assert found.finding == "explained"
    assert {cause.where.inject for cause in found.causes} == {(site,) for site in sites}


def test_screen(failed: Done) -> None:
    said = failed.stdout[failed.stdout.index("\nCAUSE") :]
    assert len(said.splitlines()) < 20
    assert "model.layers.2.mlp.down_proj: " in said
    assert "image layer 2 down_proj.codes, word 3, lane 1,5, bit 1" in said
    assert "u_layer2.u_down_proj (ep_linear.sv)" in said
    assert "explains 768 of 768 elements" in said


def test_the_command_says_the_same(
    failed: Done, cli_env: dict[str, str], repo_root: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(failed.out, tmp_path / "run"))
    (folder / DIAGNOSIS_FILE).unlink()
    done = said(cli_env, tmp_path, "diagnose", folder, "--project", repo_root)
    assert (done.returncode, done.stderr) == (0, "")
    assert screen_of(done.stdout) == screen_of(failed.stdout)
    pages = [run / PAGE_FILE for run in (failed.out, folder)]
    assert pages[0].read_bytes() == pages[1].read_bytes() and f"page     {pages[1]}\n" in done.stdout
    first, again = record(failed.out), record(folder)
    assert first.model_copy(update={"wall_s": 0.0}) == again.model_copy(update={"wall_s": 0.0})
    assert first.wall_s < 10


def test_it_may_be_left_out(cosim: Cosim) -> None:
    done = cosim("--inject", SITE, "--no-diagnose")
    assert done.status == 1 and "CAUSE" not in done.stdout
    assert not (done.out / DIAGNOSIS_FILE).exists() and (done.out / SUBJECT_FILE).is_file()


def test_a_pass_leaves_nothing_to_diagnose(passed: tuple[Done, Path], refused: Refused) -> None:
    out = passed[0].out
    assert not {"chip-taps.npz", SUBJECT_FILE, DIAGNOSIS_FILE} & {path.name for path in out.iterdir()}
    assert "is no folder of a failed run" in refused("diagnose", out)


def test_refusals(failed: Done, refused: Refused, tmp_path: Path) -> None:
    assert "is no folder of a failed run" in refused("diagnose", tmp_path / "nothing")
    folder = Path(shutil.copytree(failed.out, tmp_path / "run"))
    subject = json.loads((folder / SUBJECT_FILE).read_text())
    for key, value, said in (
        ("project", "another", "project: is 'another', the project is 'reference'"),
        ("model_sha256", "0" * 64, "is another model than the one that ran"),
    ):
        (folder / SUBJECT_FILE).write_text(json.dumps({**subject, key: value}))
        assert said in refused("diagnose", folder)
    (folder / SUBJECT_FILE).write_text(json.dumps(subject))
    (folder / "chip-taps.npz").unlink()
    assert "chip-taps.npz" in refused("diagnose", folder)


def test_an_item_of_a_regression(
    tiny_checkpoint: Path, cli_env: dict[str, str], repo_root: Path, tmp_path: Path
) -> None:
    """A project whose chip is wrong: its item fails, and its folder can be diagnosed."""
    project = Path(
        shutil.copytree(
            repo_root,
            tmp_path / "project",
            ignore=shutil.ignore_patterns(".*", "build", "docs", "tests", "bench", "runs", "examples", "src"),
        )
    )
    rtl = project / "hw" / "ep_swiglu.sv"
    text = rtl.read_text()
    assert "(gate < 0) ? 64'sh10_0000 - t : t" in text
    rtl.write_text(text.replace("(gate < 0) ? 64'sh10_0000 - t : t", "t"))
    out = tmp_path / "item"
    words = ("--project", project, "--prompt-ids", "1,5,9,77", "--tokens", "6", "--out", out)
    done = said(cli_env, tmp_path, "test", "GreedyGeneration", tiny_checkpoint, *words)
    assert done.returncode == 1, done.stderr
    done = said(cli_env, tmp_path, "diagnose", out, "--project", project)
    assert done.returncode == 0, done.stderr
    (cause,) = record(out).causes
    assert cause.kind == "sigmoid not mirrored"
    assert cause.origins == tuple(f"model.layers.{layer}.mlp.swiglu" for layer in range(3))
    assert cause.where.files == ("ep_swiglu.sv",)


@pytest.mark.parametrize("error", [RuntimeError("a bug"), MemoryError(), TimeUp()])
def test_whatever_becomes_of_it_it_is_no_exception(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(*arguments: object) -> None:
        raise error

    monkeypatch.setattr("etchproof.diagnose.run.diagnose", failing)
    monkeypatch.setattr("etchproof.diagnose.units.import_all", lambda project: None)
    screen.diagnose_now(make_console(), SimpleNamespace(project=None), None, (), tmp_path)
    assert "diagnosis" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_a_hypothesis_that_does_not_end_is_broken_off(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def endless(*arguments: object) -> None:
        while True:
            pass

    monkeypatch.setattr("etchproof.diagnose.run.diagnose", endless)
    monkeypatch.setattr(screen, "LIMIT_S", 0.2)
    monkeypatch.setattr("etchproof.diagnose.units.import_all", lambda project: None)
    screen.diagnose_now(make_console(), SimpleNamespace(project=None), None, (), tmp_path)
    assert "given up after 0.3 s" in capsys.readouterr().out


def test_schema(repo_root: Path) -> None:
    """docs/diagnosis.schema.json is what the record says; to renew it, write json_schema() there."""
    assert (repo_root / "docs" / "diagnosis.schema.json").read_text() == json_schema()
