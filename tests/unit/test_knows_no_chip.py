"""The engine knows no chip: only what imports, quantizes or computes a Llama names its operations.

What still does is listed as a debt, and the list may only shrink.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT
from tests.taps import TAP_NAMES

ENGINE = ROOT / "src" / "etchproof"
OF_LLAMA = ("checkpoint", "adapter", "quantize", "float_model")
"""The packages that are about Hugging Face's Llama, PEFT's adapters and their quantization."""

DEBTS = {
    "run/record.py": "an adapter's ranks stand in run.json by Hugging Face's names",
    "run/slots.py": "lora:SLOT:MODULE names a fault in an adapter's SRAM",
}
GENERAL = {"token", "embedding"}  # words that mean something without a Llama, too


def _named(path: Path) -> Iterator[str]:
    """What a module imports or writes in its code; what its docstrings say is for readers."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    read = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "etchproof.checkpoint.linears":
            yield node.module
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in read:
            yield from {node.value} & (set(TAP_NAMES) - GENERAL)


def test_no_operation_of_a_llama_is_named() -> None:
    found = {
        name
        for path in ENGINE.rglob("*.py")
        if (name := path.relative_to(ENGINE).as_posix()).partition("/")[0] not in OF_LLAMA
        and any(_named(path))
    }
    assert found == DEBTS.keys()


def test_the_engines_systemverilog_and_cpp_name_none() -> None:
    for path in (*ENGINE.rglob("*.sv"), *ENGINE.rglob("*.cpp")):
        words = set(path.read_text(encoding="utf-8").replace('"', " ").split())
        assert not words & (set(TAP_NAMES) - GENERAL), path
