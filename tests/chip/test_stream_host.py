"""A chip with a ``[host]``: the engine's top and tests around pins with a handshake, and everything that is no PASS."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HERE = Path(__file__).parent / "stream"
WAIVED = '\n[rtl.waive]\nWIDTHTRUNC = "of a test"\nWIDTHEXPAND = "of a test"\n'
pytestmark = pytest.mark.sim


@pytest.fixture
def team(tmp_path: Path) -> Path:
    """The project, its model and some vectors."""
    root = tmp_path / "team"
    shutil.copytree(HERE, root, ignore=shutil.ignore_patterns("__pycache__"))
    np.save(root / "model.npy", np.array([1, 1, 1, 1, 0], np.uint8))
    np.save(root / "vectors.npy", np.random.default_rng(1).integers(0, 256, (24, 4), np.uint8))
    return root


def run(team: Path, *words: str, command: str = "cosim") -> tuple[int, str, dict[str, Any]]:
    out = team / "out"
    shutil.rmtree(out, ignore_errors=True)
    line = [
        sys.executable,
        "-m",
        "etchproof",
        command,
        *words,
        "model.npy",
        "--build",
        "plain",
        "--out",
        str(out),
    ]
    done = subprocess.run(line, cwd=team, capture_output=True, text=True, timeout=300, check=False)
    record = out / ("run.json" if command == "cosim" else "item.json")
    return (
        done.returncode,
        done.stdout + done.stderr,
        json.loads(record.read_text()) if record.exists() else {},
    )


def test_pass(team: Path) -> None:
    status, said, record = run(team, "--vectors", "vectors.npy")
    assert status == 0, said
    assert (record["tokens_fed"], record["elements_compared"]) == (24, 96)
    vectors = np.load(team / "vectors.npy")
    assert record["vectors"]["answers"] == (vectors[:, 0] + np.uint8(1)).tolist()
    assert (record["recipe"], record["health"]) == (None, None)
    status, said, record = run(team, "RandomInputs", command="test")
    assert status == 0, said
    assert record["vectors"] > 4 and record["statuses"] == {"0": record["vectors"]}
    status, said, _ = run(team, "--prompt-ids", "1")
    assert status == 2 and "--vectors" in said


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (1, "stray_answer"),
        (2, "answer_not_held"),
        (3, "answer_not_held"),
        (4, "early_answer"),
        (5, "status"),
        (6, "response_token"),
        (7, "timeout"),
        (8, "status"),
        (9, "answer_not_held"),
    ],
)
def test_planted(team: Path, fault: int, reason: str) -> None:
    np.save(team / "model.npy", np.array([1, 1, 1, 1, fault], np.uint8))
    status, said, record = run(team, "RandomInputs", command="test")
    assert status == 1, said
    assert reason in said and record["verdict"] == "FAIL"


def test_a_fault_is_found(team: Path) -> None:
    status, said, record = run(team, "--vectors", "vectors.npy", "--inject", "rom:tables/add.hex[2]^3")
    assert status == 1, said
    first = record["first_divergence"]
    assert (first["tap"], first["element"], first["token"]) == ("sum", 2, 0)
    assert abs(first["expected"] - first["got"]) in (8, 248)
    for site, problem in (
        ("rom:no.hex[0]^0", "known are tables/add.hex, tables/fault.hex"),
        ("rom:tables/add.hex[4]^0", "outside [4]"),
        ("rom:tables/add.hex[0,0]^0", "has 2 indices, the words are [4]"),
        ("rom:tables/add.hex[0]^8", "bit 8 of 8"),
    ):
        status, said, _ = run(team, "--vectors", "vectors.npy", "--inject", site)
        assert status == 2 and problem in said, said


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (np.zeros((3, 5), np.uint8), "expected (vectors, 4)"),
        (np.zeros((0, 4), np.uint8), "expected (vectors, 4)"),
        (np.full((2, 4), 256), "holds 256, expected 0 .. 255"),
        (np.zeros((2, 4)), "no array of integers"),
    ],
)
def test_bad_vectors(team: Path, array: Any, problem: str) -> None:
    np.save(team / "bad.npy", array)
    status, said, _ = run(team, "--vectors", "bad.npy")
    assert status == 2 and problem in said, said


def test_pulses_without_ready(tmp_path: Path) -> None:
    """No port holds anything back; `done` stays high; the chip is reset before each sequence."""
    root = tmp_path / "team"
    shutil.copytree(HERE.parent / "pulses", root, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "model.npy").write_text("3")
    status, said, record = run(root, "--prompt-ids", "7", "--tokens", "4")
    assert status == 0, said
    assert record["generated_tokens"] == [10, 13, 16, 19]
    assert [
        token["cycles_model"]
        for token in json.loads((root / "out" / "comparison.json").read_text())["tokens"]
    ] == [4] * 4
    for build in ("plain", "strict"):
        status, said, record = run(root, "RandomInputs", "--build", build, command="test")
        assert status == 0, said
        assert record["sequences"][-1]["tokens"] and len(record["sequences"][-1]["tokens"]) == 9
    status, said, record = run(root, "--prompt-ids", "7", "--tokens", "4", "--inject", "rom:step.hex[0]^2")
    assert status == 1 and record["first_divergence"]["tap"] == "next", said
    file = root / "counter_model.py"
    file.write_text(file.read_text().replace("return 4", "return 4 if position < 8 else 5"))
    status, said, record = run(root, "RandomInputs", command="test")
    assert status == 1 and "token at position 8 took 4 cycles, the cycle model says 5" in said, said


def test_a_memory_that_is_not_given(team: Path) -> None:
    """Verilator only warns of a file that `$readmemh` does not find."""
    file = team / "echo_model.py"
    file.write_text(file.read_text().replace(', Memory("tables/fault.hex", np.array([model.fault]), 4)', ""))
    status, said, _ = run(team, "--vectors", "vectors.npy")
    assert status == 1 and "memory_missing: tables/fault.hex" in said, said


def test_a_memory_in_the_place_of_data(team: Path) -> None:
    file = team / "etchproof.toml"
    file.write_text(file.read_text().replace("[rtl]\n", '[rtl]\ndata = {"tables/add.hex" = "echo.v"}\n'))
    status, said, _ = run(team, "--vectors", "vectors.npy")
    assert status == 2 and "rom.memories: gives what is no memory: 'tables/add.hex' stands twice" in said, (
        said
    )


def test_a_golden_model_that_fails(team: Path) -> None:
    """The reason that comes first is the golden model's own error, with its place."""
    file = team / "echo_model.py"
    text = file.read_text()
    assert text.count('        return {(-1, "sum"):') == 1
    file.write_text(
        text.replace(
            '        return {(-1, "sum"):', '        raise ValueError("oops")\n        return {(-1, "sum"):'
        )
    )
    status, said, _ = run(team, "--vectors", "vectors.npy")
    assert status == 1 and "golden_failed: ValueError at echo_model.py:" in said and ": oops" in said, said


def test_a_tap_that_nobody_declared_is_refused(team: Path) -> None:
    file = team / "echo_model.py"
    file.write_text(file.read_text().replace('{(-1, "sum"):', '{(0, "sums"): vectors, (-1, "sum"):'))
    status, said, _ = run(team, "--vectors", "vectors.npy")
    assert status == 1 and "golden_failed: predict: gives (0, 'sums'), which is no declared tap" in said, said


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ("$finish", r"simulator_exit: the RTL ended the simulation: echo\.v:\d+: Verilog \$finish"),
        ('$fatal(1, "oops")', r"simulator_exit: .*%Fatal: echo\.v:\d+: .* oops"),
    ],
)
def test_an_rtl_that_ends_the_simulation(team: Path, call: str, told: str) -> None:
    """The verdict says where, and what was answered before is compared."""
    file = team / "echo.v"
    before, _, after = file.read_text().rpartition("endmodule")
    file.write_text(f"{before}  always @(posedge clk) if (packets == 5) {call};\nendmodule{after}")
    status, said, record = run(team, "--vectors", "vectors.npy")
    assert status == 1 and record["elements_compared"] == 16, said
    first = next(line for line in said.splitlines() if line.startswith("reason"))
    assert re.search(told, first), said
    assert "tokens: request 4, token 4, was not made" in said


def test_a_file_that_the_project_does_not_declare(team: Path) -> None:
    """Its content is in no hash: what ran with another content could be served as this run's result."""
    (team / "beside.hex").write_text("00000000\n")
    file = team / "echo.v"
    text = file.read_text()
    for path in (str(team / "beside.hex"), "../beside.hex"):
        file.write_text(text.replace('"tables/fault.hex"', f'"{path}"'))
        status, said, _ = run(team, "--vectors", "vectors.npy")
        assert status == 1 and f"undeclared_file: the RTL read {path}" in said, said


def test_a_memory_that_the_rtl_does_not_read(team: Path) -> None:
    """What the chip then computes with is not what was compared with the model."""
    file = team / "echo.v"
    text = file.read_text()
    file.write_text(text.replace('"tables/fault.hex"', '"./tables/../tables/fault.hex"'))
    status, said, _ = run(team, "--vectors", "vectors.npy")
    assert status == 0, said
    file.write_text(text.replace('$readmemh("tables/fault.hex", fault)', "fault[0] = 0"))
    status, said, _ = run(team, "--vectors", "vectors.npy")
    assert status == 1 and "memory_unread: the RTL did not read tables/fault.hex" in said, said


@pytest.mark.parametrize(
    ("old", "new", "shape"),
    [
        ("[7:0] add [0:3]", "[6:0] add [0:3]", "4 words of 8 bits, the RTL's array takes 4 of 7 bits"),
        ("[7:0] add [0:3]", "[7:0] add [int]", "is not read by $readmemh into an array of a size"),
        ('hex", add)', 'hex", add, 0, 3)', ""),
        ("[7:0] add [0:3]", "[7:0] add [0:7]", "4 words of 8 bits, the RTL's array takes 8 of 8 bits"),
    ],
)
def test_a_memory_of_another_shape_than_the_rtls_array(team: Path, old: str, new: str, shape: str) -> None:
    """Verilator cuts what is too wide, and rows that no file fills hold nothing that anybody declared."""
    np.save(team / "model.npy", np.array([1, 1, 1, 1, 0], np.uint8))  # no bit is lost, so every tap is equal
    file = team / "echo.v"
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))
    toml = team / "etchproof.toml"
    toml.write_text(f"{toml.read_text()}{WAIVED}")
    status, said, _ = run(team, "--vectors", "vectors.npy")
    if not shape:
        assert status == 0, said
    else:
        assert status == 1 and re.search(f"memory_shape: tables/add.hex (has )?{re.escape(shape)}", said), (
            said
        )


def test_rows_that_no_file_fills(team: Path) -> None:
    """The range of a $readmemh fits its file; the rest of the array is declared nowhere."""
    file = team / "echo_model.py"
    file.write_text(
        file.read_text()
        .replace('hex", model.add, 8)', 'hex", model.add[:2], 8)')
        .replace("self._add = model.add", "self._add = model.add * np.array([1, 1, 0, 0], np.uint8)")
    )
    rtl = team / "echo.v"
    rtl.write_text(rtl.read_text().replace('hex", add)', 'hex", add, 0, 1)'))
    status, said, _ = run(team, "--vectors", "vectors.npy")
    assert status == 1 and "memory_shape: tables/add.hex fills 2 of the 4 rows of the RTL's array" in said, (
        said
    )
    more = 'hex", add, 0, 1);\n    $readmemh("tables/more.hex", add, 2, 3)'
    rtl.write_text(rtl.read_text().replace('hex", add, 0, 1)', more))
    (team / "more.hex").write_text("00\n00\n")
    toml = team / "etchproof.toml"
    toml.write_text(toml.read_text().replace("[rtl]\n", '[rtl]\ndata = {"tables/more.hex" = "more.hex"}\n'))
    status, said, _ = run(team, "--vectors", "vectors.npy")
    assert status == 0, said


def test_an_array_may_be_wider_than_its_memory(team: Path) -> None:
    file = team / "echo.v"
    file.write_text(file.read_text().replace("[7:0] add [0:3]", "[8:0] add [3:0]"))
    toml = team / "etchproof.toml"
    toml.write_text(f"{toml.read_text()}{WAIVED}")
    status, said, _ = run(team, "--vectors", "vectors.npy")
    assert status == 0, said


def test_what_the_projects_python_reads_is_declared(team: Path) -> None:
    """Its content is in the key of a stored result, which another content makes stale."""
    (team / "offset.txt").write_text("0")
    file = team / "echo_model.py"
    text = file.read_text()
    assert text.count("self._add = model.add") == 1
    file.write_text(
        text.replace(
            "self._add = model.add",
            "self._add = model.add + int(Path(__file__).with_name('offset.txt').read_text())",
        )
    )
    status, said, _ = run(team, "--vectors", "vectors.npy")
    assert status == 1, said
    assert re.search(
        r"golden_failed: \S*etchproof\.toml: golden\.data: echo_model\.py:\d+ reads offset\.txt, which no key names",
        said,
    )
    toml = team / "etchproof.toml"
    toml.write_text(toml.read_text().replace("[golden]\n", '[golden]\ndata = ["offset.txt"]\n'))
    (team / "list.yaml").write_text(
        "entries:\n- {tests: [RandomInputs], models: [model.npy], builds: [plain]}\n"
    )
    line = [sys.executable, "-m", "etchproof", "regress", "list.yaml", "--out", "listed", "-j", "1"]

    def regress() -> tuple[int, str]:
        done = subprocess.run(line, cwd=team, capture_output=True, text=True, timeout=300, check=False)
        return done.returncode, done.stdout + done.stderr

    status, said = regress()
    assert status == 0, said
    status, said = regress()
    assert "passed before" in said, said
    (team / "offset.txt").write_text("1")
    status, said = regress()
    assert status == 1 and "passed before" not in said, said


def test_a_model_names_every_file_that_it_was_read_from(team: Path) -> None:
    file = team / "echo_model.py"
    file.write_text(
        file.read_text().replace(
            "    add = np.load(path)", "    add = np.load(path) + np.load(path.with_name('more.npy'))"
        )
    )
    np.save(team / "more.npy", np.zeros(5, np.uint8))
    status, said, _ = run(team, "--vectors", "vectors.npy")
    assert status == 2 and "more.npy, which is not among the model's files" in said, said
    file.write_text(file.read_text().replace("Model((path,)", "Model((path, path.with_name('more.npy'))"))
    status, said, _ = run(team, "--vectors", "vectors.npy")
    assert status == 0, said


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("vocab_size: int | None = None", "vocab_size: int | None = 0", "whose vocab_size is 0"),
        ("elements: int = 4", "elements: int | None = None", "whose elements is None"),
        ("elements: int = 4", "elements: int = 4\n    stop_tokens: None = None", "whose stop_tokens is None"),
        ("elements: int = 4", "elements: int = 4\n    element_range: int = 5", "whose element_range is 5"),
        ("Model((path,),", "Model(path,", "whose files are"),
        ("context: int | None = None", "context: int | None = 3", "the chip's context holds 3"),
        ("    add = np.load(path)", "    open('/no/such')", "'echo_model:load' failed: FileNotFoundError at"),
        ("    add = np.load(path)", "    raise SystemExit(0)", "'echo_model:load' failed: SystemExit"),
        ('"tables/fault.hex"', '"tables/add.hex"', "'tables/add.hex' stands twice"),
    ],
)
def test_models_that_are_none(team: Path, old: str, new: str, problem: str) -> None:
    file = team / "echo_model.py"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    status, said, _ = run(team, "--vectors", "vectors.npy")
    assert status == 2 and problem in said and "Traceback" not in said, said


def test_gates_that_were_meant_are_missing(team: Path) -> None:
    file = team / "etchproof.toml"
    file.write_text(file.read_text() + '\n[signoff]\ngates = "tapeout.yaml"\n')
    line = [sys.executable, "-m", "etchproof", "signoff", "model.npy", "--out", "signed"]
    done = subprocess.run(line, cwd=team, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2 and "tapeout.yaml: signoff.gates: no such file" in done.stderr, done.stderr


def test_a_waiver_does_not_reach_the_engines_top(team: Path) -> None:
    """A warning that a team waives in its RTL still fails the build where the top is wired: bits would be lost."""
    file = team / "etchproof.toml"
    text = file.read_text()
    waived = '[rtl.waive]\nWIDTHTRUNC = "wraps"\nWIDTHEXPAND = "wraps"\nPINMISSING = "spare"\n'
    file.write_text(f"{text}\n{waived}")
    status, said, _ = run(team, "--vectors", "vectors.npy")
    assert status == 0, said
    ports = [line for line in text.splitlines() if line.startswith("input")]
    assert len(ports) == 1 and "[" in ports[0], ports
    narrow = re.sub(r"\[\d+:0\]", "[3:0]", ports[0])
    file.write_text(f"{text.replace(ports[0], narrow)}\n{waived}")
    np.save(team / "vectors.npy", np.load(team / "vectors.npy") % 16)
    status, said, _ = run(team, "--vectors", "vectors.npy")
    assert status == 2 and "host.input.data: 'x' has 8 bits in echo" in said, said


def test_a_build_that_fails_for_a_port_says_so_in_the_words_of_the_host(team: Path) -> None:
    file = team / "etchproof.toml"
    text = file.read_text()
    file.write_text(text.replace('rst"', 'reset"'))
    status, said, _ = run(team, "--vectors", "vectors.npy")
    assert (
        status == 2 and "etchproof.toml: host.reset: 'reset' is no port of echo, which has clk, rst" in said
    ), said
    file.write_text(text)
    rtl = team / "echo.v"
    rtl.write_text(rtl.read_text().replace("words[at] <= x;", "words[at] <= x + 9'd0;"))
    status, said, _ = run(team, "--vectors", "vectors.npy")
    assert status == 2 and re.search(
        r"%Warning-WIDTH\w+: echo\.v.*\(\d in all; mend the RTL, or waive", said
    ), said


def test_what_the_sources_include_is_part_of_the_fabric(team: Path) -> None:
    """Of a file that is in no hash, a simulator from the cache would not be the RTL's."""
    beside = team / "beside"
    beside.mkdir()
    (beside / "more.vh").write_text("`define PLUS 8'd0\n")
    (beside / "k.h").write_text("const int k = 0;\n")
    rtl, toml = team / "echo.v", team / "etchproof.toml"
    text, declared = rtl.read_text(), toml.read_text()
    rtl.write_text(
        f'`include "{beside}/more.vh"\n' + text.replace("words[at] <= x;", "words[at] <= x + `PLUS;")
    )
    status, said, _ = run(team, "--vectors", "vectors.npy")
    assert status == 2 and "beside/more.vh: rtl.include: is read by the sources" in said, said
    rtl.write_text(rtl.read_text().replace(f"{beside}/", ""))
    toml.write_text(declared.replace("[rtl]\n", '[rtl]\ninclude = ["beside"]\n'))
    status, said, _ = run(team, "--vectors", "vectors.npy")
    assert status == 0, said
    rtl.write_text(text)
    (team / "tb.cpp").write_text(f'#include "{beside}/k.h"\nint more() {{ return k; }}\n')
    toml.write_text(declared.replace("[rtl]\n", '[rtl]\ntestbench = ["tb.cpp"]\n'))
    status, said, _ = run(team, "--vectors", "vectors.npy")
    assert status == 2 and "beside/k.h: rtl.include: is read by the sources" in said, said
