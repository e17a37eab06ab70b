"""Fixtures shared with the golden model's suite."""

from __future__ import annotations

from dataclasses import replace

from etchproof.quantize.quantized_model import QuantizedModel
from tests.unit.models.conftest import drawn_model, tiny_model

__all__ = ["saturating_model", "tiny_model"]


def saturating_model() -> QuantizedModel:
    """The model of random codes with every linear some bits louder: many outputs are at an end of their range."""
    model = drawn_model()
    layers = tuple(
        replace(
            layer,
            linears={name: replace(matrix, exponent=20) for name, matrix in layer.linears.items()},
            attn_norm=replace(layer.attn_norm, exponent=9),
        )
        for layer in model.layers
    )
    return replace(model, layers=layers, lm_head=replace(model.lm_head, exponent=20))
