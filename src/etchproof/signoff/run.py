"""Sign-off: everything that a verdict rests on, gathered in one go (docs/signoff.md)."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from etchproof.contract.mask import MaskSite, MaskUnit
from etchproof.contract.taps import TapKey, TokenArrays
from etchproof.coverage import hooks
from etchproof.coverage.closure import close, reach
from etchproof.coverage.corpus import Predict, Segment
from etchproof.coverage.exclusions import load_exclusions
from etchproof.coverage.functional import Covergroup
from etchproof.coverage.injection import Drawn, draw, inject_all
from etchproof.coverage.observability import Proven
from etchproof.coverage.seen import draw_seen
from etchproof.errors import InputError, shown_name
from etchproof.files.atomic import write_atomically
from etchproof.files.json_file import read_json_object
from etchproof.project.declaration import Project
from etchproof.project.sources import file_sha256
from etchproof.regress.check import check_items
from etchproof.regress.key import sources_sha256
from etchproof.regress.plan import RegressionPlan
from etchproof.regress.run import OnItem, check_folder, run_regression
from etchproof.regress.spec import ItemSpec, expand, item_seed, load_list
from etchproof.run import flow, slots
from etchproof.run.design import Design, Loaded, Quantized
from etchproof.run.record import recipe_record
from etchproof.run.testrun import Chip, prepare
from etchproof.run.watcher import StageClock, tell
from etchproof.signoff import checks, counting, covered, derive, readback
from etchproof.signoff.capabilities import ABSENT, INJECTION, OBSERVABILITY, capabilities, due_claims
from etchproof.signoff.evidence import (
    AdapterEvidence,
    CheckEvidence,
    InjectionEvidence,
    QualityEvidence,
    RomEvidence,
    SignoffEvidence,
)
from etchproof.signoff.gates import StageGates, load_gates
from etchproof.signoff.judges import fitted, judge_file, judged_by, stage_list
from etchproof.signoff.observed import check_sites, observe_all, rom_evidence
from etchproof.signoff.provenance import chain
from etchproof.signoff.result import REPORTS, SIGNOFF_FILE, SignoffResult, evidence_sha256
from etchproof.signoff.testplan import CHECKS, LORA, Stage, Testplan, all_tests, load_testplan
from etchproof.signoff.verdict import draw as draw_verdict
from etchproof.signoff.waivers import Waiver, load_waivers
from etchproof.sim.build import Kind
from etchproof.tools import tool_versions
from etchproof.verdict.result import ModelRecord

if TYPE_CHECKING:
    from etchproof.adapter import Adapter

_OWNER_FILE: Final = "owner.json"
_KEPT: Final = (
    covered.FUNCTIONAL_FILE,
    covered.LCOV_FILE,
    "readback/readback.json",
    "readback/comparison.json",
)
"""What a sign-off leaves beside its verdict, named in it by hash."""
_CLOSURE_SEED: Final = 1
_DRAW_SEED: Final = 1
_CORNER_SEEDS: Final = (1, 2)
_CORNER_SEQUENCES: Final = 16
_CORNER_LENGTH: Final = 24


@dataclass(frozen=True)
class SignoffRequest:
    """What is asked for.

    Attributes:
        recipe: name or file; None is the project's default.
        jobs: simulators at once.
        today: what waivers are held against.
    """

    project: Project
    model_dir: Path
    recipe: str | None
    stage: Stage
    out: Path
    jobs: int
    today: datetime.date
    adapters: tuple[Path, ...] = ()


@dataclass(frozen=True)
class _Plan:
    """Everything on paper, checked before anything runs."""

    design: Design
    testplan: Testplan
    gates: StageGates
    waivers: tuple[Waiver, ...]
    groups: tuple[Covergroup, ...]
    items: tuple[ItemSpec, ...]
    list_name: str
    adapters: tuple[Adapter, ...]  # that the command line names
    absent: tuple[str, ...]  # testpoints and covergroups of what the chip does not have


def signoff(request: SignoffRequest, clock: StageClock, listener: Callable[[int], OnItem]) -> SignoffResult:
    """Gather the evidence and judge it.

    Args:
        listener: given how many runs there are, returns who hears of each.

    Raises:
        InputError: bad input; before anything runs.
    """
    project, out = request.project, request.out
    with clock.stage("plan") as say:
        plan = _planned(request)
        _take(request)
        say(f"{len(plan.testplan.stage_points(request.stage))} testpoints, {len(plan.gates.gates)} gates")
    design = plan.design
    model = flow.etched_model(design, flow.cache_folder(), clock)
    golden = flow.make_golden(design, model)

    def predict(tokens: Sequence[int]) -> Mapping[TapKey, TokenArrays]:
        return golden.session().predict(tokens, True)

    roms: tuple[MaskUnit, ...] = ()
    directed: list[tuple[int, ...]] = []
    if project.coverage is not None:
        with clock.stage("close") as say:
            roms = tuple(hooks.rom(project)(model, design.plan))
            directed = _closure(plan, model, roms, predict)
            tokens = sum(map(len, directed))
            say(f"{len(directed)} sequences, {tokens:,} tokens chosen to show every bit and to hit bins")
    with clock.stage("regress") as say:
        regression = RegressionPlan(
            name=plan.list_name,
            project=str(project.root),
            sources_sha256=sources_sha256(project),
            items=(*plan.items, *_directed_items(request, design, directed)),
        )
        runs = out / "regression"
        check_folder(runs, regression)
        outcome = run_regression(regression, runs, request.jobs, listener(len(regression.items)))
        say(f"{len(regression.items) - len(outcome.failed)} of {len(regression.items)} passed")
    with clock.stage("build") as say:
        chip = _chip(design, out)
        say(f"fabric {chip.fabric.sha256[:12]}, rom {chip.images.sha256[:12]}")
    counted = counting.counted(request.model_dir, chip, outcome, runs)
    ran = covered.passed_on(chip, outcome, counted)
    passed = [result for spec, result in ran if spec.corners is None]
    corpus, rom = None, None
    units: list[tuple[MaskUnit, tuple[Proven, ...]]] = []
    sites: tuple[MaskSite, ...] = ()
    if OBSERVABILITY in capabilities(project):
        with clock.stage("observe") as say:
            sites = hooks.sites(project, [(image.layer, image.name) for image in chip.images.images])
            check_sites(project, roms, sites)
            # An adapter adds to what a ROM linear computes, so only sequences without one prove bits.
            segments = [Segment(result.name, result.base_sequences) for result in passed]
            corpus, units = observe_all(roms, segments, predict)
            rom = rom_evidence(units, corpus)
            say(
                f"{rom.proven:,} of {rom.total:,} bits proven, {rom.redundant:,} redundant, {rom.open:,} open"
            )
    with clock.stage("cover") as say:
        functional, accumulators = covered.functional(design, model, plan.groups, sites, ran, runs)
        write_atomically(out / covered.FUNCTIONAL_FILE, functional.to_json())
        code = covered.code(project, outcome, runs, chip, out)
        bins = ", ".join(f"{name} {hit}/{total}" for name, (hit, total) in functional.summary().items())
        say(bins or ", ".join(f"{one.kind} {one.hit:,}/{one.points:,}" for one in code) or "not measured")
    with clock.stage("inject") as say:
        injection = None
        if plan.gates.injected_faults and INJECTION in capabilities(project):
            drawn: tuple[Drawn, ...]
            unseen = 0
            if OBSERVABILITY in capabilities(project):
                drawn = () if corpus is None else draw(units, corpus, plan.gates.injected_faults, _DRAW_SEED)
            else:
                drawn, unseen = draw_seen(chip, plan.gates.injected_faults, _DRAW_SEED)

            def injected(done: int) -> None:
                clock.busy(f"{done} of {len(drawn)}")

            found = inject_all(chip, drawn, out / "injected", request.jobs, injected)
            injection = InjectionEvidence(seed=_DRAW_SEED, bits=found, unseen=unseen)
            say(f"{injection.caught} of {len(found)} caught, {injection.located} where they have to be seen")
    with clock.stage("examine") as say:
        test = project.signoff.readback
        read = None if test is None else readback.read_back(chip, test, out / "readback")
        health = flow.model_health(design, model, flow.cache_folder())
        examined, padding, quality = _examined(plan, request.stage, chip, rom, injection, read)
        say(f"{sum(check.passed for check in examined)} of {len(examined)} checks hold")
    items = tuple(
        derive.item_evidence(spec, outcome.results[spec.name], counted[spec.name], runs)
        for spec in regression.items
    )
    evidence = SignoffEvidence(
        stage=request.stage,
        project=project.name,
        model=ModelRecord(
            name=design.source.name,
            path=str(design.source.path.absolute()),
            sha256=design.source.sha256,
        ),
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
        injection=injection,
        covergroups=derive.covergroups(functional),
        accumulators=accumulators,
        code=code,
        quality=quality,
        health=health,
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


def _planned(request: SignoffRequest) -> _Plan:
    project = request.project
    design = flow.make_design(project, request.model_dir, request.recipe)
    if isinstance(design.source, Quantized):
        adapters = slots.read_adapters(project, design.checkpoint.config, design.recipe, request.adapters)
    else:
        adapters = ()
        if request.adapters:
            slots.check_slots(project, None)
    groups = () if project.coverage is None else tuple(hooks.groups(project)(design.plan))
    names = tuple(group.name for group in groups)
    tests = all_tests(project)
    has_slots = project.lora is not None and design.slots > 0
    plan_file, gates_file = judge_file(project, "testplan"), judge_file(project, "gates")
    assert plan_file is not None and gates_file is not None
    testplan = load_testplan(
        *(plan_file, tests, names), lora=has_slots, claimed=due_claims(project, capabilities(project))
    )
    absent = () if has_slots else tuple(entry.name for entry in testplan.tagged(LORA))
    planned = tuple(group.name for group in testplan.covergroups)
    gates = load_gates(gates_file, request.stage, planned)
    testplan, gates = fitted(project, testplan, gates)
    waivers_file, exclusions_file = judge_file(project, "waivers"), judge_file(project, "exclusions")
    waivers = () if waivers_file is None else load_waivers(waivers_file)
    if exclusions_file is not None:
        load_exclusions(exclusions_file)
    listed = load_list(stage_list(project, gates.regression), project.root)
    name = request.recipe or project.default_recipe
    items = expand(
        listed, project.root, tests, model=request.model_dir, recipe=name, adapters=request.adapters
    )
    if not has_slots:
        items = tuple(item for item in items if not item.adapters)
        testplan, gates = testplan.without(LORA), gates.without(absent)
    tell(check_items(items, project))
    return _Plan(design, testplan, gates, waivers, groups, items, listed.name, adapters, absent)


def _directed_items(
    request: SignoffRequest, design: Design, directed: Sequence[tuple[int, ...]]
) -> Iterator[ItemSpec]:
    """The sequences that close what others leave open, and random ones over weights for the corners."""
    project, test = request.project, request.project.signoff.directed

    def item(
        name: str, sequences: Sequence[tuple[int, ...]], corners: int | None, kind: Kind = "fast"
    ) -> ItemSpec:
        return ItemSpec(
            name=name,
            test=test,
            model=str(request.model_dir.absolute()),
            shape=None,
            recipe=request.recipe or project.default_recipe,
            context=None,
            kind=kind,
            adapters=(),
            seed=item_seed(name, _CLOSURE_SEED),
            directed=tuple(sequences),
            corners=corners,
        )

    if project.coverage is None:
        return
    yield item(f"{test}-closure", directed, None)
    if project.coverage.corners is not None:
        size = (_CORNER_SEQUENCES, min(_CORNER_LENGTH, design.quantized.context))
        for seed in _CORNER_SEEDS:
            drawn = np.random.default_rng(seed).integers(design.checkpoint.config.vocab_size, size=size)
            # Beyond V1, the last on a simulator as Verilator wrote it: the corners of the numerics, too.
            kind: Kind = "strict" if request.stage != "V1" and seed == _CORNER_SEEDS[-1] else "fast"
            sequences = [tuple(tokens) for tokens in drawn.tolist()]
            yield item(f"{test}-corners-s{seed}", sequences, seed, kind)


def _closure(plan: _Plan, model: Any, roms: Sequence[MaskUnit], predict: Predict) -> list[tuple[int, ...]]:
    """Sequences that show every bit of the mask and hit every bin, as far as some do."""
    design = plan.design
    config = design.checkpoint.config
    limits = {"vocabulary": config.vocab_size, "context": design.quantized.context}
    sample = hooks.sampler(design.project)(model, design.plan)
    directed = close(roms, [], predict, **limits, seed=_CLOSURE_SEED)
    return [*directed, *reach(plan.groups, sample, directed, predict, **limits, seed=_CLOSURE_SEED)]


def _chip(design: Design, out: Path) -> Chip:
    """The chip whose ROM is examined and faults are injected into; made anew, its folder is evidence."""
    import shutil

    shutil.rmtree(out / "chip", ignore_errors=True)
    return prepare(design, out / "chip", "fast", flow.cache_folder())


def _examined(
    plan: _Plan,
    stage: Stage,
    chip: Chip,
    rom: RomEvidence | None,
    injection: InjectionEvidence | None,
    read: readback.ReadBack | None,
) -> tuple[tuple[CheckEvidence, ...], int, QualityEvidence | None]:
    """The checks that this stage's gates or testpoints ask for."""
    design, padding = chip.design, 0
    wanted = {f"signoff.{name}" for name in plan.gates.gates}
    wanted |= {test for point in plan.testplan.stage_points(stage) for test in point.tests}
    if {"quality_kl", "quality_top1"} & set(plan.gates.gates):
        wanted.add("signoff.quality")
    quality: list[QualityEvidence] = []

    def rom_files() -> checks.Found:
        nonlocal padding
        if isinstance(design.source, Loaded):
            return checks.check_memories(design, chip.images)
        passed, message, padding = checks.check_rom_files(design, chip.model, chip.images)
        return passed, message

    def measured() -> checks.Found:
        report = checks.measure_quality(design, chip.model)
        quality.append(
            QualityEvidence(
                kl_mean=report.kl_mean,
                same_top1=report.same_top1,
                perplexity_golden=report.perplexity_golden,
                perplexity_float=report.perplexity_float,
                tokens=report.tokens,
                taps=report.taps,
            )
        )
        return (
            report.tokens > 0,
            f"mean KL {report.kl_mean:.5f}, {100 * report.same_top1:.1f} % the same top token",
        )

    def observed() -> checks.Found:
        if rom is None:
            return False, ABSENT[OBSERVABILITY]
        return derive.observed(rom), f"{rom.proven:,} of {rom.total:,} bits proven"

    def injected() -> checks.Found:
        bits = injection.bits if injection else ()
        good = sum(bit.caught and bit.located for bit in bits)
        return derive.injected(injection), f"{good} of {len(bits)} caught where they have to be seen"

    table: dict[str, Callable[[], checks.Found]] = {
        "signoff.lint": lambda: checks.check_lint(design, chip.fabric),
        "signoff.fabric_invariance": lambda: checks.check_fabric_invariance(design, chip.fabric, chip.images),
        "signoff.rom_files": rom_files,
        "signoff.rom_readback": lambda: readback.check_rom_readback(chip.images, read or readback.NONE),
        "signoff.rom_signature": lambda: readback.check_rom_signature(chip.images, read or readback.NONE),
        "signoff.rom_observability": observed,
        "signoff.injected_faults": injected,
        "signoff.quality": measured,
    }
    always = {"signoff.rom_observability"} if rom is not None else set()
    always |= {"signoff.injected_faults"} if injection else set()
    found = tuple(checks.examine(name, table[name]) for name in CHECKS if name in wanted | always)
    return found, padding, quality[0] if quality else None
