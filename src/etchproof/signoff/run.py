"""Sign-off: everything that a verdict rests on, gathered in one go (docs/signoff.md)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from etchproof.contract.mask import MaskSite
from etchproof.contract.taps import TapKey, TokenArrays
from etchproof.coverage import hooks
from etchproof.coverage.corpus import Segment
from etchproof.coverage.injection import inject_all
from etchproof.coverage.observability import AnyUnit
from etchproof.diagnose.triage import failed_runs, looker, triage
from etchproof.errors import InputError, shown_name
from etchproof.files.atomic import write_atomically
from etchproof.files.json_file import read_json_object
from etchproof.project.sources import file_sha256
from etchproof.regress.key import sources_sha256
from etchproof.regress.plan import RegressionPlan
from etchproof.regress.run import OnItem, check_folder, run_regression
from etchproof.run import flow
from etchproof.run.design import Design
from etchproof.run.record import model_record, recipe_record
from etchproof.run.testrun import Chip, prepare
from etchproof.run.watcher import StageClock
from etchproof.signoff import counting, covered, derive, readback
from etchproof.signoff.capabilities import INJECTION, OBSERVABILITY, TABLES, capabilities
from etchproof.signoff.directed import Directed, directed_items, directed_sequences
from etchproof.signoff.evidence import (
    AdapterEvidence,
    InjectionEvidence,
    SignoffEvidence,
)
from etchproof.signoff.examine import examine_all
from etchproof.signoff.gates import observed
from etchproof.signoff.judges import judged_by
from etchproof.signoff.observed import (
    Mask,
    Weights,
    all_units,
    check_sites,
    corner_runs,
    draw_faults,
    observe_all,
    rom_evidence,
)
from etchproof.signoff.plan import SignoffRequest, make_plan, read_qualification
from etchproof.signoff.provenance import chain
from etchproof.signoff.qualification import QUALIFICATION_FILE
from etchproof.signoff.result import REPORTS, RUNS, SIGNOFF_FILE, TRIAGED, SignoffResult, evidence_sha256
from etchproof.signoff.survivors import survivors_of
from etchproof.signoff.verdict import draw as draw_verdict
from etchproof.tools import tool_versions

_OWNER_FILE: Final = "owner.json"
_KEPT: Final = (
    covered.FUNCTIONAL_FILE,
    covered.LCOV_FILE,
    TRIAGED,
    "readback/readback.json",
    "readback/comparison.json",
    QUALIFICATION_FILE,
)
"""What a sign-off leaves beside its verdict, named in it by hash."""
_DRAW_SEED: Final = 1


def signoff(request: SignoffRequest, clock: StageClock, listener: Callable[[int], OnItem]) -> SignoffResult:
    """Gather the evidence and judge it.

    Args:
        listener: given how many runs there are, returns who hears of each.

    Raises:
        InputError: bad input; before anything runs.
    """
    project, out = request.project, request.out
    with clock.stage("plan") as say:
        plan = make_plan(request)
        planted, survivors = read_qualification(request, plan), survivors_of(project)
        _take(request)
        say(f"{len(plan.testplan.stage_points(request.stage))} testpoints, {len(plan.gates.gates)} gates")
    design = plan.design
    model = flow.etched_model(design, flow.cache_folder(), clock)
    golden = flow.make_golden(design, model)

    def predict(tokens: Sequence[int]) -> Mapping[TapKey, TokenArrays]:
        return golden.session().predict(tokens, True)

    units: tuple[AnyUnit, ...] = ()
    directed = Directed()
    if project.coverage is not None:
        with clock.stage("close") as say:
            units = all_units(project, model, design.plan)
            directed = directed_sequences(plan, model, units, predict)
            tokens = sum(map(len, directed.own))
            say(f"{len(directed.own)} sequences, {tokens:,} tokens chosen to show every bit and to hit bins")
    with clock.stage("regress") as say:
        regression = RegressionPlan(
            name=plan.list_name,
            project=str(project.root),
            sources_sha256=sources_sha256(project),
            items=(
                *plan.items,
                *directed_items(
                    request, directed, counted=any(spec.kind == "coverage" for spec in plan.items)
                ),
            ),
        )
        runs = out / RUNS
        check_folder(runs, regression)
        outcome = run_regression(regression, runs, request.jobs, listener(len(regression.items)))
        say(f"{len(regression.items) - len(outcome.failed)} of {len(regression.items)} passed")
    triaged = None
    if outcome.failed and request.diagnosed:
        with clock.stage("diagnose") as say:
            triaged = triage(failed_runs(outcome, runs), looker(project), busy=clock.busy)
            write_atomically(out / TRIAGED, triaged.to_json())
            say(f"{triaged.diagnosed} of {len(outcome.failed)} failures diagnosed")
    with clock.stage("build") as say:
        chip = _chip(design, out)
        say(f"fabric {chip.fabric.sha256[:12]}, rom {chip.images.sha256[:12]}")
    qualified = None
    if planted is not None:
        if (planted.fabric_sha256, planted.rom_sha256) != (chip.fabric.sha256, chip.images.sha256):
            raise InputError(
                "is of another chip", source=request.qualified, key="--qualified", hint="qualify again"
            )
        qualified = derive.qualification(planted, survivors, request.today)
        write_atomically(out / QUALIFICATION_FILE, planted.model_dump_json(indent=1) + "\n")
    counted = counting.counted(request.model_dir, chip, outcome, runs)
    ran = covered.passed_on(chip, outcome, counted)
    passed = [result for spec, result in ran if spec.corners is None]
    mask, rom, tables = Mask(), None, None
    sites: tuple[MaskSite, ...] = ()
    if OBSERVABILITY in capabilities(project):
        with clock.stage("observe") as say:
            sites = hooks.sites(project, [(image.layer, image.name) for image in chip.images.images])
            check_sites(project, hooks.rom(project)(model, design.plan), sites)
            # An adapter adds to what a ROM linear computes, so only sequences without one prove bits.
            segments = [Segment(result.name, result.base_sequences) for result in passed]
            mask = observe_all(Weights(units, segments, predict), corner_runs(design, model, ran))
            rom = rom_evidence(mask.rom, mask, chip.images.images)
            said = observed(rom)
            if TABLES in capabilities(project):
                tables = rom_evidence(mask.tables, mask)
                said += f"; of tables in logic {observed(tables)}"
            say(said)
    with clock.stage("cover") as say:
        functional, accumulators = covered.functional(design, model, plan.groups, sites, ran, runs)
        write_atomically(out / covered.FUNCTIONAL_FILE, functional.to_json())
        code, exclusions = covered.code(design, outcome, runs, chip, out, plan.gates)
        bins = ", ".join(f"{name} {hit}/{total}" for name, (hit, total) in functional.summary().items())
        say(bins or ", ".join(f"{one.kind} {one.hit:,}/{one.points:,}" for one in code) or "not measured")
    with clock.stage("inject") as say:
        injection = None
        if plan.gates.injected_faults and INJECTION in capabilities(project):
            drawn, unseen, left_out = draw_faults(chip, mask, plan.gates.injected_faults, _DRAW_SEED)

            def injected(done: int) -> None:
                clock.busy(f"{done} of {len(drawn)}")

            found = inject_all(chip, drawn, out / "injected", request.jobs, injected)
            injection = InjectionEvidence(seed=_DRAW_SEED, bits=found, unseen=unseen, tables=left_out)
            say(f"{injection.caught} of {len(found)} caught, {injection.located} where they have to be seen")
    with clock.stage("examine") as say:
        test = project.signoff.readback
        read = None if test is None else readback.read_back(chip, test, out / "readback")
        health = flow.model_health(design, model, flow.cache_folder())
        examined, padding, quality = examine_all(plan, request.stage, chip, rom, injection, read, request)
        say(f"{sum(check.passed for check in examined)} of {len(examined)} checks hold")
    items = tuple(
        derive.item_evidence(spec, outcome.results[spec.name], counted[spec.name], runs)
        for spec in regression.items
    )
    evidence = SignoffEvidence(
        stage=request.stage,
        project=project.name,
        model=model_record(design),
        recipe=recipe_record(design),
        capabilities=capabilities(project),
        fabric_sha256=chip.fabric.sha256,
        rom_sha256=chip.images.sha256,
        tools=tool_versions(),
        list_name=plan.list_name,
        not_applicable=plan.absent,
        adapters=tuple(
            AdapterEvidence(name=adapter.name, path=str(adapter.path.absolute()), sha256=adapter.sha256)
            for adapter in plan.adapters
        ),
        files={name: file_sha256(out / name) for name in _KEPT if (out / name).is_file()},
        broken=outcome.broken,
        items=items,
        testpoints=derive.testpoint_evidence(plan.testplan.stage_points(request.stage), items, examined),
        checks=examined,
        provenance=chain(
            chip, read, examined, [result for result in outcome.results.values() if result], counted
        ),
        rom=None if rom is None else rom.model_copy(update={"padding_bits": padding}),
        tables=tables,
        injection=injection,
        qualification=qualified,
        covergroups=derive.covergroups(functional),
        accumulators=accumulators,
        code=code,
        exclusions=exclusions,
        quality=quality,
        health=health,
        triage=triaged,
    )
    drawn_verdict = draw_verdict(plan.gates, evidence, plan.waivers, request.today)
    result = SignoffResult(
        verdict=drawn_verdict.verdict,
        open_items=drawn_verdict.open_items,
        gates=drawn_verdict.gates,
        waivers=drawn_verdict.waivers,
        not_measured=drawn_verdict.not_measured,
        rules=plan.gates,
        judged_by=judged_by(project),
        evidence_sha256=evidence_sha256(evidence),
        today=request.today,
        wall_s={name: round(seconds, 1) for name, seconds in clock.stages_s.items()},
        evidence=evidence,
    )
    write_atomically(out / SIGNOFF_FILE, result.model_dump_json(indent=1) + "\n")
    return result


def _take(request: SignoffRequest) -> None:
    """Make the folder this sign-off's: another model's is refused, and no verdict of before is left in it.

    Raises:
        InputError: it is another sign-off's.
    """
    out = request.out
    mine = {"project": str(request.project.root), "model": str(request.model_dir.absolute())}
    file = out / _OWNER_FILE
    if file.exists():
        owner = _owner(file)
        if owner != mine:
            of = shown_name(str(owner.get("model", "an unknown model")))
            raise InputError(f"holds a sign-off of {of}", source=out, key="--out", hint="name another folder")
    for name in (SIGNOFF_FILE, *REPORTS, *_KEPT):
        (out / name).unlink(missing_ok=True)
    write_atomically(file, json.dumps(mine, indent=1) + "\n")


def _owner(file: Path) -> dict[str, Any]:
    """Whose folder it is; empty where the file does not say it."""
    try:
        return read_json_object(file)
    except InputError:
        return {}


def _chip(design: Design, out: Path) -> Chip:
    """The chip whose ROM is examined and faults are injected into; made anew, its folder is evidence."""
    import shutil

    shutil.rmtree(out / "chip", ignore_errors=True)
    return prepare(design, out / "chip", "fast", flow.cache_folder())
