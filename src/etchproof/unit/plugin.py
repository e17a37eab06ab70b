"""pytest's plugin: the fixture ``unit``. It is loaded with every pytest, so it imports nothing until it is used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from etchproof.unit import Unit


@pytest.fixture
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Unit:
    """Runs one module against arrays (docs/unit.md)."""
    from etchproof.unit.run import Unit, rerun_command

    test = request.node.nodeid
    return Unit(base=request.path.parent, folder=tmp_path, test=test, rerun=rerun_command(test))
