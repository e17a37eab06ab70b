"""Which scopes are traced where waves are of one unit: found among those that the simulator has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from etchproof.contract.taps import TapKey
from etchproof.waves.fst import Signal
from etchproof.waves.layout import TAPS_SCOPE, place_of_tap

Scope = tuple[str, ...]

_ALL: Final = 99  # levels below a scope
_OWN: Final = 1  # its own signals


@dataclass(frozen=True)
class Around:
    """What waves are of.

    Attributes:
        key: the tap of a unit.
        instance: the unit's in the RTL, "u_layer2.u_down_proj"; None where nobody says it.
        neighbours: instances of the units that it reads, and of those that read it.
    """

    key: TapKey
    instance: str | None = None
    neighbours: tuple[str, ...] = ()


@dataclass(frozen=True)
class Traced:
    """What is traced.

    Attributes:
        lines: (levels, scope) for the simulator, outermost first.
        unit: the unit's scope, or that in which its tap stands.
        neighbours: scopes of its neighbours.
    """

    lines: tuple[tuple[int, Scope], ...]
    unit: Scope
    neighbours: tuple[Scope, ...] = ()


def traced(signals: Iterable[Signal], top: str, keys: Sequence[TapKey], wanted: Around) -> Traced | None:
    """What of a simulator's signals is traced; None where the unit's place is not known: then everything is.

    The top's own signals, those of the module in which the unit stands, the unit, its neighbours, and every tap.

    Args:
        signals: all that the simulator has.
        top: name of the simulation's top.
        keys: the taps that have signals, in dataflow order.
    """
    by_scope: dict[Scope, list[Signal]] = {}
    for signal in signals:
        by_scope.setdefault(signal.scope, []).append(signal)
    scopes = {scope[:depth] for scope in by_scope for depth in range(1, len(scope) + 1)}
    own = None if wanted.instance is None else _find(scopes, wanted.instance)
    if own is None:
        place = place_of_tap(by_scope, keys, wanted.key)
        if place is None:
            return None
        lines = [(_OWN, (top,)), (_ALL, place), (_ALL, (TAPS_SCOPE,))]
        return Traced(tuple(lines), place)
    beside = [found for name in wanted.neighbours if (found := _find(scopes, name)) is not None]
    lines = [(_OWN, (top,)), *dict.fromkeys((_OWN, one[:-1]) for one in (own, *beside))]
    lines += [(_ALL, one) for one in (own, *beside)]
    return Traced((*dict.fromkeys(lines), (_ALL, (TAPS_SCOPE,))), own, tuple(beside))


def _find(scopes: Iterable[Scope], instance: str) -> Scope | None:
    """The scope that ends in an instance's names, nearest to the top; None where there is none, or two are as near."""
    names = tuple(instance.split("."))
    found = sorted((one for one in scopes if one[-len(names) :] == names), key=len)
    if not found or (len(found) > 1 and len(found[0]) == len(found[1])):
        return None
    return found[0]
