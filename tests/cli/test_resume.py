"""What a resumed regression believes: nothing that was edited, and nothing that is of another chip."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from etchproof.project.declaration import load_project
from etchproof.regress.execute import run_item, stored_item
from etchproof.regress.item import ItemResult, files_sha256, read_item
from etchproof.regress.spec import ItemSpec
from tests.conftest import ROOT

pytestmark = pytest.mark.sim

PROJECT = load_project(ROOT)
KEY = "k"
Record = dict[str, Any]


@pytest.fixture(scope="module")
def spec(tiny_checkpoint: Path) -> ItemSpec:
    return ItemSpec(
        name="one",
        test="DirectedTokens",
        model=str(tiny_checkpoint),
        shape=None,
        recipe="w6a16",
        context=None,
        kind="fast",
        adapters=(),
        seed=1,
        directed=((1, 5, 9), (7, 8)),
    )


@pytest.fixture(scope="module")
def ran(spec: ItemSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an item that passed."""
    out = tmp_path_factory.mktemp("ran")
    assert run_item(spec, PROJECT, out, out / "one", KEY).verdict == "PASS"
    return out


def stored(spec: ItemSpec, ran: Path, folder: Path) -> ItemResult | str:
    return stored_item(spec, PROJECT, ran, folder, KEY)


def test_what_was_left_alone_counts(spec: ItemSpec, ran: Path) -> None:
    found = stored(spec, ran, ran / "one")
    assert isinstance(found, ItemResult) and found.verdict == "PASS", found


def _edit(folder: Path, name: str, change: Callable[[Record], None]) -> None:
    record = json.loads((folder / name).read_text())
    change(record)
    (folder / name).write_text(json.dumps(record))


def _rehash(folder: Path) -> None:
    """As somebody would who also mends the hashes."""
    files = files_sha256(folder)
    _edit(folder, "item.json", lambda record: record.update(files=files))


ITEM: dict[str, Callable[[Record], None]] = {
    "nothing compared": lambda r: r.update(elements=0, vectors=0),
    "more compared": lambda r: r.update(elements=r["elements"] + 1),
    "another test": lambda r: r.update(test="RandomTokens"),
    "another item": lambda r: r.update(name="two"),
    "another seed": lambda r: r.update(seed=2),
    "another kind": lambda r: r.update(kind="strict"),
    "another key": lambda r: r.update(key="other"),
    "another ROM": lambda r: r.update(rom_sha256="0" * 64),
    "another fabric": lambda r: r.update(fabric_sha256="0" * 64),
    "a reason beside PASS": lambda r: r.update(
        reasons=[{"name": "mismatch", "message": "3 elements differ"}]
    ),
    "FAIL without a reason": lambda r: r.update(verdict="FAIL"),
    "other tokens": lambda r: r["sequences"][0].update(tokens=[1, 5, 8]),
    "another status": lambda r: r.update(statuses={"1": 5}),
    "more answers": lambda r: r.update(answers=r["answers"] + 1),
    "all in time": lambda r: r.update(in_cycles=r["in_cycles"] + 1),
    "other cycles": lambda r: r.update(cycles=1),
    "a file that is not named": lambda r: r.update(files={}),
    "another file": lambda r: r["files"].update({"comparison.json": "0" * 64}),
    "an unknown field": lambda r: r.update(more=1),
}


@pytest.mark.parametrize("what", ITEM)
def test_an_edited_item_is_none(spec: ItemSpec, ran: Path, tmp_path: Path, what: str) -> None:
    folder = shutil.copytree(ran / "one", tmp_path / "one")
    _edit(folder, "item.json", ITEM[what])
    assert isinstance(stored(spec, ran, folder), str)


COMPARISON: dict[str, Callable[[Record], None]] = {
    "a token left out": lambda r: r["tokens"].pop(),
    "another token": lambda r: r["tokens"][1].update(token_in=6),
    "another request": lambda r: r["requests"][1].update(token=6),
    "a request left out": lambda r: r["requests"].pop(),
    "a mismatch": lambda r: r["taps"][3].update(mismatches=2),
    "fewer vectors": lambda r: r["taps"][3].update(vectors=1),
    "a tap left out": lambda r: r["taps"].pop(3),
    "a failure": lambda r: r["failures"].append({"name": "status", "message": "planted"}),
    "a reset": lambda r: r["resets"].append({"tokens": 5, "requests": 5, "position": None, "cycles": 0}),
}


@pytest.mark.parametrize("rehashed", [False, True])
@pytest.mark.parametrize("what", COMPARISON)
def test_an_edited_comparison_is_none(
    spec: ItemSpec, ran: Path, tmp_path: Path, what: str, rehashed: bool
) -> None:
    """Also where the item's hashes were made to fit: then what follows from it does not."""
    folder = shutil.copytree(ran / "one", tmp_path / "one")
    _edit(folder, "comparison.json", COMPARISON[what])
    if rehashed:
        _rehash(folder)
    assert isinstance(stored(spec, ran, folder), str)


@pytest.mark.parametrize("name", ["item.json", "comparison.json", "directed.json"])
def test_a_file_that_is_gone_or_broken(spec: ItemSpec, ran: Path, tmp_path: Path, name: str) -> None:
    for content in (None, b"", b"{}", b"\xff"):
        folder = shutil.copytree(ran / "one", tmp_path / "one", dirs_exist_ok=True)
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_bytes(content)
        assert isinstance(read_item(folder, spec, KEY), str)


def test_a_fail_is_no_pass_because_somebody_says_so(spec: ItemSpec, ran: Path, tmp_path: Path) -> None:
    """A run that differs, its record turned into a PASS in every place that names the difference."""
    folder = shutil.copytree(ran / "one", tmp_path / "one")
    _edit(folder, "comparison.json", lambda r: (r["tokens"].pop(), r["requests"].pop()))
    _rehash(folder)
    _edit(folder, "item.json", lambda r: (r["sequences"][1]["tokens"].pop(), r.update(statuses={"0": 4})))
    _edit(folder, "item.json", lambda r: r.update(answers=4, in_cycles=4))
    tokens = json.loads((folder / "comparison.json").read_text())["tokens"]
    _edit(folder, "item.json", lambda r: r.update(cycles=sum(token["cycles"] for token in tokens)))
    assert isinstance(read_item(folder, spec, KEY), ItemResult)  # every record agrees with every other
    assert stored(spec, ran, folder) == "tokens: request 4, token 8, was not made"  # the judge knows the plan
