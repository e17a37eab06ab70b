"""RoPE's angles against the formula by hand, and the bases whose angles are no numbers."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from etchproof.checkpoint import LinearScaling, ModelConfig, RopeConfig, read_config
from etchproof.checkpoint.rope import rope_cos_sin, rope_inv_freq
from etchproof.errors import InputError
from etchproof.quantize.recipe import Recipe, load_recipe
from models import chip
from models.numerics import tables


def config(theta: float, head_dim: int = 8, scaling: LinearScaling | None = None) -> ModelConfig:
    return ModelConfig(
        name="toy",
        vocab_size=64,
        hidden_size=24,
        intermediate_size=44,
        n_layers=1,
        n_heads=3,
        n_kv_heads=1,
        head_dim=head_dim,
        context=32,
        rope=RopeConfig(theta=theta, scaling=scaling),
    )


@pytest.fixture
def recipe(repo_root: Path) -> Recipe:
    return load_recipe("w6a16", repo_root / "models" / "recipes")


def test_angles_by_hand() -> None:
    """Pair i of 4 turns by theta^(-i/4) a position: 1, 0.1, 0.01, 0.001 of theta 10,000."""
    assert rope_inv_freq(config(1e4)) == pytest.approx([1, 0.1, 0.01, 0.001])
    assert rope_inv_freq(config(1e4, scaling=LinearScaling(factor=4))) == pytest.approx(
        [0.25, 0.025, 0.0025, 0.00025]
    )
    cos, sin = rope_cos_sin(config(1e4), np.array([0, 3]))
    assert cos[0].tolist() == [1, 1, 1, 1] and sin[0].tolist() == [0, 0, 0, 0]
    assert cos[1] == pytest.approx([math.cos(3), math.cos(0.3), math.cos(0.03), math.cos(0.003)])
    assert sin[1] == pytest.approx([math.sin(3), math.sin(0.3), math.sin(0.03), math.sin(0.003)])


@pytest.mark.parametrize("theta", [1e-315, 5e-324, 1e-60])
def test_a_base_without_finite_angles_is_refused(theta: float, recipe: Recipe) -> None:
    """Wherever angles are taken; 1e-60 gives angles that are finite in float64 alone, and transformers has float32."""
    for attempt in (
        lambda: rope_cos_sin(config(theta), np.arange(32)),
        lambda: tables.rope_tables(config(theta), 32),
        lambda: chip.plan(config(theta), recipe),
    ):
        with pytest.raises(
            InputError, match=f"toy: rope_theta: is {theta!r}: angles of positions up to 31 are not"
        ):
            attempt()


def test_even_one_position_is_refused() -> None:
    """Position 0 times an infinite frequency is no number, and it was etched as one."""
    with pytest.raises(InputError, match="rope_theta"):
        rope_cos_sin(config(5e-324, head_dim=2048), np.array([0]))


@pytest.mark.parametrize("theta", [1e-30, 1e-3, 1.0, 1e4, 1e12])
def test_others_have_tables_of_numbers(theta: float, recipe: Recipe) -> None:
    chip.plan(config(theta), recipe)
    for table in (*rope_cos_sin(config(theta), np.arange(32)), *tables.rope_tables(config(theta), 32)):
        assert np.isfinite(np.asarray(table, dtype=np.float64)).all()


def test_the_line_names_the_file(tmp_path: Path, tiny_checkpoint: Path, recipe: Recipe) -> None:
    shutil.copy(tiny_checkpoint / "config.json", tmp_path)
    raw = json.loads((tmp_path / "config.json").read_text())
    raw["rope_theta"] = 1e-315
    (tmp_path / "config.json").write_text(json.dumps(raw))
    with pytest.raises(InputError) as caught:
        chip.plan(read_config(tmp_path), recipe)
    assert str(caught.value).startswith(f"{tmp_path / 'config.json'}: rope_theta: is 1e-315: ")
