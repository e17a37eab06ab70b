"""pytest loads the plugin in every session of every team: it must cost nothing, and bring nothing along."""

from __future__ import annotations

import subprocess
import sys


def test_it_imports_nothing_of_weight() -> None:
    script = "import sys, etchproof.unit.plugin; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"torch", "numpy", "pydantic", "cocotb"}
    assert {name for name in loaded if name.startswith("etchproof")} == {
        *("etchproof", "etchproof.lazy", "etchproof.unit", "etchproof.unit.plugin")
    }
