"""What the quantizer chose against calibration_by_the_book.py, which is written from docs/numerics.md alone."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.torch import load_file, save_file

from etchproof.checkpoint import load_checkpoint
from etchproof.quantize import quantize_model
from etchproof.quantize.calibrate import calibration_text
from etchproof.quantize.quantized_model import QuantizedModel
from etchproof.quantize.recipe import Recipe, load_recipe, resolve
from tests.oracle import calibration_by_the_book as book

ROOT = Path(__file__).parents[2]
TINY, RECIPES = ROOT / "models" / "tiny", ROOT / "models" / "recipes"
DEFAULT = "w6a16"


@pytest.mark.parametrize("name", [DEFAULT, "w8a8"])
def test_the_shipped_model_is_calibrated_as_the_page_says(name: str) -> None:
    """The sampled text, token by token, and every e, eg and frac that follows from it."""
    recipe = load_recipe(name, RECIPES)
    _agrees(TINY, recipe)


def test_clipping_moves_e_by_at_most_one_and_no_frac() -> None:
    """GPTQ's clipped scales: e is that of the whole magnitudes or one more, and this model's fracs follow from both."""
    recipe = load_recipe("w4a16", RECIPES)
    model = quantize_model(load_checkpoint(TINY), recipe)
    config, weights = book.read_checkpoint(TINY)
    asked = _asked(recipe, TINY)
    _, largest = book.calibrate(config, weights, asked)
    whole = _exponents(weights, asked)
    clipped = _etched_exponents(model)
    assert all(clipped[module] - whole[module] in (0, 1) for module in whole)
    assert clipped != whole, "no matrix is clipped: this test shows nothing"
    gains = _gain_exponents(weights)
    for exponents in (whole, clipped):
        assert book.fracs(config, asked, largest, exponents, gains) == _etched_fracs(model)


EDGES: Mapping[str, Mapping[str, float]] = {
    # Taps, matrices and gains that are all zero.
    "zero": {"v_proj.weight": 0.0, "0.mlp.gate_proj.weight": 0.0, "1.input_layernorm.weight": 0.0},
    # Tiny weights of large exponents: every limit on shifts from above, and want at 24.
    "faint": {"q_proj.weight": 1e-7, "k_proj.weight": 1e-7, "o_proj.weight": 1e-6, "up_proj.weight": 1e-9},
    # Matrices of small exponents whose outputs are ordinary: their largest column meets a channel of gain 0.
    "unheard": {},
}


@pytest.mark.parametrize("name", EDGES)
def test_limits_are_resolved_in_the_page_s_order(name: str, tmp_path: Path) -> None:
    """Where the limits on shifts decide, on a random text; the shipped model never gets there."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    for file in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(TINY / file, folder / file)
    weights = load_file(TINY / "model.safetensors")
    for key, weight in weights.items():
        weight.mul_(next((factor for end, factor in EDGES[name].items() if key.endswith(end)), 1.0))
    if name == "unheard":
        for norm, linear in (
            ("input_layernorm", "self_attn.k_proj"),
            ("post_attention_layernorm", "mlp.up_proj"),
        ):
            weights[f"model.layers.1.{norm}.weight"][0] = 0
            weights[f"model.layers.1.{linear}.weight"][:, 0] = 1e10
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    recipe = _recipe(tmp_path, {"calibration": {"source": "random", "sequences": 2, "length": 9, "seed": 5}})
    asked, model = _agrees(folder, recipe)
    config, floats = book.read_checkpoint(folder)
    _, largest = book.calibrate(config, floats, asked)
    wanted = {
        (layer, tap): book.want(
            16,
            max(largest[layer, tap], largest.get((layer, "q_rope"), 0.0) * (tap == "q_proj")),
            asked.headroom,
        )
        for layer, tap in _etched_fracs(model)
    }
    assert wanted != _etched_fracs(model), "no limit decided: this case shows nothing"


def test_the_seed_and_the_length_count() -> None:
    """The oracle is not right whatever the text: another seed, or one token less, is another text."""
    recipe = load_recipe(DEFAULT, RECIPES)
    asked = replace(_asked(recipe, TINY), sequences=2, length=12)
    config, weights = book.read_checkpoint(TINY)
    text, largest = book.calibrate(config, weights, asked)
    other, _ = book.calibrate(config, weights, replace(asked, seed=asked.seed + 1))
    shorter, _ = book.calibrate(config, weights, replace(asked, length=11))
    assert not np.array_equal(text, other)
    assert not np.array_equal(text[:, :11], shorter)
    assert all(value > 0 for value in largest.values())


def test_the_oracle_stands_alone() -> None:
    tree = ast.parse(Path(book.__file__).read_text(encoding="utf-8"))
    imported = {
        (name or ".").partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        )
    }
    assert not imported & {"etchproof", "models", "tests", "torch", "."}


def _agrees(folder: Path, recipe: Recipe) -> tuple[book.Asked, QuantizedModel]:
    """Text, e, eg and frac of a checkpoint that is rounded to nearest are the book's."""
    checkpoint = load_checkpoint(folder)
    assert recipe.method == "rtn"
    model = quantize_model(checkpoint, recipe)
    asked = _asked(recipe, folder)
    config, weights = book.read_checkpoint(folder)
    text, largest = book.calibrate(config, weights, asked)
    assert np.array_equal(text, calibration_text(checkpoint, recipe).tokens.numpy())
    exponents, gains = _exponents(weights, asked), _gain_exponents(weights)
    assert exponents == _etched_exponents(model)
    assert gains == _etched_gain_exponents(model)
    assert book.fracs(config, asked, largest, exponents, gains) == _etched_fracs(model)
    return asked, model


def _asked(recipe: Recipe, folder: Path) -> book.Asked:
    formats = resolve(recipe, load_checkpoint(folder).config)
    return book.Asked(
        formats={module: (form.bits, form.group_size) for module, form in formats.items()},
        activation_bits=recipe.activation_bits,
        kv_bits=recipe.kv_bits,
        context=recipe.context,
        headroom=recipe.headroom,
        source=recipe.calibration.source,
        sequences=recipe.calibration.sequences,
        length=recipe.calibration.length,
        seed=recipe.calibration.seed,
    )


def _exponents(weights: Mapping[str, book.Floats], asked: book.Asked) -> dict[str, int]:
    return {
        module: book.exponent(weights[f"{module}.weight"], bits)
        for module, (bits, _) in asked.formats.items()
    }


def _gain_exponents(weights: Mapping[str, book.Floats]) -> dict[str, int]:
    return {
        name.removesuffix(".weight"): book.gain_exponent(weight)
        for name, weight in weights.items()
        if weight.ndim == 1 and name.endswith("norm.weight")
    }


def _etched_exponents(model: QuantizedModel) -> dict[str, int]:
    found = {"model.embed_tokens": model.embedding.exponent, "lm_head": model.lm_head.exponent}
    for index, layer in enumerate(model.layers):
        for name, module in book.LINEARS.items():
            found[f"model.layers.{index}.{module}"] = layer.linears[name].exponent
    return found


def _etched_gain_exponents(model: QuantizedModel) -> dict[str, int]:
    found = {"model.norm": model.final_norm.exponent}
    for index, layer in enumerate(model.layers):
        found[f"model.layers.{index}.input_layernorm"] = layer.attn_norm.exponent
        found[f"model.layers.{index}.post_attention_layernorm"] = layer.mlp_norm.exponent
    return found


def _etched_fracs(model: QuantizedModel) -> dict[tuple[int, str], int]:
    layers = {-1: model.frac, **{index: layer.frac for index, layer in enumerate(model.layers)}}
    return {(layer, tap): bits for layer, frac in layers.items() for tap, bits in frac.items()}


def _recipe(folder: Path, more: Mapping[str, Any]) -> Recipe:
    path = folder / "edge.yaml"
    rule = {"match": "*", "bits": 8, "group_size": 16}
    path.write_text(yaml.safe_dump({**more, "matrices": [rule]}), encoding="utf-8")
    return load_recipe(path, folder)
