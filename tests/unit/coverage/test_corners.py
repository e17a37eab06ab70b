"""Weights for the corners: the same fabric, legal integers, and every case of every rounding."""

from __future__ import annotations

import numpy as np
import pytest

from etchproof.compare.comparator import TokenRecord
from etchproof.coverage.functional import RunSample
from etchproof.quantize.quantized_model import QuantizedModel
from models import chip
from models.golden import Golden
from models.numerics.params import layer_params, top_params
from models.rom import writer
from tests.unit.models.conftest import drawn_model
from verif.coverage.corners import corner_model
from verif.coverage.covergroups import Sampler, groups


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


def test_integers_are_legal(tiny_model: QuantizedModel) -> None:
    """Codes within their bits, shifts within what the hardware can do, for odd shapes with biases too."""
    for model in (tiny_model, drawn_model()):
        corners = corner_model(model, chip.plan(model.config, model.recipe), 3)
        top_params(corners)
        for index, layer in enumerate(corners.layers):
            layer_params(corners, index)
            for matrix in layer.linears.values():
                assert -(1 << matrix.bits - 1) <= matrix.codes.min()
                assert matrix.codes.max() < 1 << matrix.bits - 1


@pytest.mark.parametrize("group", ["rounding", "ends", "tables", "residual", "softmax", "swiglu", "argmax"])
def test_corners_are_reached(tiny_model: QuantizedModel, group: str, hits: dict[str, set[str]]) -> None:
    """All bins of what the sign-off feeds; RoPE rows are positions, which other tests reach."""
    if tiny_model.recipe.activation_bits == 8 and group == "tables":
        return  # docs/coverage.md
    plan = chip.plan(tiny_model.config, tiny_model.recipe)
    (bins,) = (found.bins for found in groups(plan) if found.name == group)
    wanted = {name for name in bins if not name.startswith("rope")}
    assert wanted - hits[group] == set()


@pytest.fixture(scope="module")
def hits(tiny_model: QuantizedModel) -> dict[str, set[str]]:
    plan = chip.plan(tiny_model.config, tiny_model.recipe)
    found: dict[str, set[str]] = {group.name: set() for group in groups(plan)}
    for seed in (1, 2, 3, 4):
        corners = corner_model(tiny_model, plan, seed)
        sampler, golden = Sampler(corners, plan), Golden(corners)
        sequences = np.random.default_rng(seed).integers(plan.vocab_size, size=(16, 24)).tolist()
        records = [
            TokenRecord(sequence=number, position=position, token_in=token, token_out=0, status=0, cycles=0)
            for number, tokens in enumerate(sequences)
            for position, token in enumerate(tokens)
        ]
        taps = [golden.session().predict(tokens, True) for tokens in sequences]
        counts = sampler(RunSample("corners", records, taps))
        for group in groups(plan):
            found[group.name] |= {group.bins[index] for index in np.flatnonzero(counts[group.name])}
    return found
