"""Many failed runs: which are diagnosed within a budget, and which have the same cause.

A nightly may have hundreds of failures of one fault. Failures with the same first difference are alike: one of each
such set is diagnosed first, then a second one of each, and so on until the budget is used up. What is left is not
diagnosed, and says which diagnosed failure it is like; it is never given a cause.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Final

from etchproof.contract.taps import TapKey, shown_tap
from etchproof.diagnose.again import Known, make_again
from etchproof.diagnose.limit import GRACE, LIMIT_S, TimeUp, at_most
from etchproof.diagnose.result import MEANINGS, Diagnosis, ExplanationRecord
from etchproof.diagnose.run import diagnose
from etchproof.diagnose.triage_result import NOT_DIAGNOSED, FailureRecord, GroupRecord, Triage
from etchproof.diagnose.units import import_all
from etchproof.errors import EtchproofError
from etchproof.project.declaration import Project
from etchproof.regress.execute import ITEMS_FOLDER
from etchproof.regress.run import RegressionOutcome
from etchproof.run.watcher import Silent
from etchproof.verdict.judge import read_comparison

BUDGET_S: Final = 120.0
"""Of all diagnoses of a regression together."""
NO_RESULT: Final = "no_result"
NOTHING_DIFFERS: Final = "no tap differs from the golden model"
TIME_WAS_UP: Final = "time was up before its turn; `etchproof diagnose` of its folder says more"

Look = Callable[[Path, float], Diagnosis]
"""Diagnoses the run in a folder within seconds."""


@dataclass(frozen=True)
class Failed:
    """A run that failed.

    Attributes:
        reason: name of its first reason.
        chip: hashes of model, fabric and ROM.
        first: the tap that differs first; None where none does.
    """

    name: str
    folder: Path
    reason: str
    chip: tuple[str, ...] = ()
    first: TapKey | None = None

    @property
    def alike(self) -> tuple[object, ...]:
        """What failures have in common of which one may stand for the others."""
        return self.chip, self.reason, self.first


def failed_runs(outcome: RegressionOutcome, out: Path) -> list[Failed]:
    """The failures of a regression, in the order of its plan.

    Args:
        out: its folder.
    """
    found = []
    for spec in outcome.failed:
        folder, result = out / ITEMS_FOLDER / spec.name, outcome.results[spec.name]
        if result is None:
            found.append(Failed(spec.name, folder, NO_RESULT))
            continue
        comparison, _ = read_comparison(folder)
        first = comparison.first_divergence if comparison is not None else None
        found.append(
            Failed(
                spec.name,
                folder,
                result.reasons[0].name,
                (result.checkpoint_sha256, result.fabric_sha256, result.rom_sha256),
                None if first is None else (first.layer, first.tap),
            )
        )
    return found


def looker(project: Project) -> Look:
    """Diagnoses a run of a project from nothing but its folder, and leaves its diagnosis there."""
    known: Known = {}

    def look(folder: Path, limit_s: float) -> Diagnosis:
        again = make_again(folder, project, Silent(), known)
        import_all(project)
        with at_most(GRACE * limit_s):
            return diagnose(again.design, again.model, again.adapters, folder, limit_s)

    return look


def triage(
    failed: Sequence[Failed],
    look: Look,
    budget_s: float = BUDGET_S,
    busy: Callable[[str], None] = lambda _: None,
) -> Triage:
    """Diagnose failures until the budget is used up, and group them by cause.

    Args:
        look: whatever it raises is why a failure is not diagnosed.
        busy: is told how it goes.
    """
    started = time.monotonic()
    found: dict[str, Diagnosis | str] = {one.name: NOTHING_DIFFERS for one in failed if one.first is None}
    for one in _in_turn(failed):
        left = budget_s - (time.monotonic() - started)
        if left <= 0:
            break
        busy(f"diagnosed {len(found)} of {len(failed)} failures")
        found[one.name] = _looked_at(one, look, min(LIMIT_S, left))
    diagnosed: dict[tuple[object, ...], str] = {}
    for one in failed:
        if isinstance(found.get(one.name), Diagnosis):
            diagnosed.setdefault(one.alike, one.name)
    like = {
        one.name: diagnosed[one.alike] for one in failed if one.name not in found and one.alike in diagnosed
    }
    return Triage(
        groups=tuple(_groups(failed, found, like)),
        failures=tuple(_failure(one, found.get(one.name, TIME_WAS_UP), like.get(one.name)) for one in failed),
        budget_s=budget_s,
        wall_s=round(time.monotonic() - started, 3),
    )


def _in_turn(failed: Sequence[Failed]) -> Iterator[Failed]:
    """One of each set of failures that are alike, the largest set first, then a second one of each."""
    sets: dict[tuple[object, ...], list[Failed]] = {}
    for one in failed:
        if one.first is not None:
            sets.setdefault(one.alike, []).append(one)
    for turn in zip_longest(*sorted(sets.values(), key=len, reverse=True)):
        yield from (one for one in turn if one is not None)


def _looked_at(one: Failed, look: Look, limit_s: float) -> Diagnosis | str:
    try:
        return look(one.folder, limit_s)
    except TimeUp:
        return f"given up after {GRACE * limit_s:g} s; `etchproof diagnose` of its folder takes longer"
    except EtchproofError as error:
        return str(error)
    except Exception as error:  # of this, or of a project's code: the verdict stands
        return f"{type(error).__name__}: {error}"


def _failure(one: Failed, found: Diagnosis | str, like: str | None) -> FailureRecord:
    line = f"{NOT_DIAGNOSED}, same first difference as {like}" if like else f"{NOT_DIAGNOSED}: {found}"
    return FailureRecord(
        name=one.name,
        reason=one.reason,
        first=None if one.first is None else shown_tap(one.first),
        finding=found.finding if isinstance(found, Diagnosis) else None,
        certain=isinstance(found, Diagnosis) and found.certain,
        like=like,
        line=told(found) if isinstance(found, Diagnosis) else line,
    )


def told(diagnosis: Diagnosis) -> str:
    """A diagnosis in one line."""
    modules = {one.unit: one.module for one in diagnosis.origins}
    parts = []
    for cause in diagnosis.causes:
        of = ", ".join(dict.fromkeys(modules[unit] for unit in cause.origins))
        others = len(cause.rivals)
        rivals = f", or {others} other{'s' if others > 1 else ''}" if others else ""
        parts.append(f"{cause.kind} of {of}: {cause.what} ({place_of(cause)}){rivals}")
    parts += [f"unexplained: {one.unit}" for one in diagnosis.unexplained]
    if not parts:
        parts.append(MEANINGS[diagnosis.finding])
    if not diagnosis.complete:
        parts.append("time was up before everything was tried")
    return "; ".join(parts)


def place_of(one: ExplanationRecord) -> str:
    """Where a cause is, in words that are the same in every run: no instances, of which not all may show it."""
    where = one.where
    if where.inject:
        return " ".join(where.inject)
    if where.image is not None:
        layer = "" if where.layer is None or where.layer < 0 else f"layer {where.layer} "
        return f"image {layer}{where.image}{'' if where.word is None else f' word {where.word}'}"
    return one.at


_Key = tuple[str, str]  # kind, part of the chip


@dataclass(frozen=True)
class _Shown:
    """A group's place and words, and what its units are in one failure."""

    place: str
    what: str
    units: tuple[str, ...]


@dataclass
class _Slot:
    """A cause of one failure: what may be it, the likeliest first."""

    failure: str
    shown: Mapping[_Key, _Shown]
    certain: bool = False


@dataclass
class _Group:
    shown: _Shown
    units: set[str] = field(default_factory=set)
    failures: dict[str, bool] = field(default_factory=dict)  # whether its diagnosis is certain
    alike: list[str] = field(default_factory=list)


def _groups(
    failed: Sequence[Failed], found: Mapping[str, Diagnosis | str], like: Mapping[str, str]
) -> list[GroupRecord]:
    """As few causes as explain every failure, as in one run: of equal ones the likelier."""
    slots = [slot for one in failed for slot in _slots(one, found.get(one.name, TIME_WAS_UP), like)]
    groups: dict[_Key, _Group] = {}
    while slots:
        counts = Counter(key for slot in slots for key in slot.shown)
        ranks = [(key, rank) for slot in slots for rank, key in enumerate(slot.shown)]
        worst = {key: max(rank for other, rank in ranks if other == key) for key in counts}
        best = max(counts, key=lambda key: (counts[key], -worst[key]))
        for slot in slots:
            if best in slot.shown:
                group = groups.setdefault(best, _Group(slot.shown[best]))
                group.units |= set(slot.shown[best].units)
                group.failures[slot.failure] = slot.certain
        slots = [slot for slot in slots if best not in slot.shown]
    for name, other in like.items():
        for group in groups.values():
            if other in group.failures:
                group.alike.append(name)
    records = [
        GroupRecord(
            kind=kind,
            unit=" ".join(sorted(group.units)),
            place=group.shown.place,
            what=group.shown.what,
            failures=tuple(group.failures),
            certain=sum(group.failures.values()),
            alike=tuple(group.alike),
        )
        for (kind, _), group in groups.items()
    ]
    return sorted(
        records, key=lambda one: (-len(one.failures) - len(one.alike), one.kind == NOT_DIAGNOSED, one.title)
    )


def _slots(one: Failed, found: Diagnosis | str, like: Mapping[str, str]) -> Iterator[_Slot]:
    if isinstance(found, str):
        if one.name not in like:
            yield _slot(one.name, NOT_DIAGNOSED, one.reason, "", found)
        return
    modules = {origin.unit: origin.module for origin in found.origins}
    for cause in found.causes:
        units = tuple(dict.fromkeys(modules[name] for name in cause.origins))
        shown = {
            (each.kind, each.at): _Shown(place_of(each), each.what, units) for each in (cause, *cause.rivals)
        }
        yield _Slot(one.name, shown, found.certain)
    taps = {origin.unit: origin.tap for origin in found.origins}
    for open_ in found.unexplained:
        unit, tap = modules[open_.unit], taps[open_.unit]
        yield _slot(one.name, "unexplained", unit, tap, "no hypothesis gives what it gave")
    if not found.causes and not found.unexplained:
        first = "" if one.first is None else one.first[1]
        yield _slot(one.name, found.finding, first or one.reason, "", MEANINGS[found.finding])


def _slot(name: str, kind: str, unit: str, place: str, what: str) -> _Slot:
    """Of a failure without a cause."""
    return _Slot(name, {(kind, f"{unit} {place}"): _Shown(place, what, (unit,))})
