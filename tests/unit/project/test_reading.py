"""A project's Python reads what its keys name, and nothing else."""

from __future__ import annotations

import ctypes
import itertools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from etchproof.errors import InputError
from etchproof.project import reading
from etchproof.project.code import load_object
from etchproof.project.declaration import load_project
from etchproof.project.sources import project_files, project_sha256, without_the_place

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
    "a thread": "list(futures.ThreadPoolExecutor().map(numpy.fromfile, ['lut.bin']))",
    "pkgutil": "pkgutil.get_data(__name__, 'lut.bin')",
    "linecache": "linecache.getlines('lut.bin')",
    "a loader": "machinery.SourceFileLoader('x', '').get_data('lut.bin')",
    "written to": "open('lut.bin', 'a').close() or open('lut.bin').read()",
    "a module by its path": "by_path('lib/lut.py')",
    "a module by an alias": "late('lu' + 't')",
    "a pickled object": "pickle.loads(b'clut\\nNUMBER\\n.')",
}
UNREADABLE = (
    "configparser",
    "dlopen",
    "a program",
    "sqlite",
    "none there",
    "a module by its path",
    "a module by an alias",
    "a pickled object",
)
IMPORTS = """
import configparser, ctypes, importlib.util, linecache, numpy, os, pathlib, pickle, pkgutil, shutil, sqlite3, subprocess
from concurrent import futures
from importlib import machinery, import_module as late
def by_path(path):
    spec = importlib.util.spec_from_file_location("of_a_path", path)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
"""

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
    for place in ("lut.py", "lib/lut.py"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text("NUMBER = 1\n")
    sys.modules.pop("lut", None)
    monkeypatch.setattr(reading, "_written", set())  # it was there before
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield made
    for name in names:
        sys.modules.pop(name, None)


@pytest.mark.parametrize("way", WAYS)
def test_what_no_key_names_is_refused(make: Make, way: str) -> None:
    with pytest.raises(
        InputError,
        match=r"golden\.data: (reader\d+\.py:\d+|a thread) reads \S+\.(bin|py), which",
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
    with pytest.raises(InputError, match=r"reader\d+\.py:\d+ reads lut\.bin, which no key names"):
        make("1", head="TABLE = open('lut.bin').read()")


def test_a_statement_that_finds_its_module_elsewhere_is_refused(make: Make) -> None:
    """The folder is put on the path when the module runs, after what it imports was hashed."""
    with pytest.raises(InputError, match=r"reads lib/lut\.py, which no key names"):
        make("1", head="import sys; sys.path.insert(0, 'lib'); import lut")


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
    make("linecache.getlines(sys.modules[__name__].__file__)", head="import sys")()


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


def test_what_a_run_may_read_ends_with_it(make: Make, tmp_path: Path) -> None:
    """A process makes a thousand runs, and the environment of a simulator holds 128 KiB of what may be read."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run/lut.bin").write_bytes(b"1")
    reading._written.clear()
    read = make("open('run/lut.bin').read()")
    before = reading.to_environment()
    with reading.allowed(tmp_path / "run"), reading.allowed(tmp_path / "run"):
        read()
    assert reading.to_environment() == before
    with pytest.raises(InputError, match=r"reads run/lut\.bin"):
        read()


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


RECORD = """\
../../../bin/numbers,sha256=dDmT6keg,228
numbers-2.1.0.dist-info/INSTALLER,sha256=zuuue4kn,4
numbers-2.1.0.dist-info/RECORD,,
numbers/__init__.py,sha256=kjPGLR_8,3033
numbers/__pycache__/__init__.cpython-311.pyc,,
"""


@pytest.mark.parametrize(
    ("was", "becomes", "counts"),
    [
        ("dDmT6keg,228", "another1,231", False),  # the script of an environment at another place
        ("zuuue4kn", "another1", False),
        ("numbers/__pycache__/__init__.cpython-311.pyc,,\n", "", False),
        ("kjPGLR_8", "another1", True),
        ("numbers/__init__.py", "numbers/other.py", True),
    ],
)
def test_where_a_package_is_installed_does_not_count(was: str, becomes: str, counts: bool) -> None:
    assert was in RECORD
    changed = RECORD.replace(was, becomes)
    assert (without_the_place(changed) != without_the_place(RECORD)) == counts


def test_a_module_that_shadows_the_standard_librarys_counts(make: Make, tmp_path: Path) -> None:
    (tmp_path / "wave.py").write_text("")
    make("1", head="import wave")
    assert tmp_path / "wave.py" in project_files(load_project(tmp_path))


def test_a_package_that_no_installer_wrote_counts_by_its_files(
    make: Make, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path_factory.mktemp("env") / "site-packages"
    place.mkdir()
    (place / "copied_tables.py").write_text("")
    monkeypatch.syspath_prepend(place)
    make("1", head="import copied_tables")
    assert place / "copied_tables.py" in project_files(load_project(tmp_path))


def test_a_compiled_module_counts_only_while_it_is_newer_than_its_source(make: Make, tmp_path: Path) -> None:
    """Whatever times the files say: of an archive, all are equal."""
    source = tmp_path / "timeless.py"
    load = "importlib.reload(sys.modules['timeless']).NUMBER"
    numbers = []
    function = make(load, head="import sys, timeless") if source.exists() else None
    for number in (1, 2):
        source.write_text(f"NUMBER = {number}\n")
        os.utime(source, (10**9, 10**9))
        function = function or make(load, head="import sys, timeless")
        numbers.append(function())
    sys.modules.pop("timeless", None)
    assert numbers == [1, 2]


def test_a_connection_is_refused(make: Make) -> None:
    with pytest.raises(InputError, match=r"connects to 127\.0\.0\.1: what it is told is in no hash"):
        make("socket.create_connection(('127.0.0.1', 9))", head="import socket")()
