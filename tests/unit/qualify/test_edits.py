"""Slips in Python code: planted where they are meant, gone afterwards, refused where the text is not there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from etchproof.errors import InputError
from etchproof.qualify.checker_slips import faults
from etchproof.qualify.edits import Edit, applied, copies, edited, place_of

SOURCE = '''"""Something."""

from functools import cache, cached_property

LIMIT = 7


def add(a, b):
    def inner(c):
        return c + 1

    return inner(a) + b


class Box:
    def __init__(self, size):
        self.size = size

    @property
    def twice(self):
        return self.size * 2

    @cached_property
    def half(self):
        return self.size // 2

    @staticmethod
    def one():
        return 1


def closed():
    k = 1

    def of():
        return k

    return of


again = add
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    package = tmp_path / "edited_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "some.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "edited_package.some"
    for name in [name for name in sys.modules if name.startswith("edited_package")]:
        del sys.modules[name]


def test_every_kind_of_function(module: str) -> None:
    from edited_package import some  # type: ignore[import-not-found]

    kept = some.again  # as who imports it by name has it
    edits = [
        Edit(module, "c + 1", "c + 2"),
        Edit(module, "self.size * 2", "self.size * 3"),
        Edit(module, "self.size // 2", "self.size // 4"),
        Edit(module, "return 1", "return 5"),
    ]
    assert [place_of(edit) for edit in edits] == ["add", "Box.twice", "Box.half", "Box.one"]
    with applied(edits):
        assert (kept(1, 1), some.Box(8).twice, some.Box(8).half, some.Box.one()) == (4, 24, 2, 5)
    assert (kept(1, 1), some.Box(8).twice, some.Box(8).half, some.Box.one()) == (3, 16, 4, 1)


def test_it_is_gone_after_an_error(module: str) -> None:
    from edited_package import some

    with pytest.raises(ZeroDivisionError), applied([Edit(module, "c + 1", "c / 0")]):
        some.add(1, 1)
    assert some.add(1, 1) == 3


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        ("not there", "x", "0 times, expected once"),
        ("self.size", "x", "3 times, expected once"),
        ("c + 1", "c + 1", "becomes the same"),
        ("c + 1", "c +", "is no Python"),
        ("LIMIT = 7", "LIMIT = 8", "stands in no function"),
        ("def add(a, b)", "def add(b, a)", "stands in no function"),
    ],
)
def test_what_is_refused(module: str, was: str, becomes: str, said: str) -> None:
    with pytest.raises(InputError, match=said), applied([Edit(module, was, becomes)]):
        pass


def test_no_such_module() -> None:
    for name in ("edited_nowhere", "etchproof.nowhere", "edited_nowhere.below"):
        with pytest.raises(InputError, match="is no module with a source"):
            edited(Edit(name, "a", "b"))


def test_a_copy_for_another_process(module: str, tmp_path: Path) -> None:
    folder = copies([Edit(module, "c + 1", "c + 2")], tmp_path / "copy")
    code = "from edited_package.some import add; print(add(1, 1))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "4"
    with pytest.raises(InputError, match="two edits touch one module"):
        copies([Edit(module, "c + 1", "c"), Edit(module, "self.size * 2", "1")], tmp_path / "both")


def test_a_cached_function_forgets() -> None:
    """Where a function remembers its results, it does so neither of the slip nor across it."""
    from models.numerics import tables

    edit = Edit("models.numerics.tables", "Decimal(2 * i + 257)", "Decimal(2 * i + 259)")
    right = tables.recip_table()
    with applied([edit]):
        assert tables.recip_table() != right
    assert tables.recip_table() == right
    assert isinstance(tables.recip_table, type(cache(lambda: 0)))


def test_every_slip_of_the_checker_stands_in_the_code() -> None:
    """As it is now, so that whoever changes a line that one is planted in hears of it at once."""
    slips = list(faults())
    assert len(slips) >= 30
    for slip in slips:
        with applied([slip.edit]):
            pass
