"""Each gate holds on good evidence and fails on what it is there for; nothing measured is never good enough."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from etchproof.coverage.exclusions import SignalExclusion
from etchproof.coverage.injection import InjectedBit
from etchproof.errors import InputError
from etchproof.project.declaration import load_project
from etchproof.quantize.health import GainHealth, ModelHealth, TapHealth
from etchproof.signoff.capabilities import ABSENT
from etchproof.signoff.covered import check_covered
from etchproof.signoff.evidence import (
    LINKS,
    AccumulatorEvidence,
    CheckEvidence,
    CodeEvidence,
    CovergroupEvidence,
    ExclusionEvidence,
    InjectionEvidence,
    ItemEvidence,
    ProvenanceEvidence,
    ProvenanceLink,
    QualificationEvidence,
    QualityEvidence,
    RomEvidence,
    RomImageEvidence,
    RomPartEvidence,
    ScoreEvidence,
    SignoffEvidence,
    SurvivorEvidence,
    TestpointEvidence,
)
from etchproof.signoff.gates import GATES, GateResult, StageGates, apply_gates
from etchproof.signoff.gates_file import load_gates
from etchproof.signoff.testplan import CHECKS, all_tests, load_testplan
from etchproof.signoff.verdict import NO_REASON, draw, standing
from etchproof.signoff.waivers import Waiver, apply_waivers, load_waivers, open_gates
from etchproof.verdict.result import ModelRecord, Reason, RecipeRecord
from tests.conftest import ROOT

FABRIC = "f" * 64
LIMITS: dict[str, Any] = {
    **dict.fromkeys(GATES, 100.0),
    "saturation": 1.0,
    "dead": 0.0,
    "elements_compared": 1000.0,
    "injected_faults_drawn": 2.0,
    "quality_kl": 0.05,
    "quality_top1": 90.0,
    "qualified": 99.0,
    "qualified_drawn": {"rtl": 600.0, "flow": 100.0},
    "covergroup": {"kv_cache": 100.0, "control": 50.0},
}
EXAMINED = (
    *("lint", "fabric_invariance", "rom_files", "rom_readback", "rom_signature"),
    *("quantized", "arithmetic", "checker"),
)
"""Gates that are a check and nothing else."""
STAGE = StageGates(regression="smoke", injected_faults=2, gates=LIMITS)


def item(name: str = "a", **changes: Any) -> ItemEvidence:
    fields: dict[str, Any] = {
        "name": name,
        "test": "Alpha",
        "verdict": "PASS",
        "reasons": (),
        "seed": 1,
        "kind": "fast",
        "counts": True,
        "untouched": True,
        "fabric_sha256": FABRIC,
        "rom_sha256": "a" * 64,
        "sha256": "c" * 64,
        "elements": 600,
        "answers": 10,
        "in_cycles": 10,
        "wall_s": 1.0,
        "rerun": "etchproof test Alpha",
    }
    if changes.get("verdict") == "MISSING":
        fields |= {"sha256": None, "elements": 0, "answers": 0, "in_cycles": 0}
    if changes.get("counts") is False:
        fields["why_not"] = "it ran another fabric"
    return ItemEvidence.model_validate(fields | changes)


OTHER_BIT = "rom:lm_head[0,1]^2"


def bit(**changes: Any) -> InjectedBit:
    where = (0, "q_proj", 1)
    fields: dict[str, Any] = {
        "site": "rom:m[0,0]^1",
        "prompt": (1, 2),
        "expected": where,
        "found": where,
        "caught": True,
        "located": True,
    }
    return InjectedBit.model_validate(fields | changes)


def part(**changes: Any) -> RomPartEvidence:
    fields: dict[str, Any] = {
        "site": "m",
        "kind": "codes",
        "total": 100,
        "proven": 90,
        "reasons": {"the scale of its group is zero": 10},
        "open": (),
        "open_count": 0,
        "words": 4,
        "words_read": 4,
    }
    return RomPartEvidence.model_validate(fields | changes)


def point(**changes: Any) -> TestpointEvidence:
    fields: dict[str, Any] = {
        "name": "first",
        "stage": "V1",
        "desc": "what is shown",
        "tests": ("Alpha",),
        "passed": ("Alpha",),
        "failed": (),
        "not_run": (),
    }
    found = fields | changes
    shown = [test for test in found["passed"] if not test.startswith("signoff.")]
    return TestpointEvidence.model_validate({"untouched": shown, **found})


def score(kind: str = "rtl", **changes: Any) -> ScoreEvidence:
    fields = {"kind": kind, "where": "ep_a", "operator": "bound", "drawn": 600, "seen": 594, "equivalent": 6}
    return ScoreEvidence.model_validate({**fields, "excused": 0, **changes})


SCORES = (score(), *(score(kind, drawn=50, seen=50, equivalent=0) for kind in ("flow", "golden")))


def planted(*scores: ScoreEvidence, **changes: Any) -> QualificationEvidence:
    """Faults of which every one is seen or listed, but for those of ``open_items``."""
    excuses = [*(["equivalent"] * sum(one.equivalent for one in scores))]
    excuses += ["waived"] * sum(one.excused for one in scores)
    stand = tuple(
        SurvivorEvidence(
            name=f"f{number}", place="ep_a:1", was="1", becomes="2", excuse=excuse, why="as it is listed"
        )
        for number, excuse in enumerate(excuses)
    )
    fields: dict[str, Any] = {"seed": 1, "runs": 9, "killers": (), "open_items": (), "open_count": 0}
    return QualificationEvidence.model_validate({**fields, "scores": scores, "survivors": stand, **changes})


def links(*left_out: str, **changes: Any) -> ProvenanceEvidence:
    found = tuple(
        ProvenanceLink(name=name, sha256="b" * 64, holds=True, message=f"{name} as before").model_copy(
            update=changes.get(name, {})
        )
        for name in LINKS
        if name not in left_out
    )
    return ProvenanceEvidence(links=found, tensors={}, images=())


def health(saturated: int = 0, dead: bool = False, gains: int = 0) -> ModelHealth:
    tap = TapHealth(layer=2, tap="mlp_residual", elements=200, saturated=saturated, dead=dead)
    return ModelHealth(
        tokens=9, taps=(tap,), gains=(GainHealth(name="model.norm.weight", gains=8, dead=gains),)
    )


def good(**changes: Any) -> SignoffEvidence:
    sha = "a" * 64
    fields: dict[str, Any] = {
        "stage": "V2",
        "project": "reference",
        "model": ModelRecord(name="tiny", path="/tiny", sha256=sha),
        "recipe": RecipeRecord(name="w6a16", sha256=sha, context=64, method="rtn", calibration="sampled"),
        "capabilities": tuple(ABSENT),
        "fabric_sha256": FABRIC,
        "rom_sha256": sha,
        "tools": {},
        "list_name": "smoke",
        "files": {},
        "broken": (),
        "items": (item("a"), item("b")),
        "testpoints": (point(), point(name="second")),
        "checks": tuple(CheckEvidence(name=name, passed=True, message="clean", wall_s=1) for name in CHECKS),
        "provenance": links(),
        "rom": RomEvidence(parts=(part(), part(proven=100, reasons={})), padding_bits=0, tokens=9, by_run={}),
        "tables": rom(part(site="logic.exp2", kind="entries", words=0, words_read=0)),
        "injection": InjectionEvidence(seed=1, bits=(bit(), bit(site=OTHER_BIT))),
        "qualification": planted(*SCORES),
        "covergroups": (
            CovergroupEvidence(name="kv_cache", bins=4, hit=4, holes=()),
            CovergroupEvidence(name="control", bins=4, hit=2, holes=("x", "y")),
        ),
        "accumulators": (AccumulatorEvidence(site="model.layers.0.mlp.up_proj", largest=9, bound=10),),
        "code": tuple(
            CodeEvidence(kind=kind, points=10, hit=10, excluded=1, holes=())
            for kind in ("line", "branch", "toggle", "control")
        ),
        "quality": QualityEvidence(
            kl_mean=0.01, same_top1=0.95, perplexity_golden=4.0, perplexity_float=3.9, tokens=100
        ),
    }
    fields["health"] = health()
    return SignoffEvidence.model_validate(fields | changes)


def failing(evidence: SignoffEvidence) -> list[str]:
    return [gate.name for gate in apply_gates(STAGE, evidence) if not gate.passed]


def test_good_evidence() -> None:
    assert failing(good()) == []


def check(name: str, passed: bool | None) -> tuple[CheckEvidence, ...]:
    kept = [found for found in good().checks if found.name != f"signoff.{name}"]
    if passed is not None:
        kept.append(CheckEvidence(name=f"signoff.{name}", passed=passed, message="planted", wall_s=1))
    return tuple(kept)


def code(kind: str, **changes: Any) -> tuple[CodeEvidence, ...]:
    return tuple(found.model_copy(update=changes) if found.kind == kind else found for found in good().code)


def left_out(kind: str, **changes: Any) -> ExclusionEvidence:
    """An entry that calls a point impossible which was passed."""
    fields = {"what": "ep_a.sv x_q", "tag": "unreachable", "reason": "padding", "points": 4, "hit": 1}
    return ExclusionEvidence.model_validate({**fields, "kinds": (kind,), **changes})


def image(**changes: Any) -> RomImageEvidence:
    return RomImageEvidence.model_validate({"layer": 0, "name": "x", "bits": 100} | changes)


def rom(*parts: RomPartEvidence, **changes: Any) -> RomEvidence:
    fields: dict[str, Any] = {"parts": parts, "padding_bits": 0, "tokens": 9, "by_run": {}}
    return RomEvidence.model_validate(fields | changes)


def sums(largest: int) -> tuple[AccumulatorEvidence, ...]:
    return (good().accumulators[0], AccumulatorEvidence(site="lm_head", largest=largest, bound=10))


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "an item failed": (
        "tests_passed",
        {
            "items": (
                item("a", elements=2000),
                item("b", verdict="FAIL", reasons=(Reason(name="x", message="y"),)),
            )
        },
    ),
    "an item left no result": (
        "tests_passed",
        {"items": (item("a", elements=2000), item("b", verdict="MISSING"))},
    ),
    "the regression broke": ("tests_passed", {"broken": ("pytest ended with status 3",)}),
    "too little compared": ("elements_compared", {"items": (item("a"),)}),
    "only a failed run compared": (
        "elements_compared tests_passed",
        {"items": (item("a", elements=9000, verdict="FAIL"), item("b"))},
    ),
    "nothing ran": ("tests_passed elements_compared cycle_model", {"items": ()}),
    "a testpoint's test failed": (
        "testpoints_passed testpoints_untouched",
        {"testpoints": (point(), point(name="second", passed=(), failed=("Alpha",), untouched=()))},
    ),
    "a testpoint on rewritten simulators alone": (
        "testpoints_untouched",
        {"testpoints": (point(), point(name="second", untouched=()))},
    ),
    "only checks": (
        "testpoints_untouched",
        {"testpoints": (point(tests=("signoff.lint",), passed=("signoff.lint",)),)},
    ),
    "a run of another chip": ("elements_compared", {"items": (item("a"), item("b", counts=False))}),
    "a testpoint's test did not run": (
        "testpoints_passed",
        {"testpoints": (point(tests=("Alpha", "Beta"), not_run=("Beta",)),)},
    ),
    "a testpoint without tests": (
        "testpoints_passed testpoints_untouched",
        {"testpoints": (point(tests=(), passed=()),)},
    ),
    "no testpoint": ("testpoints_passed testpoints_untouched", {"testpoints": ()}),
    "an answer in other cycles": ("cycle_model", {"items": (item("a"), item("b", in_cycles=9))}),
    "no cycle model": ("cycle_model", {"items": (item("a", in_cycles=0), item("b", in_cycles=0))}),
    "nothing answered": (
        "cycle_model",
        {"items": (item("a", answers=0, in_cycles=0), item("b", answers=0, in_cycles=0))},
    ),
    "a broken link": ("provenance", {"provenance": links(files={"holds": False})}),
    "a missing link": ("provenance", {"provenance": links("signatures")}),
    "no link": ("provenance", {"provenance": links(*LINKS)}),
    "no chain": ("provenance", {"provenance": None}),
    "an open bit": ("rom_observability", {"rom": rom(part(proven=89, open=("rom:m[0,0]^1",), open_count=1))}),
    "an image in no part": ("rom_observability", {"rom": rom(part(), images=(image(), image(name="y")))}),
    "a part of no image": ("rom_observability", {"rom": rom(part(image=(0, "x")))}),
    "padding that nothing explains": (
        "rom_observability",
        {"rom": rom(part(image=(0, "x")), images=(image(bits=130),), padding_bits=29)},
    ),
    "more bits in parts than in the image": (
        "rom_observability",
        {"rom": rom(part(image=(0, "x")), images=(image(bits=99),))},
    ),
    "an open bit of a table": (
        "table_bits",
        {"tables": rom(part(proven=89, open=("rom:logic.exp2[0]^1",), open_count=1))},
    ),
    "tables not measured": ("table_bits", {"tables": None}),
    "no tables": ("table_bits", {"tables": rom()}),
    "observability not measured": ("rom_observability rom_words", {"rom": None}),
    "no bits": ("rom_observability rom_words", {"rom": rom()}),
    "a sum beyond its bound": ("accumulators", {"accumulators": sums(11)}),
    "a linear never seen": ("accumulators", {"accumulators": sums(0)}),
    "no sums": ("accumulators", {"accumulators": ()}),
    "a word not read": ("rom_words", {"rom": rom(part(words_read=3, unread=("m codes (0, 1)",)))}),
    "a bit not caught": (
        "injected_faults_caught",
        {
            "injection": InjectionEvidence(
                seed=1, bits=(bit(), bit(site=OTHER_BIT, caught=False, located=False, found=None))
            )
        },
    ),
    "a bit caught elsewhere": (
        "injected_faults_caught",
        {
            "injection": InjectionEvidence(
                seed=1, bits=(bit(), bit(site=OTHER_BIT, located=False, found=(0, "k_proj", 1)))
            )
        },
    ),
    "too few bits drawn": (
        "injected_faults_drawn",
        {"injection": InjectionEvidence(seed=1, bits=(bit(), bit()))},
    ),
    "no bits drawn": (
        "injected_faults_drawn injected_faults_caught",
        {"injection": InjectionEvidence(seed=1, bits=())},
    ),
    "nothing injected": ("injected_faults_drawn injected_faults_caught", {"injection": None}),
    "not qualified": ("qualified qualified_drawn.rtl qualified_drawn.flow", {"qualification": None}),
    "nothing planted": ("qualified qualified_drawn.rtl qualified_drawn.flow", {"qualification": planted()}),
    "a planted fault that nothing sees": (
        "qualified",
        {
            "qualification": planted(
                score(seen=593), *SCORES[1:], open_items=("no run sees ep_a: bound",), open_count=1
            )
        },
    ),
    "a survivor that is not true today": (
        "qualified",
        {"qualification": planted(*SCORES, open_items=("f1 is waived until",), open_count=1)},
    ),
    "more planted faults let pass than one of a hundred": (
        "qualified",
        {"qualification": planted(score(seen=580, excused=14), *SCORES[1:])},
    ),
    "too few faults planted": (
        "qualified_drawn.rtl",
        {"qualification": planted(score(drawn=599, seen=593), *SCORES[1:])},
    ),
    "a kind of faults not planted": (
        "qualified_drawn.flow",
        {"qualification": planted(SCORES[0], score("image"))},
    ),
    "a bin not hit": (
        "covergroup.kv_cache",
        {
            "covergroups": (
                CovergroupEvidence(name="kv_cache", bins=4, hit=3, holes=("last",)),
                good().covergroups[1],
            )
        },
    ),
    "a covergroup dropped": ("covergroup.kv_cache", {"covergroups": (good().covergroups[1],)}),
    "a covergroup without bins": (
        "covergroup.control",
        {"covergroups": (good().covergroups[0], CovergroupEvidence(name="control", bins=0, hit=0, holes=()))},
    ),
    "the model is far from float": (
        "quality_kl",
        {"quality": good().quality.model_copy(update={"kl_mean": 0.06})},
    ),  # type: ignore[union-attr]
    "the model says other tokens": (
        "quality_top1",
        {"quality": good().quality.model_copy(update={"same_top1": 0.8})},
    ),  # type: ignore[union-attr]
    "a tap that saturates": ("saturation", {"health": health(saturated=3)}),
    "a tap that never changes": ("dead", {"health": health(dead=True)}),
    "gains that became 0": ("dead", {"health": health(gains=1)}),
    "health not measured": ("saturation dead", {"health": None}),
    "health of nothing": ("saturation dead", {"health": ModelHealth(tokens=0, taps=(), gains=())}),
    "quality not measured": ("quality_kl quality_top1", {"quality": None}),
    "quality of nothing": (
        "quality_kl quality_top1",
        {"quality": good().quality.model_copy(update={"tokens": 0})},  # type: ignore[union-attr]
    ),
    **{f"{name} failed": (name, {"checks": check(name, False)}) for name in EXAMINED},
    **{f"{name} left out": (name, {"checks": check(name, None)}) for name in EXAMINED},
    **{
        f"a {kind} not covered": (f"code_{kind}", {"code": code(kind, hit=9, holes=("ep_chip.sv:1 line",))})
        for kind in ("line", "branch", "toggle", "control")
    },
    **{
        f"no {kind}": (f"code_{kind}", {"code": code(kind, hit=0, points=0)})
        for kind in ("line", "branch", "toggle", "control")
    },
    "no code coverage": ("code_line code_branch code_toggle code_control", {"code": ()}),
    "a toggle that was called impossible": (
        "code_toggle code_control",
        {"exclusions": (left_out("toggle"),)},
    ),
    "a branch that was called impossible": ("code_branch", {"exclusions": (left_out("branch"),)}),
}


@pytest.mark.parametrize("case", CASES)
def test_what_a_gate_is_there_for(case: str) -> None:
    gates, changes = CASES[case]
    assert set(failing(good(**changes))) == set(gates.split())


@pytest.mark.parametrize("changes", [{"hit": 0}, {"tag": "external"}, {"tag": "low-risk"}])
def test_what_is_left_out_for_good_reason(changes: dict[str, Any]) -> None:
    assert failing(good(exclusions=(left_out("toggle", **changes),))) == []


@pytest.mark.parametrize(
    ("covered_by", "gates", "holds"),
    [
        (("lint", "covergroup.kv_cache"), {}, True),
        (("covergroup.control",), {}, False),  # asks for half
        (("covergroup.kv_rows",), {}, False),  # no such gate
        (("covergroup",), {}, False),
        (("rom_words",), {"rom_words": 99.9}, False),
        (("covergroup.control",), {name: None for name in GATES if name.startswith("code_")}, True),
    ],
)
def test_what_is_left_to_other_gates(
    covered_by: tuple[str, ...], gates: dict[str, float | None], holds: bool
) -> None:
    """They have to ask for all, where the stage looks at code at all."""
    kept = {name: limit for name, limit in {**STAGE.gates, **gates}.items() if limit is not None}
    stage = STAGE.model_copy(update={"gates": kept})
    entry = SignalExclusion(
        file="ep_a.sv",
        signals=("mem",),
        tag="external",
        covered_by=covered_by,
        reason="words that are addressed",
    )
    expected = (
        nullcontext() if holds else pytest.raises(InputError, match=f"is left to gate '{covered_by[-1]}'")
    )
    with expected:
        check_covered((entry,), stage, Path("gates.yaml"), "exclusions")


def test_every_gate_has_a_case() -> None:
    covered = {name for gates, _ in CASES.values() for name in gates.split()}
    assert covered >= {*GATES, "covergroup.kv_cache", "covergroup.control", "qualified_drawn.rtl"}


@pytest.mark.parametrize(
    ("scores", "changes", "said"),
    [
        (SCORES, {"survivors": ()}, "excuses other survivors than it names"),
        ((score(seen=593),), {}, "has fewer holes than survivors"),
        (SCORES, {"open_count": 1}, "names other holes than it counts"),
    ],
)
def test_a_qualification_that_contradicts_itself(
    scores: tuple[ScoreEvidence, ...], changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        planted(*scores, **changes)
    with pytest.raises(ValueError, match="knows more faults than were drawn"):
        score(drawn=599)


WAIVER = Waiver(
    what="code_line",
    why="the default of a case that the linter wants",
    who="verification lead",
    until=datetime.date(2026, 12, 1),
    fabric=FABRIC,
)
TODAY = datetime.date(2026, 12, 1)


def gate(name: str, passed: bool) -> GateResult:
    return GateResult(name=name, measured=1, required=2, passed=passed, message="figures")


def judged(
    waivers: tuple[Waiver, ...], *gates: GateResult, today: datetime.date = TODAY
) -> tuple[list[str], int]:
    results = apply_waivers(waivers, gates, FABRIC, today)
    return [result.state for result in results], len(open_gates(gates, results))


Change = Callable[[Waiver], Waiver]


def test_a_waiver_that_counts() -> None:
    assert judged((WAIVER,), gate("code_line", False), gate("lint", True)) == (["used"], 0)


@pytest.mark.parametrize(
    ("change", "passed", "today", "state", "left"),
    [
        ({}, False, TODAY + datetime.timedelta(days=1), "expired", 2),
        ({"what": "code_lines"}, False, TODAY, "unmatched", 2),
        ({"fabric": "0" * 64}, False, TODAY, "unmatched", 2),
        ({}, True, TODAY, "unused", 1),
    ],
)
def test_a_waiver_that_does_not(
    change: dict[str, Any], passed: bool, today: datetime.date, state: str, left: int
) -> None:
    assert judged((WAIVER.model_copy(update=change),), gate("code_line", passed), today=today) == (
        [state],
        left,
    )


def test_open_items() -> None:
    assert judged((), gate("code_line", True)) == ([], 0)
    assert judged((), gate("code_line", False)) == ([], 1)
    assert judged((WAIVER, WAIVER), gate("code_line", False)) == (["used", "unused"], 1)
    assert judged(()) == ([], 1)  # no gate at all


def drawn(stage: StageGates, **changes: Any) -> tuple[str, tuple[str, ...], list[tuple[str, str]]]:
    found = draw(stage, good(**changes), (), TODAY)
    return found.verdict, found.open_items, [(one.what, one.why) for one in found.not_measured]


def test_a_verdict_in_which_all_is_measured() -> None:
    assert drawn(STAGE) == ("PASS", (), [])


@pytest.mark.parametrize("name", [*GATES, "covergroup"])
def test_what_is_not_measured_is_said(name: str) -> None:
    """With a reason it is part of the verdict; without one it stands in its way."""
    why = "the team of the package measures this one"
    limits = {gate: limit for gate, limit in LIMITS.items() if gate != name}
    stage = StageGates(regression="smoke", gates=limits)
    assert drawn(stage) == ("FAIL", (f"{name} is not measured: {NO_REASON}",), [(name, NO_REASON)])
    told = stage.model_copy(update={"not_measured": {name: why}})
    assert drawn(told) == ("PASS", (), [(name, why)])


STANDING: dict[str, dict[str, Any]] = {
    **{f"link {name} does not hold": {"provenance": links(**{name: {"holds": False}})} for name in LINKS},
    **{f"link {name} is missing": {"provenance": links(name)} for name in LINKS},
    "no chain": {"provenance": None},
    **{
        f"{name} failed": {
            "checks": tuple(
                found.model_copy(update={"passed": found.name != name}) for found in good().checks
            )
        }
        for name in CHECKS
    },
    "no run": {"items": ()},
    "no run of this chip": {"items": (item(counts=False),)},
    "no run that passed": {"items": (item(verdict="FAIL"),)},
    "no testpoint": {"testpoints": ()},
    "the regression broke": {"broken": ("pytest ended with status 3",)},
    "an empty coverage model": {"rom": rom()},
    "no coverage model": {"rom": None},
    "nothing proven": {"rom": rom(part(proven=0, reasons={}, open_count=100, open=("m",) * 100))},
    "a covergroup without bins": {
        "covergroups": (CovergroupEvidence(name="kv_cache", bins=0, hit=0, holes=()),)
    },
}


@pytest.mark.parametrize("case", STANDING)
def test_what_no_gates_file_lets_pass(case: str) -> None:
    """Gates that ask for next to nothing, with reasons for all the rest, and waivers for what fails."""
    why = "this team has its reasons for each of them"
    hollow = StageGates(
        regression="smoke",
        gates={"quality_kl": 1000.0},
        not_measured=dict.fromkeys([*(set(GATES) - {"quality_kl"}), "covergroup"], why),
    )
    assert drawn(hollow)[0] == "PASS"
    assert standing(good()) == ()
    verdict, left, _ = drawn(hollow, **STANDING[case])
    assert verdict == "FAIL" and left


GOOD_GATES = "stages: {V1: {regression: smoke, gates: {tests_passed: 100, covergroup: {kv: 100}}}}"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("tests_passed", "test_passed", "stages.V1.gates: 'test_passed' is no gate"),
        ("covergroup: {kv: 100}", "covergroup: 100", "'covergroup' is no gate, or has no such limit"),
        ("tests_passed: 100", "tests_passed: {a: 1}", "'tests_passed' is no gate, or has no such limit"),
        ("{kv: 100}", "{vk: 100}", "'vk' is not in the coverage model"),
        ("{kv: 100}", "{kv: all}", "stages.V1.gates"),
        ("V1", "V2", "has no stage V1"),
        ("{tests_passed: 100, covergroup: {kv: 100}}", "{}", "is empty: everything would pass"),
        ("regression: smoke, ", "", "stages.V1.regression: is missing"),
        ("tests_passed: 100", "qualified: 99", "does not say how many faults have to be planted"),
        ("tests_passed: 100", "qualified_drawn: {rlt: 9}", "'rlt' is no kind of faults"),
    ],
)
def test_bad_gates(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = tmp_path / "signoff.yaml"
    path.write_text(GOOD_GATES)
    assert load_gates(path, "V1", ("kv",)).gates["tests_passed"] == 100
    with pytest.raises(InputError, match="covergroup 'more' has no gate"):
        load_gates(path, "V1", ("kv", "more"))
    path.write_text(GOOD_GATES.replace(old, new))
    with pytest.raises(InputError, match=re.escape(said)):
        load_gates(path, "V1", ("kv",))


GOOD_WAIVERS = f"""
waivers:
  - what: code_line
    why: the default of a case that the linter wants
    who: verification lead
    until: 2026-12-01
    fabric: {FABRIC}
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("    until: 2026-12-01\n", "", "waivers[0].until: is missing"),
        ("2026-12-01", "soon", "waivers[0].until: is 'soon'"),
        (FABRIC, "any", "waivers[0].fabric: is 'any'"),
        ("the default of a case that the linter wants", "because", "waivers[0].why"),
        ("what:", "gate:", "waivers[0].what: is missing"),
    ],
)
def test_bad_waivers(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = tmp_path / "waivers.yaml"
    path.write_text(GOOD_WAIVERS)
    assert load_waivers(path)[0].until == datetime.date(2026, 12, 1)
    path.write_text(GOOD_WAIVERS.replace(old, new))
    with pytest.raises(InputError, match=re.escape(said)):
        load_waivers(path)


def test_the_files_that_ship() -> None:
    judges = ROOT / "verif" / "signoff"
    plan = load_testplan(judges / "testplan.hjson", all_tests(load_project(ROOT)))
    groups = tuple(group.name for group in plan.covergroups)
    assert load_gates(judges / "gates.yaml", "V1", groups).gates
    assert load_gates(judges / "gates.yaml", "V2", groups).gates["rom_observability"] == 100
    load_waivers(judges / "waivers.yaml")


def test_gates_of_a_chip_that_lacks_covergroups() -> None:
    gates = StageGates(regression="list", gates={"tests_passed": 100, "covergroup": {"a": 1, "b": 2}})
    assert gates.without(["b"]).gates == {"tests_passed": 100, "covergroup": {"a": 1}}
    assert gates.without([]) == gates
