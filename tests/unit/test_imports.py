"""Imports go one way: along the data flow of docs/architecture.md, and from the project to the engine, never back."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

PROJECT = ("models", "verif")

# Bottom to top: a module may import its own row and the rows before it. The longest name that fits decides.
LAYERS = (
    (
        "words that every stage shares, and where the tools are",
        (
            "etchproof",
            "etchproof.contract",
            "etchproof.errors",
            "etchproof.fixed_point",
            "etchproof.lazy",
            "etchproof.tools",
        ),
    ),
    ("files, read strictly; code of others, run with limits", ("etchproof.contained", "etchproof.files")),
    ("pages of HTML", ("etchproof.page",)),
    ("the project: its file, and all that it consists of", ("etchproof.project",)),
    ("import: published codes, whatever the format of their file", ("etchproof.published",)),
    ("import: a checkpoint becomes one resolved form", ("etchproof.checkpoint",)),
    ("import: an adapter for that form", ("etchproof.adapter",)),
    ("the float model, which quantizing measures", ("etchproof.float_model",)),
    ("quantize: recipe, matrices, the quantized model, its quality", ("etchproof.quantize",)),
    ("render: SystemVerilog and ROM images from a plan, linted", ("etchproof.render",)),
    ("build and simulate", ("etchproof.sim",)),
    ("waves: files of a simulator, and layouts of them", ("etchproof.waves",)),
    ("compare: arrays with arrays, wherever they come from", ("etchproof.compare",)),
    ("the testbench's base classes, inside the simulator", ("etchproof.uvm",)),
    ("what a run has to do, what it did, and the verdict", ("etchproof.verdict",)),
    ("a testbench for chips whose ports are streams", ("etchproof.host",)),
    ("one run: its request, stages, folder and record", ("etchproof.run",)),
    ("coverage: what runs have shown", ("etchproof.coverage",)),
    ("faults in RTL, and sources that hold them all", ("etchproof.schemata",)),
    ("one module alone, from pytest", ("etchproof.unit",)),
    ("many runs", ("etchproof.regress",)),
    ("why a run failed", ("etchproof.diagnose",)),
    ("a failed run, made again as small as it can be", ("etchproof.replay",)),
    (
        "all evidence together, its verdict, and whether it would have seen a fault",
        ("etchproof.qualify", "etchproof.signoff"),
    ),
    ("the command line", ("etchproof.cli", "etchproof.__main__")),
)

# (importer, imported, why not); the project's side, and what the rows above cannot say.
NEVER = (
    ("etchproof", "models", "a team's chip has other models: the engine is told where they are"),
    ("etchproof", "verif", "likewise for its testbench"),
    ("etchproof", "tests", "the wheel carries no tests"),
    ("models", "verif", "the golden model must not know who checks it"),
    ("models", "etchproof.sim", "nor anything of the simulator: it has to be right without one"),
    ("models", "etchproof.uvm", "as above"),
    ("models", "etchproof.compare", "as above"),
    ("models", "etchproof.quantize", "the record of a quantized model crosses, the quantizer does not"),
    (
        "models.chip",
        "etchproof.quantize.quantized_model",
        "the plan sees no weight: two checkpoints share one fabric",
    ),
    ("models.chip", "etchproof.render.images", "as above"),
    ("models.fabric", "etchproof.quantize.quantized_model", "renderings depend on the plan alone"),
    ("models.fabric", "etchproof.render.images", "as above"),
    ("models.golden", "models.fabric", "the golden model must not lean on the hardware that it judges"),
    ("models.golden", "models.rom", "as above"),
    ("models.numerics.ops", "models.chip", "arithmetic knows no chip"),
    ("verif", "etchproof.cli", "the testbench runs inside the simulator, not on the command line"),
    ("verif", "etchproof.run.cosim", "as above"),
    ("verif", "etchproof.verdict.judge", "the testbench is judged, and does not judge"),
    ("verif", "etchproof.verdict.fed", "as above"),
    (
        "verif.scenarios.stimulus",
        "verif.scenarios.player",
        "what has to be done is known without a simulator",
    ),
    ("verif.scenarios.script", "verif.scenarios.player", "as above"),
    ("models", "etchproof.verdict.expect", "the golden model must not know what is asked of the chip"),
)

# What crosses a border that its package does not: records, without the code that makes them.
RECORDS = {"etchproof.quantize.quantized_model", "etchproof.quantize.recipe"}

# Packages of others that belong to one place.
ONLY_IN = (
    ("typer", ("etchproof.cli",)),
    ("rich", ("etchproof.cli",)),
    ("pyuvm", ("etchproof.host.tests", "etchproof.uvm", "verif")),
    ("cocotb", ("etchproof.host.tests", "etchproof.uvm", "etchproof.sim", "etchproof.unit.bench", "verif")),
    ("cocotb_tools", ("etchproof.sim",)),
    ("jinja2", ("etchproof.checkpoint.chat_child", "etchproof.page.html", "etchproof.render.templates")),
    ("hjson", ("etchproof.signoff.testplan",)),
    ("pytest", ("etchproof.regress.plugin", "etchproof.unit.plugin")),
    ("pyslang", ("etchproof.schemata", "etchproof.render.lint", "etchproof.tools")),
)


def _modules() -> dict[str, Path]:
    found = {}
    for base, package in ((ROOT / "src", "etchproof"), *((ROOT, name) for name in PROJECT)):
        for path in sorted((base / package).rglob("*.py")):
            parts = path.relative_to(base).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = _modules()


def imported_names(source: str) -> Iterator[str]:
    """Every name that a source imports, wherever the statement stands: ``from a.b import c`` is ``a.b.c``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_of(name: str) -> str | None:
    """The module of ours that an imported name is or stands in."""
    while name:
        if name in MODULES:
            return name
        name = name.rpartition(".")[0]
    return None


IMPORTED = {
    module: frozenset(imported_names(path.read_text(encoding="utf-8"))) for module, path in MODULES.items()
}
GRAPH = {
    module: {found for name in names if (found := module_of(name))} for module, names in IMPORTED.items()
}


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def layer(module: str) -> int:
    fits = [
        (len(prefix), row)
        for row, (_, names) in enumerate(LAYERS)
        for prefix in names
        if module == prefix or (prefix != "etchproof" and within(module, prefix))
    ]
    assert fits, f"{module} has no row in LAYERS: give it one"
    return max(fits)[1]


@pytest.mark.parametrize("module", [module for module in MODULES if within(module, "etchproof")])
def test_the_engine_follows_the_data(module: str) -> None:
    row = layer(module)
    above = [name for name in GRAPH[module] if within(name, "etchproof") and layer(name) > row]
    assert not above, f"{module} ({LAYERS[row][0]}) imports what comes later: {above}"


@pytest.mark.parametrize(("importer", "imported", "reason"), NEVER)
def test_never(importer: str, imported: str, reason: str) -> None:
    assert any(within(module, importer) for module in MODULES)
    for module, names in GRAPH.items():
        if within(module, importer):
            found = [name for name in names if within(name, imported)]
            assert not found or (imported not in RECORDS and set(found) <= RECORDS), f"{module}: {reason}"


def test_the_engine_names_nothing_of_the_project() -> None:
    """Not even a package that the checkout lacks."""
    for module, names in IMPORTED.items():
        if within(module, "etchproof"):
            roots = {name.partition(".")[0] for name in names}
            assert not roots & {*PROJECT, "tests", "bench"}, module


@pytest.mark.parametrize(("package", "places"), ONLY_IN)
def test_packages_stay_in_their_place(package: str, places: tuple[str, ...]) -> None:
    for module, names in IMPORTED.items():
        if any(within(name, package) for name in names):
            assert any(within(module, place) for place in places), f"{module} imports {package}"


def test_there_is_no_cycle() -> None:
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path[path.index(module) :], module))
        if module not in done:
            for name in sorted(GRAPH[module] - {module}):
                visit(name, (*path, module))
            done.add(module)

    for module in MODULES:
        visit(module, ())


def test_the_graph_is_seen() -> None:
    """The checks above would pass on an empty graph."""
    assert set(imported_names("import a.b\nfrom c.d import e as f\ndef g():\n    from h import i")) == {
        "a.b",
        "c.d.e",
        "h.i",
    }
    assert "etchproof.errors" in GRAPH["etchproof.render.templates"]
    assert "models.numerics.tables" in GRAPH["models.fabric"]
    assert module_of("etchproof.errors.InputError") == "etchproof.errors"
    assert module_of(f"{sys.__name__}.path") is None
