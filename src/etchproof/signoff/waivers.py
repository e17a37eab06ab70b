"""Waivers: gates that may fail for a while, for one fabric, in somebody's name (``verif/signoff/waivers.yaml``).

A waiver that is expired, that names no gate or another fabric, or that nothing needs fails the verdict: what is on the
list must be true today.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from etchproof.files.validation import Day, as_tuple
from etchproof.files.yaml_file import read_yaml_record
from etchproof.signoff.gates import GateResult
from etchproof.signoff.record import Record

WaiverState = Literal["used", "expired", "unmatched", "unused"]


class Waiver(BaseModel):
    """One waiver.

    Attributes:
        what: the gate.
        why: for whoever reads the report.
        who: the role that answers for it, no person's name.
        until: the last day on which it counts.
        fabric: of the chip, its whole hash: another chip needs another look.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    what: Annotated[str, Field(min_length=1)]
    why: Annotated[str, Field(min_length=20)]
    who: Annotated[str, Field(min_length=2)]
    until: Day
    fabric: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class WaiverResult(Record):
    """A waiver, applied; only "used" is good."""

    waiver: Waiver
    state: WaiverState
    message: str


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    name: str
    waivers: Annotated[tuple[Waiver, ...], BeforeValidator(as_tuple)]


def load_waivers(path: Path) -> tuple[Waiver, ...]:
    """Read the file.

    Raises:
        InputError: it is bad; file, key and value are named.
    """
    return read_yaml_record(path, _File).waivers


def apply_waivers(
    waivers: Sequence[Waiver], gates: Sequence[GateResult], fabric: str, today: datetime.date
) -> tuple[WaiverResult, ...]:
    """What becomes of each waiver.

    Args:
        fabric: hash of the chip that is signed off.
        today: given, so that a verdict can be repeated.
    """
    by_name = {gate.name: gate for gate in gates}
    results = []
    seen: set[str] = set()
    for waiver in waivers:
        gate = by_name.get(waiver.what)
        state: WaiverState
        if gate is None:
            state, message = "unmatched", f"there is no gate {waiver.what!r} at this stage"
        elif waiver.fabric != fabric:
            state, message = "unmatched", f"is for fabric {waiver.fabric[:12]}, this is {fabric[:12]}"
        elif today > waiver.until:
            state, message = "expired", f"since {waiver.until}"
        elif gate.passed:
            state, message = "unused", "the gate holds without it"
        elif waiver.what in seen:
            state, message = "unused", "another one waives the same gate"
        else:
            state, message = "used", gate.message
            seen.add(waiver.what)
        results.append(WaiverResult(waiver=waiver, state=state, message=message))
    return tuple(results)


def open_gates(gates: Sequence[GateResult], waivers: Sequence[WaiverResult]) -> tuple[str, ...]:
    """The gates that fail without a waiver, and the waivers that are not true today."""
    waived = {result.waiver.what for result in waivers if result.state == "used"}
    items = [
        f"gate {gate.name}: {gate.message}" for gate in gates if not gate.passed and gate.name not in waived
    ]
    items += [
        f"waiver of {result.waiver.what} is {result.state}: {result.message}"
        for result in waivers
        if result.state != "used"
    ]
    if not gates:
        items.append("no gate was applied")
    return tuple(items)
