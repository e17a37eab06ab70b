"""The report holds everything that a reader needs, and nothing from elsewhere."""

from __future__ import annotations

import datetime
import html.parser
import json
import re
from pathlib import Path
from typing import Any

from etchproof.result import Reason
from etchproof.signoff.evidence import SignoffEvidence
from etchproof.signoff.gates import apply_gates
from etchproof.signoff.report import dvsim, junit, observability_map
from etchproof.signoff.report import html as render
from etchproof.signoff.run import SignoffResult, json_schema
from etchproof.signoff.waivers import Waiver, apply_waivers, open_items
from tests.unit.signoff.test_gates import FABRIC, STAGE, good, item, part, rom

TODAY = datetime.date(2026, 11, 21)


def result(evidence: SignoffEvidence, *waivers: Waiver) -> SignoffResult:
    gates = apply_gates(STAGE, evidence)
    applied = apply_waivers(waivers, gates, FABRIC, TODAY)
    left = open_items(gates, applied)
    return SignoffResult(
        verdict="FAIL" if left else "PASS",
        open_items=left,
        gates=gates,
        waivers=applied,
        today=TODAY,
        wall_s={"plan": 1.0},
        evidence=evidence,
    )


class Balanced(html.parser.HTMLParser):
    """Fails on a tag that is not closed in order."""

    VOID = ("meta", "br")

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag


def test_a_pass() -> None:
    passed = result(good())
    text = render(passed)
    assert text == render(passed)
    parser = Balanced()
    parser.feed(text)
    assert parser.stack == []
    assert "every gate holds" in text and 'class="verdict PASS"' in text
    # One file: nothing is fetched.
    assert not re.search(r"https?://|<script|<link|<img|@import|url\(", text)


def test_a_fail_says_why_first() -> None:
    bad = item(
        "b",
        verdict="FAIL",
        reasons=(Reason(name="mismatch", message="<3 elements> differ"),),
        rerun="etchproof test X",
    )
    waiver = Waiver(
        what="code_line", why="a reason of enough letters", who="lead", until=TODAY, fabric=FABRIC
    )
    evidence = good(
        items=(item("a", elements=2000), bad),
        code=(),
        rom=rom(
            part(site="model.layers.0.self_attn.q_proj", proven=89, open=("rom:q[0,0]^1",), open_count=1)
        ),
    )
    failed = result(evidence, waiver)
    assert failed.verdict == "FAIL"
    text = render(failed)
    assert (
        text.index("Open items")
        < text.index("gate tests_passed: 1 of 2 runs passed")
        < text.index("<h2>Gates")
    )
    assert "&lt;3 elements&gt; differ" in text and "<3 elements>" not in text
    assert "etchproof test X" in text and "rom:q[0,0]^1" in text
    assert '<span class="waived">waived</span>' in text
    cases = {case.get("name"): case.find("failure") for case in junit(failed).iter("testcase")}
    assert cases["code_line"] is None  # waived
    failure = cases["b"]
    assert failure is not None and "reproduce: etchproof test X" in (failure.text or "")
    suite = junit(failed).find("testsuite[@name='gates']")
    assert suite is not None
    assert int(suite.get("failures", "0")) == sum(not gate.passed for gate in failed.gates) - 1


def test_the_map() -> None:
    parts = (
        part(site="model.layers.1.mlp.up_proj", proven=45, total=100, reasons={"x": 10}),
        part(site="model.layers.1.mlp.up_proj.scales", proven=45, total=100, reasons={"x": 10}),
        part(site="model.layers.1.input_layernorm", proven=10, total=10, reasons={}),
        part(site="lm_head", proven=1, total=2, reasons={}),
    )
    found = observability_map(result(good(rom=rom(*parts))))
    (row,) = found["rows"]
    shares = dict(zip(found["names"], row[1], strict=True))
    assert row[0] == "layer 1"
    assert shares["up_proj"] == 50 and shares["input_layernorm"] == 100 and shares["q_proj"] is None
    assert found["top"] == [("lm_head", 50.0)]


def test_dvsim() -> None:
    bad = item("b", verdict="FAIL", reasons=(Reason(name="mismatch", message="differs"),))
    other = item("c", test="Beta")
    record = json.loads(json.dumps(dvsim(result(good(items=(item("a"), bad, other))))))["results"]
    alpha = {"name": "Alpha", "passing_runs": 1, "total_runs": 2, "pass_rate": 50.0}
    assert record["testpoints"][0] == {"name": "first", "stage": "V1", "tests": [alpha]}
    assert "Beta" in {row["name"] for row in record["unmapped_tests"]}
    (stage,) = record["testplan_stage_summary"]
    assert stage == {"name": "V1", "total_tests": 1, "written_tests": 1, "passing_tests": 0, "pass_rate": 0.0}
    assert record["coverage"] == {
        "code": {"line_statement": 100.0, "branch": 100.0, "toggle": 100.0},
        "functional": 75.0,
    }
    (bucket,) = record["failure_buckets"]
    assert bucket["identifier"] == "mismatch" and bucket["failing_tests"][0]["name"] == "b"


def test_the_schema(repo_root: Path) -> None:
    """docs/signoff.schema.json is what the records say; to renew it, write json_schema() there."""
    assert (repo_root / "docs" / "signoff.schema.json").read_text() == json_schema()
