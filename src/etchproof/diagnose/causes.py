"""Causes: as few as explain every origin, each with what explains as much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from etchproof.contract.diagnosis import Hypothesis
from etchproof.diagnose.origins import Origin
from etchproof.diagnose.search import Tried

MAX_RIVALS: Final = 8

_Key = tuple[str, str]


@dataclass(frozen=True)
class Explanation:
    """One fault, which is in one or more units.

    Attributes:
        hypotheses: by the number of the origin.
    """

    hypotheses: dict[int, Hypothesis]

    @property
    def first(self) -> Hypothesis:
        """That of the first origin."""
        return self.hypotheses[min(self.hypotheses)]


@dataclass(frozen=True)
class Cause:
    """A fault, and what explains the same origins.

    Attributes:
        rivals: of as many origins at least, the likeliest first.
    """

    best: Explanation
    rivals: tuple[Explanation, ...]


def make_causes(origins: Sequence[Origin], tried: Sequence[Tried]) -> tuple[list[Cause], list[int]]:
    """The causes, and the numbers of the origins that nothing explains.

    Of all explanations that which covers the most origins is taken first, of equal ones the likelier, until nothing is
    left that any covers.
    """
    found: dict[_Key, dict[int, Hypothesis]] = {}
    for number, (origin, one) in enumerate(zip(origins, tried, strict=True)):
        for hypothesis in one.holding:
            key = (hypothesis.kind, hypothesis.at or origin.unit.name)
            found.setdefault(key, {}).setdefault(number, hypothesis)
    order = {key: index for index, key in enumerate(found)}
    left = {number for number, one in enumerate(tried) if one.holding}
    causes = []
    while left:
        ranked = sorted(
            found,
            key=lambda key: (-len(found[key].keys() & left), _rank(found[key]), order[key]),
        )
        covered = found[ranked[0]].keys() & left
        rivals = [key for key in ranked[1:] if covered <= found[key].keys()]
        causes.append(
            Cause(
                Explanation({number: found[ranked[0]][number] for number in sorted(covered)}),
                tuple(
                    Explanation({number: found[key][number] for number in sorted(covered)})
                    for key in sorted(rivals, key=lambda key: (_rank(found[key]), order[key]))[:MAX_RIVALS]
                ),
            )
        )
        left -= covered
    unexplained = [number for number, one in enumerate(tried) if not one.holding]
    return causes, unexplained


def _rank(hypotheses: dict[int, Hypothesis]) -> int:
    return max(one.rank for one in hypotheses.values())
