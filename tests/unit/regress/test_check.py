"""What items name is looked at before anything runs: what is missing or does not fit is bad input, in one line."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from etchproof.adapter import AdapterConfig, write_synthetic_adapter
from etchproof.checkpoint import load_checkpoint
from etchproof.cli import run
from etchproof.errors import InputError
from etchproof.project.declaration import load_project
from etchproof.regress import check
from etchproof.regress.check import check_items
from etchproof.regress.spec import expand, load_list
from etchproof.run import flow
from etchproof.signoff.testplan import all_tests
from tests.conftest import ROOT

PROJECT = load_project(ROOT)
GOOD: dict[str, Any] = {"tests": ["RandomTokens"], "models": ["models/tiny"], "recipes": ["w6a16"]}
SHAPE = {"shape": "llama-3.2-1b", "weights": 1, "layers": 1, "vocab": 64}
FEW_SLOTS = (
    "tile: {rows: 4, inputs: 16}\nlora: {slots: 0}\nmatrices:\n  - {match: '*', bits: 8, group_size: 16}\n"
)


def checked(folder: Path, *entries: dict[str, Any]) -> None:
    path = folder / "listed.yaml"
    path.write_text(json.dumps({"entries": [{**GOOD, **entry} for entry in entries]}))
    check_items(expand(load_list(str(path), ROOT), ROOT, all_tests(PROJECT)), PROJECT)


def copied(folder: Path, name: str, change: Callable[[Path], object]) -> str:
    shutil.copytree(ROOT / "models" / "tiny", folder / name)
    change(folder / name)
    return str(folder / name)


def test_what_is_good_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def load(folder: str, **options: Any) -> Any:
        read.append(folder)
        return load_checkpoint(folder, **options)

    monkeypatch.setattr(check, "load_checkpoint", load)
    boy = adapter(tmp_path)
    shape = {"models": [], "shapes": [SHAPE], "recipes": ["w4a16"]}
    seeds = {"contexts": [None, 18], "adapters": [[], [boy], ["@corners"]], "seeds": 3}
    checked(tmp_path, seeds, shape)
    assert read == [str(ROOT / "models" / "tiny")]


def adapter(folder: Path) -> str:
    model = load_checkpoint(ROOT / "models" / "tiny").config
    config = AdapterConfig(r=2, lora_alpha=4.0, target_modules=("q_proj",))
    return str(write_synthetic_adapter(folder / "boy", model, config, 1))


BAD: tuple[tuple[dict[str, Any], str], ...] = (
    ({"models": ["models/none"]}, "models/none: checkpoint folder not found"),
    ({"models": ["models/tiny/config.json"]}, "expected the checkpoint's folder"),
    ({"recipes": ["w7a15"]}, "recipe 'w7a15' is not known"),
    ({"recipes": ["models/none.yaml"]}, "none.yaml"),
    ({"models": [], "shapes": [{**SHAPE, "shape": "none"}]}, "shape 'none' is not known"),
    ({"models": [], "shapes": [{**SHAPE, "shape": "models/none.yaml"}]}, "none.yaml"),
    ({"models": [], "shapes": [{**SHAPE, "layers": 99}]}, "--layers: is 99"),
    ({"models": [], "shapes": [{**SHAPE, "vocab": 10**9}]}, "--vocab: is 1000000000"),
    ({"contexts": [100_000]}, "--context: is 100000"),
    ({"adapters": [["models/none"]]}, "models/none: adapter folder not found"),
    ({"adapters": [["models/tiny"]]}, "adapter_config.json"),
)


@pytest.mark.parametrize(("entry", "said"), BAD)
def test_what_is_bad_is_refused(tmp_path: Path, entry: dict[str, Any], said: str) -> None:
    """Also as the last of several, and the line says which item it is."""
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        checked(tmp_path, {"tests": ["HostErrors"]}, entry)
    assert "item RandomTokens-" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "config.json").unlink(),
        lambda folder: (folder / "config.json").write_text("{"),
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: (folder / "model.safetensors").write_bytes(b"\0" * 100),
    ],
)
def test_a_checkpoint_that_is_none(tmp_path: Path, change: Callable[[Path], object]) -> None:
    with pytest.raises(InputError, match="item RandomTokens-broken-w6a16-s1"):
        checked(tmp_path, {"models": [copied(tmp_path, "broken", change)]})


@pytest.mark.parametrize("names", [["@corners"], ["models/none"]])
def test_no_slot_for_adapters(tmp_path: Path, names: list[str]) -> None:
    (tmp_path / "few.yaml").write_text(FEW_SLOTS)
    with pytest.raises(InputError, match="no slot for adapters"):
        checked(tmp_path, {"recipes": [str(tmp_path / "few.yaml")], "adapters": [names]})


@pytest.mark.parametrize(("words", "status"), [((), 2), (("--only", "RandomTokens-tiny-w6a16-s1"), None)])
def test_the_command(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    status: int | None,
) -> None:
    """Bad input ends it before it writes anything; what is not run is not asked for."""
    listed = tmp_path / "listed.yaml"
    listed.write_text(json.dumps({"entries": [GOOD, {**GOOD, "models": ["models/none"]}]}))
    monkeypatch.chdir(tmp_path)
    begun: list[object] = []

    def begin(*arguments: object) -> object:
        begun.append(arguments)
        raise InputError("begun")

    monkeypatch.setattr("etchproof.regress.run.run_regression", begin)
    out = tmp_path / "out"
    assert run(["regress", str(listed), "--project", str(ROOT), "--out", str(out), *words]) == 2
    assert bool(begun) == (status is None)
    if status is not None:
        said = capsys.readouterr()
        assert len(said.err.splitlines()) == 1 and "models/none: checkpoint folder not found" in said.err
        assert not out.exists()


def test_the_recipes_that_ship_fit_the_model_that_ships(tmp_path: Path) -> None:
    names = sorted(path.stem for path in PROJECT.recipes_dir.glob("*.yaml"))
    assert PROJECT.recipes.default in names and flow.read_recipe(PROJECT, None)
    checked(tmp_path, {"recipes": names})
