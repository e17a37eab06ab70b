"""Fixtures that every suite shares, and the options ``--strict-skips`` and ``--renew-snapshots``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

# Workers side by side take a core each. PyTorch would take all of them in each worker, and on two cores the tests of
# the quantizer then took ten times as long. It looks at this variable when it is first imported.
_TOO_LATE = "torch" in sys.modules
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest_plugins = ("tests.renew_snapshots", "tests.strict_skips")

ROOT = Path(__file__).resolve().parents[1]


def pytest_configure(config: pytest.Config) -> None:
    assert not _TOO_LATE, "a plugin of pytest's has imported PyTorch: it is too late to give it one core"


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """The folder of ``pyproject.toml`` and ``etchproof.toml``."""
    return ROOT


@pytest.fixture(scope="session")
def stories260k() -> Path:
    """The trained stories260K checkpoint: reference data beside the repository, not in it."""
    return _reference_data("stories260k")


@pytest.fixture(scope="session")
def adapters_dir() -> Path:
    """The folder of the PEFT adapters trained on stories260K: reference data beside the repository, not in it."""
    return _reference_data("adapters")


@pytest.fixture(scope="session")
def tiny_checkpoint() -> Path:
    """The small trained checkpoint that ships; it is part of the repository, so its absence is no skip."""
    return ROOT / "models" / "tiny"


def _reference_data(name: str) -> Path:
    folder = ROOT.parent / "shared" / "models" / name
    if not folder.is_dir():
        pytest.skip(f"no reference data at ../shared/models/{name}, beside the repository")
    return folder
