"""What of the evidence follows from something else: made once when signing off, made again when a record is read."""

from __future__ import annotations

import datetime
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from etchproof.contract.mask import MaskSite
from etchproof.coverage import hooks
from etchproof.coverage.functional import FunctionalCoverage
from etchproof.project.declaration import Project
from etchproof.project.sources import file_sha256
from etchproof.regress.execute import ITEMS_FOLDER
from etchproof.regress.item import ITEM_FILE, ItemResult
from etchproof.regress.spec import ItemSpec
from etchproof.signoff.evidence import (
    LISTED,
    CheckEvidence,
    CovergroupEvidence,
    InjectionEvidence,
    ItemEvidence,
    KillerEvidence,
    QualificationEvidence,
    RomEvidence,
    ScoreEvidence,
    SignoffEvidence,
    SurvivorEvidence,
    TestpointEvidence,
)
from etchproof.signoff.qualification import Kind, Qualification
from etchproof.signoff.survivors import Survivor, excused, still_open
from etchproof.signoff.testplan import Testpoint


def item_evidence(spec: ItemSpec, result: ItemResult | None, why_not: str, runs: Path) -> ItemEvidence:
    """A run as evidence.

    Args:
        result: None where it left none that counts.
        why_not: why it does not count; empty where it does.
        runs: the regression's folder.
    """
    return ItemEvidence(
        name=spec.name,
        test=spec.test,
        verdict=result.verdict if result else "MISSING",
        reasons=result.reasons if result else (),
        seed=spec.seed,
        kind=spec.kind,
        counts=not why_not,
        why_not=why_not,
        untouched=result is not None and result.rewrites is None,
        fabric_sha256=result.fabric_sha256 if result else None,
        rom_sha256=result.rom_sha256 if result else None,
        sha256=file_sha256(runs / ITEMS_FOLDER / spec.name / ITEM_FILE) if result else None,
        elements=result.elements if result else 0,
        answers=result.answers if result else 0,
        in_cycles=result.in_cycles if result else 0,
        wall_s=result.wall_s if result else 0.0,
        rerun=result.rerun if result else "",
    )


def testpoint_evidence(
    points: Sequence[Testpoint], items: Sequence[ItemEvidence], checks: Sequence[CheckEvidence]
) -> tuple[TestpointEvidence, ...]:
    """How the tests of testpoints went. A run that is not of this chip shows nothing; one that failed denies."""
    ran: dict[str, list[bool]] = {check.name: [check.passed] for check in checks}
    untouched: set[str] = set()
    for item in items:
        if item.verdict != "PASS":
            ran.setdefault(item.test, []).append(False)
        elif item.counts:
            ran.setdefault(item.test, []).append(True)
            untouched |= {item.test} if item.untouched else set()
    return tuple(
        TestpointEvidence(
            name=point.name,
            stage=point.stage,
            desc=point.desc,
            tests=point.tests,
            passed=tuple(test for test in point.tests if all(ran.get(test, [False]))),
            failed=tuple(test for test in point.tests if not all(ran.get(test, [True]))),
            not_run=tuple(test for test in point.tests if test not in ran),
            untouched=tuple(test for test in point.tests if test in untouched and all(ran[test])),
        )
        for point in points
    )


def covergroups(found: FunctionalCoverage) -> tuple[CovergroupEvidence, ...]:
    """Each group, with its holes."""
    return tuple(
        CovergroupEvidence(
            name=group.name,
            bins=len(group.bins),
            hit=int(np.count_nonzero(found.hits(group.name))),
            holes=tuple(group.bins[index] for index in np.flatnonzero(found.hits(group.name) == 0)),
        )
        for group in found.groups
    )


def mask_sites(evidence: SignoffEvidence, project: Project) -> tuple[MaskSite, ...]:
    """The tensors that the project says a chip with the ROM images of the evidence has.

    Raises:
        InputError: the project cannot say it.
    """
    images = evidence.provenance.images if evidence.provenance else ()
    return hooks.sites(project, [(image.layer, image.name) for image in images])


def observed(rom: RomEvidence) -> bool:
    """Whether the mask has bits, and some are proven to be seen: check ``signoff.rom_observability``."""
    return rom.total > 0 and rom.proven > 0


def injected(injection: InjectionEvidence | None) -> bool:
    """Whether bits were inverted and each was caught where the proof says: check ``signoff.injected_faults``."""
    bits = injection.bits if injection else ()
    return bool(bits) and all(bit.caught and bit.located for bit in bits)


testpoint_evidence.__test__ = False  # type: ignore[attr-defined]  # pytest: no test


def qualification(
    found: Qualification, survivors: Sequence[Survivor], today: datetime.date
) -> QualificationEvidence:
    """What a qualification comes to, under the survivors that a project lists today."""
    stand = excused(found, survivors)
    scores: dict[tuple[Kind, str, str], Counter[str]] = defaultdict(Counter)
    first: Counter[str] = Counter()
    alone: Counter[str] = Counter()
    for fault in found.faults:
        score = scores[fault.kind, fault.where, fault.operator]
        score["drawn"] += 1
        if fault.state == "detected":
            score["seen"] += 1
            first[fault.seen_by[0].test] += 1
            alone[fault.seen_by[0].test] += len(fault.seen_by) == 1
        elif fault.name in stand:
            score["equivalent" if stand[fault.name].excuse == "equivalent" else "excused"] += 1
    left = still_open(found, survivors, today)
    return QualificationEvidence(
        seed=found.seed,
        runs=len(found.runs),
        scores=tuple(
            ScoreEvidence(
                kind=kind,
                where=where,
                operator=operator,
                drawn=score["drawn"],
                seen=score["seen"],
                equivalent=score["equivalent"],
                excused=score["excused"],
            )
            for (kind, where, operator), score in sorted(scores.items())
        ),
        killers=tuple(
            KillerEvidence(test=test, first=count, alone=alone[test] if found.opinions else None)
            for test, count in sorted(first.items())
        ),
        survivors=tuple(
            SurvivorEvidence(
                name=fault.name,
                place=fault.place,
                was=fault.was,
                becomes=fault.becomes,
                excuse=stand[fault.name].excuse,
                why=stand[fault.name].why,
                until=str(stand[fault.name].until or stand[fault.name].seen_at or ""),
                activated=fault.activated,
            )
            for fault in found.faults
            if fault.name in stand
        ),
        open_items=left[:LISTED],
        open_count=len(left),
    )
