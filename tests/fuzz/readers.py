"""Every function of the sources that reads a file, found in the syntax tree; and those that need no row, with reasons.

A new loader stands in neither list, and so fails ``test_readers.py`` until it has a row.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.conftest import ROOT

_CALLS: Final = frozenset(
    {
        *("open", "read_text", "read_bytes", "open_regular", "check_regular"),
        *("load_file", "safe_open", "open_safetensors", "from_file", "from_str"),
        *("fromfile", "memmap", "loadtxt", "genfromtxt", "fromstring", "ZipFile"),
        *(
            "validate_json",
            "model_validate_json",
            "read_json",
            "read_json_object",
            "read_json_record",
            "parse_json",
        ),
        *("parse_json_record", "read_arrays"),
        *("read_yaml_object", "read_yaml_mapping", "read_yaml_record", "read_document"),
    }
)
_CALLS_OF: Final = frozenset(
    f"{module}.{call}"
    for module, calls in {
        "json": ("load", "loads"),
        "yaml": ("load", "safe_load", "load_all"),
        "tomllib": ("load", "loads"),
        "hjson": ("load", "loads"),
        "np": ("load",),
        "numpy": ("load",),
        "torch": ("load",),
        "pickle": ("load", "loads"),
        "ET": ("parse",),
        "ast": ("parse",),
    }.items()
    for call in calls
)
"""Names that mean a reader only with their module before them."""

SOURCES: Final = (("src", "etchproof"), (".", "models"), (".", "verif"))

_OWN: Final = "reads what this process, or its own child, wrote a moment before, in a folder of its own"
_WRITES: Final = "opens a file to write"
_ENGINE: Final = "reads a file of this installation"
_KERNEL: Final = "reads what the kernel says"
_SIMULATOR: Final = "reads C++ that Verilator has just written into a folder of this process"

NO_LOADERS: Final[dict[str, str]] = {
    "etchproof.files.atomic:write_atomically": _WRITES,
    "etchproof.cli.console:_Console.on_broken_pipe": _WRITES,
    "etchproof.regress.run:_pytest": _WRITES,
    "etchproof.sim.progress:ProgressWriter.__init__": _WRITES,
    "etchproof.sim.run:simulate": _WRITES,
    "etchproof.sim.build:_cpu_sha256": _KERNEL,
    "etchproof.sim.build:at_once": _KERNEL,
    "etchproof.run.profile:_status": _KERNEL,
    "etchproof.page.html:page": _ENGINE,
    "etchproof.diagnose.junit:tell_junit": "reads junit.xml, which pytest of this process has just written",
    "etchproof.sim.run:_always_on_path": _ENGINE,
    "etchproof.sim.rewrite.merge:merge_equal_functions": _SIMULATOR,
    "etchproof.sim.rewrite.merge:_leave_out": _SIMULATOR,
    "etchproof.sim.rewrite.triggers:quicken_triggers": _SIMULATOR,
    "etchproof.sim.rewrite.triggers:_add_members": _SIMULATOR,
    "etchproof.sim.build:_kept": "looks for a word in C++ of the fabric, whose hash has just been taken",
    "etchproof.sim.build:_failure": "reads the log of a build that this process has just run",
    "etchproof.sim.run:_complaint": "reads the log of a simulator that this process has just run",
    "etchproof.sim.run:_first_said": "reads the log of a simulator that this process has just run",
    "etchproof.sim.opened:check_reading": "reads what a simulator that this process has just run has opened",
    "etchproof.sim.dependencies:_verilated": "reads what Verilator has just written into a folder of this process",
    "etchproof.sim.dependencies:_compiled": "reads what the compiler has just written into a folder of this process",
    "etchproof.project.reading:check_libraries": _KERNEL,
    "etchproof.project.reading:from_environment": "parses a variable that the parent set for this process",
    "etchproof.project.scaffold:write_stubs": "looks for a word in sources that slang has just read",
    "etchproof.project.sources:_installation": "hashes what pip wrote, whatever it is",
    "etchproof.schemata.sources:read_sources": "reads the fabric that this process has just rendered",
    **dict.fromkeys(
        (f"etchproof.qualify.edits:{name}" for name in ("edited", "place_of", "_text")),
        "reads Python modules that this process imports",
    ),
    "etchproof.qualify.stored:read_stored": "reads a record by read_json_record, and makes a broken one again",
    "etchproof.qualify.activation:activation.told": "reads numbers that a run of this process has just written",
    "etchproof.compare.kept:pack": "reads taps that a run of this process has just written",
    "etchproof.compare.dump:NpzWriter.__init__": _WRITES,
    "etchproof.compare.dump:NpzWriter.add": _WRITES,
    **dict.fromkeys(
        ("etchproof.signoff.known_bad:_files.changed", "etchproof.signoff.known_bad:_simulated.changed"),
        "reads a ROM image that this process has written",
    ),
    **dict.fromkeys(
        (
            *("etchproof.quantize.audit:Files.__init__", "etchproof.quantize.audit:Files.tensor"),
            *("etchproof.quantize.audit:_keys", "etchproof.quantize.audit:_adapter"),
        ),
        "reads files again that load_checkpoint or load_adapter has accepted, by the same readers",
    ),
    "etchproof.waves.fst:finish": "reads waves that a simulator of this process has just written",
    "etchproof.sim.results:limit_ps": "reads the results that read_results has read",
    "etchproof.sim.forks:_Waiting.__init__": _WRITES,
    "etchproof.sim.forks:_Waiting.said": _OWN,
    "etchproof.sim.child:start": "parses a variable that the parent set for this process",
    "etchproof.sim.golden:GoldenServer._serve": "opens the memory that this process shares with its simulator",
    "etchproof.signoff.provenance:_files": "hashes the ROM images that this process has just etched",
    "etchproof.cli.signoff:run_report": "asks whether signoff.json is a regular file; read_result has a row",
    "etchproof.replay.stored:read_stored": "reads records by read_json_record, and taps by read_kept, which has a row",
    "etchproof.replay.run:_again": "reads comparison.json by read_json_record; read_replay has a row",
    "etchproof.waves.fst:signals_of": "reads signals that a simulator of this process has just written",
    "etchproof.signoff.verify:_left": "reads readback.json by read_json_record, as testrun's read_readback does",
    "etchproof.signoff.covered:_sample": "reads a comparison.json whose item has just been read and held against it",
    "etchproof.run.flow:model_health": "reads a record of the cache by read_json_record, and makes a broken one again",
    "etchproof.run.model_files:_copy": "copies files of a checkpoint that was loaded before, unread",
    "etchproof.project.sources:_file_sha256": "hashes bytes, whatever they are; only a regular file is opened",
    "etchproof.project.sources:_imported": "parses modules of the project, whose code runs in any case",
    "etchproof.host.top:write_top": _ENGINE,
    "etchproof.render.sources:copy_as_they_are": "copies bytes, whatever they are, of regular files (matched)",
    "etchproof.render.images:ImageSet.place_memories": "reads the images that this process has just etched",
    "etchproof.unit.bench:vectors": "reads the arrays that the test's process has just written for it",
    "etchproof.unit.run:_compared": "reads the arrays that the simulator of this process has just left",
    "verif.tests:ChipTest.build_phase": _OWN,
}
"""Functions that read, and no file that others wrote."""


def reading_functions() -> Iterator[str]:
    """Each function with a call that reads, ``module:qualified.name``; of a module's own level, the bare module."""
    for base, package in SOURCES:
        for path in sorted((ROOT / base / package).rglob("*.py")):
            parts = path.relative_to(ROOT / base).with_suffix("").parts
            module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found = dict.fromkeys(_readers(ast.parse(path.read_text(encoding="utf-8")), ""))
            yield from (f"{module}:{name}" if name else module for name in found)


def _readers(node: ast.AST, name: str) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        inner = name
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner = f"{name}.{child.name}" if name else child.name
        if isinstance(child, ast.Call) and _reads(child.func):
            yield name
        yield from _readers(child, inner)


def _reads(called: ast.expr) -> bool:
    words = ast.unparse(called)
    return words.rpartition(".")[2] in _CALLS or words in _CALLS_OF


def exists(name: str) -> bool:
    """Whether the sources still have a function of that name."""
    module, _, function = name.partition(":")
    for base, _ in SOURCES:
        path = Path(ROOT / base, *module.split(".")).with_suffix(".py")
        if path.is_file():
            tree: ast.AST = ast.parse(path.read_text(encoding="utf-8"))
            for part in function.split("."):
                inner = [node for node in ast.iter_child_nodes(tree) if getattr(node, "name", None) == part]
                if not inner:
                    return False
                tree = inner[-1]
            return True
    return False
