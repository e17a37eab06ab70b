"""Three linters over rendered chips, and each of them seen to catch what it is there for."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from etchproof.checkpoint.config import read_config
from etchproof.errors import InputError
from etchproof.project.declaration import load_project
from etchproof.quantize.recipe import load_recipe
from etchproof.render.fabric import make_fabric
from etchproof.render.lint import WAIVERS, LintReport, lint, lint_project, read_waivers, stale_waivers
from etchproof.tools import find_verilator, simulation_env
from tests.conftest import ROOT
from tests.render.designs import PLAIN, render_design, render_whole

pytestmark = pytest.mark.sim  # Verilator; `make lint-rtl` lints the same configurations

RULES = ROOT / "hw" / "lint"
SHAPES = RULES / "configurations"
SIM_ONLY = sorted(
    [path.name for path in (ROOT / "hw" / "sim").glob("*.sv")]
    + [path.relative_to(ROOT).as_posix() for path in (ROOT / "verif").rglob("*.sv")]
)
CONFIGURATIONS = {
    "tiny": (ROOT / "models" / "tiny", "w6a16"),
    "awkward": (SHAPES / "awkward", str(SHAPES / "awkward" / "mixed.yaml")),
    "stories260k": (SHAPES / "stories260k", "w3w6a16"),
    "no-lora": (SHAPES / "stories260k", str(SHAPES / "stories260k" / "no-lora.yaml")),
}


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LintReport]:
    folder = tmp_path_factory.mktemp("lint")
    found, project = {}, load_project(ROOT)
    for name, (model, recipe) in CONFIGURATIONS.items():
        design = read_config(model), load_recipe(recipe, ROOT / "models" / "recipes")
        found[name] = lint_project(project, render_whole(design, folder / name))
    return found


def test_rendered_chips_are_clean_and_no_waiver_is_stale(reports: dict[str, LintReport]) -> None:
    assert [str(finding) for report in reports.values() for finding in report.open] == []
    assert stale_waivers(reports.values(), read_waivers(RULES / WAIVERS)) == ()


def test_a_waiver_covers_the_warning_that_it_quotes(reports: dict[str, LintReport]) -> None:
    for waiver in read_waivers(RULES / WAIVERS):
        covered = [f for r in reports.values() for f in r.findings if waiver.covers(f)]
        assert {f"{finding.rule}: {finding.message}" for finding in covered} == {waiver.quote}
        assert {finding.waived for finding in covered} == {waiver.reason}


def test_only_synthesis_has_waivers(reports: dict[str, LintReport]) -> None:
    """As simulated the chip is clean with none: they are all about what taps and image loading leave behind."""
    assert {f.view for r in reports.values() for f in r.findings} == {"synthesis"}


def test_a_record_is_json(reports: dict[str, LintReport]) -> None:
    record = json.loads(json.dumps(reports["tiny"].record()))
    assert record["ok"] is True
    assert set(record["tools"]) == {"verilator", "verible", "pyslang"}
    assert all(finding["waived"] for finding in record["findings"])


PLANTED = {
    "verilator": ("ep_argmax.sv", "block_q + 1'b1", "16'(block_q)", "WIDTHTRUNC"),
    "verible": ("ep_argmax.sv", "logic [31:0] token_d;", "logic [31:0] token_d;   ", "no-trailing-spaces"),
    "slang": ("ep_argmax.sv", "best_d  = best_q;", "best_d  = best_p;", ""),
    "initial": ("ep_clock_gate.sv", "  assign", "  initial en_q = 1'b0;\n  assign", "InitialBlock"),
    "call": ("ep_clock_gate.sv", "  assign", '  always_comb $display("x");\n  assign', "SystemName"),
    "string": ("ep_clock_gate.sv", "  assign", '  localparam string S = "x";\n  assign', "StringType"),
    "import": (
        "ep_clock_gate.sv",
        "  assign",
        '  import "DPI-C" function void f(input int x);\n  assign',
        "DPIImport",
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_each_tool_sees_its_fault(name: str, tmp_path: Path) -> None:
    file, old, new, rule = PLANTED[name]
    fabric = render_whole(PLAIN, tmp_path / "out")
    text = (tmp_path / "out" / file).read_text()
    assert old in text
    (tmp_path / "out" / file).write_text(text.replace(old, new, 1))
    report = lint(
        make_fabric(fabric.folder, fabric.sources, fabric.top, fabric.setup), rules=RULES, sim_only=SIM_ONLY
    )
    tool = name if name in ("verilator", "verible", "slang") else "synthesizable"
    assert not report.ok
    assert (tool, rule, file) in {(f.tool, f.rule, f.file) for f in report.open}


def test_simulation_only_code_is_seen_without_the_macro(tmp_path: Path) -> None:
    """The synthesis view is clean because of what it leaves out, not because nothing looks at it."""
    report = lint(render_whole(PLAIN, tmp_path / "out"), rules=RULES)
    kinds = {finding.rule for finding in report.open if finding.tool == "synthesizable"}
    assert {"DPIImport", "InitialBlock", "DelayControl"} <= kinds


def test_verilator_takes_the_waiver_file_itself(tmp_path: Path) -> None:
    names = [name for name in render_design(PLAIN, tmp_path / "out") if name not in SIM_ONLY]
    sources = [name for name in names if not name.endswith(".vlt")]
    verilator = find_verilator()
    flags = ("--lint-only", "-Wall", "--timescale", "1ns/1ps", "--unroll-count", "1", "-DSYNTHESIS")
    done = subprocess.run(
        [str(verilator.path), *flags, str(RULES / WAIVERS), *sources],
        cwd=tmp_path / "out",
        env={**os.environ, **simulation_env(verilator)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lint_off -rule UNDRIVEN\n", "is no waiver"),
        ('// UNDRIVEN: x\n// Why.\nlint_off -rule UNDRIVEN -file "*"\n', "is no waiver"),
        ('lint_off -rule UNDRIVEN -file "*" -match "x"\n', "must quote the warning"),
        ('// UNDRIVEN: x\nlint_off -rule UNDRIVEN -file "*" -match "x"\n', "must quote the warning"),
        ('// Why.\n// And.\nlint_off -rule UNDRIVEN -file "*" -match "x"\n', "must quote the warning"),
    ],
)
def test_a_waiver_without_its_reason_is_refused(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / WAIVERS).write_text(text)
    with pytest.raises(InputError, match=said):
        read_waivers(tmp_path / WAIVERS)


def test_missing_rules_are_named(tmp_path: Path) -> None:
    fabric = render_whole(PLAIN, tmp_path / "out")
    with pytest.raises(InputError, match=r"verilator\.vlt: file not found"):
        lint(fabric, rules=tmp_path, sim_only=SIM_ONLY)


def test_the_command_counts_stale_waivers_as_failure(tmp_path: Path) -> None:
    for name in ("hw", "models", "templates", "verif"):
        shutil.copytree(
            ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors")
        )
    shutil.copy(ROOT / "etchproof.toml", tmp_path)
    waivers = tmp_path / "hw" / "lint" / WAIVERS
    extra = '\n// UNDRIVEN: Signal\n// None.\nlint_off -rule UNDRIVEN -file "*ep_pkg.sv" -match "Signal"\n'
    waivers.write_text(waivers.read_text() + extra)
    script = "import sys; from etchproof.cli.lint import main; sys.exit(main(['models/tiny:w6a16']))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert " 0 findings, " in done.stdout
    assert "covers nothing: *ep_pkg.sv UNDRIVEN: Signal" in done.stdout
