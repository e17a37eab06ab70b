"""GPTQ: better than plain rounding where inputs are correlated, the same where they are not, and deterministic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from etchproof.checkpoint import Checkpoint
from etchproof.errors import InputError
from etchproof.float_model.llama import FloatModel
from etchproof.quantize import content_sha256, dequantize, dequantized_model, quantize_model, sample_text
from etchproof.quantize.gptq import curvature, gptq_matrix
from etchproof.quantize.matrix import quantize_matrix
from etchproof.quantize.quality import kl_divergence
from etchproof.quantize.quantized_model import QuantizedMatrix
from etchproof.quantize.recipe import Recipe, load_recipe


@pytest.fixture(scope="module")
def correlated() -> tuple[np.ndarray, torch.Tensor]:
    """A weight (24, 70) and inputs (400, 70) of about 12 dimensions and a little noise."""
    rng = np.random.default_rng(3)
    weight = rng.normal(size=(24, 70)).astype(np.float32)
    inputs = rng.normal(size=(400, 12)) @ rng.normal(size=(12, 70)) + 0.1 * rng.normal(size=(400, 70))
    return weight, torch.from_numpy(inputs)


def output_error(weight: np.ndarray, x: torch.Tensor, found: QuantizedMatrix) -> float:
    error = x.numpy() @ (dequantize(found, np.float64) - weight).T
    return float((error**2).mean())


@pytest.mark.parametrize("bits", [3, 4])
def test_beats_rounding_on_correlated_inputs(correlated: tuple[np.ndarray, torch.Tensor], bits: int) -> None:
    weight, x = correlated
    plain = quantize_matrix(weight, bits, 16)
    found = gptq_matrix(weight, curvature(x, 0.01), bits, 16)
    clipped = gptq_matrix(weight, curvature(x, 0.01), bits, 16, clip=True)
    assert output_error(weight, x, found) < 0.3 * output_error(weight, x, plain)
    assert output_error(weight, x, clipped) < 0.3 * output_error(weight, x, plain)
    # It replaces only the choice of codes (docs/numerics.md section 12).
    assert np.array_equal(found.scales, plain.scales)
    assert found.exponent == plain.exponent
    for matrix in (found, clipped):
        assert np.abs(matrix.codes).max() <= 2 ** (bits - 1) - 1


def test_lazy_updates_equal_the_plain_recurrence() -> None:
    """More columns than one stretch of lazy updates, against the paper's loop written out."""
    rng = np.random.default_rng(5)
    weight = rng.normal(size=(3, 300)).astype(np.float32)
    x = torch.from_numpy(rng.normal(size=(500, 40)) @ rng.normal(size=(40, 300)))
    inputs = curvature(x, 0.01)
    found = gptq_matrix(weight, inputs, 4, 32)
    step = np.ldexp(np.repeat(found.scales.astype(np.float64), 32, axis=1)[:, :300], -found.exponent)
    left = weight.astype(np.float64)[:, inputs.order]
    for j, column in enumerate(inputs.order):
        code = np.clip(np.rint(left[:, j] / step[:, column]), -7, 7)
        assert np.array_equal(found.codes[:, column], code)
        error = (left[:, j] - code * step[:, column]) / inputs.factor[j, j]
        left[:, j + 1 :] -= np.outer(error, inputs.factor[j, j + 1 :])


def test_independent_inputs_leave_rounding_alone() -> None:
    weight = np.random.default_rng(2).normal(size=(8, 32)).astype(np.float32)
    x = torch.eye(32, dtype=torch.float64)
    assert np.array_equal(
        gptq_matrix(weight, curvature(x, 0.01), 4, 16).codes, quantize_matrix(weight, 4, 16).codes
    )


def test_dead_inputs_are_rounded_as_they_stand() -> None:
    weight = np.random.default_rng(2).normal(size=(8, 32)).astype(np.float32)
    plain = quantize_matrix(weight, 4, 16)
    nothing = curvature(torch.zeros(10, 32, dtype=torch.float64), 0.01)
    assert np.array_equal(gptq_matrix(weight, nothing, 4, 16, clip=True).codes, plain.codes)
    x = torch.from_numpy(np.random.default_rng(1).normal(size=(100, 32)))
    x[:, 5] = 0
    assert np.array_equal(gptq_matrix(weight, curvature(x, 0.01), 4, 16).codes[:, 5], plain.codes[:, 5])


def test_zero_weights() -> None:
    x = torch.from_numpy(np.random.default_rng(1).normal(size=(100, 20)))
    found = gptq_matrix(np.zeros((4, 20), np.float32), curvature(x, 0.01), 3, 16, clip=True)
    assert not found.codes.any()
    assert not found.scales.any()


def test_too_little_damping_is_refused() -> None:
    x = torch.ones(3, 40, dtype=torch.float64)
    with pytest.raises(InputError, match=r"gptq\.damping: is 1e-30, .*of 40 columns are too dependent"):
        curvature(x, 1e-30)


def test_weights_beyond_the_range_are_named() -> None:
    inputs = curvature(torch.eye(4, dtype=torch.float64), 0.01)
    with pytest.raises(
        InputError, match=r"folder: w: holds a weight of magnitude 1\S+e\+20, expected less than 5.4"
    ):
        gptq_matrix(np.full((2, 4), 1e20, np.float32), inputs, 8, 4, clip=True, name="w", source="folder")


def test_the_same_twice(tiny: Checkpoint, recipes_dir: Path) -> None:
    recipe = load_recipe("w3w6a16", recipes_dir)
    first, second = (content_sha256(quantize_model(tiny, recipe)) for _ in range(2))
    assert first == second


def divergence(checkpoint: Checkpoint, recipe: Recipe, text: torch.Tensor) -> float:
    """Mean KL of the weights alone."""
    reference = FloatModel(checkpoint.config, checkpoint.tensor, torch.float64)
    rounded = dequantized_model(quantize_model(checkpoint, recipe))
    found = [kl_divergence(reference.forward(tokens), rounded.forward(tokens)) for tokens in text]
    return float(torch.cat(found).mean())


def test_stories260k_at_3_and_6_bits(stories: Checkpoint, recipes_dir: Path) -> None:
    """The text is none that either was calibrated on. Without clipping, codes alone must already reach 0.85."""
    text = sample_text(stories, 8, 200, seed=77)
    recipe = load_recipe("w3w6a16", recipes_dir)
    plain = divergence(stories, recipe.model_copy(update={"method": "rtn"}), text)
    unclipped = recipe.gptq.model_copy(update={"clip": False})
    assert divergence(stories, recipe.model_copy(update={"gptq": unclipped}), text) < 0.85 * plain
    assert divergence(stories, recipe, text) < 0.7 * plain
