"""Every refusal between a checkpoint and its integers names the file, the key, the value, and what to do.

The places are found in the sources. Each is reached by input that a user can give, and its line is looked at: a new
refusal without a case of its own fails here.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from etchproof.checkpoint import ModelConfig
from etchproof.errors import InputError
from etchproof.sim.build import CACHE_ENV
from tests.conftest import ROOT
from tests.unit.quantize.refusal_cases import CASES, Kit

ENGINE = ROOT / "src" / "etchproof"
FILES = (
    *sorted((ENGINE / "quantize").glob("*.py")),
    *(ENGINE / name for name in ("run/flow.py", "checkpoint/rope.py", "checkpoint/shape.py")),
    ROOT / "models" / "chip.py",
    ROOT / "models" / "numerics" / "params.py",
)
WITHOUT_KEY = {
    ("adapter_store.py", "load_quantized_adapter"): "the file as a whole is at fault",
    ("adapter_store.py", "quantize_adapter_cached"): "the folder as a whole is at fault",
    ("store.py", "load_quantized"): "the folder as a whole is at fault",
    ("store.py", "quantize_cached"): "the folder as a whole is at fault",
}
WITHOUT_SOURCE = {
    ("flow.py", "locate"): "an option of the command line stands in no file",
    ("flow.py", "make_design"): "an option of the command line stands in no file",
    ("flow.py", "plan_chip"): "an option of the command line stands in no file",
    ("shape.py", "cut_shape"): "an option of the command line stands in no file",
}

Place = tuple[str, int]
"""File, and the line on which a refusal begins."""


def refusals() -> Iterator[tuple[Path, str, ast.Call]]:
    """File, function and call of each."""

    def within(node: ast.AST, function: str, path: Path) -> Iterator[tuple[Path, str, ast.Call]]:
        for child in ast.iter_child_nodes(node):
            if (
                isinstance(child, ast.Call)
                and isinstance(child.func, ast.Name)
                and child.func.id == "InputError"
            ):
                yield path, function, child
            named = (
                isinstance(child, ast.FunctionDef)
                and function == ""
                and not isinstance(node, ast.FunctionDef)
            )
            yield from within(
                child, child.name if named and isinstance(child, ast.FunctionDef) else function, path
            )

    for path in FILES:
        yield from within(ast.parse(path.read_text(encoding="utf-8")), "", path)


def test_each_states_its_file_and_its_key() -> None:
    keyless, sourceless = set(), set()
    for path, function, call in refusals():
        given = {keyword.arg for keyword in call.keywords}
        if "key" not in given:
            keyless.add((path.name, function))
        if "source" not in given:
            sourceless.add((path.name, function))
    assert keyless == set(WITHOUT_KEY)
    assert sourceless == set(WITHOUT_SOURCE)


@pytest.fixture
def kit(tmp_path: Path, config: ModelConfig) -> Kit:
    return Kit(tmp_path, config)


@pytest.mark.parametrize("name", CASES)
def test_each_line(kit: Kit, name: str) -> None:
    case, file, key, value = CASES[name]
    with pytest.raises(InputError) as caught:
        case(kit)
    error = caught.value
    assert value in error.problem
    assert error.key == key
    assert error.hint or "expected" in error.problem
    assert "\n" not in str(error)
    if file is None:
        assert error.source is None
        return
    assert error.source is not None
    assert Path(error.source).name == file
    assert Path(error.source).exists() or file == "cache"


def test_none_is_left_out(tmp_path: Path, config: ModelConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every refusal in the sources is made by one of the cases."""
    made, places = InputError.__init__, set[Place]()

    def note(self: InputError, *problem: str, **where: Any) -> None:
        caller = sys._getframe(1)
        places.add((caller.f_code.co_filename, caller.f_lineno))
        made(self, *problem, **where)

    monkeypatch.setattr(InputError, "__init__", note)
    for number, (case, *_) in enumerate(CASES.values()):
        with pytest.raises(InputError):
            case(Kit(tmp_path / f"{number}", config))
    missed = [
        f"{path.name}:{call.lineno} {function}"
        for path, function, call in refusals()
        if not any((str(path), line) in places for line in range(call.lineno, (call.end_lineno or 0) + 1))
    ]
    assert not missed


def test_the_variable_that_a_hint_names() -> None:
    """The quantizer may not import the row in which the name of the cache's variable stands."""
    assert CACHE_ENV == "ETCHPROOF_CACHE"
