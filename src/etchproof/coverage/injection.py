"""The proof put to the test: proven bits are drawn at random, inverted in simulation, and have to be caught.

Each run feeds only the shortest beginning of a sequence that proves the bit, and the first difference has to stand
where the proof says: in the unit's own output tap, at the token that proves it. Where several units hold copies of a
ROM image, the simulator fills all of them from it: the first difference is that of the first copy which shows the bit.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from etchproof.contract.taps import TapKey
from etchproof.coverage.corpus import Corpus
from etchproof.coverage.observability import NOT_SEEN, AnyUnit, sightings
from etchproof.coverage.proven import Proven, UnsoundError
from etchproof.host.stimulus import VECTORS
from etchproof.run import flow
from etchproof.run.streams import directed_test
from etchproof.run.testrun import Chip, run_test


class InjectedBit(BaseModel):
    """One bit that was inverted.

    Attributes:
        site: as ``--inject`` names it.
        prompt: the tokens that were fed, of vectors their elements; the last one shows the bit.
        expected: where the first difference had to be: layer, tap, position.
        found: where it was; None when the run passed.
        caught: whether the run failed by a difference, and by nothing else.
        located: whether that was the expected one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    site: str
    prompt: tuple[int, ...]
    expected: tuple[int, str, int]
    found: tuple[int, str, int] | None
    caught: bool
    located: bool

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.located != (self.found == self.expected) or (self.caught and self.found is None):
            raise PydanticCustomError("contradiction", "was found elsewhere than it says")
        return self


@dataclass(frozen=True)
class Drawn:
    """A bit that has to be seen, and the shortest run that shows it.

    Attributes:
        site: as ``--inject`` names it.
        result: the tap in which the first difference has to stand, at the last item.
        items: that are fed as one sequence, each a token or a vector.
    """

    site: str
    result: TapKey
    items: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Observed:
    """The units that hold one tensor, each a copy of its own, and what is proven of its parts in every copy."""

    units: tuple[AnyUnit, ...]
    found: tuple[Proven, ...]


def draw(observed: Sequence[Observed], corpus: Corpus, count: int, seed: int) -> tuple[Drawn, ...]:
    """Proven bits without repetition: one of each kind of part, then every one as likely as any other.

    Raises:
        UnsoundError: a bit is called proven and no token shows it.
    """
    parts = [(one.units, proven) for one in observed for proven in one.found]
    sizes = np.array([proven.count for _, proven in parts], dtype=np.int64)
    ends = np.cumsum(sizes)
    total = int(sizes.sum())
    rng = np.random.default_rng(seed)
    kinds = dict.fromkeys(proven.kind for _, proven in parts if proven.count)
    chosen: list[int] = []
    for kind in kinds:
        own = [at for at, (_, proven) in enumerate(parts) if proven.kind == kind]
        at = int(rng.choice(own, p=sizes[own] / sizes[own].sum()))
        chosen.append(int(ends[at] - sizes[at] + rng.integers(sizes[at])))
    chosen = chosen[:count]
    more = rng.choice(total, size=min(count, total), replace=False).tolist()
    numbers = sorted([*chosen, *[number for number in more if number not in chosen][: count - len(chosen)]])
    drawn = []
    for number in numbers:
        at = int(np.searchsorted(ends, number, side="right"))
        units, proven = parts[at]
        flat = np.flatnonzero(proven.bits)[number - int(ends[at] - sizes[at])]
        index = tuple(int(i) for i in np.unravel_index(flat, proven.bits.shape))
        drawn.append(_sought(units, proven, index, corpus))
    return tuple(drawn)


def _sought(units: Sequence[AnyUnit], proven: Proven, index: tuple[int, ...], corpus: Corpus) -> Drawn:
    """A bit, and the shortest beginning of a sequence that shows it in a copy; the earliest copy that does is told."""
    found = [sightings(unit, proven.kind, index, corpus) for unit in units]
    if any((numbers == NOT_SEEN).all() for numbers in found):
        raise UnsoundError(f"{proven.name(index)} is called proven, and no token shows it")
    tokens = np.flatnonzero(np.logical_or.reduce([numbers != NOT_SEEN for numbers in found]))
    first = int(tokens[corpus.positions[tokens].argmin()])
    unit, number = next(
        (unit, int(numbers[first]))
        for unit, numbers in zip(units, found, strict=True)
        if numbers[first] != NOT_SEEN
    )
    items = tuple((token,) for token in corpus.prefix(first))
    return Drawn(proven.name(index), unit.results[number], items)


def inject_all(
    chip: Chip,
    drawn: Sequence[Drawn],
    folder: Path,
    jobs: int,
    progress: Callable[[int], None] | None = None,
) -> tuple[InjectedBit, ...]:
    """Invert each bit in a simulation of its own. The folders of those that were not caught are kept.

    Args:
        progress: gets the number of those done.
    """
    done, project = 0, chip.design.project
    takes_tokens = chip.design.inputs.vocab_size is not None

    def run(number: int) -> InjectedBit:
        bit = drawn[number]
        where = folder / f"{number:04d}"
        injections = flow.locate(project, chip.design.plan, [bit.site], chip.images)
        given: dict[str, Any] = {"vectors": [list(item) for item in bit.items]}
        if takes_tokens:
            given = {"directed": [[item[0] for item in bit.items]]}
        outcome = run_test(
            chip,
            directed_test(project) if takes_tokens else VECTORS,
            where,
            seed=1,
            config=given,
            injections=injections,
            timeout_s=300,
        )
        first = outcome.comparison.first_divergence if outcome.comparison else None
        found = (first.layer, first.tap, first.token) if first else None
        expected = (*bit.result, len(bit.items) - 1)
        caught = first is not None and {reason.name for reason in outcome.reasons} == {"mismatch"}
        if caught:
            shutil.rmtree(where)
        nonlocal done
        done += 1
        if progress is not None:
            progress(done)
        return InjectedBit(
            site=bit.site,
            prompt=tuple(element for item in bit.items for element in item),
            expected=expected,
            found=found,
            caught=caught,
            located=found == expected,
        )

    with ThreadPoolExecutor(max_workers=jobs) as pool:
        return tuple(pool.map(run, range(len(drawn))))
