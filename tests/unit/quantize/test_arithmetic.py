"""The golden model against real arithmetic: what is right is near enough, and a slip in any operation is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from etchproof.project.declaration import load_project
from etchproof.qualify.edits import Edit, applied
from etchproof.quantize import quantize_model
from etchproof.quantize.arithmetic import check_arithmetic
from etchproof.quantize.quantized_model import QuantizedModel
from etchproof.run import flow
from models.golden import Golden
from tests.conftest import ROOT

OPS, GOLDEN = "models.numerics.ops", "models.golden"
TOKENS = torch.arange(2 * 40).reshape(2, 40) % 97


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Path) -> QuantizedModel:
    design = flow.make_design(load_project(ROOT), tiny_checkpoint, None)
    recipe = flow.short_recipe(design, source="random")
    return quantize_model(design.checkpoint, recipe)


def wrong(model: QuantizedModel) -> list[str]:
    return [error.tap for error in check_arithmetic(Golden(model), TOKENS) if not error.worst <= 1]


def test_what_is_right(model: QuantizedModel) -> None:
    found = check_arithmetic(Golden(model), TOKENS)
    assert len(found) == 55 and all(error.worst <= 1 for error in found)


SLIPS = {
    "ties downwards": (
        "etchproof.fixed_point",
        "return (x + (1 << (shift - 1))) >> shift if shift else x",
        "return (x + (1 << (shift - 1)) - 1) >> shift if shift else x",
        "q_rope",
    ),
    "rounding down": (
        "etchproof.fixed_point",
        "return (x + (1 << (shift - 1))) >> shift if shift else x",
        "return x >> shift",
        "embedding",
    ),
    "pairs of RoPE": (OPS, "high * cos + low * sin)", "high * cos - low * sin)", "q_rope"),
    "a norm without epsilon": (
        OPS,
        "+ (torch.full_like(s, epsilon) >> (2 * s))).clamp",
        ").clamp",
        "attn_norm",
    ),
    "a mask that is off by one": (GOLDEN, "<= rows[:, None])", "< rows[:, None] + 2)", "softmax"),
    "SiLU without its sign": (OPS, "torch.where(g >= 0, t, (1 << 20) - t)", "t", "swiglu"),
    "the last of equals": (GOLDEN, ".argmax(dim=-1)", ".argmin(dim=-1)", "token"),
    "a weight that is a little off": (OPS, "4 + n)", "4 + n) | 2", "softmax"),
    "a sum that is cut": (
        OPS,
        "round_shift(acc, b - 18)",
        "(round_shift(acc, b - 18) & ~0x3FFFF)",
        "attn_out",
    ),
}


@pytest.mark.parametrize("name", SLIPS)
def test_a_slip(model: QuantizedModel, name: str) -> None:
    module, was, becomes, tap = SLIPS[name]
    with applied([Edit(module, was, becomes)]):
        found = wrong(model)
    assert tap in found
