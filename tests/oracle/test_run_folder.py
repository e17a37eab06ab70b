"""A run's folder alone, with the documentation, is enough to recompute every tap of the run (chip_by_the_book.py)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from etchproof.adapter import AdapterConfig, write_synthetic_adapter
from etchproof.checkpoint import load_checkpoint
from etchproof.project.declaration import load_project
from etchproof.run import flow
from etchproof.run.model_files import MODEL_FOLDER, RECIPE_FILE, keep_model
from tests.conftest import ROOT
from tests.oracle import chip_by_the_book as book


def test_what_is_kept_of_a_model(tmp_path: Path, tiny_checkpoint: Path) -> None:
    """The checkpoint's files byte for byte, and each matrix's format as the rules decided."""
    project = load_project(ROOT)
    design = flow.plan_design(project, tiny_checkpoint, flow.read_recipe(project, None), 40)
    keep_model(design, tmp_path / MODEL_FOLDER)
    copies = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
    for name in copies:
        assert (tmp_path / MODEL_FOLDER / name).read_bytes() == (tiny_checkpoint / name).read_bytes()
    assert {path.name for path in (tmp_path / MODEL_FOLDER).iterdir()} == {*copies, RECIPE_FILE}
    recipe = json.loads((tmp_path / MODEL_FOLDER / RECIPE_FILE).read_text(encoding="ascii"))
    assert (recipe["name"], recipe["context"], recipe["headroom"]) == ("w6a16", 40, 2.0)
    assert recipe["formats"]["lm_head"] == {"bits": 8, "group_size": 16}
    facts = book.facts_of(tmp_path)
    config = load_checkpoint(tiny_checkpoint).config
    assert (facts.hidden, facts.layers, facts.head_dim) == (
        config.hidden_size,
        config.n_layers,
        config.head_dim,
    )
    assert float(facts.eps) == config.rms_norm_eps


@pytest.mark.sim
def test_a_run_is_recomputed_from_its_folder(tmp_path: Path, tiny_checkpoint: Path) -> None:
    """Two sequences, one of them under an adapter, by a process that sees the folder and the book only."""
    model, adapter = tmp_path / "checkpoint", tmp_path / "drawn"
    shutil.copytree(tiny_checkpoint, model)
    drawn = AdapterConfig(r=3, lora_alpha=6.0, target_modules=("q_proj", "down_proj"))
    write_synthetic_adapter(adapter, load_checkpoint(model).config, drawn, 1, gain=0.15)
    run, dump = tmp_path / "run", tmp_path / "taps.npz"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}"}
    words = [
        sys.executable,
        "-m",
        "etchproof",
        "cosim",
        model,
        "--project",
        ROOT,
        "--prompt",
        "Once",
        "--tokens",
        "3",
    ]
    words += ["--adapter", adapter, "--out", run, "--dump-taps", dump]
    done = subprocess.run(words, check=False, env=environment, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stdout + done.stderr
    shutil.rmtree(model)
    shutil.rmtree(adapter)
    away = tmp_path / "away"
    away.mkdir()
    shutil.move(run, away / "run")
    script = shutil.copy(book.__file__, away / "book.py")

    def recompute() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-I", script, away / "run", dump],
            check=False,
            cwd=away,
            capture_output=True,
            text=True,
            timeout=500,
        )

    done = recompute()
    assert done.returncode == 0, done.stderr
    assert "the same" in done.stdout
    config = away / "run" / MODEL_FOLDER / "config.json"
    config.write_text(config.read_text(encoding="utf-8").replace("1e-05", "1e-01"), encoding="utf-8")
    assert recompute().returncode == 1, "what stands in model/ does not count"
