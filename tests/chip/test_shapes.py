"""Chips of awkward and of drawn shapes, end to end: every tap of every token equals the golden model's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from etchproof.checkpoint import ModelConfig, RopeConfig, write_synthetic
from tests.chip.harness import assert_clean, make_chip, run
from verif.load_port.drawn_adapters import corners

pytestmark = pytest.mark.sim

W6 = """
matrices:
  - {match: model.embed_tokens, bits: 8, group_size: 16}
  - {match: "*", bits: 6, group_size: 16}
"""
BARE = f"{W6}lora: {{slots: 0}}\n"
WIDE = f"{W6}lora: {{slots: 15, max_rank: 20}}\n"
COARSE = """
lora: {slots: 3, max_rank: 5}
activation_bits: 8
kv_bits: 8
tile: {rows: 8, inputs: 32}
context: 20
matrices:
  - {match: model.embed_tokens, bits: 4, group_size: row}
  - {match: "*.q_proj", bits: 3, group_size: 32}
  - {match: "*.down_proj", bits: 8, group_size: 64}
  - {match: "*.v_proj", bits: 4, group_size: 16}
  - {match: "*", bits: 6, group_size: row}
"""
MIXED = """
lora: {slots: 1, max_rank: 1}
context: 24
tile: {rows: 4, inputs: 16}
matrices:
  - {match: "model.layers.1.*", bits: 3, group_size: 16}
  - {match: "model.layers.[35].mlp.*", bits: 4, group_size: row}
  - {match: "*", bits: 8, group_size: 32}
"""


def config(**changes: object) -> ModelConfig:
    fields: dict[str, object] = {
        "name": "drawn",
        "vocab_size": 101,
        "hidden_size": 40,
        "intermediate_size": 37,
        "n_layers": 1,
        "n_heads": 5,
        "n_kv_heads": 1,
        "head_dim": 6,
        "context": 33,
        "rms_norm_eps": 1e-5,
        "rope": RopeConfig(theta=10000.0, scaling=None),
        "tie_word_embeddings": False,
        "attention_bias": True,
        "mlp_bias": True,
        "bos_token_id": 1,
        "eos_token_ids": (2,),
    }
    return ModelConfig.model_validate(fields | changes)


def drawn(seed: int) -> ModelConfig:
    """A shape drawn from the whole range that a small chip can have."""
    rng = np.random.default_rng(seed)
    kv_heads = int(rng.integers(1, 4))
    return config(
        vocab_size=int(rng.integers(3, 300)),
        hidden_size=int(rng.integers(5, 90)),
        intermediate_size=int(rng.integers(3, 130)),
        n_layers=int(rng.integers(1, 4)),
        n_heads=kv_heads * int(rng.integers(1, 4)),
        n_kv_heads=kv_heads,
        head_dim=2 * int(rng.integers(1, 9)),
        context=int(rng.integers(20, 40)),
        tie_word_embeddings=bool(rng.integers(2)),
        attention_bias=bool(rng.integers(2)),
        mlp_bias=bool(rng.integers(2)),
    )


SHAPES = {
    "mqa-biased-untied-odd": (config(), W6),
    "8-bit-coarse-groups": (
        config(n_layers=2, n_heads=6, n_kv_heads=3, hidden_size=72, mlp_bias=False),
        COARSE,
    ),
    "7-layers-of-3-kinds": (
        config(
            n_layers=7,
            hidden_size=21,
            n_heads=2,
            n_kv_heads=2,
            head_dim=4,
            attention_bias=False,
            mlp_bias=False,
        ),
        MIXED,
    ),
    "drawn-1": (drawn(1), WIDE),
    "drawn-2": (drawn(2), COARSE),
    "no-slots": (config(hidden_size=16, intermediate_size=20), BARE),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if "drawn" in name else name for name in SHAPES]
)
def test_every_tap_equals(name: str, tmp_path: Path) -> None:
    shape, recipe = SHAPES[name]
    write_synthetic(tmp_path / "checkpoint", shape, seed=7)
    (tmp_path / "recipe.yaml").write_text(recipe)
    chip = make_chip(tmp_path / "checkpoint", tmp_path / "recipe.yaml", tmp_path / "chip")
    comparison = assert_clean(run(chip, "RandomTokens"))
    assert len(comparison.tokens) >= 20
    assert comparison.elements > 1000
    for test in ("RomReadback", "RomTestPort"):
        assert_clean(run(chip, test))
    if chip.plan.lora_slots == 0:
        assert "ep_lora" not in (tmp_path / "chip" / "fabric" / "ep_layer_0.sv").read_text()
        assert_clean(run(chip, "HostErrors"))
        return
    adapters = corners(chip.model, chip.plan)
    done = run(chip, "AdapterSlots", adapters=adapters)
    comparison = assert_clean(done)
    assert {count.adapter for count in comparison.sequences} == {None, *range(len(adapters))}
