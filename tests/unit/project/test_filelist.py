"""``[rtl] filelist`` with command files: what is taken, where paths start, and what is refused with its line."""

from __future__ import annotations

import os
import shutil
import string
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etchproof.errors import InputError
from etchproof.files.yaml_file import SUFFIXES
from etchproof.project.declaration import PROJECT_FILE, Project, load_project
from etchproof.project.filelist import read_lists, with_lists
from etchproof.project.listed import CPP, HEADERS
from etchproof.project.sections import RtlSection
from etchproof.project.sources import project_files, project_sha256
from etchproof.render.fabric import NATIVE, make_fabric
from etchproof.render.sources import take
from etchproof.run import flow
from tests.conftest import ROOT

TOML = """\
name = "mine"
[model]
load = "model:load"
[golden]
session = "golden:Session"
[taps]
plan = "taps:plan"
[verif]
tests = "chip_tests"
[rtl]
top = "soc"
"""
FILES = (
    *("rtl/pkg.sv", "rtl/a.v", "rtl/b.v", "rtl/deep/c.sv", "rtl/my file.v", "tb/io.cpp", "last.v"),
    *("rtl/include/words.inc", "rtl/include/sub/types.svh", "rtl/pads.vh", "rtl/odd.c"),
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path.resolve() / "project"
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"// {name}\n")
    return folder


def project(root: Path, filelist: str = '"rtl/chip.f"', more: str = "") -> Project:
    (root / PROJECT_FILE).write_text(f"{TOML}filelist = {filelist}\n{more}")
    return load_project(root)


def listed(root: Path, filelist: str = '"rtl/chip.f"', more: str = "") -> RtlSection:
    return with_lists(project(root, filelist, more))


def write(root: Path, text: str, name: str = "rtl/chip.f") -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def refusal(root: Path, filelist: str = '"rtl/chip.f"', more: str = "") -> str:
    with pytest.raises(InputError) as caught:
        listed(root, filelist, more)
    return str(caught.value)


def test_what_is_taken(root: Path) -> None:
    write(
        root,
        "// the chip\n"
        "+incdir+rtl/include+rtl  # two folders\n"
        "+define+WIDTH=16+FAST -DDEPTH=4 -D SLOW=\n"
        'rtl/pkg.sv rtl/a.v // two files, "quoted \n'
        "\n# as a team writes it\n"
        '"rtl/my file.v" \\\n'
        "tb/io.cpp // goes on \\\n"
        "-I rtl/deep\n-Irtl/deep\n"
        "rtl/a.v\n"
        "+define+ONES='1 +define+ZEROS=8'h00\n"
        '"+define+SAID=two words" -D "MORE=a b"\n',
    )
    rtl = listed(root, more='files = ["last.v"]\ninclude = ["rtl/include", "tb"]\ndefines = {FAST = ""}\n')
    assert rtl.files == ("rtl/pkg.sv", "rtl/a.v", "rtl/my file.v", "last.v")
    assert rtl.testbench == ("tb/io.cpp",)
    assert rtl.include == ("rtl/include", "rtl", "rtl/deep", "tb")
    numbers = {"WIDTH": "16", "DEPTH": "4", "ONES": "'1", "ZEROS": "8'h00"}
    assert rtl.defines == {**numbers, "FAST": "", "SLOW": "", "SAID": "two words", "MORE": "a b"}


def test_paths_start_from_the_project_or_from_the_lists_folder(root: Path) -> None:
    write(root, "rtl/pkg.sv\n-f rtl/more.f\n-F rtl/deep/own.f\n")
    write(root, "rtl/a.v\n", "rtl/more.f")
    write(root, "c.sv ../b.v -F ../up.f\n+incdir+../include\n", "rtl/deep/own.f")
    write(root, "./a.v\n", "rtl/up.f")
    rtl = listed(root)
    assert rtl.files == ("rtl/pkg.sv", "rtl/a.v", "rtl/deep/c.sv", "rtl/b.v")
    assert rtl.include == ("rtl/include",)
    names = [path.relative_to(root).as_posix() for path in read_lists(project(root)).lists]
    assert names == ["rtl/chip.f", "rtl/more.f", "rtl/deep/own.f", "rtl/up.f"]
    assert listed(root, '["-f rtl/more.f", "-F rtl/deep/own.f"]').files == (
        "rtl/a.v",
        "rtl/deep/c.sv",
        "rtl/b.v",
    )


def test_links_into_and_out_of_the_project(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    (tmp_path / "ip.v").touch()
    (root / "ip.v").symlink_to(tmp_path / "ip.v")
    (root / "elsewhere").symlink_to(root / "rtl" / "deep")
    write(root, f"{tmp_path}/link/rtl/a.v elsewhere/../b.v elsewhere/c.sv ip.v\n")
    assert listed(root).files == ("rtl/a.v", "rtl/b.v", "elsewhere/c.sv", "ip.v")


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("rtl/a.v\nrtl/none.v\n", 2, "'rtl/none.v' is no file"),
        (f"{'a' * 300}.v\n", 1, "is no file"),
        ("rtl/\0.v\n", 1, "is no file"),
        ("../\0.v\n", 1, "is no file"),
        ("rtl\n", 1, "'rtl' is no file"),
        ("a.v\n", 1, "name the list by '-F rtl/chip.f'"),
        ("../outside.v\n", 1, "which lies outside the project"),
        ("+incdir+..\n", 1, "which lies outside the project"),
        ("rtl/pads.vh\n", 1, "is a header by its suffix"),
        ("rtl/odd.c\n", 1, "is neither Verilog nor C++"),
        ("rtl/*.v\n", 1, "a pattern or a comment"),
        ("rtl/?.v\n", 1, "has one of * ? '"),
        ("r*.v\n", 1, "has one of * ? '"),
        ("'rtl/a.v'\n", 1, "has one of * ? '"),
        ("/* the chip */\n", 1, "a comment of several lines"),
        ("$RTL/a.v\n", 1, "a variable of the environment"),
        ("${RTL}/a.v\n", 1, "a variable of the environment"),
        ("$(RTL)/a.v\n", 1, "a variable of the environment"),
        ("+incdir+$RTL\n", 1, "a variable of the environment"),
        ('"$RTL/a.v"\n', 1, "a variable of the environment"),
        ("+incdir+rtl+none\n", 1, "'none' is no folder"),
        ("+incdir+\n", 1, "has nothing between two plus signs"),
        ("+incdir+rtl++rtl\n", 1, "has nothing between two plus signs"),
        ("+define+\n", 1, "has nothing between two plus signs"),
        ("-I none\n", 1, "'none' is no folder"),
        ("rtl/a.v\n\n-I", 3, "-I stands without its value"),
        ("-f // later\n", 1, "-f stands without its value"),
        ("-D\n", 1, "-D stands without its value"),
        ("+define+A=1\n+define+A=2\n", 2, "macro A is '2' here and '1' before"),
        ("+define+A=1 -DA\n", 1, "macro A is '' here and '1' before"),
        ("+define+1A\n", 1, "'1A' = '' is no macro"),
        ('+define+A="x y"\n', 1, "does not enclose a whole word"),
        ('-D"A=1"\n', 1, "does not enclose a whole word"),
        ('rtl/a.v "rtl/b.v\n"\n', 1, "does not enclose a whole word"),
        ('""\n', 1, "an empty word stands here"),
        ("-y rtl\n", 1, "is about a library"),
        ("-v rtl/a.v\n", 1, "is about a library"),
        ("+libext+.v\n", 1, "is about a library"),
        ("-sverilog\n", 1, "'-sverilog' is not understood (known are paths"),
        ("rtl/a.v\n+v2k", 2, "'+v2k' is not understood"),
        ("--timing\n", 1, "'--timing' is not understood"),
        ("-timescale=1ns/1ps\n", 1, "is not understood"),
        ("-frtl/more.f\n", 1, "is not understood"),
        ("-\n", 1, "'-' is not understood"),
        ("rtl/a.v//c\n", 1, "has '//' inside"),
        ("rtl\\a.v\n", 1, "has a backslash"),
        ("\\ rtl/a.v\n", 1, "has a backslash"),
        ("-f rtl/none.f\n", None, "rtl/none.f: file not found"),
        ("-f rtl\n", None, "expected a regular file"),
        ("-f rtl/chip.f\n", 1, "names itself"),
        ("-f rtl/\0.f\n", None, "is no usable path"),
        ("-f rtl/circle.f\n", None, "Too many levels of symbolic links"),
        ("rtl/circle.f\n", 1, "'rtl/circle.f' is no file"),
    ],
)
def test_refused_with_file_and_line(root: Path, text: str, line: int | None, problem: str) -> None:
    (root.parent / "outside.v").touch()
    (root / "rtl" / "circle.f").symlink_to("circle.f")
    write(root, text)
    said = refusal(root)
    assert problem in said
    assert line is None or said.startswith(f"{root / 'rtl/chip.f'}: line {line}: ")
    with pytest.raises(InputError):
        project_sha256(project(root))


def test_refused_where_etchproof_toml_names_them(root: Path) -> None:
    write(root, "+define+A=1\n")
    said = refusal(root, more='defines = {A = "2"}\n')
    assert "etchproof.toml: rtl.defines: says A = '2', and a list says '1'" in said
    for text in ("-v a.v", "-F", "-f "):
        assert f"rtl.filelist: {text!r} is neither a list, nor one after -f or -F" in refusal(
            root, f'"{text}"'
        )
    assert "file not found" in refusal(root, '"rtl/none.f"')
    assert "expected a regular file" in refusal(root, '"rtl"')
    assert "names nothing: give files or a filelist" in refusal(root, "[]")


def test_lists_that_name_each_other_end(root: Path) -> None:
    write(root, "-f rtl/b.f\n")
    write(root, "-f rtl/chip.f\n", "rtl/b.f")
    assert "b.f: line 1: 'chip.f' names itself" in refusal(root)
    for level in range(40):
        write(root, f"-f {level + 1}.f\n", f"{level}.f")
    assert "lists name lists more than 32 levels deep" in refusal(root, '"0.f"')
    for level in range(20):  # each twice: a million lists
        write(root, f"-f {level + 1}.f\n-f {level + 1}.f\n", f"{level}.f")
    write(root, "rtl/a.v\n", "20.f")
    assert "are more than 1,000" in refusal(root, '"0.f"')


def test_a_nested_f_within_a_nested_capital_f_is_refused(root: Path) -> None:
    """Verilator starts the paths of the inner list in the working folder, slang in the folder of the outer list."""
    write(root, "a.v\n-f deep/d.f\n", "rtl/own.f")
    write(root, "c.sv\n", "rtl/deep/d.f")
    assert "own.f: line 2: -f 'deep/d.f' stands in a list that -F names" in refusal(root, '"-F rtl/own.f"')
    write(root, "-f rtl/more.f\n", "own.f")  # in the project's folder both are one
    write(root, "rtl/a.v\n", "rtl/more.f")
    assert listed(root, '"-F own.f"').files == ("rtl/a.v",)


def test_lists_and_what_they_name_are_part_of_the_project(root: Path) -> None:
    """A result is not taken for one of another chip: whatever a list says or names changes the hash."""
    write(root, "rtl/a.v\n+incdir+rtl/include\n-F rtl/more.f\n")
    write(root, "../last.v ../tb/io.cpp\n", "rtl/more.f")
    loaded = project(root)
    files = {path.relative_to(root).as_posix() for path in project_files(loaded)}
    assert files == {
        *("etchproof.toml", "rtl/chip.f", "rtl/more.f", "rtl/a.v", "last.v", "tb/io.cpp"),
        *("rtl/include/words.inc", "rtl/include/sub/types.svh"),
    }
    seen = {project_sha256(loaded)}
    for name in sorted(files - {"etchproof.toml"}):
        (root / name).write_text((root / name).read_text() + "\n// changed\n")
        os.utime(root / name, ns=(1, len(seen)))
        seen.add(project_sha256(loaded))
    assert len(seen) == len(files)


def test_headers_below_an_included_folder_are_taken(root: Path, tmp_path: Path) -> None:
    write(root, "rtl/a.v\n+incdir+rtl/include+.\n")
    rtl = listed(root)
    names, setup = take(root, tmp_path / "out", files=rtl.files, include=rtl.include, source=root)
    assert "rtl/include/sub/types.svh" in names and "rtl/include/words.inc" in setup.included
    assert "rtl/pads.vh" not in names  # below the root lies everything
    with pytest.raises(InputError, match="'tb/empty' holds no file to include"):
        (root / "tb" / "empty").mkdir()
        take(root, tmp_path / "none", files=rtl.files, include=["tb/empty"], source=root)


def test_suffixes_are_those_of_a_fabric(tmp_path: Path) -> None:
    assert set(CPP) == set(NATIVE)
    names = ["a.v", *(f"h{suffix}" for suffix in HEADERS)]
    for name in names:
        (tmp_path / name).touch()
    assert make_fabric(tmp_path, names, "a").compiled == ("a.v",)
    assert SUFFIXES == (".yaml", ".yml")  # any other list is a command file


def test_a_list_makes_the_fabric_that_files_make(tmp_path: Path) -> None:
    """The same sources in the same order are the same fabric, by whatever names them."""
    hashes = set()
    for number, said in enumerate(('files = ["rtl/*.v", "taps.sv"]', 'filelist = ["-F rtl/chip.f"]')):
        example = tmp_path / str(number)
        shutil.copytree(ROOT / "examples" / "classifier", example)
        text = (example / "etchproof.toml").read_text()
        assert text.count('files = ["rtl/*.v", "taps.sv"]') == 1
        (example / "etchproof.toml").write_text(text.replace('files = ["rtl/*.v", "taps.sv"]', said))
        names = [path.name for path in sorted((example / "rtl").glob("*.v"))]
        (example / "rtl" / "chip.f").write_text("\n".join([*names, "../taps.sv"]))
        (example / "out").mkdir()
        fabric = flow.render_plan(load_project(example), None, example / "out")
        assert len(fabric.sources) > len(names) + 1
        hashes.add(fabric.sha256)
    assert len(hashes) == 1


_LETTERS = string.ascii_letters + string.digits
_NAMES = st.text(_LETTERS + "_-. #+=@", min_size=1, max_size=12).map(lambda text: f"f{text}.v")
_MACROS = st.dictionaries(
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True),
    st.text(_LETTERS + "'_:()*#= ", max_size=8).map(str.strip),
    max_size=5,
)
_GAPS = st.sampled_from([" ", "\n", "\t", " // said 'by\" a team $HOME\n", "\n# -y none\n", " \\\n", "\r\n"])


@st.composite
def _written(draw: st.DrawFn) -> tuple[str, list[str], dict[str, str]]:
    """A list as somebody may write it, the files and the macros that it names."""
    files, macros = draw(st.lists(_NAMES, unique=True, min_size=1, max_size=8)), draw(_MACROS)
    text = draw(_GAPS)
    ahead = [*files]
    for name, value in macros.items():
        if ahead and draw(st.booleans()):
            text += _spelled(draw, ahead.pop(0)) + draw(_GAPS)
        said = f"{name}={value}" if value else name
        quote = '"' if " " in said or draw(st.booleans()) else ""
        option = draw(st.sampled_from([f"{quote}+define+", f"{quote}-D", f"-D {quote}"]))
        text += f"{option}{said}{quote}" + draw(_GAPS)
    return text + "".join(_spelled(draw, name) + draw(_GAPS) for name in ahead), files, macros


def _spelled(draw: st.DrawFn, name: str) -> str:
    quote = '"' if " " in name or draw(st.booleans()) else ""
    return f"{quote}{draw(st.sampled_from(['', './', 'x/../']))}{name}{quote}"


@settings(max_examples=150, deadline=None)
@given(_written())
def test_a_written_list_reads_back(written: tuple[str, list[str], dict[str, str]]) -> None:
    text, files, macros = written
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        (root / "x").mkdir()
        for name in files:
            (root / name).touch()
        (root / "chip.f").write_text(text, newline="")
        rtl = listed(root, '"chip.f"')
    assert (list(rtl.files), rtl.defines) == (files, macros)
