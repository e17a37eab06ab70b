"""The other commands, and how quickly and plainly the command line answers."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import etchproof
from etchproof import cli
from etchproof.checkpoint.shape import RandomModel
from etchproof.cli.cosim import rerun_command
from etchproof.project.declaration import load_project
from etchproof.quantize.quality_report import QualityReport
from etchproof.run.cosim import CosimRequest
from etchproof.verdict.result import VOLATILE, RunResult, json_schema
from tests.cli.conftest import command


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out == f"etchproof {etchproof.__version__}\n"
    assert cli.run([]) == 0
    assert "cosim" in capsys.readouterr().out
    assert cli.run(["cosim", "-h"]) == 0
    assert "--inject" in capsys.readouterr().out


def test_help_imports_nothing_heavy(cli_env: dict[str, str], tmp_path: Path) -> None:
    words = [sys.executable, "-X", "importtime", *command("--help")[1:]]
    done = subprocess.run(words, cwd=tmp_path, env=cli_env, capture_output=True, text=True, check=True)
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert "etchproof.cli.app" in imported
    assert not imported & {"torch", "numpy", "cocotb", "pydantic", "tokenizers"}


def test_recipes(capsys: pytest.CaptureFixture[str], repo_root: Path) -> None:
    assert cli.run(["recipes", "--project", str(repo_root)]) == 0
    out = capsys.readouterr().out
    for name in ("w8a16", "w6a16", "w4a16", "w3w6a16"):
        assert re.search(rf"^{name} ", out, re.MULTILINE)
    assert out.splitlines()[-1] == "default: w6a16"


def test_shapes(capsys: pytest.CaptureFixture[str], repo_root: Path) -> None:
    assert cli.run(["shapes", "--project", str(repo_root)]) == 0
    rows = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()}
    assert rows["llama-3.1-8b"] == ["32", "4096", "14336", "32", "8", "128", "128256", "8.03", "G"]
    assert {"llama-3.2-1b", "llama-3.2-3b"} <= set(rows)


def test_render_of_a_shape(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A part of a shape, of any size: nothing is drawn."""
    words = ["render", "--shape", "llama-3.2-1b", "--layers", "1", "--recipe", "w4a16"]
    assert cli.run([*words, "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "ep_chip.sv").is_file()
    assert "fabric_sha256" in capsys.readouterr().out


def test_render(capsys: pytest.CaptureFixture[str], tiny_checkpoint: Path, tmp_path: Path) -> None:
    said = []
    for name in ("one", "two"):
        assert cli.run(["render", str(tiny_checkpoint), "--out", str(tmp_path / name)]) == 0
        said.append(capsys.readouterr().out.splitlines())
    assert said[0][-1] == said[1][-1]
    names = [str(Path(line).relative_to(tmp_path / "one")) for line in said[0][:-1]]
    files = (path for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert sorted(names) == sorted(str(path.relative_to(tmp_path / "one")) for path in files)
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert cli.run(["render", str(tiny_checkpoint), "--out", str(tmp_path / "one")]) == 2


def test_quality(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    cli_env: dict[str, str],
    tiny_checkpoint: Path,
    tmp_path: Path,
) -> None:
    for name, value in cli_env.items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "quality.json"
    words = ["quality", str(tiny_checkpoint), "--recipe", "w8a16", "--out", str(file)]
    assert cli.run([*words, "--sequences", "2", "--length", "24"]) == 0
    report = QualityReport.model_validate_json(file.read_bytes())
    assert (report.recipe, report.tokens) == ("w8a16", 48)
    out = capsys.readouterr().out
    assert f"{report.kl_mean:.6f} mean" in out
    assert "lowest SQNR" in out


@pytest.mark.parametrize(
    "prompt", ["Once", 'it\'s "$HOME" `x` \\ ?', "--tokens=5", "", "two\nlines", "tab\t", "日本"]
)
def test_rerun_command_is_one_line_that_reads_back(repo_root: Path, prompt: str) -> None:
    request = CosimRequest(
        project=load_project(repo_root),
        model_dir=Path("my model"),
        recipe="own recipes/w2.yaml",
        prompt=prompt,
        prompt_ids=None,
        tokens=7,
        inject=("rom:lm_head[3,7]^0", "rom:lm_head[4,7]^0"),
        seed=3,
        kind="strict",
        context=40,
    )
    line = rerun_command(request, [1, 2, 3])
    assert line.isprintable()
    words = shlex.split(line)
    start = words.index("cosim")
    assert words[start + 1 : start + 4] == [
        str(Path.cwd() / "my model"),
        f"--project={repo_root}",
        f"--recipe={Path.cwd() / 'own recipes/w2.yaml'}",
    ]
    assert words[start + 4] == (f"--prompt={prompt}" if prompt.isprintable() else "--prompt-ids=1,2,3")
    assert words[start + 5 : start + 8] == ["--tokens=7", "--seed=3", "--build=strict"]
    assert words[-3:] == ["--inject=rom:lm_head[3,7]^0", "--inject=rom:lm_head[4,7]^0", "--context=40"]


def test_rerun_command_of_a_random_model(repo_root: Path) -> None:
    model = RandomModel("own shapes/small.yaml", seed=0, layers=2, vocab=70)
    request = CosimRequest(
        project=load_project(repo_root),
        model_dir=None,
        recipe=None,
        prompt=None,
        prompt_ids=None,
        tokens=7,
        random_model=model,
        profile=True,
    )
    words = shlex.split(rerun_command(request, [1]))
    start = words.index("cosim")
    assert words[start + 1 : start + 7] == [
        f"--shape={Path.cwd() / 'own shapes/small.yaml'}",
        "--random-weights=0",
        "--layers=2",
        "--vocab=70",
        f"--project={repo_root}",
        "--recipe=w6a16",
    ]
    assert words[start + 7] == "--prompt-ids=1"
    assert words[-1] == "--profile"
    whole = dataclasses.replace(request, random_model=RandomModel("llama-3.1-8b", seed=3), profile=False)
    words = shlex.split(rerun_command(whole, [1]))
    assert words[start + 1 : start + 4] == [
        "--shape=llama-3.1-8b",
        "--random-weights=3",
        f"--project={repo_root}",
    ]
    assert "--profile" not in words


@pytest.mark.parametrize("model_dir", [None, Path("models/tiny")])
def test_a_request_has_one_source(repo_root: Path, model_dir: Path | None) -> None:
    with pytest.raises(ValueError, match="either a checkpoint or a random model"):
        CosimRequest(
            project=load_project(repo_root),
            model_dir=model_dir,
            recipe=None,
            prompt=None,
            prompt_ids=None,
            tokens=1,
            random_model=None if model_dir is None else RandomModel("llama-3.1-8b", seed=1),
        )


def test_schema_file_is_the_models(repo_root: Path) -> None:
    file = repo_root / "docs" / "run.schema.json"
    assert file.read_text(encoding="utf-8") == json_schema(), (
        "write etchproof.verdict.result.json_schema() to it"
    )


def test_documentation_names_every_field(repo_root: Path) -> None:
    page = (repo_root / "docs" / "run-json.md").read_text(encoding="utf-8")
    for name in RunResult.model_fields:
        assert f"`{name}`" in page
    for name in VOLATILE:
        assert f"`{name}`" in page


def test_schema_is_json() -> None:
    schema = json.loads(json_schema())
    assert schema["properties"]["verdict"]["enum"] == ["PASS", "FAIL"]
    assert "first_divergence" in schema["required"]
