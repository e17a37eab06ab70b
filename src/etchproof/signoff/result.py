"""The verdict as a record, ``signoff.json``: evidence, the gates applied to it, and what is left open."""

from __future__ import annotations

import datetime
import hashlib
import json
from pathlib import Path
from typing import Any, Final, Literal

from etchproof.diagnose.triage_result import TRIAGE_FILE
from etchproof.errors import InputError
from etchproof.files.json_record import read_json_record
from etchproof.signoff.evidence import SignoffEvidence
from etchproof.signoff.gates import GateResult, StageGates
from etchproof.signoff.record import Record
from etchproof.signoff.verdict import NotMeasured, draw
from etchproof.signoff.waivers import WaiverResult
from etchproof.verdict.result import Sha256

SIGNOFF_FILE: Final = "signoff.json"
REPORTS: Final = ("report.html", "junit.xml", "dvsim.json")
"""Written after it, from it alone."""
RUNS: Final = "regression"
"""Folder of the runs."""
TRIAGED: Final = f"{RUNS}/{TRIAGE_FILE}"


class SignoffResult(Record):
    """``signoff.json``.

    Attributes:
        open_items: what stands between this and a signature; empty exactly when the verdict is PASS.
        not_measured: what the verdict says nothing of, and why.
        rules: the stage's own, of the project's gates file.
        judged_by: hash of each file that judges: testplan, gates, and waivers and exclusions where there are any.
        evidence_sha256: of the evidence, which is hashed as it is written.
        today: the day that waivers were held against.
    """

    schema_version: int = 1
    verdict: Literal["PASS", "FAIL"]
    open_items: tuple[str, ...]
    gates: tuple[GateResult, ...]
    waivers: tuple[WaiverResult, ...]
    not_measured: tuple[NotMeasured, ...]
    rules: StageGates
    judged_by: dict[str, Sha256]
    evidence_sha256: Sha256
    today: datetime.date
    wall_s: dict[str, float]
    evidence: SignoffEvidence

    @property
    def waived(self) -> frozenset[str]:
        """Gates that a waiver lets fail."""
        return frozenset(found.waiver.what for found in self.waivers if found.state == "used")


def read_result(path: Path) -> SignoffResult:
    """A stored verdict; gates, waivers and verdict are drawn from its evidence once more and have to be the same.

    Raises:
        InputError: it is no such file, or its verdict does not follow from its evidence.
    """
    result = read_json_record(path, SignoffResult)
    if evidence_sha256(result.evidence) != result.evidence_sha256:
        raise InputError("is not the evidence that was written", source=path, key="evidence")
    waivers = [found.waiver for found in result.waivers]
    drawn = draw(result.rules, result.evidence, waivers, result.today)
    stored = (result.verdict, result.open_items, result.gates, result.waivers, result.not_measured)
    if stored != (drawn.verdict, drawn.open_items, drawn.gates, drawn.waivers, drawn.not_measured):
        raise InputError("says what does not follow from its own evidence", source=path, key="verdict")
    return result


def evidence_sha256(evidence: SignoffEvidence) -> str:
    """Hash of the evidence as JSON."""
    return hashlib.sha256(evidence.model_dump_json().encode()).hexdigest()


def json_schema() -> str:
    """JSON Schema of ``signoff.json``."""
    schema: dict[str, Any] = SignoffResult.model_json_schema(mode="serialization")
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=1) + "\n"
