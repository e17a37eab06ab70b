"""Equal functions of the generated C++ become one; functions that differ in anything that counts stay."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from etchproof.sim.rewrite.merge import merge_equal_functions

LONG = "    vlSelfRef.sum = vlSelfRef.sum + 1U;\n" * 10


def name(layer: int, part: str = "nba") -> str:
    return f"Vtop_layer___{part}__u_layer{layer}"


def function(layer: int, body: str, *, self_type: str = "Vtop_layer", part: str = "nba") -> str:
    debug = f'    VL_DEBUG_IF(VL_DBG_MSGF("+ {name(layer, part)}\\n"); );\n'
    return f"void {name(layer, part)}({self_type}* vlSelf) {{\n{debug}{body}{LONG}}}\n\n"


def local(number: int, value: str = "vlSelfRef.x") -> str:
    variable = f"__Vfunc_mac__{number}__sum"
    lines = (
        f"IData/*31:0*/ {variable};",
        f"{variable} = 0;",
        f"{variable} = {value};",
        f"vlSelfRef.y = {variable};",
    )
    return "".join(f"    {line}\n" for line in lines)


def calls(text: str) -> str:
    """A root that calls each function that the text defines, on the instance of its number."""
    found = re.findall(r"^void (\w+_u_layer(\d+))\((\w+)\* vlSelf\)", text, re.MULTILINE)
    declared = "".join(f"void {called}({of}* vlSelf);\n" for called, _, of in found)
    body = "".join(f"    {called}((&vlSymsp->TOP__u_layer{layer}));\n" for called, layer, _ in found)
    return f"{declared}void Vtop___024root___eval(Vtop___024root* vlSelf) {{\n{body}}}\n"


def merge(folder: Path, *texts: str, members: str = "") -> tuple[int, str]:
    for index, text in enumerate(texts):
        (folder / f"Vtop__{index}.cpp").write_text(f'#include "Vtop.h"\n\n{text}', encoding="utf-8")
    (folder / "Vtop__root.cpp").write_text(f'#include "Vtop.h"\n\n{calls("".join(texts))}', encoding="utf-8")
    instances = "".join(f"    Vtop_layer  TOP__u_layer{layer};\n" for layer in range(9))
    (folder / "Vtop.h").write_text(f"struct Vtop_layer {{\n{members}}};\n{instances}", encoding="utf-8")
    merged = merge_equal_functions(folder).functions
    return merged, "".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.cpp")))


def test_locals_and_line_breaks_do_not_count(tmp_path: Path) -> None:
    second = local(191).replace("= vlSelfRef.x", "\n        = vlSelfRef.x")
    merged, text = merge(tmp_path, function(0, local(7)), function(1, second))
    assert merged == 1
    assert text.count("vlSelfRef.y = ") == 1
    assert f"{name(1)}(" not in text
    assert f"{name(0)}((&vlSymsp->TOP__u_layer0));\n    {name(0)}((&vlSymsp->TOP__u_layer1));" in text


def test_three_in_one_file(tmp_path: Path) -> None:
    merged, text = merge(tmp_path, "".join(function(layer, local(layer)) for layer in range(3)))
    assert merged == 2
    assert text.count(f"{name(0)}((&vlSymsp->") == 3


def test_a_file_without_functions_is_not_compiled(tmp_path: Path) -> None:
    makefile = tmp_path / "Vtop_classes.mk"
    makefile.write_text("FAST += \\\n  Vtop__0 \\\n  Vtop__1 \\\n  Vtop__root \\\n", encoding="utf-8")
    merge(tmp_path, function(0, local(7)), function(1, local(8)))
    assert makefile.read_text(encoding="utf-8") == "FAST += \\\n  Vtop__0 \\\n  Vtop__root \\\n"


def test_small_files_of_a_class_are_compiled_as_one(tmp_path: Path) -> None:
    makefile = tmp_path / "Vtop_classes.mk"
    stems = ["Vtop__0", "Vtop__1", "Vtop__2", "Vtop__10", "Vtop__0__Slow", "Vtop_x__0"]
    makefile.write_text("".join(f"  {stem} \\\n" for stem in stems), encoding="utf-8")
    for number, stem in enumerate(stems):
        text = function(number, local(number) + number * "    vlSelfRef.z = 1;\n")
        if stem == "Vtop__2":
            text += "// much\n" * (1 << 13)
        (tmp_path / f"{stem}.cpp").write_text(text, encoding="utf-8")
    merge_equal_functions(tmp_path)
    kept = ["Vtop__0", "Vtop__2", "Vtop__0__Slow", "Vtop_x__0"]
    assert makefile.read_text(encoding="utf-8") == "".join(f"  {stem} \\\n" for stem in kept)
    together = (tmp_path / "Vtop__0.cpp").read_text(encoding="utf-8")
    assert all(name(number) in together for number in (0, 1, 3))
    assert name(2) not in together
    assert (tmp_path / "Vtop__1.cpp").read_text(encoding="utf-8") == ""


@pytest.mark.parametrize(
    "other",
    [
        local(9, "vlSelfRef.z"),  # another member
        local(9, "vlSelfRef.__Vfunc_mac__9__sum"),  # a member of a local's name
        local(9, "3"),
        local(9).replace("vlSelfRef.y = __V", "vlSelfRef.y += __V"),
        local(9) + "    Vtop_layer____Vdpi_u_layer1(vlSelfRef.y);\n",
        local(9).replace("IData/*31:0*/", "QData/*63:0*/"),
        local(9) + local(10),
        local(9, '"a  b"'),
        local(9, "vlSymsp->TOP__u_tail.x"),  # no instance that is known
    ],
)
def test_what_counts_keeps_them_apart(tmp_path: Path, other: str) -> None:
    merged, text = merge(tmp_path, function(0, local(9)), function(1, other))
    assert merged == 0
    assert local(9) in text
    assert other in text


def test_a_swap_of_two_locals_counts(tmp_path: Path) -> None:
    def body(first: int, second: int) -> str:
        names = [f"__Vfunc_a__{number}" for number in (first, second)]
        return (
            "".join(f"    IData/*31:0*/ {name};\n" for name in ("__Vfunc_a__1", "__Vfunc_a__2"))
            + f"    {names[0]} = vlSelfRef.p;\n    {names[1]} = vlSelfRef.q;\n"
            + "    vlSelfRef.y = __Vfunc_a__1 - __Vfunc_a__2;\n"
        )

    assert merge(tmp_path, function(0, body(1, 2)), function(1, body(2, 1)))[0] == 0


def test_two_locals_in_place_of_one_count(tmp_path: Path) -> None:
    assert merge(tmp_path, function(0, local(9) * 2), function(1, local(7) + local(8)))[0] == 0


def test_what_is_not_declared_is_no_local(tmp_path: Path) -> None:
    bodies = [local(layer, f"__Vtable{layer}[0]") for layer in (1, 2)]
    assert merge(tmp_path, *(function(layer, body) for layer, body in enumerate(bodies)))[0] == 0


def test_strings_are_not_reformatted(tmp_path: Path) -> None:
    assert merge(tmp_path, function(0, local(1, '"a b"')), function(1, local(2, '"a  b"')))[0] == 0


@pytest.mark.parametrize(
    ("first", "second", "equal"),
    [
        ("(a ? 0ULL : (1ULL << b))", "(a\n        ? 0ULL\n        : \n        (1ULL \n        << b))", True),
        ("static_cast<unsigned int>(a)", "static_cast<unsigned\n        int>(a)", True),
        ("static_cast<unsigned int>(a)", "static_cast<unsignedint>(a)", False),
        ("a - -b", "a-  -b", True),
    ],
)
def test_only_the_words_of_a_line_count(tmp_path: Path, first: str, second: str, *, equal: bool) -> None:
    assert merge(tmp_path, function(0, local(1, first)), function(1, local(2, second)))[0] == equal


def test_a_part_of_a_name_is_no_local(tmp_path: Path) -> None:
    bodies = [
        local(number) + f"    vlSelfRef.u_x__DOT__Vfunc_mac__{number}__sum = 1U;\n" for number in (1, 2)
    ]
    assert merge(tmp_path, *(function(layer, body) for layer, body in enumerate(bodies)))[0] == 0


def test_another_class_is_left(tmp_path: Path) -> None:
    other = function(1, local(2), self_type="Vtop_tail")
    assert merge(tmp_path, function(0, local(1)), other)[0] == 0


def test_a_short_function_counts(tmp_path: Path) -> None:
    """One line per layer would keep a file per layer for g++."""
    short = "void Vtop_layer___s__u_layer{0}(Vtop_layer* vlSelf) {{\n    vlSelf->y = {0}U;\n}}\n"
    merged, text = merge(tmp_path, short.format(0), short.format(1))
    assert merged == 1
    assert "Vtop_layer___s__u_layer0((&vlSymsp->TOP__u_layer1), 1U);" in text


def test_a_function_that_is_mentioned_otherwise_is_left(tmp_path: Path) -> None:
    taken = f"void Vtop_layer___x(Vtop_layer* vlSelf) {{\n    use(&{name(1)});\n}}\n"
    assert merge(tmp_path, function(0, local(1)), function(1, local(2)) + taken)[0] == 0


def test_neighbours_and_constants_become_parameters(tmp_path: Path) -> None:
    bodies = [
        local(layer, f"vlSymsp->TOP__u_layer{layer - 1}.x + (vlSelfRef.a >> 0x0000000{layer}U)")
        for layer in (1, 2, 3)
    ]
    merged, text = merge(tmp_path, *(function(layer, body) for layer, body in enumerate(bodies, 1)))
    assert merged == 2
    assert f"void {name(1)}(Vtop_layer* vlSelf, Vtop_layer& __Vp0, IData __Vp1) {{" in text
    assert "__Vp0.x + (vlSelfRef.a >> __Vp1)" in text
    assert text.count(f"void {name(1)}(Vtop_layer* vlSelf, Vtop_layer& __Vp0, IData __Vp1);") == 3
    assert f"{name(1)}((&vlSymsp->TOP__u_layer3), vlSymsp->TOP__u_layer2, 0x00000003U);" in text


def member(number: int) -> str:
    return f"    vlSelfRef.__Vfunc_t__{number}__x = vlSelfRef.x;\n    vlSelfRef.y = vlSelfRef.__Vfunc_t__{number}__x;\n"


MEMBERS = "".join(f"    IData/*31:0*/ __Vfunc_t__{number}__x;\n" for number in range(4))
RESETS = (
    "void Vtop_layer___ctor_var_reset(Vtop_layer* vlSelf) {\n    vlSelf->x = 0;\n"
    + "".join(
        f"    for (int __Vi0 = 0; __Vi0 < 2; ++__Vi0) {{\n        vlSelf->__Vfunc_t__{number}__x[__Vi0] = 0;\n    }}\n"
        for number in range(4)
    )
    + "    vlSelf->z = 0;\n}\n"
)


def test_members_for_temporary_values_become_one(tmp_path: Path) -> None:
    """Two functions of an instance share its member; the others' members are gone, declaration and reset."""
    texts = [
        function(layer, member(layer))
        + function(layer, "    vlSelfRef.x = 7U;\n" + member(layer), part="stl")
        for layer in range(3)
    ]
    merged, text = merge(tmp_path, *texts, RESETS, members=MEMBERS)
    assert merged == 4
    header = (tmp_path / "Vtop.h").read_text(encoding="utf-8")
    for left in (text, header):
        assert set(re.findall(r"__Vfunc_t__\d__x", left)) == {"__Vfunc_t__0__x", "__Vfunc_t__3__x"}
    assert "vlSelf->x = 0;\n    for" in text
    assert text.count("for (int") == 2


@pytest.mark.parametrize(
    "more",
    [
        function(1, "    vlSelfRef.z = 7U;\n" + member(0), part="act"),  # the name is taken on this instance
        "int Vtop_layer___other(Vtop_layer* vlSelf, int a) {\n    return vlSelf->__Vfunc_t__1__x;\n}\n",
    ],
)
def test_a_member_that_others_touch_is_not_renamed(tmp_path: Path, more: str) -> None:
    merged, text = merge(tmp_path, function(0, member(0)), function(1, member(1)) + more, members=MEMBERS)
    assert merged == 0
    assert member(0) in text
    assert member(1) in text


def test_what_comes_out_compiles_and_computes_the_same(tmp_path: Path) -> None:
    compiler = shutil.which("g++")
    assert compiler
    body = [
        local(layer, f"vlSymsp->TOP__u_layer{layer}.x * {layer + 2}U") + member(layer) for layer in range(3)
    ]
    source = "".join(function(layer, each) for layer, each in enumerate(body))

    def run(folder: Path) -> str:
        header = (
            "#include <cstdint>\n#include <cstdio>\n#define VL_DEBUG_IF(x)\nusing IData = uint32_t;\n"
            "struct Vtop_layer {\n    IData/*31:0*/ x;\n    IData/*31:0*/ y;\n    IData/*31:0*/ sum;\n"
            + MEMBERS
            + "};\n"
            "struct Vtop__Syms {\n"
            + "".join(f"    Vtop_layer TOP__u_layer{layer};\n" for layer in range(3))
            + "};\nextern Vtop__Syms* vlSymsp;\nstruct Vtop___024root;\n#define vlSelfRef (*vlSelf)\n"
        )
        (folder / "Vtop.h").write_text(header, encoding="utf-8")
        merged = merge_equal_functions(folder).functions if folder.name == "merged" else 0
        assert merged == (2 if folder.name == "merged" else 0)
        subprocess.run([compiler, "-o", "out", *map(str, folder.glob("*.cpp"))], cwd=folder, check=True)
        return subprocess.run([folder / "out"], capture_output=True, text=True, check=True).stdout

    main = (
        "Vtop__Syms symbols = {{3, 0, 0}, {4, 0, 0}, {5, 0, 0}};\nVtop__Syms* vlSymsp = &symbols;\n"
        "void Vtop___024root___eval(Vtop___024root* vlSelf);\nint main() {\n    Vtop___024root___eval(nullptr);\n"
        + "".join(
            f'    std::printf("%u %u\\n", symbols.TOP__u_layer{layer}.y, symbols.TOP__u_layer{layer}.sum);\n'
            for layer in range(3)
        )
        + "}\n"
    )
    results = []
    for folder in (tmp_path / "plain", tmp_path / "merged"):
        folder.mkdir()
        for file, text in (("0", source), ("root", calls(source)), ("main", main)):
            (folder / f"Vtop__{file}.cpp").write_text(f'#include "Vtop.h"\n{text}', encoding="utf-8")
        results.append(run(folder))
    assert results[0] == results[1] == "3 10\n4 10\n5 10\n"
