"""What may be wrong with a unit of any chip: it reads another tap or too early, or its output is moved or spoiled.

These need nothing of the unit but what it makes of its taps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from etchproof.contract.diagnosis import Array, Column, Hypothesis, Question, Rows, Seen, Unit
from etchproof.contract.taps import TapKey, TokenArrays, shown_tap

RANK: Final = 7
"""After what a project says of its units: that is nearer to the cause."""

_MAX_LISTED: Final = 6
_NOTHING: Final = -1
_CHANGING: Final = 0.25  # of the elements that are moved


def hypotheses(unit: Unit, question: Question) -> Iterator[Hypothesis]:
    """What may be wrong with the unit, of any chip."""
    got = question.got.values
    if isinstance(got, np.ndarray) and isinstance(question.made, np.ndarray):
        yield from _moved(unit, question)
        yield from _spoiled(unit, got, question.made)
        if not got[question.differs].any():
            return  # whatever else gives nothing says no more
    yield from _stale(unit)
    yield from _sources(unit, question)


def _sources(unit: Unit, question: Question) -> Iterator[Hypothesis]:
    """Another tap of the same shape stands in the place of one that it reads, or that of the token before does."""
    seen = question.seen
    sources = tuple(dict.fromkeys(unit.sources))
    if len(sources) == 2 and all(_alike(seen.taps.get(sources[0]), seen.taps.get(one)) for one in sources):
        first, second = sources
        yield _reading(
            unit,
            f"{first[1]} and {second[1]} exchanged",
            f"takes {first[1]} for {second[1]}, and that for the other",
            lambda seen: {first: seen.taps[second], second: seen.taps[first]},
        )
    for source in sources:
        own = seen.taps.get(source)
        if own is None or not isinstance(own.values, np.ndarray):
            continue
        for key, column in seen.taps.items():
            if not _alike(column, own):
                continue
            if key[0] not in (source[0], unit.result[0], source[0] - 1, source[0] + 1):
                continue
            near = key[0] in (source[0], unit.result[0])
            other = key[1] if near else f"{key[1]} of layer {key[0] - unit.result[0]:+}"
            of = (
                f"{shown_tap(key)} in the place of {shown_tap(source)}"
                if key != source
                else shown_tap(source)
            )
            if key not in (source, unit.result):
                yield _reading(unit, f"reads {other}", f"reads {of}", _taking(source, key, None))
            kind = f"reads {other} of the token before"
            for keeps in (True, False):
                yield _reading(unit, kind, f"reads {of}, of the token before", _taking(source, key, keeps))


def _reading(
    unit: Unit, kind: str, what: str, changed: Callable[[Seen], Mapping[TapKey, Column]]
) -> Hypothesis:
    def made(seen: Seen) -> TokenArrays:
        return unit.made(seen.having(changed(seen)))

    return Hypothesis(kind, what, made, at=kind, rank=RANK)


def _taking(source: TapKey, key: TapKey, keeps: bool | None) -> Callable[[Seen], Mapping[TapKey, Column]]:
    """A tap in the place of another.

    Args:
        keeps: None for that of the same token; else that of the token before, of which the first has its own (True) or
            nothing (False).
    """

    def taken(seen: Seen) -> Mapping[TapKey, Column]:
        column = seen.taps[key]
        if keeps is None:
            return {source: column}
        values, own = np.asarray(column.values), np.asarray(seen.taps[source].values)
        first = own[:1] if keeps else np.zeros_like(own[:1])
        return {source: Column(column.at, np.concatenate((first, values[:-1].astype(own.dtype))))}

    return taken


def _alike(one: Column | None, other: Column | None) -> bool:
    if one is None or other is None:
        return False
    if not (isinstance(one.values, np.ndarray) and isinstance(other.values, np.ndarray)):
        return False
    return one.values.shape == other.values.shape and bool((one.at == other.at).all())


def _late(values: Array) -> Array:
    return np.concatenate((np.zeros_like(values[:1]), values[:-1]))


def _stale(unit: Unit) -> Iterator[Hypothesis]:
    def before(seen: Seen) -> TokenArrays:
        made = unit.made(seen)
        if isinstance(made, np.ndarray):
            return _late(made)
        return [np.resize(made[max(row - 1, 0)], one.shape) for row, one in enumerate(made)]

    kind = "output of the token before"
    yield Hypothesis(kind, "gives what it made of the token before", before, kind, RANK)


def _moved(unit: Unit, question: Question) -> Iterator[Hypothesis]:
    """Each element that differs holds another's value, that of the token before, what stale inputs give, or nothing."""
    got, made = np.asarray(question.got.values), np.asarray(question.made)
    wrong = np.flatnonzero((got != made).any(axis=0))
    yield _output(unit, "outputs zero", f"{_counted(wrong)} always 0", _set(wrong, 0))
    ways: list[tuple[str, Callable[[Seen], Array]]] = [
        ("another element's", lambda seen: np.asarray(unit.made(seen))),
        ("that of the token before", lambda seen: _late(np.asarray(unit.made(seen)))),
    ]
    for source in dict.fromkeys(unit.sources):
        own = question.seen.taps.get(source)
        if own is not None and isinstance(own.values, np.ndarray):
            ways.append((f"what {source[1]} of the token before gives", _of_stale(unit, source)))
    known = [made, *(way(question.seen) for _, way in ways[1:])]
    chosen: dict[int, tuple[int, int]] = {}
    for element in wrong.tolist():
        found = _origin_of(got[:, element], element, known)
        if found is None:
            return
        chosen[element] = found
    used = sorted({number for number, _ in chosen.values()})
    if used != [_NOTHING] and not _tells(got[:, wrong]):
        return

    def mixed(seen: Seen) -> TokenArrays:
        right = np.asarray(unit.made(seen))
        found, by = right.copy(), {number: ways[number][1](seen) for number in used if number != _NOTHING}
        for element, (number, of) in chosen.items():
            found[:, element] = by[number][:, of] if number != _NOTHING else 0
        return found

    words = " or ".join("nothing" if number == _NOTHING else ways[number][0] for number in used)
    listed = [f"{element} that of {of}" for element, (_, of) in chosen.items() if element != of]
    more = f": {', '.join(listed[:_MAX_LISTED])}" if listed else ""
    what = f"{_counted(wrong)} hold {words}{more}"
    yield Hypothesis("outputs moved", what, mixed, f"{unit.module}: moved", RANK + 1)


def _of_stale(unit: Unit, source: TapKey) -> Callable[[Seen], Array]:
    def made(seen: Seen) -> Array:
        return np.asarray(unit.made(seen.having(_taking(source, source, keeps=False)(seen))))

    return made


def _origin_of(column: Array, element: int, known: Sequence[Array]) -> tuple[int, int] | None:
    """Which way, and of which element, an element that differs is; None where none is known.

    Of the first way it may be any element's; of the others, which are late, its own alone: else too much is possible.
    """
    for number, values in enumerate(known):
        at = np.flatnonzero((values == column[:, None]).all(axis=0)) if number == 0 else np.array([element])
        if number and not (values[:, element] == column).all():
            continue
        if len(at):
            return number, int(at[np.argmin(np.abs(at - element))])
    return None if column.any() else (_NOTHING, element)


def _tells(values: Array) -> bool:
    """Whether elements hold more than chance could: most change from vector to vector."""
    return len(values) > 1 and float((values != values[:1]).any(axis=0).mean()) > _CHANGING


def _spoiled(unit: Unit, got: Array, made: Array) -> Iterator[Hypothesis]:
    """Bits that stand still, and sums that are off by the same."""
    wrong = np.flatnonzero((got != made).any(axis=0))
    if got.dtype.kind not in "iu":
        return
    mine, right = got[:, wrong].astype(np.int64), made[:, wrong].astype(np.int64)
    if not mine.any():
        return  # said already
    bits = np.bitwise_or.reduce(mine ^ right, axis=0)
    for kind, what, spoil in (
        ("output bits stuck at 1", "stand at 1", lambda x: x | bits),
        ("output bits stuck at 0", "stand at 0", lambda x: x & ~bits),
        ("output bits inverted", "are inverted", lambda x: x ^ bits),
    ):
        if len(set(bits.tolist())) == 1:
            named = " ".join(str(bit) for bit in range(64) if bits[0] >> bit & 1)
            yield _output(
                unit,
                kind,
                f"bits {named} of {_counted(wrong)} {what}",
                _put(wrong, spoil),
                at=f"bits {named}",
            )
    offset = (mine - right).reshape(-1)[0]
    yield _output(
        unit, f"off by {offset}", f"{_counted(wrong)} off by {offset}", _put(wrong, lambda x: x + offset)
    )
    yield _output(unit, "negated", f"{_counted(wrong)} negated", _put(wrong, lambda x: -x))
    yield _output(unit, "doubled", f"{_counted(wrong)} doubled", _put(wrong, lambda x: 2 * x))
    yield _output(unit, "halved", f"{_counted(wrong)} halved", _put(wrong, lambda x: x >> 1))


def _counted(elements: Rows) -> str:
    if len(elements) == 1:
        return f"element {elements[0]}"
    listed = " ".join(map(str, elements[:_MAX_LISTED].tolist()))
    return f"{len(elements)} elements ({listed}{' ...' if len(elements) > _MAX_LISTED else ''})"


def _set(elements: Rows, value: int) -> Callable[[Array], Array]:
    return _put(elements, lambda x: np.full_like(x, value))


def _put(elements: Rows, changed: Callable[[Array], Array]) -> Callable[[Array], Array]:
    def put(made: Array) -> Array:
        made = made.astype(np.int64)
        made[:, elements] = changed(made[:, elements])
        return made

    return put


def _output(
    unit: Unit, kind: str, what: str, changed: Callable[[Array], Array], at: str = "", rank: int = RANK
) -> Hypothesis:
    def made(seen: Seen) -> TokenArrays:
        values = unit.made(seen)
        return changed(np.asarray(values))

    return Hypothesis(kind, what, made, at=f"{unit.module}: {at or kind}", rank=rank)
