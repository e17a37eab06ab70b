"""Would a unit's tests see it? Faults planted in its RTL, over all tests of one session (``pytest --mutate N``).

A fault is of the unit's sources, whatever parameters a test gives, and one test that sees it is enough. So tests are
held against what those before them have not seen, and what none has seen by the end fails the session.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from etchproof.errors import InputError
from etchproof.project.sources import file_sha256, together
from etchproof.render.fabric import Fabric
from etchproof.schemata.faults import PLUSARG, RtlFault
from etchproof.schemata.sources import draw, make_schemata, read_sources
from etchproof.sim.forks import Forks
from etchproof.sim.results import UNTIL, limit_ps
from etchproof.sim.run import SimOutcome
from etchproof.verdict.result import Reason

_CPU_S: Final = 60

Simulated = Callable[..., tuple[SimOutcome, list[Reason]]]
"""Simulates the test's vectors: given a fabric, a folder, ``plusargs`` and a ``launcher``, how it ended."""


@dataclass
class _Unit:
    """What is known of the faults of one unit."""

    places: dict[str, str] = field(default_factory=dict)
    seen_by: dict[str, str] = field(default_factory=dict)
    equivalent: dict[str, str] = field(default_factory=dict)


@dataclass
class Mutants:
    """Faults in units.

    Attributes:
        count: how many to plant in each unit; ``seed`` says which.
    """

    count: int
    seed: int
    _units: dict[tuple[str, str], _Unit] = field(default_factory=dict)

    def hold(
        self,
        simulated: Simulated,
        *,
        fabric: Fabric,
        own: Collection[str],
        folder: Path,
        test: str,
        equivalent: Mapping[str, str],
    ) -> None:
        """Plant faults beside a test that passed, and see which it sees.

        Args:
            simulated: makes the test's run.
            fabric: of the test.
            own: the unit's own files in it.
            folder: for the sources with faults and for runs.
            equivalent: faults that change nothing, and why.

        Raises:
            InputError: with every fault off the run is not what it was.
        """
        key = fabric.top, together((name, file_sha256(fabric.folder / name)) for name in sorted(own))
        unit = self._units.setdefault(key, _Unit())
        unit.equivalent |= equivalent
        sources = read_sources(fabric, set(fabric.compiled) - set(own))
        made = make_schemata(fabric, sources, draw(sources, self.seed), self.count, folder / "schemata")
        tried: dict[int, RtlFault] = {
            number: fault for number, fault in made.faults.items() if fault.name not in unit.seen_by
        }
        unit.places |= {fault.name: fault.place for fault in made.faults.values()}
        forks = Forks(_CPU_S)
        try:
            off, reasons = simulated(made.fabric, folder / "off", plusargs=(f"+{PLUSARG}=0",), launcher=forks)
            if reasons:
                first = reasons[0]
                raise InputError(f"with every fault off: {first.name}: {first.message}", source=test)
            until = limit_ps(off.results_xml)
            for number, fault in tried.items():
                words = (f"+{PLUSARG}={number}", f"+{UNTIL}={until}")
                _, reasons = simulated(made.fabric, folder / "fault", plusargs=words, launcher=forks)
                if reasons:
                    unit.seen_by[fault.name] = test
        finally:
            forks.close()

    def open_items(self) -> Iterator[str]:
        """Faults that no test saw, and entries of ``equivalent`` that are not true."""
        for (top, _), unit in self._units.items():
            for name, place in unit.places.items():
                if name not in unit.seen_by and name not in unit.equivalent:
                    yield f"no test of {top} sees {name}, {place}"
            for name in unit.equivalent:
                if name in unit.seen_by:
                    yield f"{name} is called equivalent, and {unit.seen_by[name]} sees it"
            if not unit.places:
                yield f"no fault could be planted in {top}"

    def lines(self) -> Iterator[str]:
        """The score of each unit."""
        for (top, _), unit in self._units.items():
            planted = len(unit.places)
            same = sum(name in unit.equivalent for name in unit.places if name not in unit.seen_by)
            yield f"{top}: {len(unit.seen_by)} of {planted} planted faults seen, {same} change nothing"
