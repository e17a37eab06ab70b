"""Hypotheses are tested: each is computed, and holds only where it gives every element that the chip has."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import numpy as np

from etchproof.contract.diagnosis import Excluded, Hypothesis, Question, Seen, Unit
from etchproof.contract.taps import TapKey
from etchproof.diagnose import generic
from etchproof.diagnose.origins import Origin, differing

_SAMPLE: Final = 8
"""Vectors that reject most hypotheses before all are computed."""
_MEMORY: Final = 96
"""Likewise, tokens from the first on, of a unit that reads earlier ones."""
_FIRST: Final = 2
"""Origins of a module that nothing explains, after which its others come last."""
RECORDED: Final = "tap recorded wrongly"
MAX_HOLDING: Final = 40
"""Hypotheses on one unit that may hold before no more are tried."""


class Deadline:
    """When a diagnosis has to be done."""

    def __init__(self, limit_s: float) -> None:
        self._end = time.monotonic() + limit_s

    @property
    def passed(self) -> bool:
        return time.monotonic() > self._end


@dataclass
class Tried:
    """What was tried on one origin.

    Attributes:
        holding: the hypotheses that give all its elements, in the order in which they were tried.
        excluded: how many of each kind do not.
        broken: what some raised.
        stopped: whether time was up before all were tried.
    """

    holding: list[Hypothesis] = field(default_factory=list)
    excluded: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    stopped: bool = False


def try_origins(
    origins: Sequence[Origin], deadline: Deadline, disputed: Container[TapKey] = frozenset()
) -> list[Tried]:
    """Test hypotheses on each origin.

    Those that hold for one are tested on the next ones first, and where one holds there, too, no more are: a fault of a
    module is in each of its instances.

    Args:
        disputed: taps of which others follow from what they should be: first of all they may be recorded wrongly.
    """
    known: set[tuple[str, str]] = set()
    found = {number: Tried() for number in range(len(origins))}
    open_ = Counter[str]()  # by module, origins that nothing explains
    deferred = []
    for number, origin in enumerate(origins):
        if origin.unit.result in disputed:
            found[number].holding.append(_recorded(origin))
        _try_known(origin, known, found[number], deadline)
        if not _is_open(found[number]):
            continue
        if open_[origin.unit.module] >= _FIRST:
            deferred.append(number)
            continue
        _try_all(origin, known, found[number], deadline)
        open_[origin.unit.module] += not found[number].holding
    for number in deferred:
        _try_known(origins[number], known, found[number], deadline)
        if _is_open(found[number]):
            _try_all(origins[number], known, found[number], deadline)
    return list(found.values())


def _is_open(tried: Tried) -> bool:
    return all(one.kind == RECORDED for one in tried.holding)


def _try_known(origin: Origin, known: set[tuple[str, str]], tried: Tried, deadline: Deadline) -> None:
    if known:
        _try(origin, frozenset(kind for kind, _ in known), frozenset(known), tried, deadline)


def _try_all(origin: Origin, known: set[tuple[str, str]], tried: Tried, deadline: Deadline) -> None:
    _try(origin, frozenset(), None, tried, deadline)
    known |= {(one.kind, one.at) for one in tried.holding if one.at}


def _recorded(origin: Origin) -> Hypothesis:
    """That the chip had what follows, and the tap says otherwise."""
    values = origin.question.got.values
    return Hypothesis(
        RECORDED,
        "what reads it follows from the right value: the tap is early, or the testbench at fault",
        lambda seen: values,
        RECORDED,
        rank=-1,
    )


def _try(
    origin: Origin,
    kinds: frozenset[str],
    known: Container[tuple[str, str]] | None,
    found: Tried,
    deadline: Deadline,
) -> None:
    """Test hypotheses on an origin, until ``MAX_HOLDING`` hold or time is up.

    Args:
        kinds: that are asked for; all where there are none.
        known: the kinds and parts that are tested; None for all.
    """
    question = replace(origin.question, known=kinds)
    sample = _sample(origin.unit, question)
    for hypothesis in _proposed(origin.unit, question, found):
        if isinstance(hypothesis, Excluded):
            found.excluded[hypothesis.kind] += hypothesis.count
            continue
        if known is not None and (hypothesis.kind, hypothesis.at) not in known:
            continue
        if deadline.passed:
            found.stopped = True
            return
        try:
            holds = (sample is None or _holds(hypothesis, origin.unit, sample)) and _holds(
                hypothesis, origin.unit, question.seen
            )
        except Exception as error:  # a project's code may fail in any way: what fails explains nothing
            found.broken.append(f"{hypothesis.kind}: {type(error).__name__}: {error}")
            continue
        if not holds:
            found.excluded[hypothesis.kind] += 1
            continue
        found.holding.append(hypothesis)
        if len(found.holding) == MAX_HOLDING:
            return


def _proposed(unit: Unit, question: Question, found: Tried) -> Iterator[Hypothesis | Excluded]:
    """What the project says of the unit, and what may be wrong with any; proposing that fails ends, and is told."""
    for propose in (unit.hypotheses, partial(generic.hypotheses, unit)):
        try:
            yield from propose(question)
        except Exception as error:  # as above
            found.broken.append(f"proposing: {type(error).__name__}: {error}")


def _holds(hypothesis: Hypothesis, unit: Unit, seen: Seen) -> bool:
    return not len(differing(seen.taps[unit.result].values, hypothesis.made(seen)))


def _sample(unit: Unit, question: Question) -> Seen | None:
    """A part of the run in which the tap differs; None where the whole is as quick."""
    tokens = question.got.at
    if unit.memory:
        count = int(tokens[question.differs[0]]) + 1
        return (
            None if count > _MEMORY or count == len(question.seen) else question.seen.take(np.arange(count))
        )
    if len(tokens) <= 2 * _SAMPLE:
        return None
    right = np.setdiff1d(np.arange(len(tokens)), question.differs)
    chosen = np.union1d(question.differs[:_SAMPLE], right[:_SAMPLE])
    return question.seen.take(tokens[chosen])
