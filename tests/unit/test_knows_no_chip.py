"""The engine knows no chip: only what imports, quantizes or computes a Llama names its operations and tensors."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import ROOT
from tests.taps import TAP_NAMES

ENGINE: Final = ROOT / "src" / "etchproof"
OF_LLAMA: Final = ("checkpoint", "published", "adapter", "quantize", "float_model")
"""The packages that are about Hugging Face's Llama, PEFT's adapters and their quantization."""

GENERAL: Final = {"token", "embedding"}
"""Taps of the reference chip whose names mean something without a Llama, too."""

TENSORS: Final = (
    "self_attn",
    "mlp",
    "lm_head",
    "embed_tokens",
    "input_layernorm",
    "post_attention_layernorm",
)
"""Parts of a name that Hugging Face gives a Llama's tensor; linears have those of their taps."""

OF_CHIP: Final = re.compile(
    rf"\b(?:{'|'.join(sorted({*TAP_NAMES, *TENSORS} - GENERAL))})\b"
    r"|\bmodel\\?\.(?:layers|norm)\b"
    r"|\blora_\w+"  # PEFT's tensors, and signals of the chip
    r"|\bep_(?:host|load|rom_test|rom_read|sram)_\w+"  # ports of the chip, and memory behind one of them
)


def _said(path: Path) -> Iterator[str]:
    """What a module imports or writes in its code; what its docstrings say is for readers."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    read = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "etchproof.checkpoint.linears":
            yield "q_proj"  # and the others
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in read:
            yield node.value


def test_no_operation_of_a_llama_is_named() -> None:
    found = {
        (name, word[0])
        for path in ENGINE.rglob("*.py")
        if (name := path.relative_to(ENGINE).as_posix()).partition("/")[0] not in OF_LLAMA
        for text in _said(path)
        if (word := OF_CHIP.search(text))
    }
    assert found == set()


def test_the_engines_systemverilog_and_cpp_name_none() -> None:
    for path in (*ENGINE.rglob("*.sv"), *ENGINE.rglob("*.cpp"), *ENGINE.rglob("*.h"), *ENGINE.rglob("*.vlt")):
        word = OF_CHIP.search(path.read_text(encoding="utf-8"))
        assert word is None, (path, word)


@pytest.mark.parametrize(
    "text",
    ["q_proj", "such as rom:lm_head[3,7]^0", "model.layers.3", r"model\.layers\.", "lora_B", "ep_host_ask"],
)
def test_what_is_looked_for(text: str) -> None:
    assert OF_CHIP.search(text)


@pytest.mark.parametrize(
    "text", ["the token's embedding", "lora", "ep_tap_write_16", "ep_rom_load_6_3", "layers"]
)
def test_what_is_not(text: str) -> None:
    assert not OF_CHIP.search(text)


def test_no_port_of_the_reference_chip_is_named() -> None:
    """What Python and the C++ of a port call each other by, and the transactors' names, are the project's alone."""
    beside = [path for kind in ("*.cpp", "*.sv") for path in (ROOT / "verif").rglob(kind)]
    called = re.compile(r'extern "C".*?\b(ep_\w+)\(')
    names = {path.stem for path in beside}.union(
        *(called.findall(path.read_text("utf-8")) for path in beside)
    )
    assert {"ep_host_next", "ep_load_word", "ep_rom_test_end", "ep_sram_open", "ep_rom_bfm"} <= names
    for kind in ("*.py", "*.sv", "*.cpp", "*.h", "*.j2"):
        for path in ENGINE.rglob(kind):
            assert not names & set(re.findall(r"\w+", path.read_text(encoding="utf-8"))), path
