"""The reference chip's taps, for tests of what takes any chip's."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from functools import cache
from typing import Final

from etchproof.contract.taps import TapKey, TapPlan
from models.taps import ADAPTED_LAYER_TAPS, HEAD_TAPS, TAIL_TAPS, of_layers

TAP_NAMES: Final = (*HEAD_TAPS, *ADAPTED_LAYER_TAPS, *TAIL_TAPS)


@cache
def declared(n_layers: int, bits: int = 64) -> TapPlan:
    """Its taps, adapters' included, each with elements of that width."""
    return TapPlan(tuple(of_layers(n_layers, dict.fromkeys(TAP_NAMES, bits), adapters=True)))


def tap_plan(n_layers: int, adapted: AbstractSet[TapKey] = frozenset()) -> tuple[TapKey, ...]:
    """The taps that are due for a token, in dataflow order."""
    return declared(n_layers).due(adapted)
