"""A folder of data, whoever wrote it, runs no code: not as a project, and not by the names of its files."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from etchproof import cli
from etchproof.project.declaration import DATA_FILES, PROJECT_FILE

_PROJECT = """\
name = "mine"
[golden]
factory = "evil:it"
[chip]
plan = "evil:it"
[rtl]
top = "top"
renderings = "evil:it"
templates = "."
hw = "."
[rom]
images = "evil:it"
site = "evil:it"
[taps]
plan = "evil:it"
[lora]
frame = "evil:it"
load_cycles = "evil:it"
site = "evil:it"
[coverage]
rom = "evil:it"
sites = "evil:it"
tables = "evil:it"
groups = "evil:it"
sampler = "evil:it"
rom_files = "evil:it"
exclusions = "evil:it"
[qualify]
rtl = "evil:it"
flow = "evil:it"
[recipes]
path = "."
default = "mine"
[shapes]
path = "."
[verif]
tests = "evil"
"""
_MARK = "code-ran"


def _plant(folder: Path, mark: Path) -> None:
    """Make ``folder`` a project whose code leaves ``mark``."""
    folder.mkdir(exist_ok=True)
    (folder / PROJECT_FILE).write_text(_PROJECT, encoding="utf-8")
    (folder / "evil.py").write_text(
        f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n", encoding="utf-8"
    )
    (folder / "mine.yaml").write_text(
        'matrices:\n - {match: "*", bits: 6, group_size: 16}\n', encoding="utf-8"
    )
    for name in ("hw", "templates"):
        (folder / name).mkdir(exist_ok=True)


@pytest.fixture
def data(tiny_checkpoint: Path, tmp_path: Path) -> Iterator[Path]:
    """A checkpoint that holds a project, too."""
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "model"))
    _plant(folder, tmp_path / _MARK)
    path, modules = list(sys.path), set(sys.modules)
    yield folder
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name == "evil":
            del sys.modules[name]


_COMMANDS = (
    ("cosim", "{}"),
    ("cosim", "--shape", "mine", "--random-weights", "1"),
    ("quality", "{}"),
    ("render", "{}", "--out", "../out"),
    ("test", "DirectedTokens", "{}"),
    ("regress", "mine.yaml", "--model", "{}"),
    ("signoff", "{}", "--stage", "V1", "--out", "../out"),
    ("report", "{}"),
    ("check",),
    ("recipes",),
    ("shapes",),
)


@pytest.mark.parametrize("words", _COMMANDS, ids=lambda words: words[0])
@pytest.mark.parametrize("below", [".", "sub"])
def test_a_checkpoint_is_no_project(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    below: str,
) -> None:
    """Run in a checkpoint, or in a folder of one."""
    here = data / below
    here.mkdir(exist_ok=True)
    monkeypatch.chdir(here)
    assert cli.run([word.replace("{}", str(data)) for word in words]) == 2
    error = capfd.readouterr().err
    assert error.startswith(f"etchproof: {data / PROJECT_FILE}: was found from a folder of data")
    assert "--project" in error and len(error.splitlines()) == 1
    assert not (tmp_path / _MARK).exists()
    assert not (tmp_path / "out").exists()


def test_the_planted_code_would_leave_its_mark(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What ``--project`` names is run: the tests beside this one look at code that can run."""
    monkeypatch.chdir(tmp_path)
    assert cli.run(["cosim", str(data), "--project", str(data)]) != 0
    assert (tmp_path / _MARK).exists(), capfd.readouterr().err


@pytest.mark.parametrize("name", DATA_FILES)
@pytest.mark.parametrize("where", ["root", "between"])
def test_each_file_that_tells_data(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, where: str
) -> None:
    """The search stops at data that the command does not name: in the project's root, or on the way up to it."""
    root = tmp_path / "root"
    _plant(root, tmp_path / _MARK)
    inner = root / "between" / "deep"
    inner.mkdir(parents=True)
    (root if where == "root" else root / "between").joinpath(name).touch()
    monkeypatch.chdir(inner)
    assert cli.run(["cosim", str(data)]) == 2
    assert not (tmp_path / _MARK).exists()


@pytest.mark.parametrize("option", ["MODEL_DIR", "FILE.gguf", "--adapter", "--out", "DIR"])
def test_what_a_command_names_is_data(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    """Whatever it holds."""
    folder = tmp_path / "folder"
    _plant(folder, tmp_path / _MARK)
    monkeypatch.chdir(folder)
    words = {
        "MODEL_DIR": ["cosim", "."],
        "FILE.gguf": ["cosim", "model.gguf"],
        "--adapter": ["cosim", str(tiny_checkpoint), "--adapter", "../folder"],
        "--out": ["signoff", str(tiny_checkpoint), "--stage", "V1", "--out", "."],
        "DIR": ["report", "."],
    }[option]
    assert cli.run(words) == 2
    assert not (tmp_path / _MARK).exists()


def test_a_checkpoint_inside_of_a_project_is_taken(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many projects carry one; the current folder says which project is meant."""
    root = tmp_path / "root"
    _plant(root, tmp_path / _MARK)
    shutil.copytree(tiny_checkpoint, root / "models" / "mine")
    monkeypatch.chdir(root)
    cli.run(["cosim", "models/mine"])
    assert (tmp_path / _MARK).exists()
    sys.modules.pop("evil", None)


def test_names_of_libraries_are_not_imported_from_the_current_folder(
    tmp_path: Path, cli_env: dict[str, str]
) -> None:
    """Not in ``python -m etchproof`` either, which puts the current folder first where it looks for modules."""
    for name in (
        "typer",
        "rich",
        "yaml",
        "signal",
        "traceback",
        "pydantic",
        "sitecustomize",
        "models",
        "numpy",
    ):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name} was imported')\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "etchproof", "recipes"],
        cwd=tmp_path,
        env=cli_env,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
