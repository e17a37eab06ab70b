"""``[rtl] filelist`` with EDAM, the YAML that FuseSoC writes: what is taken of it, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from etchproof.errors import InputError
from etchproof.project.declaration import load_project
from etchproof.project.filelist import with_lists
from etchproof.project.sources import project_files
from etchproof.run import flow
from tests.conftest import ROOT
from tests.unit.project.test_filelist import listed, project, root  # noqa: F401 -- a fixture

FIXTURE = ROOT / "tests/unit/project/classifier_0.eda.yml"
"""What FuseSoC 2.4.7 wrote for a core around examples/classifier (``fusesoc run --setup --no-export``)."""

Edam = dict[str, object]


def edam(**changes: object) -> Edam:
    return {
        "name": "soc_0",
        "version": "0.2.1",
        "toplevel": "soc",
        "files": [{"name": "../rtl/a.v", "file_type": "verilogSource", "core": "::soc:0"}],
        **changes,
    }


def written(root: Path, content: object) -> Path:  # noqa: F811
    (root / "build").mkdir(exist_ok=True)
    file = root / "build" / "soc_0.eda.yml"
    file.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
    return file


def parameter(kind: str, datatype: str, value: object = None) -> Edam:
    return {"paramtype": kind, "datatype": datatype, "default": value, "description": "of the core"}


def test_what_is_taken(root: Path) -> None:  # noqa: F811
    file = written(
        root,
        edam(
            files=[
                {"name": "../rtl/pkg.sv", "file_type": "systemVerilogSource-3.1a", "tags": ["simulation"]},
                {"name": "../rtl/pads.vh", "file_type": "verilogSource", "is_include_file": True},
                {
                    "name": "../rtl/include/sub/types.svh",
                    "file_type": "systemVerilogSource",
                    "is_include_file": True,
                    "include_path": "../rtl/include",
                },
                {"name": "../rtl/a.v", "file_type": "verilogSource-2005", "logical_name": "lib"},
                {"name": "../tb/io.cpp", "file_type": "cppSource"},
                {"name": "pins.xdc", "file_type": "xdc"},
                {"name": "image.hex", "file_type": "user"},
            ],
            parameters={
                "N": parameter("vlogparam", "int", 4),
                "NAME": parameter("vlogparam", "str", "a b"),
                "FAST": parameter("vlogdefine", "bool", True),
                "SIZE": parameter("vlogdefine", "str", "8'd3"),
                "firmware": parameter("plusarg", "file"),
            },
            tool_options={"verilator": {"mode": "lint-only", "verilator_options": ["--timing -Wno-fatal"]}},
            flow_options={"tool": "verilator"},
        ),
    )
    found = project(root, '["build/soc_0.eda.yml"]')
    rtl = with_lists(found)
    assert rtl.files == ("rtl/pkg.sv", "rtl/a.v")
    assert rtl.testbench == ("tb/io.cpp",)
    assert rtl.include == ("rtl", "rtl/include")
    assert rtl.parameters == {"N": "4", "NAME": '"a b"'}
    assert rtl.defines == {"FAST": "1", "SIZE": "8'd3"}
    assert {file, root / "rtl/a.v", root / "rtl/include/sub/types.svh"} <= project_files(found)


def test_what_fusesoc_writes(tmp_path: Path) -> None:
    """FuseSoC's file, in the folder in which it wrote it, makes the fabric that ``files`` make."""
    shutil.copytree(ROOT / "examples" / "classifier", tmp_path / "chip")
    work = tmp_path / "chip" / "build" / "classifier_0" / "sim"
    work.mkdir(parents=True)
    shutil.copy(FIXTURE, work)
    toml = tmp_path / "chip" / "etchproof.toml"
    text, hashes = toml.read_text(), set()
    for said in ('defines = {FAST = "1"}', 'filelist = "build/classifier_0/sim/classifier_0.eda.yml"'):
        files = text.count('files = ["rtl/*.v", "taps.sv"]')
        assert files == 1
        kept = 'files = ["rtl/*.v", "taps.sv"]\n' if "FAST" in said else ""
        toml.write_text(text.replace('files = ["rtl/*.v", "taps.sv"]', kept + said))
        out = tmp_path / str(len(hashes))
        out.mkdir()
        hashes.add(flow.render_plan(load_project(toml), None, out).sha256)
    assert len(hashes) == 1


def test_lists_of_both_kinds_stand_in_their_order(root: Path) -> None:  # noqa: F811
    written(root, edam())
    (root / "chip.f").write_text("rtl/pkg.sv +define+X=1\n")
    assert listed(root, '["chip.f", "build/soc_0.eda.yml"]').files == ("rtl/pkg.sv", "rtl/a.v")
    assert listed(root, '["build/soc_0.eda.yml", "chip.f"]').files == ("rtl/a.v", "rtl/pkg.sv")


def of(name: str, kind: str, **more: object) -> Edam:
    return edam(files=[{"name": name, "file_type": kind, **more}])


def with_parameter(name: str, *what: object) -> Edam:
    return edam(parameters={name: parameter(*what)})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (edam(files=[]), "files: names no file"),
        ("name: x\n", "files: is missing"),
        ("- x\n", "expected keys and values"),
        ("name: [\n", "is not valid YAML"),
        ("a: &x 1\nb: *x\n", "an anchor or alias"),
        (edam(files=["a.v"]), "files[0]: is 'a.v', expected keys and values"),
        (edam(files=[{"file_type": "verilogSource"}]), "files[0].name: is missing"),
        (
            of("../rtl/a.v", "verilogSource", defines={"X": 1}),
            "files[0].defines: is {'X': 1}, but there is no",
        ),
        (edam(libraries=[]), "libraries: is [], but there is no such key"),
        (of("../rtl/none.v", "verilogSource"), "files[0]: '../rtl/none.v' is no file"),
        (of("../rtl/pads.vh", "verilogSource"), "files[0]: '../rtl/pads.vh' is a header by its suffix"),
        (of("../rtl/a.vhd", "vhdlSource-2008"), "files[0]: '../rtl/a.vhd' is of the type 'vhdlSource-2008'"),
        (of("../rtl/a.v", "user"), "files[0]: '../rtl/a.v' is of the type 'user', which is not compiled"),
        (of("../rtl/a.v", ""), "files[0]: '../rtl/a.v' is of the type ''"),
        (of("../rtl/odd.c", "cSource"), "files[0]: '../rtl/odd.c' is neither Verilog nor C++"),
        (of("x.vh", "verilogSource", is_include_file=True), "files[0]: 'x.vh' is no file"),
        (
            of("../rtl/pads.vh", "verilogSource", is_include_file=True, include_path="none"),
            "'none' is no folder",
        ),
        (of("../../x.v", "verilogSource"), "files[0]: '../../x.v' is "),
        (of("../../x.v", "verilogSource", is_include_file=True), "files[0]: '../..' is "),
        (edam(hooks={"pre_build": [{"cmd": ["make"]}]}), "hooks: is not empty, and is not carried out here"),
        (edam(vpi=[{"name": "x"}]), "vpi: is not empty"),
        (
            edam(tool_options={"verilator": {"verilator_options": ["--timing", "-DX=1"]}}),
            "tool_options: '-DX=1' alters the chip",
        ),
        (edam(flow_options={"verilator_options": ["--trace -f x.f"]}), "flow_options: '-f' alters the chip"),
        (with_parameter("N", "plusarg", "int", 4), "parameters.N: is of the type 'plusarg' and has a value"),
        (with_parameter("N", "generic", "int", 4), "parameters.N: is of the type 'generic'"),
        (
            with_parameter("N", "vlogparam", "file", "x.hex"),
            "parameters.N: is 'x.hex' of the datatype 'file'",
        ),
        (with_parameter("N", "vlogparam", "int", "4"), "parameters.N: is '4' of the datatype 'int'"),
        (with_parameter("N", "vlogparam", "int", [4]), "parameters.N: is [4] of the datatype 'int'"),
        (with_parameter("N", "vlogparam", "int", True), "parameters.N: is True of the datatype 'int'"),
        (edam(parameters=[{"N": 3}]), "parameters: is [{'N': 3}], expected keys and values"),
        (edam(toplevel=3), "expected text"),
        (with_parameter("N", "vlogparam", "str", 'a"b'), "has a quotation mark or a backslash"),
        (with_parameter("N-1", "vlogdefine", "int", 4), "parameters.N-1: 'N-1' = '4' is no macro"),
        (
            {**with_parameter("N", "vlogparam", "int", 4), "toplevel": "tb"},
            "parameters.N: is a parameter of 'tb', and [rtl] top is 'soc'",
        ),
        ({**with_parameter("N", "vlogparam", "int", 4), "toplevel": []}, "is a parameter of no module"),
    ],
)
def test_refused_with_file_and_key(root: Path, content: object, problem: str) -> None:  # noqa: F811
    (root.parent / "x.v").touch()
    file = written(root, content)
    with pytest.raises(InputError) as caught:
        listed(root, '"build/soc_0.eda.yml"')
    assert problem in str(caught.value) and str(caught.value).startswith(f"{file}: ")


def test_refused_where_etchproof_toml_says_otherwise(root: Path) -> None:  # noqa: F811
    written(root, with_parameter("N", "vlogparam", "int", 4))
    with pytest.raises(InputError, match=r"rtl.parameters: says N = '5', and a list says '4'"):
        listed(root, '"build/soc_0.eda.yml"', 'parameters = {N = "5"}\n')


def test_a_core_of_thousands_of_files_is_read(root: Path) -> None:  # noqa: F811
    """Longer than a file that people write by hand may be."""
    files = [
        {"name": f"{number}.v", "file_type": "verilogSource", "core": "::soc:0"} for number in range(4000)
    ]
    file = written(root, edam(files=files))
    for entry in files:
        (file.parent / entry["name"]).touch()
    assert file.stat().st_size > 200_000
    assert len(listed(root, '"build/soc_0.eda.yml"').files) == 4000
