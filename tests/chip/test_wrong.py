"""Faults of the flow, the golden model and the checker on the reference chip: what is seen, and what is not."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from etchproof.errors import InputError
from etchproof.project.declaration import load_project
from etchproof.qualify import flow_faults
from etchproof.qualify.checker_faults import (
    WatchBench,
    make_watch_bench,
    run_checker_faults,
    try_checker_fault,
)
from etchproof.qualify.checker_slips import CheckerFault, faults
from etchproof.qualify.edits import Edit, applied
from etchproof.qualify.flow_faults import WrongBench, make_bench, run_flow_faults, try_fault
from etchproof.qualify.wrong import FlowFault
from etchproof.quantize.quantized_model import QuantizedModel
from etchproof.regress.recorded import record
from etchproof.run import flow
from etchproof.run.testrun import Chip, prepare
from etchproof.signoff.gates import StageGates
from etchproof.signoff.known_bad import Player, check_known_bad, known_bad_spec, unseen
from etchproof.signoff.plan import SignoffRequest
from etchproof.signoff.qualification import FaultResult
from tests.conftest import ROOT

pytestmark = pytest.mark.sim
OPS = "models.numerics.ops"
GATES = StageGates(
    regression="none",
    gates={"saturation": 1.0, "dead": 0.0, "arithmetic": 100.0, "quantized": 100.0, "quality_top1": 90.0},
)


@pytest.fixture(scope="module")
def request_(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> SignoffRequest:
    out = tmp_path_factory.mktemp("wrong")
    today = datetime.date(2026, 1, 1)
    return SignoffRequest(load_project(ROOT), tiny_checkpoint, None, "V1", out, 2, today)


@pytest.fixture(scope="module")
def chip(request_: SignoffRequest) -> Chip:
    design = flow.make_design(request_.project, request_.model_dir, None)
    return prepare(design, request_.out / "chip", "fast", flow.cache_folder())


@pytest.fixture(scope="module")
def bench(request_: SignoffRequest, chip: Chip) -> WrongBench:
    spec = known_bad_spec(request_, chip.design)
    adapters = flow_faults.standing_adapters(chip.design, (), request_.out)
    assert [len(adapter.linears) for adapter in adapters] == [7 * len(chip.model.layers)]
    return make_bench(chip, chip.build, GATES, [spec], adapters, request_.out)


def _scales(model: QuantizedModel) -> QuantizedModel:
    layer = model.layers[0]
    q = layer.linears["q_proj"]
    q = replace(q, scales=q.scales + 1)
    return replace(model, layers=(replace(layer, linears={**layer.linears, "q_proj": q}), *model.layers[1:]))


HALF = Edit(OPS, "round_shift(gate * sigmoid(gate, gate_shift) * up, shift)", "gate * up >> shift")
SCALED = Edit("etchproof.quantize.adapter", "lora.scaling * _float64(lora.B)", "1.0 * _float64(lora.B)")


def tried(bench: WrongBench, fault: FlowFault) -> FaultResult:
    with flow_faults.one_thread():
        result = try_fault(bench, fault)
    assert result is not None
    return result


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (FlowFault("o", "p", "b", "golden", model=_scales), "mismatch"),
        (FlowFault("o", "p", "b", "chip", model=_scales), "mismatch"),
        (FlowFault("o", "p", "b", "both", model=_scales), "quantized"),
        (FlowFault("o", "p", "b", "golden", computing=(HALF,)), "mismatch"),
        (FlowFault("o", "p", "b", "both", computing=(HALF,)), "arithmetic"),
        (FlowFault("o", "p", "b", "both", making=(SCALED,)), "quantized"),
    ],
)
def test_what_is_seen(bench: WrongBench, fault: FlowFault, reason: str) -> None:
    result = tried(bench, fault)
    assert (result.state, result.seen_by and result.seen_by[0].reason) == ("detected", reason), result
    assert result.kind == ("golden" if fault.computing else "flow")
    if reason == "mismatch":
        assert result.seen_by[0].layer == 0 and result.runs == 1


def test_the_first_tap_that_differs_is_named(bench: WrongBench) -> None:
    for side in ("golden", "chip"):
        (by,) = tried(bench, FlowFault("o", "p", "b", side, model=_scales)).seen_by  # type: ignore[arg-type]
        assert (by.tap, by.run) == ("q_proj", "known-bad")


def test_what_no_gate_looks_at_survives(bench: WrongBench) -> None:
    """A stage without the gate that sees it: nothing else would."""
    blind = replace(bench, gates=GATES.model_copy(update={"gates": {"saturation": 1.0, "dead": 0.0}}))
    assert tried(blind, FlowFault("o", "p", "b", "both", making=(SCALED,))).state == "survived"
    assert tried(blind, FlowFault("o", "p", "b", "both", model=_scales)).state == "survived"


def test_the_quality_gates_see_what_is_gross(bench: WrongBench) -> None:
    quality = replace(
        bench, gates=GATES.model_copy(update={"gates": {"quality_kl": 0.05, "quality_top1": 90.0}})
    )

    def exchanged(model: QuantizedModel) -> QuantizedModel:
        return replace(model, layers=model.layers[::-1])

    (by,) = tried(quality, FlowFault("o", "p", "b", "both", model=exchanged)).seen_by
    assert by.reason == "quality_kl"


def test_what_changes_nothing_is_not_drawn(bench: WrongBench) -> None:
    same = Edit("etchproof.quantize.matrix", "        ideal += 0.5\n", "        ideal += 1 / 2\n")
    epsilon = FlowFault(
        *("o", "p", "b", "chip"),
        model=lambda m: replace(m, config=m.config.model_copy(update={"rms_norm_eps": 1e-4})),
    )
    for fault in (
        FlowFault("o", "p", "b", "both", model=replace),
        FlowFault("o", "p", "b", "both", model=lambda model: None),
        FlowFault("o", "p", "b", "both", making=(same,)),
        FlowFault("o", "p", "b", "golden", adapters=lambda adapters: adapters),  # no run here has one
        epsilon,  # which no image holds
    ):
        assert try_fault(bench, fault) is None, fault


def test_a_golden_model_that_raises_is_broken_and_what_the_flow_refuses_is_seen(bench: WrongBench) -> None:
    raises = Edit(OPS, "round_shift(gate * sigmoid(gate, gate_shift) * up, shift)", "gate @ up")
    result = tried(bench, FlowFault("o", "p", "b", "golden", computing=(raises,)))
    assert (result.state, result.seen_by and result.seen_by[0].reason) == ("broken", "raised")

    def far(model: QuantizedModel) -> QuantizedModel:
        return replace(model, frac={**model.frac, "logits": 99})

    result = tried(bench, FlowFault("o", "p", "b", "chip", model=far))
    assert (result.state, result.seen_by and result.seen_by[0].reason) == ("detected", "refused")


def test_a_slip_that_is_not_in_the_code_any_more_is_an_error(bench: WrongBench) -> None:
    gone = FlowFault("o", "p", "b", "both", computing=(Edit(OPS, "nowhere at all", "x"),))
    with pytest.raises(InputError, match="0 times, expected once"):
        try_fault(bench, gone)


def test_a_gate_that_fails_without_a_fault_is_no_bench(
    request_: SignoffRequest, chip: Chip, bench: WrongBench
) -> None:
    strict = StageGates(regression="none", gates={"quality_kl": 1e-9})
    with pytest.raises(InputError, match="gate quality_kl fails without a fault"):
        make_bench(chip, chip.build, strict, [], (), request_.out)


def test_what_the_project_declares(bench: WrongBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred and more, each of a place of its own; those drawn are stored, and found again."""
    listed = list(flow_faults.declared(bench, 1))
    assert len(listed) > 400 and len({fault.operator for fault in listed}) > 40
    for fault in listed:
        with applied(fault.edits):
            pass
    heard: list[FaultResult] = []
    first = run_flow_faults(bench, 6, 1, heard.append)
    assert len(first) == 6 and heard == list(first)
    monkeypatch.setattr(flow_faults, "try_fault", None)
    assert run_flow_faults(bench, 6, 1, heard.append) == first


# The checker


@pytest.fixture(scope="module")
def watched(request_: SignoffRequest, chip: Chip) -> Iterator[WatchBench]:
    bench = make_watch_bench(request_, chip, 4)
    assert len(bench.drawn) == 4
    yield bench


def test_the_checker_finds_what_is_spoiled(watched: WatchBench) -> None:
    cases = list(unseen(Player(watched.recorded, watched.golden)))
    assert len(cases) > 200 and len({what for what, _ in cases}) == len(cases)
    assert [case for case in cases if case[1] is not None] == []


@pytest.mark.parametrize(
    ("module", "was", "becomes", "run"),
    [
        (
            "etchproof.uvm.items",
            "            elif key in taps:\n",
            "            elif False:\n",
            "signoff.checker",
        ),
        (
            "etchproof.uvm.test",
            "comparison = scoreboard.finish(time.perf_counter() - started)",
            "comparison = scoreboard.finish(time.perf_counter() - started).model_copy(update={'tokens': ()})",
            "known-bad",
        ),
        (
            "etchproof.coverage.injection",
            "            injections=injections,\n",
            "",
            "injected_faults",
        ),
    ],
)
def test_a_blind_checker_is_noticed(
    watched: WatchBench, module: str, was: str, becomes: str, run: str
) -> None:
    """By the runs that are played, by the good chip in a simulator, by the bits that are inverted."""
    result = try_checker_fault(watched, CheckerFault("o", Edit(module, was, becomes)))
    assert (result.state, result.seen_by and result.seen_by[0].run, result.kind) == (
        "detected",
        run,
        "checker",
    ), result


def test_what_changes_no_verdict_survives(watched: WatchBench) -> None:
    said = Edit("etchproof.verdict.judge", "nothing says what this run had to do", "nobody says it")
    assert try_checker_fault(watched, CheckerFault("o", said)).state == "survived"


def test_the_checker_is_itself_again(watched: WatchBench) -> None:
    assert check_known_bad(watched.recorded, watched.golden)[0]


def test_the_slips_that_are_declared(watched: WatchBench) -> None:
    listed = list(faults())
    assert len(listed) >= 60 and len({fault.name for fault in listed}) == len(listed)
    for fault in listed:
        with applied([fault.edit]):
            pass
    heard: list[FaultResult] = []
    assert len(run_checker_faults(watched, 1, heard.append)) == len(heard) == 1


def test_a_run_that_is_no_pass_is_not_recorded(request_: SignoffRequest, chip: Chip, tmp_path: Path) -> None:
    spec = known_bad_spec(request_, chip.design).model_copy(update={"timeout_s": 0.01})
    with pytest.raises(InputError, match="is no PASS without a fault"):
        record(spec, chip, (), tmp_path / "run")
