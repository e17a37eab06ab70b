"""Triggers found by all bits of a signal at once, and tests of them under others: the same triggers, the same calls."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etchproof.sim.rewrite.bitwise import NotUnderstoodError, bits_of
from etchproof.sim.rewrite.triggers import quicken_triggers

CLOCKS = 40  # of the vector
LOOK = "Vtop___024root___eval_triggers_vec__act"
HEADER = """#include <cstdint>
#include <cstdio>
#include <functional>
#define VL_ATTR_UNUSED __attribute__((unused))
#define VL_UNLIKELY(x) (x)
using CData = uint8_t; using IData = uint32_t; using QData = uint64_t;
struct VlDelayScheduler { bool waiting = false; bool awaitingCurrentTime() const { return waiting; } };
struct Vtop___024root {
    CData/*0:0*/ clk;
    CData/*0:0*/ rst_n;
    QData/*39:0*/ gated;
    uint64_t __VactTriggered[1];
    uint64_t __VnbaTriggered[1];
    VlDelayScheduler __VdlySched;
PREVIOUS};
"""


def look(extra: str = "") -> str:
    """As Verilator writes it: clk rises: 0, rst_n falls: 1, bit k of gated rises: 2 + k, a delay is over: 42."""
    terms = [
        "((IData)(vlSelfRef.clk) & (~ (IData)(vlSelfRef.__Vtrigprevexpr_clk__0)))",
        "(((~ (IData)(vlSelfRef.rst_n)) & (IData)(vlSelfRef.__Vtrigprevexpr_rst__0)) << 1U)",
    ]
    word = " | ".join(terms)
    word = f"(QData)((IData)(({word})))"
    stores = [
        "vlSelfRef.__Vtrigprevexpr_clk__0 = vlSelfRef.clk;",
        "vlSelfRef.__Vtrigprevexpr_rst__0 \n        = vlSelfRef.rst_n;",
    ]
    for k in range(CLOCKS):
        bit = (
            f"(1U & ((IData)((vlSelfRef.gated >> {k}U)) & (~ (IData)(vlSelfRef.__Vtrigprevexpr_h{k:x}__0))))"
            if k % 2
            else f"((IData)((vlSelfRef.gated >> 0x{k:08x}U)) & (1U & (~ (IData)(vlSelfRef.__Vtrigprevexpr_h{k:x}__0))))"
        )
        word = f"({word} | ((QData)((IData)({bit})) << {k + 2}U))"
        value = f"(1U & (IData)((vlSelfRef.gated >> {k}U)))"
        stores.append(f"vlSelfRef.__Vtrigprevexpr_h{k:x}__0 = {value};")
    word = f"({word} | ((QData)((IData)((vlSelfRef.__VdlySched.awaitingCurrentTime()))) << 0x2aU))"
    body = f"    vlSelfRef.__VactTriggered[0U] = {word};\n{extra}" + "".join(
        f"    {store}\n" for store in stores
    )
    return (
        f"void {LOOK}(Vtop___024root* vlSelf) {{\n"
        "    auto& vlSelfRef = std::ref(*vlSelf).get();\n    // Body\n" + body + "}\n"
    )


def evaluation() -> str:
    """A test for each clock, some for two, one of another kind, one that comes twice."""
    tests = [f"(0x{1 << (k + 2):x}ULL & vlSelfRef.__VnbaTriggered[0U])" for k in range(CLOCKS)]
    tests.insert(
        3,
        "((2ULL & vlSelfRef.__VnbaTriggered[0U]) \n         | (0x0000000000000005ULL & vlSelfRef.__VnbaTriggered[0U]))",
    )
    tests.insert(20, "vlSelfRef.clk")
    tests.append(tests[7])
    body = "".join(
        f'    if ({test}) {{\n        std::printf(" {number}");\n    }}\n'
        for number, test in enumerate(tests)
    )
    return (
        "void Vtop___024root___eval_nba(Vtop___024root* vlSelf) {\n"
        "    auto& vlSelfRef = std::ref(*vlSelf).get();\n    // Body\n" + body + "}\n"
    )


def write(folder: Path, source: str) -> None:
    names = ["clk", "rst", *(f"h{k:x}" for k in range(CLOCKS))]
    previous = "".join(f"    CData/*0:0*/ __Vtrigprevexpr_{name}__0;\n" for name in names)
    (folder / "Vtop___024root.h").write_text(HEADER.replace("PREVIOUS", previous), encoding="utf-8")
    (folder / "Vtop__0.cpp").write_text(f'#include "Vtop___024root.h"\n{source}', encoding="utf-8")


def test_the_same_triggers_and_calls(tmp_path: Path) -> None:
    """A thousand random changes of every signal, through the code as it was and as it is."""
    compiler = shutil.which("g++")
    assert compiler
    drawn = random.Random(1)
    steps = []
    gated = 0
    for _ in range(1000):
        gated ^= drawn.choice([0, 1 << drawn.randrange(CLOCKS), drawn.getrandbits(CLOCKS)])
        clk, rst, waiting = (drawn.randrange(2) for _ in range(3))
        steps.append(f"{{{clk}, {rst}, {gated}ULL, {waiting}}}")
    main = (
        f"struct {{ int clk, rst; uint64_t gated; int waiting; }} steps[] = {{{', '.join(steps)}}};\n"
        "int main() {\n    Vtop___024root top{};\n    top.__Vtrigprevexpr_rst__0 = 1;\n"
        "    top.__Vtrigprevexpr_h3__0 = 1;\n    for (auto& step : steps) {\n"
        "        top.clk = step.clk; top.rst_n = step.rst; top.gated = step.gated;\n"
        "        top.__VdlySched.waiting = step.waiting;\n"
        f"        {LOOK}(&top);\n        top.__VnbaTriggered[0] = top.__VactTriggered[0];\n"
        '        std::printf("\\n%llx:", (unsigned long long)top.__VactTriggered[0]);\n'
        "        Vtop___024root___eval_nba(&top);\n    }\n}\n"
    )
    printed = []
    for quick in (False, True):
        folder = tmp_path / str(quick)
        folder.mkdir()
        write(folder, look() + evaluation())
        if quick:
            assert quicken_triggers(folder) == (3, 42)  # tests: but for the one of another kind
        with (folder / "Vtop__0.cpp").open("a", encoding="utf-8") as file:
            file.write(main)
        subprocess.run([compiler, "-std=c++20", "-o", "out", "Vtop__0.cpp"], cwd=folder, check=True)
        printed.append(subprocess.run([folder / "out"], capture_output=True, text=True, check=True).stdout)
    assert printed[0] == printed[1]
    assert printed[0].count("\n") == 1000
    assert len(re.findall(r" \d+", printed[0])) > 4000


@pytest.mark.parametrize(
    ("extra", "source"),
    [
        ("    vlSelfRef.clk = 0;\n", ""),  # it does more
        (
            "",
            "void Vtop___024root___eval(Vtop___024root* vlSelf) {\n    vlSelf->__Vtrigprevexpr_clk__0 = 1;\n}\n",
        ),
    ],
)
def test_another_look_is_left(tmp_path: Path, extra: str, source: str) -> None:
    write(tmp_path, look(extra) + source)
    assert quicken_triggers(tmp_path) == (0, 0)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            "(~ (IData)(vlSelfRef.__Vtrigprevexpr_clk__0))",
            "(IData)(vlSelfRef.__Vtrigprevexpr_clk__0)",
        ),  # no edge
        ("(IData)(vlSelfRef.clk) &", "(IData)(vlSelfRef.clk) ^"),
        ("(IData)(vlSelfRef.clk) &", "(IData)(vlSelfRef.rst_n) &"),  # of two signals
        ("__0 = vlSelfRef.clk", "__0 = vlSelfRef.unknown"),
        ("awaitingCurrentTime", "empty"),
    ],
)
def test_what_is_no_edge_is_left(tmp_path: Path, old: str, new: str) -> None:
    source = look()
    assert old in source
    write(tmp_path, source.replace(old, new))
    assert quicken_triggers(tmp_path) == (0, 0)


WIDTHS = {"a": 1, "b": 7, "c": 40}
LEAVES = st.sampled_from(
    ["(IData)(vlSelfRef.a)", "(IData)(vlSelfRef.b)", "vlSelfRef.c", "5U", "0x00000000ff0fULL"]
)
EXPRESSIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["&", "|"]), inner).map(lambda parts: f"({' '.join(parts)})"),
        st.tuples(inner, st.sampled_from(["<<", ">>"]), st.integers(0, 31)).map(
            lambda parts: f"({parts[0]} {parts[1]} {parts[2]}U)"
        ),
        inner.map(lambda text: f"(~ {text})"),
        inner.map(lambda text: f"(QData)((IData)({text}))"),
    ),
    max_leaves=6,
)


def value(text: str, variables: dict[str, int]) -> tuple[int, int]:
    """A C++ expression by Python's integers, with its width: an oracle of its own."""

    class Int:
        def __init__(self, number: int, width: int) -> None:
            self.number, self.width = number & ((1 << width) - 1), width

        def __and__(self, other: Int) -> Int:
            return Int(self.number & other.number, max(self.width, other.width))

        def __or__(self, other: Int) -> Int:
            return Int(self.number | other.number, max(self.width, other.width))

        def __lshift__(self, other: Int) -> Int:
            return Int(self.number << other.number, self.width)

        def __rshift__(self, other: Int) -> Int:
            return Int(self.number >> other.number, self.width)

        def __invert__(self) -> Int:
            return Int(~self.number, self.width)

    text = text.replace("(QData)(", "QData(").replace("(IData)(", "IData(")
    text = re.sub(r"\b(0x[0-9a-f]+|\d+)ULL", r"Int(\1, 64)", text)
    text = re.sub(r"\b(0x[0-9a-f]+|\d+)U", r"Int(\1, 32)", text)
    names = {name: Int(variables[name], 64 if WIDTHS[name] > 32 else 32) for name in WIDTHS}
    scope = {
        "Int": Int,
        "IData": lambda each: Int(each.number, 32),
        "QData": lambda each: Int(each.number, 64),
        "vlSelfRef": type("Self", (), names),
    }
    found = eval(text, scope)
    return found.number, found.width


@given(EXPRESSIONS, st.integers(0, 1), st.integers(0, 127), st.integers(0, 2**40 - 1))
def test_bits_of_expressions(text: str, a: int, b: int, c: int) -> None:
    variables = {"a": a, "b": b, "c": c}
    try:
        bits = bits_of(text, WIDTHS)
    except NotUnderstoodError:
        return
    number, width = value(text, variables)
    found = sum(
        1 << place
        for place, bit in enumerate(bits)
        if bit is not None
        and all(
            (variables[each.name.removeprefix("vlSelfRef.")] >> each.bit & 1) != each.inverted for each in bit
        )
    )
    assert (found, len(bits)) == (number, width)


@pytest.mark.parametrize(
    "text", ["a + b", "(vlSelfRef.a << vlSelfRef.b)", "vlSelfRef.x", "(1U", "f(1U)", "1U 2U", ""]
)
def test_expressions_that_are_not_understood(text: str) -> None:
    with pytest.raises(NotUnderstoodError):
        bits_of(text, WIDTHS)
