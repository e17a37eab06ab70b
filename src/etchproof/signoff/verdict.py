"""The verdict drawn from the evidence: gates, waivers, what stands whatever the gates say, what was not measured."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from etchproof.signoff.capabilities import OBSERVABILITY, without
from etchproof.signoff.capabilities import links as due_links
from etchproof.signoff.evidence import SignoffEvidence
from etchproof.signoff.gates import COVERGROUP, GATES, GateResult, StageGates, apply_gates
from etchproof.signoff.record import Record
from etchproof.signoff.waivers import Waiver, WaiverResult, apply_waivers, open_gates

NO_REASON: Final = "no gate asks for it, and the gates file gives no reason"


class NotMeasured(Record):
    """What a verdict says nothing of.

    Attributes:
        what: the gate, or "covergroup".
        why: the reason that the project's gates file gives.
    """

    what: str
    why: str


@dataclass(frozen=True)
class Drawn:
    """What follows from evidence, gates and waivers."""

    verdict: Literal["PASS", "FAIL"]
    open_items: tuple[str, ...]
    gates: tuple[GateResult, ...]
    waivers: tuple[WaiverResult, ...]
    not_measured: tuple[NotMeasured, ...]


def draw(
    stage: StageGates, evidence: SignoffEvidence, waivers: Sequence[Waiver], today: datetime.date
) -> Drawn:
    """The verdict; ``report`` draws it once more from the same.

    Args:
        today: the day that waivers are held against.
    """
    gates = apply_gates(stage, evidence)
    waived = apply_waivers(waivers, gates, evidence.fabric_sha256, today)
    unmeasured = not_measured(stage, evidence.capabilities)
    left = (
        *open_gates(gates, waived),
        *standing(evidence),
        *(f"{one.what} is not measured: {one.why}" for one in unmeasured if one.why == NO_REASON),
    )
    return Drawn("FAIL" if left else "PASS", left, gates, waived, unmeasured)


def not_measured(stage: StageGates, held: Collection[str]) -> tuple[NotMeasured, ...]:
    """What no gate of the stage asks for, of all that sign-off can measure.

    Args:
        held: the project's capabilities: what takes another has its reason in that.
    """
    absent = [name for name in GATES if name not in stage.gates]
    if COVERGROUP not in stage.gates or COVERGROUP in stage.not_measured:  # all of them, or the others
        absent.append(COVERGROUP)
    return tuple(
        NotMeasured(what=name, why=without(name, held) or stage.not_measured.get(name, NO_REASON))
        for name in absent
    )


def standing(evidence: SignoffEvidence) -> tuple[str, ...]:
    """What no gate and no waiver lets pass."""
    return tuple(_standing(evidence))


def _standing(evidence: SignoffEvidence) -> Iterator[str]:
    if not any(item.counts and item.verdict == "PASS" for item in evidence.items):
        yield "no run of this chip passed"
    if not evidence.testpoints:
        yield "the stage has no testpoint"
    yield from (f"regression: {line}" for line in evidence.broken)
    links = {link.name: link for link in evidence.provenance.links} if evidence.provenance else {}
    for name in due_links(evidence.capabilities):
        if name not in links:
            yield f"provenance: the link {name!r} is missing"
        elif not links[name].holds:
            yield f"provenance: the link {name!r} does not hold: {links[name].message}"
    for check in evidence.checks:
        if not check.passed:
            yield f"check {check.name}: {check.message}"
    if OBSERVABILITY not in evidence.capabilities:
        pass  # a capability that the project does not have: said as not measured
    elif evidence.rom is None or evidence.rom.total == 0:
        yield "the coverage model names no bit of the mask"
    elif evidence.rom.proven == 0:
        yield f"none of {evidence.rom.total:,} bits of the mask is proven to be seen"
    yield from (f"covergroup {group.name} has no bin" for group in evidence.covergroups if group.bins == 0)
