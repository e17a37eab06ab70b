"""Fixtures of the golden model's suite: models of awkward shapes, quantized once a session."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from etchproof.checkpoint import ModelConfig, load_checkpoint
from etchproof.checkpoint.linears import LINEARS
from etchproof.quantize import quantize_model
from etchproof.quantize.quantized_model import (
    FRAC_TAPS,
    AdapterMatrix,
    QuantizedAdapter,
    QuantizedGains,
    QuantizedLayer,
    QuantizedMatrix,
    QuantizedModel,
)
from etchproof.quantize.recipe import MatrixRule, Recipe, Tile, load_recipe, resolve
from models.chip import MODULES

CONFIG = ModelConfig(
    name="toy",
    vocab_size=37,
    hidden_size=40,
    intermediate_size=52,
    n_layers=2,
    n_heads=5,
    n_kv_heads=1,
    head_dim=6,
    context=32,
    bos_token_id=1,
    eos_token_ids=(2,),
    tie_word_embeddings=False,
    attention_bias=True,
    mlp_bias=True,
)


def recipe(**changes: object) -> Recipe:
    """Every kind of geometry: groups finer than the tile, as wide, coarser, whole rows of one or several chunks."""
    rules = (
        MatrixRule(match=("model.embed_tokens",), bits=8, group_size=16),
        MatrixRule(match=("lm_head", "*.down_proj"), bits=4, group_size=32),
        MatrixRule(match=("*.q_proj", "*.k_proj"), bits=3, group_size=16),
        MatrixRule(match=("*.o_proj", "*.gate_proj"), bits=8, group_size="row"),
        MatrixRule(match=("*",), bits=6, group_size=64),
    )
    fields = {"name": "toy", "context": 20, "tile": Tile(rows=8, inputs=16), "matrices": rules}
    return Recipe.model_validate({**fields, **changes})


def drawn_model(config: ModelConfig = CONFIG, used: Recipe | None = None) -> QuantizedModel:
    """A model of random codes, all 2^bits patterns, and scales; fractional bits that every shift can do."""
    used = used if used is not None else recipe()
    draw = np.random.default_rng(11)
    formats = resolve(used, config)

    def matrix(module: str, rows: int, cols: int, bias: bool) -> QuantizedMatrix:
        fmt = formats[module]
        low = -(1 << (fmt.bits - 1))
        codes = draw.integers(low, -low, (rows, cols)).astype(np.int8)
        scales = draw.integers(1, 65536, (rows, -(-cols // fmt.group_size))).astype(np.uint16)
        biases = draw.integers(-(2**31), 2**31, rows).astype(np.int32) if bias else None
        return QuantizedMatrix(fmt.bits, fmt.group_size, codes, scales, 24, biases, 3 if bias else 0)

    def gains() -> QuantizedGains:
        return QuantizedGains(draw.integers(-(2**15), 2**15, config.hidden_size).astype(np.int16), 12)

    q, kv, hidden, ffn = config.q_size, config.kv_size, config.hidden_size, config.intermediate_size
    shapes = {
        "q_proj": (q, hidden),
        "k_proj": (kv, hidden),
        "v_proj": (kv, hidden),
        "o_proj": (hidden, q),
        "gate_proj": (ffn, hidden),
        "up_proj": (ffn, hidden),
        "down_proj": (hidden, ffn),
    }
    layers = tuple(
        QuantizedLayer(
            {
                name: matrix(f"model.layers.{index}.{MODULES[name]}.{name}", *shapes[name], bias=True)
                for name in LINEARS
            },
            gains(),
            gains(),
            dict.fromkeys(FRAC_TAPS, 11),
        )
        for index in range(config.n_layers)
    )
    return QuantizedModel(
        config=config,
        recipe=used,
        checkpoint_sha256="",
        embedding=matrix("model.embed_tokens", config.vocab_size, hidden, False),
        layers=layers,
        final_norm=gains(),
        lm_head=matrix("lm_head", config.vocab_size, hidden, False),
        frac={"final_norm": 11, "logits": 10},
    )


def drawn_adapter(
    model: QuantizedModel,
    ranks: Mapping[tuple[int, str], int],
    seed: int = 5,
    *,
    reach: int = 2**15,
    a_shift: int = 20,
    b_shift: int = 6,
    name: str = "drawn",
) -> QuantizedAdapter:
    """An adapter of random integers of every 16-bit value, or of magnitudes below ``reach``."""
    draw = np.random.default_rng(seed)
    linears = {}
    for (layer, linear), rank in ranks.items():
        base = model.layers[layer].linears[linear]
        a = draw.integers(-reach, reach, (rank, base.cols)).astype(np.int16)
        b = draw.integers(-reach, reach, (base.rows, rank)).astype(np.int16)
        linears[layer, linear] = AdapterMatrix(a, b, a_shift, b_shift, 0, 0, 0)
    return QuantizedAdapter(name, f"{seed:064x}", linears)


def everywhere(model: QuantizedModel, rank: int) -> dict[tuple[int, str], int]:
    """One rank for every linear."""
    return {(layer, name): rank for layer in range(len(model.layers)) for name in LINEARS}


@pytest.fixture(scope="session")
def toy() -> QuantizedModel:
    return drawn_model()


@pytest.fixture(scope="session", params=["w6a16", "w8a8"])
def tiny_model(request: pytest.FixtureRequest, tiny_checkpoint: Path, repo_root: Path) -> QuantizedModel:
    """The small trained checkpoint under a 16-bit and an 8-bit recipe."""
    return quantize_model(
        load_checkpoint(tiny_checkpoint), load_recipe(request.param, repo_root / "models" / "recipes")
    )
