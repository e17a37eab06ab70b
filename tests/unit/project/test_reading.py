"""A project's Python reads what its keys name, and nothing else."""

from __future__ import annotations

import ctypes
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from etchproof.errors import InputError
from etchproof.project import reading
from etchproof.project.code import load_object
from etchproof.project.declaration import load_project
from etchproof.project.sources import project_files, project_sha256

TOML = """
name = "reader"
[model]
load = "{module}:load"
[golden]
session = "{module}:load"
{data}
[rtl]
top = "soc"
files = ["soc.v"]
[taps]
plan = "{module}:load"
[verif]
tests = ["{module}"]
"""
WAYS = {
    "open": "open('lut.bin', 'rb').read()",
    "read_text": "pathlib.Path('lut.bin').read_text()",
    "os.open": "os.open('lut.bin', os.O_RDONLY)",
    "update": "open('lut.bin', 'r+b').read()",
    "append": "open('lut.bin', 'a+b').seek(0)",
    "numpy.fromfile": "numpy.fromfile('lut.bin', 'u1')",
    "numpy.memmap": "numpy.memmap('lut.bin', 'u1', mode='r')",
    "numpy.loadtxt": "numpy.loadtxt('lut.bin')",
    "configparser": "configparser.ConfigParser().read(['lut.bin'])",
    "dlopen": "ctypes.CDLL('./lut.bin')",
    "a program": "subprocess.run(['./lut.bin'])",
    "sqlite": "sqlite3.connect('lut.bin')",
    "exec": "exec(\"open('lut.bin').read()\")",
    "shutil": "shutil.copy('lut.bin', 'copy.bin')",
    "none there": "open('none.bin')",
}
UNREADABLE = ("configparser", "dlopen", "a program", "sqlite", "none there")
IMPORTS = "import configparser, ctypes, numpy, os, pathlib, shutil, sqlite3, subprocess\n"

pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{kind}")
    for kind in ("ResourceWarning", "pytest.PytestUnraisableExceptionWarning")
]

Make = Callable[..., Callable[[], object]]
_numbers = itertools.count()


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """A function of a project of its own kind, whose body is given; it runs in the project's folder."""
    names = []

    def made(body: str, *, data: str = "", head: str = "") -> Callable[[], object]:
        name = f"reader{next(_numbers)}"
        names.append(name)
        (tmp_path / "soc.v").write_text("module soc; endmodule\n")
        (tmp_path / f"{name}.py").write_text(f"{IMPORTS}{head}\ndef load():\n    return {body}\n")
        (tmp_path / "etchproof.toml").write_text(TOML.format(module=name, data=data))
        found: Callable[[], object] = load_object(load_project(tmp_path), f"{name}:load")
        return found

    (tmp_path / "lut.bin").write_bytes(b"1")
    monkeypatch.setattr(reading, "_written", set())  # it was there before
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield made
    for name in names:
        sys.modules.pop(name, None)


@pytest.mark.parametrize("way", WAYS)
def test_what_no_key_names_is_refused(make: Make, way: str) -> None:
    with pytest.raises(
        InputError, match=r"golden\.data: reader\d+\.py:4 reads (lut|none)\.bin, which no key names"
    ):
        make(WAYS[way])()


@pytest.mark.parametrize("way", [way for way in WAYS if way not in UNREADABLE])
@pytest.mark.parametrize("data", ["lut.bin", "*.bin", "."])
def test_what_a_key_names_is_read(make: Make, way: str, data: str) -> None:
    make(WAYS[way], data=f'data = ["{data}"]')()


def test_what_is_named_is_hashed(make: Make, tmp_path: Path) -> None:
    make("1", data='data = ["lut.bin"]')
    before = project_sha256(load_project(tmp_path))
    (tmp_path / "lut.bin").write_bytes(b"2")
    assert project_sha256(load_project(tmp_path)) != before


def test_a_read_while_importing_is_refused_in_one_line(make: Make) -> None:
    with pytest.raises(InputError, match=r"reader\d+\.py:2 reads lut\.bin, which no key names"):
        make("1", head="TABLE = open('lut.bin').read()")


def test_what_a_project_wrote_it_may_read(make: Make) -> None:
    make("pathlib.Path('made.bin').write_text('1') and open('made.bin').read()")()
    make(
        "pathlib.Path('b.bin').write_text('1') and not os.replace('b.bin', 'c.bin') and open('c.bin').read()"
    )()


def test_imports_and_libraries_are_no_reads(make: Make, tmp_path: Path) -> None:
    (tmp_path / "later.py").write_text("LATER = 1\n")
    make("__import__('later').LATER")()
    make("numpy.__version__ and __import__('zoneinfo').ZoneInfo('UTC')")()
    make("open('/proc/self/stat').read()")()
    (tmp_path / "other.py").write_text("1\n")
    make("__import__('linecache').getlines('other.py')")()


def test_somebody_elses_code_is_free(make: Make, tmp_path: Path) -> None:
    make("1")
    assert (tmp_path / "lut.bin").read_bytes() == b"1"
    with pytest.raises(OSError, match="lut"):
        ctypes.CDLL("./lut.bin")


def test_what_somebody_answers_for_may_be_read(make: Make, tmp_path: Path) -> None:
    (tmp_path / "allowed").mkdir()
    (tmp_path / "allowed/lut.bin").write_bytes(b"1")
    reading._written.clear()
    reading.allow(tmp_path / "allowed")
    make("open('allowed/lut.bin').read()")()
    with reading.gathered() as found:
        make(WAYS["open"])()
    assert found == {tmp_path / "lut.bin"}


def test_source_outside_of_the_project_counts(
    make: Make, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an editable installation has it: hashed whole, and held to the same."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "house_numerics").mkdir()
    source = elsewhere / "house_numerics/__init__.py"
    source.write_text("def read():\n    return open('lut.bin').read()\n")
    monkeypatch.syspath_prepend(elsewhere)
    function = make("house_numerics.read()", head="import house_numerics")
    project = load_project(tmp_path)
    assert source in project_files(project)
    before = project_sha256(project)
    with pytest.raises(InputError, match=r"__init__\.py:2 reads lut\.bin"):
        function()
    source.write_text(source.read_text() + "# changed\n")
    assert project_sha256(project) != before
    sys.modules.pop("house_numerics", None)


def test_an_installed_package_counts_by_what_was_installed(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("1")
    before = project_sha256(load_project(tmp_path))
    monkeypatch.setattr("etchproof.project.sources._installation", lambda name: f"another {name}")
    assert project_sha256(load_project(tmp_path)) != before
