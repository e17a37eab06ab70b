"""A chip whose RTL a list names runs as the same chip whose RTL ``[rtl] files`` names."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.sim

FILES: Final = 'files = ["rtl/*.v", "taps.sv"]'
LIST: Final = """\
// The classifier, for any simulator.
+incdir+include
rtl/classifier.v   # the top
rtl/neuron.v rtl/weights.v
-F taps.f
"""


@pytest.fixture
def chip(tmp_path: Path) -> Path:
    """The classifier with a header that both ways to name its RTL include."""
    folder = tmp_path / "classifier"
    shutil.copytree(
        ROOT / "examples" / "classifier", folder, ignore=shutil.ignore_patterns("__pycache__", "build")
    )
    (folder / "include").mkdir()
    (folder / "include" / "width.vh").write_text("// of no meaning\n")
    (folder / "chip.f").write_text(LIST)
    (folder / "taps.f").write_text("taps.sv\n")
    return folder


def cosim(chip: Path, rtl: str, out: str) -> tuple[int, dict[str, Any], str]:
    """Status, record and output of a run of the chip with that ``[rtl]``."""
    original = (ROOT / "examples" / "classifier" / "etchproof.toml").read_text()
    assert original.count(FILES) == 1
    (chip / "etchproof.toml").write_text(original.replace(FILES, rtl))
    line = [
        sys.executable,
        "-m",
        "etchproof",
        "cosim",
        "model",
        "--vectors",
        "model/inputs.npy",
        "--out",
        out,
    ]
    done = subprocess.run(line, cwd=chip, capture_output=True, text=True, timeout=500, check=False)
    record = chip / out / "run.json"
    return (
        done.returncode,
        json.loads(record.read_text()) if record.exists() else {},
        done.stdout + done.stderr,
    )


def test_the_same_chip(chip: Path) -> None:
    status, by_files, said = cosim(chip, f'{FILES}\ninclude = ["include"]', "files")
    assert status == 0, said
    status, by_list, said = cosim(chip, 'filelist = "chip.f"', "list")
    assert status == 0, said
    for key in ("verdict", "fabric_sha256", "elements_compared", "mismatches"):
        assert by_list[key] == by_files[key], key
    assert by_list["elements_compared"] > 0
    # A list that says less is another chip, and no simulator can be built of it.
    (chip / "chip.f").write_text(LIST.replace("rtl/weights.v", "// rtl/weights.v"))
    status, _, said = cosim(chip, 'filelist = "chip.f"', "less")
    assert status == 2 and "weights" in said, said
    # One that says too much is refused before anything is built.
    (chip / "chip.f").write_text(LIST + "-y rtl\n")
    status, _, said = cosim(chip, 'filelist = "chip.f"', "more")
    assert status == 2 and "chip.f: line 6: '-y' is about a library" in said, said
