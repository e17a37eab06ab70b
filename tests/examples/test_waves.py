"""Waves of a chip with ports, model and numbers of its own: its layout follows from the taps that it declares."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import pywellen

from etchproof.compare.kept import TapDump
from etchproof.waves.layout import TAPS_SCOPE, scopes
from tests.conftest import ROOT

FAULT = "rom:weights/layers.1.mlp.up_proj.hex[17,5]^4"


@pytest.mark.sim
def test_waves_of_ones_own_chip(tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ["cosim", "model", "--prompt-ids", "119,104", "--tokens", "2", "--waves", "--out", str(out)]
    done = subprocess.run(
        [sys.executable, "-m", "etchproof", *words, "--dump-taps", str(out / "taps"), "--inject", FAULT],
        cwd=ROOT / "examples" / "serial",
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    signals = {one.full_name: one for one in pywellen.Waveform(str(out / "waves.fst")).all_vars()}
    tokens = list(TapDump(out).read())
    for key, scope in scopes(tokens[0].chip).items():
        own = ".".join((TAPS_SCOPE, *scope))
        time = [at for at, count in signals[f"{own}.records"].tv if count][-1]
        wanted = [int(bits) for bits in tokens[-1].chip[key].view(f"u{tokens[-1].chip[key].itemsize}")]
        found = [signals[f"{own}.lane_{lane}"].signal.value_at(time) for lane in range(len(wanted))]
        assert [int(bits) for bits in found] == wanted, key
    surfer = (out / "waves.sucl").read_text(encoding="utf-8").splitlines()
    added = [line.removeprefix("variable_add ") for line in surfer if line.startswith("variable_add ")]
    assert added and all(name in signals for name in added)
    assert [line for line in surfer if line.startswith("marker_set first_wrong ")]
