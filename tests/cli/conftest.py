"""The command as a user calls it, and one run of it that many tests look at."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from etchproof import cli
from etchproof.adapter import AdapterConfig, write_synthetic_adapter
from etchproof.checkpoint import read_config
from etchproof.sim.build import CACHE_ENV
from etchproof.verdict.result import VOLATILE, RunResult

PROMPT = "Once upon a time"
TOKENS = 12
LIMIT_S = 400  # of a command: the first one builds the simulator


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    status: int
    stdout: str
    stderr: str
    out: Path
    """Its run folder, where the command was given one."""

    @property
    def result(self) -> RunResult:
        """``run.json``, validated."""
        return RunResult.model_validate_json((self.out / "run.json").read_bytes(), strict=True)


Cosim = Callable[..., Done]
Refused = Callable[..., str]


@pytest.fixture(scope="session")
def cli_env(repo_root: Path) -> dict[str, str]:
    """The environment of commands: simulators are kept between sessions, `make clean` empties them."""
    cache = os.environ.get(CACHE_ENV) or str(repo_root / "build" / "sim-cache")
    inherited = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "COLUMNS")}
    folders = [
        str(Path(part).absolute()) for part in inherited.get("PYTHONPATH", "").split(os.pathsep) if part
    ]
    return {**inherited, CACHE_ENV: cache, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(folders)}


def command(*words: str | Path) -> list[str]:
    """The command line of ``etchproof``."""
    return [sys.executable, "-m", "etchproof", *map(str, words)]


@pytest.fixture(scope="session")
def cosim(cli_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Cosim:
    """``etchproof cosim`` of a few tokens in a folder of its own: arguments are further words, keywords are paths."""

    def run(*words: str | Path, model: Path | None = tiny_checkpoint, prompt: str | None = PROMPT) -> Done:
        folder = tmp_path_factory.mktemp("cosim")
        source = [model] if model is not None else []
        prompted = ["--prompt", prompt] if prompt is not None else []
        done = subprocess.run(
            command("cosim", *source, *prompted, "--tokens", f"{TOKENS}", "--out", folder / "out", *words),
            cwd=folder,
            env=cli_env,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr, folder / "out")

    return run


@pytest.fixture(scope="session")
def passed(cosim: Cosim, tmp_path_factory: pytest.TempPathFactory) -> tuple[Done, Path]:
    """A run that passes, and the taps that it dumped."""
    dump = tmp_path_factory.mktemp("dump") / "taps.npz"
    return cosim("--dump-taps", dump), dump


@pytest.fixture(scope="session")
def adapters(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One of all linears with ranks of their own, strong enough to change the text; one of v_proj in layer 2."""
    folder, model = tmp_path_factory.mktemp("adapters"), read_config(tiny_checkpoint)
    wide = AdapterConfig(r=8, lora_alpha=16.0, target_modules="all-linear", rank_pattern={"q_proj": 3})
    narrow = AdapterConfig(r=1, lora_alpha=1.0, target_modules=("v_proj",), layers_to_transform=(2,))
    return (
        write_synthetic_adapter(folder / "wide", model, wide, 1, gain=0.15),
        write_synthetic_adapter(folder / "narrow", model, narrow, 2),
    )


@pytest.fixture
def refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    cli_env: dict[str, str],
) -> Refused:
    """A command that must be refused, run in this process; returns its line."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    for name, value in cli_env.items():
        monkeypatch.setenv(name, value)

    def run(*words: str | Path) -> str:
        assert cli.run([str(word) for word in words]) == 2
        captured = capfd.readouterr()
        lines = captured.err.splitlines()
        assert len(lines) == 1, lines
        assert lines[0].startswith("etchproof: ")
        assert "Traceback" not in captured.out
        assert list(work.iterdir()) == []
        return lines[0].removeprefix("etchproof: ")

    return run


def drop_volatile(record: dict[str, Any]) -> None:
    """What may differ between two runs of one command goes from ``run.json``."""
    for field in VOLATILE:
        outer, _, inner = field.partition(".")
        if inner:
            if record[outer] is not None:
                del record[outer][inner]
        else:
            del record[outer]
