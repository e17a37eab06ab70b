"""Bits of memories that a model holds: whether one can be inverted in it is known before anything is simulated."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT

_EVERY_MEMORY = """
import sys
from pathlib import Path
import numpy as np
from etchproof.coverage.seen import _flipped
from etchproof.project.declaration import load_project
from etchproof.run import hooks
from etchproof.run.design import load_own
project = load_project(Path.cwd())
model = load_own(project, Path("model")).model
for memory in hooks.memories(project)(model):
    if memory.table:
        continue
    index = tuple(size - 1 for size in np.asarray(memory.words).shape)
    other = _flipped(project, model, memory.place, index, memory.bits - 1)
    print(memory.place)
"""


@pytest.mark.parametrize("name", ["serial", "classifier"])
def test_every_memory_of_an_example_can_be_inverted(name: str) -> None:
    """Sign-off at V2 draws from all of them; that stage is for the slow suites."""
    folder = ROOT / "examples" / name
    done = subprocess.run(
        [sys.executable, "-c", _EVERY_MEMORY],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) >= 6


def test_a_copy_of_what_the_model_holds_is_refused() -> None:
    code = _EVERY_MEMORY.replace("if memory.table:\n        continue", "pass")
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT / "examples" / "serial",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "gives copies of what the model holds in 'tables/rope.hex'" in done.stderr
