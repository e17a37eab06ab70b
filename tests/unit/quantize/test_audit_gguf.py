"""The second look at integers that came from a GGUF file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etchproof.checkpoint import Checkpoint, load_checkpoint
from etchproof.checkpoint.config import FactorScaling, LinearScaling, RopeConfig
from etchproof.quantize import quantize_model
from etchproof.quantize.audit import audit
from etchproof.quantize.quantized_model import QuantizedModel
from etchproof.quantize.recipe import Calibration, MatrixRule, Recipe
from tests.gguf_model import model, plain

RECIPE = Recipe(
    name="mine",
    context=16,
    matrices=(MatrixRule(match=("*",), bits=6, group_size=16),),
    calibration=Calibration(sequences=1, length=8),
)


def load(path: Path, *, factors: list[float] | None = None, **changes: Any) -> Checkpoint:
    parts = model(changes={f"llama.{key.replace('__', '.')}": value for key, value in changes.items()})
    if factors:
        parts.tensors["rope_freqs.weight"] = plain("F32", factors)
    (path / "drawn.gguf").write_bytes(parts.content())
    return load_checkpoint(path / "drawn.gguf")


def said_of(quantized: QuantizedModel, checkpoint: Checkpoint) -> list[str]:
    return list(audit(quantized, checkpoint))


@pytest.mark.parametrize("how", [{}, {"factors": [1.0, 1.5, 3.0, 4.0]}, {"rope__scaling__factor": 2.0}])
def test_what_is_right(how: dict[str, Any], tmp_path: Path) -> None:
    checkpoint = load(tmp_path, **how)
    assert said_of(quantize_model(checkpoint, RECIPE), checkpoint) == []


def test_rows_in_the_files_order(tmp_path: Path) -> None:
    """An importer that forgot to put the rows of q back would be seen."""
    checkpoint = load(tmp_path)
    quantized = quantize_model(checkpoint, RECIPE)
    layer = quantized.layers[0]
    q = layer.linears["q_proj"]
    order = np.arange(32).reshape(4, 2, 4).swapaxes(1, 2).reshape(-1)
    wrong = replace(q, codes=q.codes[order], scales=q.scales[order])
    layers = (replace(layer, linears={**layer.linears, "q_proj": wrong}), *quantized.layers[1:])
    assert any(
        "layers.0.self_attn.q_proj" in problem
        for problem in said_of(replace(quantized, layers=layers), checkpoint)
    )


def test_other_keys(tmp_path: Path) -> None:
    checkpoint = load(tmp_path)
    quantized = quantize_model(checkpoint, RECIPE)

    def made_with(**changes: Any) -> str:
        config = quantized.config.model_copy(update=changes)
        return next(iter(audit(replace(quantized, config=config), checkpoint)))

    assert "llama.block_count is 2, the model was made with 3" in made_with(n_layers=3)
    assert "llama.rope.freq_base is 10000.0, the model was made with 500.0" in made_with(
        rope=RopeConfig(theta=500.0)
    )
    factors = RopeConfig(scaling=FactorScaling(factors=(1.0, 1.0, 2.0, 2.0)))
    assert "rope_freqs.weight is missing" in made_with(rope=factors)
    checkpoint = load(tmp_path, factors=[1.0, 2.0, 3.0, 4.0])
    assert "rope_freqs.weight has other numbers" in made_with(rope=factors)
    checkpoint = load(tmp_path, rope__scaling__factor=2.0)
    assert "rope.scaling.factor is 2.0" in made_with(rope=RopeConfig(scaling=LinearScaling(factor=4.0)))
