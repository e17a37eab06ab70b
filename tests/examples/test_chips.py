"""The chips in ``examples/``: each is whole without a change of the engine, small, and found wrong where it is."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from etchproof.project.declaration import load_project
from etchproof.render.places import OWN
from tests.conftest import ROOT

EXAMPLES: Final = ROOT / "examples"
MOST_LINES: Final = {"serial": 300, "classifier": 300, "unit": 50}
STIMULUS: Final = {
    "serial": ("--prompt-ids", "119,104", "--tokens", "12"),
    "classifier": ("--vectors", "model/inputs.npy"),
}
FAULT: Final = {
    "serial": ("rom:weights/layers.1.mlp.up_proj.hex[17,5]^4", (1, "up_proj")),
    "classifier": ("rom:weights/layer1.hex[3,7]^6", (1, "acc")),
}
CHIPS: Final = tuple(STIMULUS)


def counted(example: str) -> dict[str, int]:
    """The lines that a team writes beside its RTL and its model: Python, toml, taps; what trained the model apart."""
    files = sorted(
        path for suffix in ("py", "toml", "sv") for path in (EXAMPLES / example).glob(f"*.{suffix}")
    )
    return {path.name: len(path.read_text().splitlines()) for path in files if path.name != "train.py"}


@pytest.mark.parametrize("example", MOST_LINES)
def test_lines(example: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = counted(example)
    with capsys.disabled():
        print(f"\n{example}: {sum(lines.values())} of {MOST_LINES[example]} lines: {lines}")
    assert 0 < sum(lines.values()) <= MOST_LINES[example]


@pytest.mark.parametrize("example", CHIPS)
def test_nothing_of_the_engine_is_named_but_its_contract(example: str) -> None:
    text = "".join(path.read_text() for path in (EXAMPLES / example).glob("*.py"))
    modules = {line.split()[1] for line in text.splitlines() if line.startswith("from etchproof")}
    assert modules <= {
        *("etchproof.contract.golden", "etchproof.contract.memory", "etchproof.contract.taps"),
        "etchproof.errors",
    }
    project = load_project(EXAMPLES / example)
    assert project.recipes is None and project.coverage is None and not project.verif.tests


@pytest.fixture
def chip(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A copy of the example, of which nothing is left behind in the sources."""
    folder = tmp_path / str(request.param)
    shutil.copytree(EXAMPLES / folder.name, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


WITHOUT_PYTORCH: Final = "import sys; sys.modules['torch'] = None; from etchproof.cli import main; main()"
"""The command line where PyTorch cannot be imported: neither of these chips needs it."""


def run(chip: Path, *words: str) -> tuple[int, str]:
    line = [sys.executable, "-c", WITHOUT_PYTORCH, *words]
    done = subprocess.run(line, cwd=chip, capture_output=True, text=True, timeout=900, check=False)
    return done.returncode, done.stdout + done.stderr


def record(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text())
    return found


@pytest.mark.sim
@pytest.mark.parametrize("chip", CHIPS, indirect=True)
def test_through_everything(chip: Path) -> None:
    """Co-simulation, a planted bit, a regression, sign-off: one simulator serves them all."""
    status, said = run(chip, "check")
    assert status == 0, said
    status, said = run(chip, "cosim", "model", *STIMULUS[chip.name], "--out", "good")
    assert status == 0, said
    good = record(chip / "good" / "run.json")
    assert good["mismatches"] == 0 < good["elements_compared"]
    assert (good["recipe"], good["health"], good["adapters"]) == (None, None, [])
    placed = {"weights", "tables"}  # where the chip looks; everything else is the run's own
    assert {path.name for path in (chip / "good").iterdir()} <= OWN | placed
    site, (layer, tap) = FAULT[chip.name]
    status, said = run(chip, "cosim", "model", *STIMULUS[chip.name], "--inject", site, "--out", "bad")
    assert status == 1, said
    first = record(chip / "bad" / "run.json")["first_divergence"]
    assert (first["layer"], first["tap"]) == (layer, tap)
    status, said = run(chip, "replay", "bad", "--out", "small")
    assert status == 1, said
    again, replay = (record(chip / "small" / name) for name in ("run.json", "replay.json"))
    assert (again["first_divergence"]["layer"], again["first_divergence"]["tap"]) == (layer, tap)
    assert (len(replay["places"]), replay["minimal"]) == (1, True), "a linear shows it with one item"
    names = {path.name for path in (chip / "small").iterdir() if not path.name.endswith(".injected.bin")}
    assert names <= OWN | placed
    (chip / "list.yaml").write_text(LIST[chip.name])
    status, said = run(chip, "regress", "list.yaml", "--model", "model", "--jobs", "1", "--out", "regression")
    assert status == 0, said
    status, said = run(chip, "signoff", "model", "--jobs", "2", "--out", "signed")
    assert status == 0, said
    signed = record(chip / "signed" / "signoff.json")
    assert signed["verdict"] == "PASS" and not signed["open_items"]
    bits = signed["evidence"]["injection"]["bits"]
    assert len(bits) == 10 and all(bit["caught"] and bit["located"] for bit in bits)
    assert {one["what"] for one in signed["not_measured"]} >= {"covergroup", "rom_readback", "quality_kl"}
    status, said = run(chip, "report", "signed")
    assert status == 0, said
    (chip / "signed" / "injected" / "0000").mkdir()  # the run of a bit that was missed
    status, said = run(chip, "report", "signed")
    assert status == 2 and "0 were not caught, injected/ holds the runs of 1" in said, said
    (chip / "signed" / "injected" / "0000").rmdir()
    # What was signed is that model: another one is noticed.
    signed["evidence"]["capabilities"].remove("rom_files")
    (chip / "signed" / "signoff.json").write_text(json.dumps(signed))
    status, said = run(chip, "report", "signed")
    assert status == 2, said


@pytest.mark.sim
@pytest.mark.parametrize("chip", CHIPS, indirect=True)
def test_generic_faults_are_seen(chip: Path) -> None:
    """A qualification needs nothing of the team: faults of its RTL and its images, each with what sees it."""
    words = ("--rtl-faults", "12", "--image-faults", "6", "--jobs", "2", "--out", "planted")
    status, said = run(chip, "qualify", "model", *words)
    found = record(chip / "planted" / "qualification.json")
    assert status == (1 if found["open_items"] else 0), said
    assert all(one["equal"] for one in found["runs"]) and found["runs"]
    kinds = [(fault["kind"], fault["state"]) for fault in found["faults"]]
    assert {state for _, state in kinds} <= {"detected", "survived"}, said
    assert sum(kind == "rtl" for kind, _ in kinds) == 12
    assert kinds.count(("image", "detected")) == 6
    assert kinds.count(("rtl", "detected")) >= 8, said


LIST: Final = {
    "serial": """
entries:
  - tests: [GreedyGeneration]
    models: ["@model"]
    prompt_ids: [[119, 104], [65]]
    tokens: 8
  - tests: [DirectedTokens]
    models: ["@model"]
    directed: [[1, 2, 3], [127]]
""",
    "classifier": """
entries:
  - tests: [GivenVectors]
    models: ["@model"]
    vectors: model/inputs.npy
  - tests: [RandomInputs]
    models: ["@model"]
    seeds: 2
""",
}


@pytest.mark.sim
@pytest.mark.slow
@pytest.mark.parametrize("chip", CHIPS, indirect=True)
def test_signed_at_v2(chip: Path) -> None:
    status, said = run(chip, "signoff", "model", "--stage", "V2", "--out", "signed")
    assert status == 0, said


@pytest.mark.sim
@pytest.mark.slow
@pytest.mark.parametrize("chip", CHIPS, indirect=True)
def test_any_seed_of_a_strict_simulator(chip: Path) -> None:
    """Registers of chip and host start at random: not one start may look like a burst that has ended."""
    for seed in range(1, 13):
        out = f"strict{seed}"
        words = ("--build", "strict", "--seed", str(seed), "--out", out)
        status, said = run(chip, "cosim", "model", *STIMULUS[chip.name], *words)
        assert status == 0, said


@pytest.mark.parametrize("chip", CHIPS, indirect=True)
def test_what_does_not_fit_is_refused(chip: Path) -> None:
    np.save(chip / "vectors.npy", np.zeros((1, 3), np.int8))
    refused = {
        "serial": (
            (("model",), "--prompt-ids"),
            (("model", "--prompt-ids", "128"), "outside the vocabulary of 128"),
            (("model", "--prompt-ids", "1", "--tokens", "40"), "--tokens"),
            (("model", "--chat", "a"), "--chat: models of the project's own have no chat template"),
            (("model", "--vectors", "vectors.npy"), "the chip takes tokens"),
            (("model", "--prompt-ids", "1", "--recipe", "w6a16"), "--recipe"),
            (("model", "--prompt-ids", "1", "--adapter", "model"), "takes no adapters"),
            (("nowhere", "--prompt-ids", "1"), "nowhere"),
            (("--shape", "llama-3.2-1b", "--random-weights", "1"), "--shape"),
        ),
        "classifier": (
            (("model",), "--vectors"),
            (("model", "--prompt-ids", "1"), "the chip takes vectors"),
            (("model", "--chat", "a"), "--chat: models of the project's own have no chat template"),
            (("model", "--vectors", "vectors.npy"), "expected (vectors, 64)"),
            (("model", "--vectors", "nowhere.npy"), "nowhere.npy"),
            (("rtl", "--vectors", "vectors.npy"), "rtl"),
        ),
    }
    cases = refused[chip.name]
    script = "import sys; from etchproof.cli import run\n" + "".join(
        f"print('status', run({['cosim', *words]!r}), flush=True)\n" for words, _ in cases
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=chip, capture_output=True, text=True, timeout=300, check=False
    )
    statuses = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("status ")]
    said = done.stderr.splitlines()
    assert statuses == ["2"] * len(cases) and len(said) == len(cases), done.stderr
    assert [
        (words, line) for (words, problem), line in zip(cases, said, strict=True) if problem not in line
    ] == []
    assert not (chip / "runs").exists()
