"""The verdict as people and machines read it: one self-contained HTML file, and JUnit."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from etchproof.signoff.run import SignoffResult
from etchproof.taps import LINEARS, TAP_NAMES

REPORT_FILE: Final = "report.html"
JUNIT_FILE: Final = "junit.xml"
DVSIM_FILE: Final = "dvsim.json"
_LAYER: Final = re.compile(r"model\.layers\.(\d+)\.(?:\w+\.)?(\w+)")


def write_reports(result: SignoffResult, out: Path) -> None:
    """``report.html``, ``junit.xml`` and ``dvsim.json``."""
    (out / DVSIM_FILE).write_text(json.dumps(dvsim(result), indent=1) + "\n", encoding="utf-8")
    (out / REPORT_FILE).write_text(html(result), encoding="utf-8")
    ET.ElementTree(junit(result)).write(out / JUNIT_FILE, encoding="utf-8", xml_declaration=True)


def junit(result: SignoffResult) -> ET.Element:
    """A suite of gates and waivers, a suite of runs; a failure carries figures or reproduction."""
    suites = ET.Element("testsuites", name="etchproof signoff")
    used = {waiver.waiver.what for waiver in result.waivers if waiver.state == "used"}
    gates = [(gate.name, "" if gate.passed or gate.name in used else gate.message) for gate in result.gates]
    waivers = [
        (
            f"waiver {waiver.waiver.what}",
            "" if waiver.state == "used" else f"{waiver.state}: {waiver.message}",
        )
        for waiver in result.waivers
    ]
    runs = []
    for item in result.evidence.items:
        reasons = "; ".join(f"{reason.name}: {reason.message}" for reason in item.reasons) or item.verdict
        runs.append((item.name, "" if item.verdict == "PASS" else f"{reasons}\nreproduce: {item.rerun}"))
    for name, cases in (("gates", gates), ("waivers", waivers), ("runs", runs)):
        failures = sum(bool(message) for _, message in cases)
        suite = ET.SubElement(suites, "testsuite", name=name, tests=str(len(cases)), failures=str(failures))
        for case, message in cases:
            element = ET.SubElement(suite, "testcase", classname=name, name=case)
            if message:
                ET.SubElement(element, "failure", message=message.splitlines()[0]).text = message
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
            signature = item.reasons[0].name if item.reasons else "no_result"
            message = item.reasons[0].message if item.reasons else ""
            buckets.setdefault(signature, []).append(
                {"name": item.name, "seed": item.seed, "failure_message": message, "command": item.rerun}
            )
    bins = sum(group.bins for group in evidence.covergroups)
    functional = 100 * sum(group.hit for group in evidence.covergroups) / bins if bins else None
    code = {found.kind: 100 * found.hit / found.points if found.points else None for found in evidence.code}
    return {
        "block_name": f"{evidence.model.name}_{evidence.recipe.name}",
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


def html(result: SignoffResult) -> str:
    """The report; the same result gives the same bytes."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = (files("etchproof.signoff") / "report.html.j2").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        result=result,
        evidence=result.evidence,
        heat=observability_map(result),
        noise=noise_map(result),
        waived={waiver.waiver.what for waiver in result.waivers if waiver.state == "used"},
    )


def observability_map(result: SignoffResult) -> Mapping[str, Any]:
    """Per layer and tensor, the share of visible bits that is proven; None where a layer has no such tensor."""
    rom = result.evidence.rom
    sums: dict[tuple[int, str], list[int]] = {}
    for part in rom.parts if rom else ():
        site = part.site.removesuffix(".scales").removesuffix(".bias")
        match = _LAYER.fullmatch(site)
        key = (int(match[1]), match[2]) if match else (-1, site)
        cell = sums.setdefault(key, [0, 0])
        cell[0] += part.proven
        cell[1] += part.total - sum(part.reasons.values())
    names = ("input_layernorm", *LINEARS[:4], "post_attention_layernorm", *LINEARS[4:])
    layers = sorted({layer for layer, _ in sums if layer >= 0})
    rows = [(f"layer {layer}", [_share(sums.get((layer, name))) for name in names]) for layer in layers]
    top = [(name, _share(cell)) for (layer, name), cell in sums.items() if layer < 0]
    return {"names": names, "rows": rows, "top": top}


def _share(cell: list[int] | None) -> float | None:
    return None if cell is None or not cell[1] else 100 * cell[0] / cell[1]


def noise_map(result: SignoffResult) -> Mapping[str, Any]:
    """Per layer and tap, signal to noise in dB."""
    quality = result.evidence.quality
    taps = {(tap.layer, tap.tap): tap.sqnr_db for tap in quality.taps} if quality else {}
    names = [name for name in TAP_NAMES if any(layer >= 0 and tap == name for layer, tap in taps)]
    layers = sorted({layer for layer, _ in taps if layer >= 0})
    return {
        "names": names,
        "rows": [(f"layer {layer}", [taps.get((layer, name)) for name in names]) for layer in layers],
    }
