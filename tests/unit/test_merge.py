"""Equal functions of the generated C++ become one; functions that differ in anything that counts stay."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from etchproof.sim.merge import merge_equal_functions

LONG = "    vlSelfRef.sum = vlSelfRef.sum + 1U;\n" * 60


def function(layer: int, body: str, *, self_type: str = "Vtop_layer") -> str:
    name = f"Vtop_layer___nba__u_layer{layer}"
    debug = f'    VL_DEBUG_IF(VL_DBG_MSGF("+ {name}\\n"); );\n'
    return f"void {name}({self_type}* vlSelf) {{\n{debug}{body}{LONG}}}\n\n"


def local(number: int, value: str = "vlSelfRef.x") -> str:
    name = f"__Vfunc_mac__{number}__sum"
    return f"    IData/*31:0*/ {name};\n    {name} = 0;\n    {name} = {value};\n    vlSelfRef.y = {name};\n"


def merge(folder: Path, *texts: str) -> tuple[int, str]:
    for index, text in enumerate(texts):
        (folder / f"Vtop__{index}.cpp").write_text(f'#include "Vtop.h"\n\n{text}', encoding="utf-8")
    merged = merge_equal_functions(folder)
    return merged, "".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.cpp")))


def test_locals_and_line_breaks_do_not_count(tmp_path: Path) -> None:
    second = local(191).replace("= vlSelfRef.x", "\n        = vlSelfRef.x")
    merged, text = merge(tmp_path, function(0, local(7)), function(1, second))
    assert merged == 1
    assert text.count("vlSelfRef.y = ") == 1
    assert re.search(
        r"void Vtop_layer___nba__u_layer0\(Vtop_layer\* vlSelf\);\n"
        r"void Vtop_layer___nba__u_layer1\(Vtop_layer\* vlSelf\) \{\n    Vtop_layer___nba__u_layer0\(vlSelf\);\n\}\n",
        text,
    )


def test_three_in_one_file(tmp_path: Path) -> None:
    merged, text = merge(tmp_path, "".join(function(layer, local(layer)) for layer in range(3)))
    assert merged == 2
    assert text.count("Vtop_layer___nba__u_layer0(vlSelf);") == 2
    assert all(
        text.count(f"void Vtop_layer___nba__u_layer{layer}(Vtop_layer* vlSelf) {{") == 1 for layer in range(3)
    )


@pytest.mark.parametrize(
    "other",
    [
        local(9, "vlSelfRef.z"),  # another member
        local(9, "vlSelfRef.__Vfunc_mac__9__sum"),  # a member of a local's name
        local(9, "3U"),
        local(9).replace("vlSelfRef.y = __V", "vlSelfRef.y += __V"),
        local(9) + "    Vtop_layer____Vdpi_u_layer1(vlSelfRef.y);\n",
        local(9).replace("IData/*31:0*/", "QData/*63:0*/"),
        local(9) + local(10),
        local(9, '"a  b"'),
    ],
)
def test_what_counts_keeps_them_apart(tmp_path: Path, other: str) -> None:
    before = [function(0, local(9)), function(1, other)]
    merged, text = merge(tmp_path, *before)
    assert merged == 0
    assert all(each in text for each in before)


def test_a_swap_of_two_locals_counts(tmp_path: Path) -> None:
    def body(first: int, second: int) -> str:
        names = [f"__Vfunc_a__{number}" for number in (first, second)]
        return (
            "".join(f"    IData/*31:0*/ {name};\n" for name in ("__Vfunc_a__1", "__Vfunc_a__2"))
            + f"    {names[0]} = vlSelfRef.p;\n    {names[1]} = vlSelfRef.q;\n"
            + "    vlSelfRef.y = __Vfunc_a__1 - __Vfunc_a__2;\n"
        )

    assert merge(tmp_path, function(0, body(1, 2)), function(1, body(2, 1)))[0] == 0


def test_strings_are_not_reformatted(tmp_path: Path) -> None:
    assert merge(tmp_path, function(0, local(1, '"a b"')), function(1, local(2, '"a  b"')))[0] == 0


def test_another_class_or_a_short_function_is_left(tmp_path: Path) -> None:
    short = "void Vtop_layer___s{}(Vtop_layer* vlSelf) {{\n    vlSelf->y = 1;\n}}\n"
    other = function(1, local(2), self_type="Vtop_tail")
    merged, _ = merge(tmp_path, function(0, local(1)) + short.format(0), other + short.format(1))
    assert merged == 0


def test_what_comes_out_compiles_and_computes_the_same(tmp_path: Path) -> None:
    compiler = shutil.which("g++")
    assert compiler
    header = (
        "#include <cstdint>\n#define VL_DEBUG_IF(x)\nusing IData = uint32_t;\n"
        "struct Vtop_layer { IData x = 3, y = 0, sum = 0; };\n#define vlSelfRef (*vlSelf)\n"
    )
    main = (
        "#include <cstdio>\n"
        + "".join(f"void Vtop_layer___nba__u_layer{layer}(Vtop_layer*);\n" for layer in range(3))
        + "int main() { Vtop_layer l[3]; for (int i = 0; i < 3; ++i) l[i].x += i;\n"
        + "".join(f"  Vtop_layer___nba__u_layer{layer}(&l[{layer}]);\n" for layer in range(3))
        + '  for (auto& a : l) std::printf("%u %u\\n", a.y, a.sum); }\n'
    )
    (tmp_path / "Vtop.h").write_text(header, encoding="utf-8")
    double = local(3, "vlSelfRef.x * 2U")
    merged, _ = merge(tmp_path, function(0, local(1)), function(1, local(2)), function(2, double))
    assert merged == 1
    (tmp_path / "main.cpp").write_text(f'#include "Vtop.h"\n{main}', encoding="utf-8")
    subprocess.run(
        [compiler, "-o", "out", *map(str, sorted(tmp_path.glob("*.cpp")))], cwd=tmp_path, check=True
    )
    done = subprocess.run([tmp_path / "out"], capture_output=True, text=True, check=True)
    assert done.stdout == "3 60\n4 60\n10 60\n"
