"""Lists of RTL: what they say reaches ``[rtl]``, and what is not understood is refused with its line."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etchproof.errors import InputError
from etchproof.project.declaration import Project, load_project
from etchproof.project.filelist import with_lists
from etchproof.project.sources import project_files, project_sha256
from etchproof.run import flow
from tests.conftest import ROOT

TOML = """
name = "lists"
[model]
load = "model:load"
[golden]
session = "golden:Session"
[taps]
plan = "taps:plan"
[verif]
tests = ["tests"]
[rtl]
top = "chip"
"""

Make = Callable[..., Project]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A project with some RTL, and ``make(rtl, lists...)`` for its ``[rtl]`` and each list's text."""
    root = tmp_path / "team"
    (root / "rtl" / "include").mkdir(parents=True)
    (root / "rtl" / "include" / "x.vh").write_text("`define X\n")
    for name in ("a.v", "b.v", "c.sv", "port.cpp"):
        (root / "rtl" / name).write_text("")

    def project(rtl: str, **lists: str) -> Project:
        for name, text in lists.items():
            (root / name.replace("__", "/").replace("_", ".")).write_text(text)
        (root / "etchproof.toml").write_text(TOML + rtl)
        return load_project(root)

    return project


def test_a_command_file(make: Make) -> None:
    text = """
// the chip
+incdir+rtl/include+rtl +define+WIDTH=8+FAST
-DDEPTH=4 -D "SAID=two words"
rtl/b.v   # before a
rtl/a.v \\
  rtl/b.v
"""
    rtl = with_lists(make('filelist = ["chip.f"]\nfiles = ["taps.sv"]\ndefines = {FAST = ""}', chip_f=text))
    assert rtl.files == ("rtl/b.v", "rtl/a.v", "taps.sv")
    assert rtl.include == ("rtl/include", "rtl")
    assert rtl.defines == {"WIDTH": "8", "FAST": "", "DEPTH": "4", "SAID": "two words"}


def test_paths_start_from_the_root_or_from_the_lists_own_folder(make: Make) -> None:
    outer = "-f rtl/inner.f\n-F rtl/own.f\n"
    rtl = with_lists(
        make('filelist = ["outer.f"]', outer_f=outer, rtl__inner_f="rtl/a.v\n", rtl__own_f="b.v -I include\n")
    )
    assert (rtl.files, rtl.include) == (("rtl/a.v", "rtl/b.v"), ("rtl/include",))
    assert with_lists(make('filelist = ["-F rtl/own.f"]')).files == ("rtl/b.v",)


def test_eda_metadata(make: Make) -> None:
    text = """
name: team_chip_0
toplevel: chip
files:
- {name: rtl/a.v, file_type: verilogSource-2005}
- {name: rtl/c.sv, file_type: systemVerilogSource}
- {name: rtl/include/x.vh, file_type: verilogSource, is_include_file: true}
- {name: rtl/port.cpp, file_type: cppSource}
- {name: chip.sdc, file_type: SDC}
parameters:
  N: {datatype: int, default: 3, paramtype: vlogparam}
  FILE: {datatype: str, default: x.hex, paramtype: vlogparam}
  ON: {datatype: bool, default: true, paramtype: vlogdefine}
  UNSET: {datatype: int, paramtype: vlogparam}
"""
    project = make('filelist = ["chip.eda.yml"]')
    (project.root / "chip.eda.yml").write_text(text)
    rtl = with_lists(project)
    assert rtl.files == ("rtl/a.v", "rtl/c.sv")
    assert (rtl.include, rtl.testbench) == (("rtl/include",), ("rtl/port.cpp",))
    assert (rtl.parameters, rtl.defines) == ({"N": "3", "FILE": '"x.hex"'}, {"ON": "1"})


@pytest.mark.parametrize(
    ("rtl", "text", "problem"),
    [
        ("", "rtl/z.v", r"chip\.f: line 1: 'rtl/z\.v' is no file"),
        ("", "rtl/*.v", r"chip\.f: line 1: 'rtl/\*\.v' is no file"),
        ("", "rtl/a.v\n+incdir+nowhere", r"line 2: 'nowhere' is no folder"),
        ("", "-y rtl", r"line 1: '-y' is not understood: paths"),
        ("", "+libext+.v", r"'\+libext\+\.v' is not understood"),
        ("", "-timescale=1ns/1ps", "is not understood"),
        ("", "$RTL/a.v", "line 1: reads a variable of the environment"),
        ("", "${RTL}/a.v", "line 1: reads a variable of the environment"),
        ("", "/* no */ rtl/a.v", r"'/\*' is not understood"),
        ("", 'rtl/a.v "', "line 1: no closing quotation"),
        ("", "rtl/a.v -D", "line 1: -D is followed by nothing"),
        ("", "-f", "line 1: -f is followed by nothing"),
        ("", "-f chip.f", r"chip\.f: names itself"),
        ("", "-f other.f", r"other\.f: .*not found|other\.f: no such file"),
        ("", "+define+A=1 +define+A=2", "line 1: defines A as '2', which is '1' already"),
        ('defines = {A = "1"}', "rtl/a.v +define+A=2", r"rtl\.defines: says A = '1', and a list says '2'"),
        ("", "../outside.v", "outside.v', which lies outside the project"),
    ],
)
def test_what_is_not_understood(make: Make, rtl: str, text: str, problem: str) -> None:
    project = make(f'filelist = ["chip.f"]\n{rtl}', chip_f=text)
    (project.root.parent / "outside.v").touch()
    with pytest.raises(InputError, match=problem):
        with_lists(project)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("files: []", "files: lists no files"),
        ("files: [{name: 3}]", r"files\[0\]: has no name and file_type"),
        ("files: [{name: z.v, file_type: verilogSource}]", r"files\[0\]: 'z\.v' is no file"),
        (
            "files: [{name: rtl/a.v, file_type: verilogSource}]\nparameters: {P: {paramtype: plusarg, default: 1}}",
            r"parameters\.P: is a plusarg, and cannot be given",
        ),
    ],
)
def test_metadata_that_cannot_be_used(make: Make, text: str, problem: str) -> None:
    project = make('filelist = ["x.yml"]', x_yml=text)
    with pytest.raises(InputError, match=problem):
        with_lists(project)


def test_a_list_makes_the_fabric_that_files_make(tmp_path: Path) -> None:
    """The same sources in the same order are the same fabric, by whatever names them."""
    hashes = set()
    for number, said in enumerate(('files = ["rtl/*.v", "taps.sv"]', 'filelist = ["-F rtl/chip.f"]')):
        root = tmp_path / str(number)
        shutil.copytree(ROOT / "examples" / "classifier", root)
        text = (root / "etchproof.toml").read_text()
        assert text.count('files = ["rtl/*.v", "taps.sv"]') == 1
        (root / "etchproof.toml").write_text(text.replace('files = ["rtl/*.v", "taps.sv"]', said))
        names = [path.name for path in sorted((root / "rtl").glob("*.v"))]
        (root / "rtl" / "chip.f").write_text("\n".join([*names, "../taps.sv"]))
        (root / "out").mkdir()
        fabric = flow.render_plan(load_project(root), None, root / "out")
        assert len(fabric.sources) > len(names) + 1
        hashes.add(fabric.sha256)
    assert len(hashes) == 1


def test_an_option_that_is_none(make: Make) -> None:
    with pytest.raises(InputError, match=r"rtl\.filelist: '-v a\.v' is neither a list"):
        with_lists(make('filelist = ["-v a.v"]'))


def test_lists_and_what_they_name_are_part_of_the_project(make: Make) -> None:
    """A result is not taken for one of another chip: whatever a list says or names changes the hash."""
    project = make('filelist = ["outer.f"]', outer_f="-F rtl/own.f\n", rtl__own_f="a.v +incdir+include\n")
    files = {path.relative_to(project.root).as_posix() for path in project_files(project)}
    assert files == {"etchproof.toml", "outer.f", "rtl/own.f", "rtl/a.v", "rtl/include/x.vh"}
    seen = {project_sha256(project)}
    for name in sorted(files - {"etchproof.toml"}):
        file = project.root / name
        file.write_text(file.read_text() + "\n// changed\n")
        os.utime(file, ns=(1, len(seen)))
        seen.add(project_sha256(project))
    assert len(seen) == len(files)


_NAMES = st.lists(
    st.sampled_from(["rtl/a.v", "rtl/b.v", "rtl/c.sv", "two words.v", "-odd.v"]), unique=True, min_size=1
)
_DEFINES = st.dictionaries(
    st.from_regex(r"[A-Z]{1,3}", fullmatch=True), st.sampled_from(["", "1", "8'hff", "a b"])
)


@settings(max_examples=60, deadline=None)
@given(names=_NAMES, defines=_DEFINES, joint=st.sampled_from(["\n", " ", " \\\n", " // x\n", "\t# y\n"]))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], defines: dict[str, str], joint: str
) -> None:
    root = tmp_path_factory.mktemp("lists")
    (root / "rtl").mkdir()
    for name in names:
        (root / name).touch()
    words = [f'"./{name}"' if name[0] == "-" or " " in name else name for name in names]
    words += [f'"+define+{name}={value}"' if value else f"-D{name}" for name, value in defines.items()]
    (root / "chip.f").write_text(joint.join(words))
    (root / "etchproof.toml").write_text(f'{TOML}filelist = ["chip.f"]\n')
    rtl = with_lists(load_project(root))
    assert (rtl.files, rtl.defines) == (tuple(names), defines)
