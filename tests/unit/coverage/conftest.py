"""Fixtures shared with the golden model's suite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from etchproof.compare.comparator import TokenRecord
from etchproof.coverage.corner_tokens import corner_tokens
from etchproof.coverage.functional import RunSample
from etchproof.quantize.quantized_model import QuantizedModel
from models import chip
from models.golden import Golden
from tests.unit.models.conftest import drawn_model, tiny_model
from verif.coverage.corners import corner_model
from verif.coverage.covergroups import Sampler, groups

__all__ = ["saturating_model", "tiny_model"]


@pytest.fixture(scope="session")
def corner_hits(tiny_model: QuantizedModel) -> Mapping[int, Mapping[str, set[str]]]:
    """By seed and covergroup, the bins that the sign-off's run over those corner weights hits."""
    plan = chip.plan(tiny_model.config, tiny_model.recipe)
    found = {}
    for seed in (1, 2, 3, 4):
        corners = corner_model(tiny_model, plan, seed)
        sampler, session = Sampler(corners, plan), Golden(corners).session()
        sequences = corner_tokens(plan.vocab_size, plan.context, seed)
        records = [
            TokenRecord(sequence=number, position=position, token_in=token, token_out=0, status=0, cycles=0)
            for number, tokens in enumerate(sequences)
            for position, token in enumerate(tokens)
        ]
        taps = [session.predict(tokens, True) for tokens in sequences]
        counts = sampler(RunSample("corners", records, taps))
        found[seed] = {
            group.name: {group.bins[index] for index in np.flatnonzero(counts[group.name])}
            for group in groups(plan)
        }
    return found


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
