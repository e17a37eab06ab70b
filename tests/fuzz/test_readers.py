"""The fuzzer's table knows every loader."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from etchproof.compare.comparator import Comparison
from etchproof.compare.readback import Readback
from etchproof.regress.item import ItemResult
from tests.fuzz import loads, seeds
from tests.fuzz.loaders import LOADERS
from tests.fuzz.readers import NO_LOADERS, _readers, exists, reading_functions

NAMED = {name for loader in LOADERS for name in loader.reads}


def test_every_reader_has_a_row_or_a_reason() -> None:
    found = set(reading_functions())
    unknown = sorted(found - NAMED - NO_LOADERS.keys())
    assert not unknown, (
        f"give each a row in tests/fuzz/loaders.py, or a reason in tests/fuzz/readers.py: {unknown}"
    )


def test_no_row_and_no_reason_is_stale() -> None:
    assert [name for name in sorted(NAMED | NO_LOADERS.keys()) if not exists(name)] == []
    assert sorted(NO_LOADERS.keys() - set(reading_functions())) == []
    assert sorted(NAMED & NO_LOADERS.keys()) == []


def test_rows_have_names_of_their_own() -> None:
    names = [loader.name for loader in LOADERS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "body",
    [
        "open(path)",
        "path.read_text()",
        "json.load(file)",
        "yaml.load(text, Loader=L)",
        "np.load(path)",
        "pickle.load(file)",
        "Record.model_validate_json(text)",
        "read_json_record(path, Record)",
        "torch.load(path)",
    ],
)
def test_a_new_loader_is_seen(body: str) -> None:
    source = f"class A:\n    def load(self, path):\n        return {body}\n"
    assert list(_readers(ast.parse(source), "")) == ["A.load"]


def test_what_loads_nothing_is_not_seen() -> None:
    assert list(_readers(ast.parse("def f(draw):\n    draw.load(3)\n    self.parse()\n"), "")) == []


def test_records_are_valid(tmp_path: Path) -> None:
    """Where a loader says that there is no record instead of refusing it, a valid one gives the record."""
    folder = tmp_path
    seeds.item(folder)
    assert isinstance(loads.item(folder), ItemResult)
    assert isinstance(loads.readback(folder), Readback)
    found = loads.comparison(folder)
    assert isinstance(found, tuple) and isinstance(found[0], Comparison)
    seeds.folders(folder)
    assert loads.drawn(folder) is True
    assert loads.owner(folder) == {"project": "/project", "model": "/model"}
    assert "etchproof cosim" in str(loads.lock(folder))
