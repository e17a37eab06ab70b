"""Faults in RTL: where they are, and that the chosen one is in the chip and no other."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from etchproof.errors import InputError
from etchproof.render.fabric import Fabric, make_fabric
from etchproof.schemata.declared import RtlEdit
from etchproof.schemata.faults import WATCHED, RtlFault
from etchproof.schemata.holders import PACKAGE
from etchproof.schemata.sources import Schemata, draw, make_schemata, make_watching, read_sources
from etchproof.sim.environment import build_env
from etchproof.tools import find_verilator

CHIP = """
package numbers;
  function automatic logic [7:0] twice(input logic [7:0] x);
    return x << 1;
  endfunction
endpackage

module chip (
  input  wire              clk,
  input  wire  signed [7:0] x,
  output logic        [7:0] largest,
  output logic        [7:0] state,
  output wire         [7:0] sum
);
  import numbers::*;
  typedef enum logic [1:0] {Idle, Busy, Done} state_e;
  typedef enum logic {Even, Odd} turn_e;
  turn_e turn_q = Even;
  logic [7:0] count_q = '0;
  state_e state_q = Idle;
  logic [7:0] kept [4] = '{default: '0};
  wire [7:0] more = x + 8'd3;
  wire [31:0] wide = 16'(more);

  function automatic logic [7:0] greatest();
    greatest = '0;
    for (int i = 0; i < 4; i++) begin
      if (kept[i] > greatest) greatest = kept[i];
    end
  endfunction

  assign sum = (x < 0) ? 8'(-x) : twice(more);
  assign state = 8'(state_q) + (count_q << 2);

  always_comb largest = greatest();

  always_ff @(posedge clk) begin
    for (int i = 3; i > 0; i--) kept[i] <= kept[i-1];
    kept[0] <= sum;
  end

  always_ff @(posedge clk) begin
    case (state_q)
      Idle: if (x[0] && x[1]) state_q <= Busy;
      Busy: state_q <= Done;
      default: state_q <= Idle;
    endcase
  end

  always_ff @(posedge clk) begin
    case (turn_q)
      Even: turn_q <= Odd;
      Odd: turn_q <= Even;
      default: turn_q <= Even;
    endcase
    if (x[5]) count_q <= 8'd1;
    else if (x[4]) count_q <= count_q + 8'd2;
  end

`ifndef SYNTHESIS
  initial if (1 + 1 != 2) $fatal(1, "arithmetic");
`endif
endmodule

module watcher (input wire [7:0] value);
  wire [7:0] seen = value + 1;
endmodule
bind chip watcher u_watcher (.value(sum));
"""


def bench(chips: Sequence[str]) -> str:
    """A bench that feeds chips side by side and prints what each puts out, a line for each at a cycle."""
    parts = "\n".join(
        f"wire [7:0] largest{i}, state{i}, sum{i};\n"
        f"{chip} u{i} (.clk, .x, .largest(largest{i}), .state(state{i}), .sum(sum{i}));\n"
        f'always @(negedge clk) $display("{i}: %0d %0d %0d", largest{i}, state{i}, sum{i});'
        for i, chip in enumerate(chips)
    )
    return f"""
module bench;
  logic clk = 0;
  logic signed [7:0] x = 0;
  {parts}
  initial begin
    for (int i = 0; i < 40; i++) begin
      x = 8'(i * 37 - 60);
      #1 clk = 1;
      #1 clk = 0;
      #1;
    end
    $finish;
  end
endmodule
"""


@pytest.fixture
def fabric(tmp_path: Path) -> Fabric:
    folder = tmp_path / "fabric"
    folder.mkdir()
    (folder / "chip.sv").write_text(CHIP)
    (folder / "bench.sv").write_text(bench(["chip"]))
    return make_fabric(folder, ["chip.sv", "bench.sv"], "bench")


def all_faults(fabric: Fabric) -> list[RtlFault]:
    return draw(read_sources(fabric, {"bench.sv"}), seed=1)


def test_operators_find_their_places(fabric: Fabric) -> None:
    found = {fault.name for fault in all_faults(fabric)}
    assert len(found) == len(all_faults(fabric)), "every fault has a name of its own"
    for name in (
        "numbers: operator: x << 1 -> x >> 1",
        "numbers: shift: x << 1 -> x << (1 + 1)",
        "chip: operator: x + 8'd3 -> x - 8'd3",
        "chip: constant: 8'd3 -> 8'd4",
        "chip: operator: kept[i] > greatest -> kept[i] >= greatest",
        "chip: condition: kept[i] > greatest -> 1'b0",
        "chip: bound: i < 4 -> i < 4 - 1",
        "chip: sign: -x -> x",
        "chip: width: 8'(-x) -> 8'(7'(-x))",
        "chip: width: 8'(state_q) -> 8'(1'(state_q))",
        "chip: width: 16'(more) -> 16'(7'(more))",
        "chip: condition: (x < 0) ? 8'(-x) : twice(more) -> twice(more)",
        "chip: dropped: kept[0] <= sum; -> ;",
        "chip: state: Busy -> Done",
        "chip: state: Done -> Idle",
        "chip: operator: x[0] && x[1] -> x[0] || x[1]",
        "chip: index: i-1 -> ((i-1) ^ 1)",
    ):
        assert name in found, name
    assert "chip: state: Idle -> Busy" in found, "of a default that a state has left"
    assert {"chip: state: Odd -> Even", "chip: state: Even -> Odd"} <= found
    assert not any("Even" in name and "#2" in name for name in found), "no state has this default left"
    assert not any("watcher" in name or "seen" in name for name in found), "what is bound watches"
    assert not any("1 + 1 != 2" in name for name in found), "what is not synthesized is no chip"
    assert not any(re.search(r"\[7:0\]|7 -> ", name) for name in found), "a width of a type is no value"


DECLARED = (
    RtlEdit("chip.sv", "a loop that begins late", "int i = 3; i > 0", "int i = 2; i > 0"),
    RtlEdit(
        "chip.sv",
        "a process in other words",
        "if (x[0] && x[1]) state_q <= Busy;\n      Busy:",
        "state_q <= Busy;\n      Busy:",
    ),
    RtlEdit("chip.sv", "half an expression", "(x < 0) ? 8'(-x)", "(x > 0) ? 8'(-x)"),
    RtlEdit("chip.sv", "a net", "x + 8'd3", "8'd3 - x"),
    RtlEdit(
        "chip.sv", "of a function", "for (int i = 0; i < 4; i++) begin", "for (int i = 1; i < 4; i++) begin"
    ),
    RtlEdit("other.sv", "of no such source", "a", "b"),
)


def test_what_a_project_declares(fabric: Fabric, tmp_path: Path) -> None:
    sources = read_sources(fabric, {"bench.sv"})
    drawn = draw(sources, 1, DECLARED)
    assert [fault.operator for fault in drawn[:5]] == [edit.what for edit in DECLARED[:5]]
    assert drawn[5:] == draw(sources, 1)
    assert drawn[1].name.startswith(
        "chip: a process in other words: if (x[0] && x[1]) state_q <= Busy; Busy: -> "
    )
    made = make_schemata(fabric, sources, drawn, 400, tmp_path / "out")
    assert not {edit.what for edit in DECLARED} & {fault.operator for fault in made.refused}
    for fault, edit in zip(drawn[:5], DECLARED, strict=False):
        alone = sources["chip.sv"].with_faults({1: fault})[0]
        assert alone.count(edit.becomes) == CHIP.count(edit.becomes) + 1, alone


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        ("<= nothing", "", "stands there 0 times"),
        ("x[", "", "stands there 4 times"),
        ("x + 8'd3", "x + 8'd3", "becomes the same"),
        ("largest,\n", "larger,\n", "is in no function, process or assignment"),
    ],
)
def test_what_cannot_be_planted(fabric: Fabric, was: str, becomes: str, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        draw(read_sources(fabric, {"bench.sv"}), 1, [RtlEdit("chip.sv", "wrong", was, becomes)])


def test_the_same_seed_draws_the_same(fabric: Fabric) -> None:
    sources = read_sources(fabric, {"bench.sv"})
    assert draw(sources, 1) == draw(sources, 1)
    assert draw(sources, 1)[:9] != draw(sources, 2)[:9]
    operators = {fault.operator for fault in draw(sources, 1)[:24]}
    assert len(operators) > 6, "each kind of fault comes before a second one of any"


def test_sources_without_a_fault_are_as_they_were(fabric: Fabric) -> None:
    for name, source in read_sources(fabric, set()).items():
        assert source.with_faults({}) == ((fabric.folder / name).read_text(), [])


def test_what_does_not_elaborate_is_left_out(fabric: Fabric, tmp_path: Path) -> None:
    sources = read_sources(fabric, {"bench.sv"})
    faults = draw(sources, 1)
    made = make_schemata(fabric, sources, faults, len(faults), tmp_path / "out")
    assert len(made.faults) + len(made.refused) == len(faults)
    assert len(made.refused) < len(faults) / 10
    some = make_schemata(fabric, sources, faults, 40, tmp_path / "some")
    assert list(some.faults.values()) == list(made.faults.values())[:40], "the next one takes its place"
    assert made.fabric.sources[:2] == ("ep_faults.vlt", f"{PACKAGE}.sv")


MACROS = """
`define ONE 8'd1
`define SUM a + b
`define DRIVE assign z = a;
module chip (
  input wire [7:0] a, b, input wire [1:0] pick,
  output reg [7:0] y, output wire [7:0] x, z, output reg [7:0] w
);
  wire is_one = a == `ONE;
  wire both = a == `ONE && b == 8'd2;
  assign x = is_one ? b : `SUM;
  `DRIVE
  always @* begin
    case (pick)
      `ONE: y = `SUM;
      8'd2: y = both ? `ONE : a;
      default: y = (a == `ONE) ? 8'd3 : `ONE;
    endcase
  end
  always @* w = `SUM;
  function [7:0] plus(input [7:0] c);
    plus = c + `ONE;
  endfunction
endmodule
"""


def test_what_a_macro_has_a_part_in_is_left_alone(tmp_path: Path) -> None:
    """A text that begins or ends in a macro stands somewhere else: an offset of it is none of this source."""
    folder = tmp_path / "fabric"
    folder.mkdir()
    (folder / "chip.v").write_text(MACROS)
    fabric = make_fabric(folder, ["chip.v"], "chip")
    sources = read_sources(fabric, set())
    drawn = draw(sources, 1)
    for fault in drawn:
        assert MACROS[fault.edit.start : fault.edit.end] == fault.was
        assert fault.was.count("(") == fault.was.count(")"), fault.name
    names = {fault.name for fault in drawn}
    assert names >= {
        "chip: constant: 8'd2 -> 8'd3",
        "chip: dropped: y = `SUM; -> ;",
        "chip: dropped: plus = c + `ONE; -> ;",
        "chip: constant: 8'd3 -> 8'd4",
    }
    made = make_schemata(fabric, sources, drawn, len(drawn), tmp_path / "out")
    text = (made.fabric.folder / "chip.v").read_text()
    assert text.count("endmodule") == 1 and not made.refused


@pytest.mark.sim
def test_a_fault_that_is_worth_a_warning_is_built(tmp_path: Path) -> None:
    """A constant one larger selects a bit that is not there: a warning that is no lint, and fails a build."""
    folder = tmp_path / "fabric"
    folder.mkdir()
    (folder / "chip.sv").write_text(
        "module chip (input wire [7:0] x, output wire [7:0] y);\n"
        "  function automatic logic [7:0] upper(input logic [7:0] z);\n    return 8'(z[7:4]);\n  endfunction\n"
        "  assign y = upper(x);\nendmodule\n"
    )
    fabric = make_fabric(folder, ["chip.sv"], "chip")
    sources = read_sources(fabric, set())
    faults = [fault for fault in draw(sources, 1) if (fault.was, fault.edit.text) == ("7", "8")]
    made = make_schemata(fabric, sources, faults, 1, tmp_path / "out")
    assert len(made.faults) == 1
    verilator = find_verilator()
    for apart, said in ((0, ""), (1, "SELRANGE")):
        words = [str(verilator.path), "--lint-only", "--top-module", "chip", *made.fabric.compiled[apart:]]
        env = build_env(verilator)
        done = subprocess.run(
            words, cwd=made.fabric.folder, capture_output=True, text=True, env=env, check=False
        )
        assert (done.returncode == 0) == (not said) and said in done.stderr, done.stderr


def _build(fabric: Fabric, folder: Path) -> Path:
    verilator = find_verilator()
    words = [str(verilator.path), "--binary", "--timing", "-Wno-fatal", "-Wno-lint", "--top-module", "bench"]
    words += [
        "-CFLAGS",
        "-std=c++20 -O0",
        "-MAKEFLAGS",
        "CXX=g++ LINK=g++ CFG_CXXFLAGS_PCH_I=-include OPT_GLOBAL=-O0",
    ]
    native = [str(fabric.folder / name) for name in fabric.setup.native]
    command = [*words, "--Mdir", str(folder / "obj"), *fabric.compiled, *native]
    env = build_env(verilator)
    subprocess.run(command, cwd=fabric.folder, check=True, capture_output=True, env=env)
    return folder / "obj" / "Vbench"


def _said(program: Path, *words: str) -> dict[str, list[str]]:
    """What each chip of a bench put out."""
    done = subprocess.run([program, *words], check=True, capture_output=True, text=True, timeout=60)
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        chip, colon, values = line.partition(": ")
        if colon and chip.isdigit():
            found.setdefault(chip, []).append(values)
    return dict(sorted(found.items(), key=lambda one: int(one[0])))


@pytest.mark.sim
def test_the_chosen_fault_is_in_the_chip_and_no_other(fabric: Fabric, tmp_path: Path) -> None:
    """A choice computes as the source with that change alone, for a fault of every kind of place."""
    sources = read_sources(fabric, {"bench.sv"})
    made: Schemata = make_schemata(fabric, sources, draw(sources, 1, DECLARED), 10_000, tmp_path / "schemata")
    numbers = {fault.name: number for number, fault in made.faults.items()}
    names = (
        "numbers: operator: x << 1 -> x >> 1",  # a function of a package
        "chip: condition: kept[i] > greatest -> 1'b1",  # a function that loops
        "chip: index: i-1 -> ((i-1) ^ 1)",  # a process that loops
        "chip: operator: x + 8'd3 -> x - 8'd3",  # a net's declaration
        "chip: dropped: state_q <= Done; -> ;",  # a statement
        "chip: operator: x[0] && x[1] -> x[0] || x[1]",
        *(fault.name for fault in draw(sources, 1, DECLARED)[:5]),
    )
    direct = tmp_path / "direct"
    direct.mkdir()
    text = CHIP.partition("module watcher")[0].encode()
    for index, name in enumerate(names):
        edit = made.faults[numbers[name]].edit
        edited = (text[: edit.start] + edit.text.encode() + text[edit.end :]).decode()
        edited = edited.replace("module chip", f"module chip{index}").replace("numbers", f"numbers{index}")
        (direct / f"chip{index}.sv").write_text(edited)
    (direct / "chip.sv").write_text(text.decode())
    files = ["chip.sv", *(f"chip{index}.sv" for index in range(len(names)))]
    (direct / "bench.sv").write_text(bench([file.removesuffix(".sv") for file in files]))
    plain, *edited_alone = _said(_build(make_fabric(direct, [*files, "bench.sv"], "bench"), direct)).values()
    program = _build(made.fabric, tmp_path / "schemata")
    assert len(plain) == 40 and _said(program, "+ep_fault=0") == _said(program) == {"0": plain}
    for name, expected in zip(names, edited_alone, strict=True):
        assert _said(program, f"+ep_fault={numbers[name]}") == {"0": expected}, name
        assert expected != plain, name


@pytest.mark.sim
def test_what_a_fault_would_change_is_told(fabric: Fabric, tmp_path: Path) -> None:
    """The chip is right, and a fault is told of where its text has another value for what the bench feeds."""
    sources = read_sources(fabric, {"bench.sv"})
    drawn = draw(sources, 1, DECLARED)
    numbers = {fault.name: number for number, fault in enumerate(drawn, 1)}
    made = make_watching(fabric, sources, dict(enumerate(drawn, 1)), tmp_path / "watching")
    assert {fault.operator for fault in made.refused} >= {edit.what for edit in DECLARED[:5]}
    watching, plain = _build(made.fabric, tmp_path / "watching"), _build(fabric, tmp_path)
    file = tmp_path / "told"
    assert _said(watching, f"+{WATCHED}={file}") == _said(plain)
    told = [int(line) for line in file.read_text().split()]
    assert len(told) == len(set(told)) and set(told) <= set(made.faults)
    for name, differs in (
        ("numbers: shift: x << 1 -> x << (1 + 1)", True),
        ("chip: operator: kept[i] > greatest -> kept[i] >= greatest", True),
        ("chip: index: i-1 -> ((i-1) ^ 1)", True),
        ("chip: dropped: kept[0] <= sum; -> ;", True),
        ("chip: operator: x[0] && x[1] -> x[0] || x[1]", True),
        ("chip: width: 8'(state_q) -> 8'(1'(state_q))", True),
        ("chip: width: 16'(more) -> 16'(7'(more))", True),
    ):
        assert numbers[name] in made.faults, name
        assert (numbers[name] in told) == differs, name
    assert set(made.faults) - set(told)
