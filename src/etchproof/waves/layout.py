"""Layouts of waves for Surfer and for GTKWave: the signals that matter, named and grouped, and a marker.

Groups follow from what the project declares, its taps, and from what stands in the file: signals around the tap of the
first difference whose names say that they hold an address or a state.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from etchproof.contract.taps import TapKey, shown_tap
from etchproof.waves.fst import Signal, Waves

TAPS_SCOPE: Final = "taps"
"""Of the signals of taps (``native/ep_waves.cpp``)."""

FIRST_WRONG: Final = "first_wrong"
"""The marker at the first wrong value."""

_ADDRESS: Final = re.compile(r"(?:^|_)(?:addr|address|word|row|col|idx|index|pos|head|tile|step|ptr)(?:$|_)")
_STATE: Final = re.compile(r"(?:^|_)(?:state|fsm|phase|busy|start|done|valid|ready|run|active|en)(?:$|_)")
_OF_A_TAP: Final = frozenset({"clk_i", "layer_i", "pos_i"})  # ports of the engine's taps
_NEIGHBOURS: Final = 4  # lanes on either side of the one that differs
_DEPTH: Final = 2  # of scopes around it
_LANES: Final = 4  # of every other tap
_MOST: Final = 48  # signals of a group
_MARKERS: Final = 26  # of GTKWave
_NO_MARKER: Final = " -1" * _MARKERS
_SIGNED, _DECIMAL, _HEX, _BINARY = "420", "24", "22", "28"
_OPEN, _OPEN_END, _CLOSED, _CLOSED_END = "800200", "1000200", "c00200", "1401200"


@dataclass(frozen=True)
class Focus:
    """What a layout is about.

    Attributes:
        key: the tap that differs first.
        element: of its vector.
        time: when it was recorded, in units of the simulation's precision.
        says: in words: what was expected, and what came.
        unit: the scope of the unit that makes the tap, where it is known; ``neighbours`` those of the units beside it.
    """

    key: TapKey
    element: int
    time: int
    says: str
    unit: tuple[str, ...] | None = None
    neighbours: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Group:
    """Signals under one name.

    Attributes:
        open: whether they are shown at once.
    """

    name: str
    signals: tuple[Signal, ...]
    open: bool


def scopes(keys: Iterable[TapKey]) -> dict[TapKey, tuple[str, str]]:
    """The scopes of each tap's signals below ``TAPS_SCOPE``: words that need no escape, none for two taps."""
    found: dict[TapKey, tuple[str, str]] = {}
    taken: set[tuple[str, str]] = set()
    for layer, tap in keys:
        outer = "model" if layer < 0 else f"layer_{layer}"
        inner = base = re.sub(r"\W", "_", tap)
        number = 1
        while (outer, inner) in taken:
            number += 1
            inner = f"{base}_{number}"
        taken.add((outer, inner))
        found[layer, tap] = (outer, inner)
    return found


def groups(waves: Waves, top: str, keys: Sequence[TapKey], focus: Focus | None) -> list[Group]:
    """The groups of a layout.

    Args:
        top: name of the simulation's top.
        keys: the taps that have signals, in dataflow order.
        focus: the first difference; None where there is none.
    """
    by_scope: dict[tuple[str, ...], list[Signal]] = {}
    for signal in waves.signals:
        by_scope.setdefault(signal.scope, []).append(signal)
    places = scopes(keys)

    def tap(key: TapKey, lanes: Iterable[int]) -> tuple[Signal, ...]:
        wanted = {"records", "pos", "count", *(f"lane_{lane}" for lane in lanes)}
        return tuple(one for one in by_scope.get((TAPS_SCOPE, *places[key]), ()) if one.name in wanted)

    found: list[Group] = []
    found.append(Group("clock, reset and ports", tuple(by_scope.get((top,), ())[:_MOST]), True))
    if focus is not None and focus.key in places:
        near = range(focus.element - _NEIGHBOURS, focus.element + _NEIGHBOURS + 1)
        found.append(Group(f"{shown_tap(focus.key)}: {focus.says}", tap(focus.key, near), True))
        around = focus.unit or place_of_tap(by_scope, keys, focus.key)
        if around is not None:
            inside = _inside(by_scope, around)
            unit = re.sub(r"\W", "_", focus.key[1])
            inside.sort(key=lambda one: not any(unit in scope for scope in one.scope[len(around) :]))
            for what, pattern in (("addresses", _ADDRESS), ("state", _STATE)):
                chosen = [one for one in inside if pattern.search(one.name)]
                found.append(Group(f"{what} in {'.'.join(around)}", tuple(chosen[:_MOST]), True))
        for scope in focus.neighbours:
            beside = _inside(by_scope, scope)
            chosen = [one for one in beside if _ADDRESS.search(one.name) or _STATE.search(one.name)]
            found.append(Group(f"beside it: {'.'.join(scope)}", tuple(chosen[:_MOST]), False))
    layers = dict.fromkeys(layer for layer, _ in keys)
    for layer in layers:
        own = [one for key in keys if key[0] == layer for one in tap(key, range(_LANES))]
        is_open = focus is None or focus.key[0] == layer
        name = "taps outside the layers" if layer < 0 else f"taps of layer {layer}"
        found.append(Group(name, tuple(own), is_open))
    return [group for group in found if group.signals]


def gtkwave(waves: Waves, shown: Sequence[Group], focus: Focus | None) -> str:
    """A save file of GTKWave (``.gtkw``), to lie beside the waves."""
    marker = -1 if focus is None else focus.time
    first = waves.begin if focus is None else max(waves.begin, focus.time - _span(waves) // 2)
    lines = [
        "[*] Written by Etchproof.",
        f'[dumpfile] "{waves.file.name}"',
        f"[timestart] {first}",
        f"*{-_zoom(waves):.6f} {marker}{_NO_MARKER}",
    ]
    for group in shown:
        lines += [f"@{_OPEN if group.open else _CLOSED}", f"-{group.name}"]
        for signal in group.signals:
            lines += [f"@{_format(signal)}", f"{'.'.join(signal.path)}{signal.range}"]
        lines += [f"@{_OPEN_END if group.open else _CLOSED_END}", f"-{group.name}"]
    return "\n".join(lines) + "\n"


def surfer(waves: Waves, shown: Sequence[Group], focus: Focus | None) -> str:
    """A command file of Surfer (``.sucl``); its groups are dividers, and closed ones are left out."""
    lines = [f"load_file {waves.file.name}"]
    for group in shown:
        if group.open:
            lines.append(f"divider_add {group.name}")
            lines += [f"variable_add {'.'.join(signal.path)}" for signal in group.signals]
    lines.append("zoom_fit")
    if focus is not None:
        lines += [f"marker_set {FIRST_WRONG} {focus.time}", f"cursor_set {focus.time}", "goto_cursor"]
    return "\n".join(lines) + "\n"


def _inside(by_scope: Mapping[tuple[str, ...], Sequence[Signal]], around: tuple[str, ...]) -> list[Signal]:
    """The signals in and below a scope that are no elements of arrays, and no ports of taps."""
    return [
        one
        for scope, signals in by_scope.items()
        if scope[: len(around)] == around and len(scope) <= len(around) + _DEPTH
        for one in signals
        if not {other.name for other in signals} >= _OF_A_TAP and "[" not in "".join(one.path[len(around) :])
    ]


def place_of_tap(
    by_scope: Mapping[tuple[str, ...], Sequence[Signal]], keys: Sequence[TapKey], key: TapKey
) -> tuple[str, ...] | None:
    """The scope of the chip in which a tap stands; None where names do not tell.

    A tap's instance is one with the ports of the engine's taps whose name ends with the tap's. Where several layers
    have one, they stand in the order of the layers.
    """
    ending = re.sub(r"\W", "_", key[1])
    instances = [
        scope
        for scope, signals in by_scope.items()
        if (scope[-1] == ending or scope[-1].endswith(f"_{ending}"))
        and {signal.name for signal in signals} >= _OF_A_TAP
    ]
    layers = [layer for layer, tap in keys if tap == key[1]]
    ends = {scope[-1] for scope in instances}
    shortest = min(ends, key=len, default="")
    own = [scope for scope in instances if scope[-1] == shortest]
    if len(own) != len(layers) or key[0] not in layers:
        return None
    return own[layers.index(key[0])][:-1]


def _format(signal: Signal) -> str:
    if signal.name.startswith("lane_"):
        return _SIGNED
    if signal.scope[0] == TAPS_SCOPE:
        return _DECIMAL
    return _BINARY if signal.bits == 1 else _HEX


def _span(waves: Waves) -> int:
    """The time that a screen shows at first: all of a short file, 400 ns around the marker of a longer one."""
    return min(waves.end - waves.begin, 400_000) or 1


def _zoom(waves: Waves) -> float:
    """GTKWave's zoom: the power of two of the units in a pixel, of a screen of a thousand."""
    return float((_span(waves) // 1000).bit_length())
