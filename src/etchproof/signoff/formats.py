"""The verdict for other programs: JUnit, and the results JSON of dvsim."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

from etchproof.diagnose.triage_result import Triage
from etchproof.signoff.evidence import ItemEvidence
from etchproof.signoff.result import SignoffResult


def junit(result: SignoffResult) -> ET.Element:
    """Suites of gates, waivers, what else is open, runs and what was not measured; a failure carries figures."""
    suites = ET.Element("testsuites", name="etchproof signoff")
    gates = [
        (gate.name, "" if gate.passed or gate.name in result.waived else gate.message)
        for gate in result.gates
    ]
    waivers = [
        (
            f"waiver {waiver.waiver.what}",
            "" if waiver.state == "used" else f"{waiver.state}: {waiver.message}",
        )
        for waiver in result.waivers
    ]
    runs, triage = [], result.evidence.triage
    for item in result.evidence.items:
        reasons = "; ".join(f"{reason.name}: {reason.message}" for reason in item.reasons) or item.verdict
        if line := "" if triage is None else triage.line(item.name):
            reasons = f"{line}; {reasons}"
        runs.append((item.name, "" if item.verdict == "PASS" else f"{reasons}\nreproduce: {item.rerun}"))
    judged = (*(f"gate {gate.name}: " for gate in result.gates), "waiver of ")
    standing = [(item.partition(":")[0], item) for item in result.open_items if not item.startswith(judged)]
    suites_of = (("gates", gates), ("waivers", waivers), ("standing", standing), ("runs", runs))
    for name, cases in suites_of:
        failures = sum(bool(message) for _, message in cases)
        suite = ET.SubElement(suites, "testsuite", name=name, tests=str(len(cases)), failures=str(failures))
        for case, message in cases:
            element = ET.SubElement(suite, "testcase", classname=name, name=case)
            if message:
                ET.SubElement(element, "failure", message=message.splitlines()[0]).text = message
    count = str(len(result.not_measured))
    suite = ET.SubElement(suites, "testsuite", name="not measured", tests=count, failures="0", skipped=count)
    for one in result.not_measured:
        element = ET.SubElement(suite, "testcase", classname="not measured", name=one.what)
        ET.SubElement(element, "skipped", message=one.why)
    return suites


def dvsim(result: SignoffResult) -> dict[str, Any]:
    """Passes, failures and coverage in the form of dvsim's results JSON, for dashboards that read it."""
    evidence = result.evidence
    rows: dict[str, dict[str, Any]] = {}
    for item in evidence.items:
        row = rows.setdefault(item.test, {"name": item.test, "passing_runs": 0, "total_runs": 0})
        row["passing_runs"] += item.verdict == "PASS"
        row["total_runs"] += 1
    for check in evidence.checks:
        rows[check.name] = {"name": check.name, "passing_runs": int(check.passed), "total_runs": 1}
    for row in rows.values():
        row["pass_rate"] = 100 * row["passing_runs"] / row["total_runs"]
    points = [
        {
            "name": point.name,
            "stage": point.stage,
            "tests": [rows[test] for test in point.tests if test in rows],
        }
        for point in evidence.testpoints
    ]
    claimed = {test for point in evidence.testpoints for test in point.tests}
    stages = []
    for stage in dict.fromkeys(point.stage for point in evidence.testpoints):
        tests = {test for point in evidence.testpoints if point.stage == stage for test in point.tests}
        passing = sum(test in rows and rows[test]["pass_rate"] == 100 for test in tests)
        stages.append(
            {
                "name": stage,
                "total_tests": len(tests),
                "written_tests": sum(test in rows for test in tests),
                "passing_tests": passing,
                "pass_rate": 100 * passing / len(tests),
            }
        )
    buckets: dict[str, list[dict[str, Any]]] = {}
    for item in evidence.items:
        if item.verdict != "PASS":
            message = item.reasons[0].message if item.reasons else ""
            for name in _buckets(item, evidence.triage):
                buckets.setdefault(name, []).append(
                    {"name": item.name, "seed": item.seed, "failure_message": message, "command": item.rerun}
                )
    bins = sum(group.bins for group in evidence.covergroups)
    functional = 100 * sum(group.hit for group in evidence.covergroups) / bins if bins else None
    code = {found.kind: 100 * found.hit / found.points if found.points else None for found in evidence.code}
    return {
        "block_name": "_".join([evidence.model.name, *([evidence.recipe.name] if evidence.recipe else [])]),
        "block_variant": None,
        "report_type": "simulation",
        "tool": "verilator",
        "results": {
            "testpoints": points,
            "unmapped_tests": [row for test, row in rows.items() if test not in claimed],
            "testplan_stage_summary": stages,
            "coverage": {
                "code": {
                    "line_statement": code.get("line"),
                    "branch": code.get("branch"),
                    "toggle": code.get("toggle"),
                },
                "functional": functional,
            },
            "failure_buckets": [
                {"identifier": name, "failing_tests": failing} for name, failing in buckets.items()
            ],
        },
    }


def _buckets(item: ItemEvidence, triage: Triage | None) -> list[str]:
    """The causes of a run that failed; one that was not diagnosed has its reason in their place."""
    groups = [] if triage is None else [one.title for one in triage.groups if item.name in one.failures]
    return groups or [item.reasons[0].name if item.reasons else "no_result"]
