"""Taps, as a project declares them (``[taps]`` of ``etchproof.toml``, docs/taps.md).

A tap is one operation's result for one token, or for whatever else the chip is fed one by one. It is addressed by
``(layer, name)``; ``layer`` is -1 for what stands outside the layers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, get_args

import numpy.typing as npt

from etchproof.contract.element import ElementType

TapKey = tuple[int, str]
"""(layer, tap)."""

Array = npt.NDArray[Any]

TokenArrays = Array | list[Array]
"""A tap of consecutive tokens: (tokens, elements), or an array for each token where their lengths differ."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.\[\]-]{0,126}")
_LAYERS: Final = range(-1, 1 << 31)


def shown_tap(key: TapKey) -> str:
    """A tap in a sentence: "layer 3 q_proj", or its name alone outside the layers."""
    return key[1] if key[0] < 0 else f"layer {key[0]} {key[1]}"


@dataclass(frozen=True, slots=True)
class Tap:
    """One declared tap.

    Attributes:
        name: as ``ep_tap`` names it in the RTL.
        layer: -1 outside the layers.
        dtype: of its elements.
        adapted: None where it is due for every token; otherwise the place of an adapter, (layer, linear): the tap is
            due only for tokens of a sequence whose adapter adapts that place.
    """

    name: str
    layer: int = -1
    dtype: ElementType = "i32"
    adapted: TapKey | None = None

    @property
    def key(self) -> TapKey:
        return self.layer, self.name


def _problem(tap: object) -> str | None:
    """What is wrong with what a project declares as a tap."""
    if not isinstance(tap, Tap):
        return f"{tap!r}, expected a Tap"
    if _NAME.fullmatch(str(tap.name)) is None:
        return f"a tap of the name {tap.name!r}"
    if tap.layer not in _LAYERS:
        return f"{tap.name} of layer {tap.layer!r}, expected -1 or more"
    if tap.dtype not in get_args(ElementType):
        return f"{tap.name} of type {tap.dtype!r}, expected one of {', '.join(get_args(ElementType))}"
    return None


@dataclass(frozen=True)
class TapPlan:
    """Every tap that a chip has, in dataflow order.

    Raises:
        ValueError: there is none, one is there twice, or a name, layer or type is none.
    """

    taps: tuple[Tap, ...]

    def __post_init__(self) -> None:
        if not self.taps:
            raise ValueError("declares no tap, expected at least one")
        for tap in self.taps:
            problem = _problem(tap)
            if problem is not None:
                raise ValueError(f"declares {problem}")
        for (layer, name), count in Counter(tap.key for tap in self.taps).items():
            if count > 1:
                raise ValueError(f"declares {name} of layer {layer} twice")

    @cached_property
    def by_key(self) -> dict[TapKey, Tap]:
        """The taps by (layer, name), in dataflow order."""
        return {tap.key: tap for tap in self.taps}

    @cached_property
    def names(self) -> frozenset[str]:
        """Every name that a tap of the RTL may have."""
        return frozenset(tap.name for tap in self.taps)

    def due(self, adapted: AbstractSet[TapKey] = frozenset()) -> tuple[TapKey, ...]:
        """The taps of each token of a sequence, in dataflow order.

        Args:
            adapted: the places, by (layer, linear), to which the sequence's adapter adds.
        """
        return tuple(tap.key for tap in self.taps if tap.adapted is None or tap.adapted in adapted)

    def wanted(
        self, adapted: Sequence[AbstractSet[TapKey]], tokens: Iterable[tuple[int | None, int]]
    ) -> dict[TapKey, int]:
        """How many vectors of each tap a run has to leave, in dataflow order; taps that nothing has are left out.

        Args:
            adapted: of each of the run's adapters, the places that it adapts.
            tokens: of each sequence: the index of its adapter, None for the base alone, and its number of tokens.
        """
        found: dict[TapKey, int] = {}
        for adapter, count in tokens:
            for key in self.due(adapted[adapter] if adapter is not None else frozenset()):
                found[key] = found.get(key, 0) + count
        return {key: found[key] for key in self.by_key if key in found}


def rows(keys: Iterable[TapKey]) -> list[tuple[bool, str]]:
    """The rows of a table that shows taps by name: (whether it is a layer's, name), in dataflow order.

    A layer may lack a tap that another has: a name that is new stands after the one that precedes it in its layer.
    """
    found: list[tuple[bool, str]] = []
    previous: tuple[bool, str] | None = None
    for layer, name in keys:
        row = (layer >= 0, name)
        if row not in found:
            at = len(found) if previous is None or not row[0] else found.index(previous) + 1
            found.insert(at, row)
        previous = row
    return found
