"""Hypotheses are tested: each is computed, and holds only where it gives every element that the chip has."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from etchproof.contract.diagnosis import Excluded, Hypothesis, Question, Seen, Unit
from etchproof.diagnose.origins import Origin, differing

_SAMPLE: Final = 8
"""Vectors that reject most hypotheses before all are computed."""
_MEMORY: Final = 96
"""Likewise, tokens from the first on, of a unit that reads earlier ones."""
MAX_HOLDING: Final = 12
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


def try_all(origin: Origin, hypotheses: Iterable[Hypothesis | Excluded], deadline: Deadline) -> Tried:
    """Test hypotheses on an origin, until ``MAX_HOLDING`` hold or time is up."""
    found, question = Tried(), origin.question
    sample = _sample(origin.unit, question)
    iterator = _guarded(iter(hypotheses), found)
    for hypothesis in iterator:
        if isinstance(hypothesis, Excluded):
            found.excluded[hypothesis.kind] += hypothesis.count
            continue
        if deadline.passed:
            found.stopped = True
            break
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
            break
    return found


def _guarded(hypotheses: Iterator[Hypothesis | Excluded], found: Tried) -> Iterator[Hypothesis | Excluded]:
    """Ends where the proposing itself fails."""
    try:
        yield from hypotheses
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
