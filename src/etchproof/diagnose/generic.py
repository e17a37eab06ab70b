"""What may be wrong with a unit of any chip: it reads another tap or too early, or its output is moved or spoiled.

These need nothing of the unit but what it makes of its taps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np

from etchproof.contract.diagnosis import Array, Column, Hypothesis, Question, Rows, Seen, Unit
from etchproof.contract.taps import TapKey, TokenArrays

RANK: Final = 7
"""After what a project says of its units: that is nearer to the cause."""

_MAX_LISTED: Final = 6


def hypotheses(unit: Unit, question: Question) -> Iterator[Hypothesis]:
    """What may be wrong with the unit; nothing where its tap is of another length at each token."""
    yield from _sources(unit, question)
    yield from _stale(unit, question)
    if isinstance(question.got.values, np.ndarray) and isinstance(question.made, np.ndarray):
        yield from _moved(unit, question.got.values, question.made)
        yield from _spoiled(unit, question.got.values, question.made)


def _named(key: TapKey) -> str:
    return key[1] if key[0] < 0 else f"layer {key[0]} {key[1]}"


def _sources(unit: Unit, question: Question) -> Iterator[Hypothesis]:
    """Another tap of the same shape stands in the place of one that it reads, or that of the token before does."""
    seen = question.seen

    def reading(kind: str, what: str, changed: Callable[[Seen], Mapping[TapKey, Column]]) -> Hypothesis:
        def made(seen: Seen) -> TokenArrays:
            return unit.made(seen.having(changed(seen)))

        return Hypothesis(kind, what, made, at=f"{unit.module}: {kind}", rank=RANK)

    sources = tuple(dict.fromkeys(unit.sources))
    for source in sources:
        if source not in seen.taps or not isinstance(seen.taps[source].values, np.ndarray):
            continue
        yield reading(
            f"stale {source[1]}",
            f"reads {source[1]} of the token before",
            lambda seen, key=source: {key: _late(seen.taps[key])},  # type: ignore[misc]
        )
    if len(sources) == 2 and all(_alike(seen.taps.get(sources[0]), seen.taps.get(one)) for one in sources):
        first, second = sources
        yield reading(
            f"{first[1]} and {second[1]} exchanged",
            f"takes {first[1]} for {second[1]}, and that for the other",
            lambda seen: {first: seen.taps[second], second: seen.taps[first]},
        )
    for source in sources:
        for key, column in seen.taps.items():
            if key in (source, unit.result) or not _alike(column, seen.taps.get(source)):
                continue
            if key[0] not in (source[0], unit.result[0], source[0] - 1, source[0] + 1):
                continue
            other = key[1] if key[0] in (source[0], unit.result[0]) else f"{key[1]} of layer {key[0]}"
            yield reading(
                f"reads {other}",
                f"reads {_named(key)} in the place of {_named(source)}",
                lambda seen, key=key, source=source: {source: seen.taps[key]},  # type: ignore[misc]
            )


def _alike(one: Column | None, other: Column | None) -> bool:
    if one is None or other is None:
        return False
    if not (isinstance(one.values, np.ndarray) and isinstance(other.values, np.ndarray)):
        return False
    return one.values.shape == other.values.shape and bool((one.at == other.at).all())


def _late(column: Column) -> Column:
    values: Any = column.values
    return Column(column.at, np.concatenate((np.zeros_like(values[:1]), values[:-1])))


def _stale(unit: Unit, question: Question) -> Iterator[Hypothesis]:
    def before(seen: Seen) -> TokenArrays:
        made = unit.made(seen)
        if isinstance(made, np.ndarray):
            return np.concatenate((np.zeros_like(made[:1]), made[:-1]))
        return [np.resize(made[max(row - 1, 0)], one.shape) for row, one in enumerate(made)]

    yield Hypothesis(
        "output of the token before", "gives what it made of the token before", before, unit.module, RANK
    )


def _moved(unit: Unit, got: Array, made: Array) -> Iterator[Hypothesis]:
    """Elements that hold what belongs to others, or nothing."""
    wrong = np.flatnonzero((got != made).any(axis=0))
    source = np.arange(made.shape[1])
    for element in wrong:
        at = np.flatnonzero((made == got[:, element : element + 1]).all(axis=0))
        if not len(at):
            break
        near = at[np.argmin(np.abs(at - element))]
        source[element] = near
    else:
        if _tells(made):
            listed = ", ".join(f"{element} has that of {source[element]}" for element in wrong[:_MAX_LISTED])
            more = "" if len(wrong) <= _MAX_LISTED else f" and {len(wrong) - _MAX_LISTED} more"
            yield _output(
                unit,
                "outputs moved",
                f"element {listed}{more}",
                lambda values: values[:, source],
                rank=RANK + 1,
            )
    if not got[:, wrong].any():
        yield _output(unit, "outputs zero", f"{_counted(wrong)} always 0", _set(wrong, 0))


def _tells(made: Array) -> bool:
    """Whether no two elements hold the same throughout: then where one came from is known."""
    return bool(np.unique(made, axis=1).shape[1] == made.shape[1])


def _spoiled(unit: Unit, got: Array, made: Array) -> Iterator[Hypothesis]:
    """Bits that stand still, and sums that are off by the same."""
    wrong = np.flatnonzero((got != made).any(axis=0))
    if got.dtype.kind not in "iu":
        return
    mine, right = got[:, wrong].astype(np.int64), made[:, wrong].astype(np.int64)
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
