"""Weights for the corners: the same fabric, legal integers, and every case of every rounding."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

import numpy as np
import pytest

from etchproof.coverage.corner_tokens import corner_tokens
from etchproof.quantize.quantized_model import QuantizedModel
from models import chip
from models.golden import Golden
from models.numerics.params import layer_params, top_params
from models.rom import writer
from tests.unit.models.conftest import drawn_model
from verif.coverage.corners import corner_model
from verif.coverage.covergroups import groups
from verif.coverage.norm import sample_norm

SLIPS = ("begins_at_1", "negative_largest", "first_lane_largest", "last_lane_largest")


def shapes(model: QuantizedModel) -> list[tuple[object, ...]]:
    plan = chip.plan(model.config, model.recipe)
    return [(image.layer, image.name, image.bits, image.data.shape) for image in writer.images(model, plan)]


def test_the_fabric_is_the_same(tiny_model: QuantizedModel) -> None:
    plan = chip.plan(tiny_model.config, tiny_model.recipe)
    corners = corner_model(tiny_model, plan, 1)
    assert chip.plan(corners.config, corners.recipe) == plan
    assert shapes(corners) == shapes(tiny_model)
    again, other = corner_model(tiny_model, plan, 1), corner_model(tiny_model, plan, 2)
    codes = [model.layers[0].linears["q_proj"].codes for model in (corners, again, other, tiny_model)]
    assert np.array_equal(codes[0], codes[1])
    assert not np.array_equal(codes[0], codes[2]) and not np.array_equal(codes[0], codes[3])


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_integers_are_legal(tiny_model: QuantizedModel, seed: int) -> None:
    """Codes within their bits, shifts within what the hardware can do, for odd shapes with biases too."""
    for model in (tiny_model, drawn_model()):
        corners = corner_model(model, chip.plan(model.config, model.recipe), seed)
        top_params(corners)
        for index, layer in enumerate(corners.layers):
            layer_params(corners, index)
            for matrix in (*layer.linears.values(), corners.embedding, corners.lm_head):
                assert -(1 << matrix.bits - 1) <= matrix.codes.min()
                assert matrix.codes.max() < 1 << matrix.bits - 1


@pytest.mark.parametrize("group", ["rounding", "ends", "tables", "residual", "softmax", "swiglu", "argmax"])
def test_corners_are_reached(
    tiny_model: QuantizedModel, group: str, corner_hits: Mapping[int, Mapping[str, set[str]]]
) -> None:
    """All bins of what the sign-off feeds; RoPE rows are positions, which other tests reach."""
    if tiny_model.recipe.activation_bits == 8 and group == "tables":
        return  # docs/coverage.md
    plan = chip.plan(tiny_model.config, tiny_model.recipe)
    (bins,) = (found.bins for found in groups(plan) if found.name == group)
    wanted = {name for name in bins if not name.startswith("rope")}
    assert wanted - set().union(*(hits[group] for hits in corner_hits.values())) == set()


def test_gains_that_show_last_bits_are_searched_for(
    tiny_model: QuantizedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some gains are others than those that were drawn; with those alone the sequences show next to nothing."""
    plan = chip.plan(tiny_model.config, tiny_model.recipe)
    chosen = corner_model(tiny_model, plan, 3)
    monkeypatch.setattr("verif.coverage.corners._searched", lambda gains, *more: gains)
    drawn = corner_model(tiny_model, plan, 3)
    for one, count in ((lambda model: model.layers[0].mlp_norm, 6), (lambda model: model.final_norm, 1)):
        assert (one(chosen).values != one(drawn).values).sum() == count
    seen = []
    for model in (chosen, drawn):
        session = Golden(model).session()
        found: dict[str, Counter[str]] = defaultdict(Counter)
        for tokens in corner_tokens(plan.vocab_size, plan.context, 3):
            taps = session.predict(tokens, True)
            shift = layer_params(model, 0)["mlp_norm.shift"]
            gains = model.layers[0].mlp_norm.values
            epsilon, bits, lanes = plan.norm_epsilon, plan.act_bits, plan.tile_rows
            sample_norm(np.asarray(taps[0, "attn_residual"]), gains, epsilon, shift, bits, lanes, found)
        names = ("epsilon_shifted", "unit_tie", *SLIPS)
        seen.append([found["residual"][name] for name in names])
    assert min(seen[0]) > 0 and 0 in seen[1], seen
