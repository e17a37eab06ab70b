"""A qualification: faults are drawn, tried, and counted."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import ceil
from typing import Final

from etchproof.files.atomic import write_atomically
from etchproof.host.top import FILES as TOP_FILES
from etchproof.project.declaration import Project
from etchproof.qualify import images
from etchproof.qualify.activation import activation
from etchproof.qualify.campaign import Bench, Fault, run_faults
from etchproof.qualify.trial import Builds, Proven, make_trial, prove
from etchproof.regress.key import sources_sha256
from etchproof.regress.spec import ItemSpec
from etchproof.render.sources import simulation_names
from etchproof.render.templates import library_files
from etchproof.run import flow, hooks
from etchproof.run.design import Quantized
from etchproof.run.record import recipe_record
from etchproof.run.testrun import Chip, Etched, etch
from etchproof.run.watcher import StageClock
from etchproof.schemata.declared import RtlEdit
from etchproof.schemata.sources import draw, make_schemata, read_sources
from etchproof.signoff.directed import directed_items, directed_sequences
from etchproof.signoff.observed import all_units
from etchproof.signoff.plan import Plan, SignoffRequest, make_plan
from etchproof.signoff.qualification import QUALIFICATION_FILE, FaultResult, Qualification
from etchproof.signoff.survivors import still_open, survivors_of
from etchproof.signoff.testplan import STAGES
from etchproof.sim.build import Kind
from etchproof.sim.builds import build_all
from etchproof.tools import find_verilator

_KINDS: Final[tuple[Kind, ...]] = ("fast", "plain", "strict")
"""Of two runs of a test, that on the earlier one of these is made."""
_OPINIONS: Final = 2
"""Tests that a fault meets beside the one that saw it; in the first stage, which is the quick one, none."""
_ELEMENTS: Final = 20_000_000
"""Of taps that are held in memory, for faults that need no simulator."""


@dataclass(frozen=True)
class FaultCounts:
    """How many faults to draw of each kind: in RTL, in ROM images, of flow and golden model, of the checker."""

    rtl: int
    image: int
    flow: int
    checker: int


@dataclass(frozen=True)
class QualifyRequest:
    """What is asked for.

    Attributes:
        signoff: the stage whose runs are qualified, and on what.
        faults: how many.
        seed: of what is drawn.
    """

    signoff: SignoffRequest
    faults: FaultCounts
    seed: int


def qualify(request: QualifyRequest, clock: StageClock) -> Qualification:
    """Draw faults, try each, write the record into the folder.

    Raises:
        InputError: bad input, or a run that is no PASS without a fault.
    """
    asked = request.signoff
    out, is_quick = asked.out, asked.stage == STAGES[0]
    opinions = 0 if is_quick else _OPINIONS
    with clock.stage("plan") as say:
        plan, survivors = make_plan(asked), survivors_of(asked.project)
        items = list(_items(asked, plan, clock))
        say(f"{len(items)} runs on the chip of stage {asked.stage}")
    with clock.stage("chip") as say:
        shutil.rmtree(out / "chip", ignore_errors=True)
        chip = etch(plan.design, out / "chip", flow.cache_folder())
        say(f"fabric {chip.fabric.sha256[:12]}, rom {chip.images.sha256[:12]}")
    with clock.stage("draw") as say:
        sources = read_sources(chip.fabric, apart(asked.project))
        drawn = draw(sources, request.seed, _declared(asked.project, plan))
        shutil.rmtree(out / "schemata", ignore_errors=True)
        schemata = make_schemata(chip.fabric, sources, drawn, request.faults.rtl, out / "schemata")
        of_images = images.draw(chip.images, request.faults.image, request.seed)
        say(
            f"{len(schemata.faults)} faults of RTL, {len(schemata.refused)} more do not elaborate; "
            f"{len(of_images)} of images"
        )
    with clock.stage("build") as say:
        clock.busy("compiling simulators, with every fault and without")
        kinds: list[Kind] = sorted({item.kind for item in items})
        verilator, cache = find_verilator(), flow.cache_folder()
        fabrics = (schemata.fabric, chip.fabric)  # the one that takes longer is begun first
        wanted = [(fabric, kind) for fabric in fabrics for kind in kinds]
        made = build_all(wanted, asked.jobs, verilator=verilator, cache_dir=cache)
        mutated, plain = made[: len(kinds)], made[len(kinds) :]
        builds = {kind: Builds(*pair) for kind, *pair in zip(kinds, plain, mutated, strict=True)}
        say(", ".join(kinds))
    with ThreadPoolExecutor(max_workers=asked.jobs) as pool:
        with clock.stage("runs") as say:
            trials = [make_trial(spec, plan.design, out) for spec in items]
            own = [trial for trial in trials if trial.etched.fabric.sha256 == chip.fabric.sha256]
            runs = prove(own, builds, schemata, out, pool)
            say(f"{len(runs)} pass without a fault")
        bench = Bench(builds, schemata, runs, sources_sha256(asked.project), out)
        with clock.stage("faults") as say:
            faults: list[tuple[int, Fault]] = [*schemata.faults.items(), *((0, fault) for fault in of_images)]
            listed = {one.fault: one for one in survivors if one.is_of(asked.stage, plan.design.source.name)}
            some = 0 if is_quick else ceil(len(runs) / 2)  # a list's reasons are believed, or tried by half
            most = {name: some for name, one in listed.items() if one.waived is None}
            results = run_faults(bench, faults, pool, asked.jobs, clock.busy, opinions=opinions, most=most)
            say(_states(results))
        with clock.stage("activation") as say:
            asks = {result.name for result in results if result.state == "survived"} - set(listed)
            lived = {number: one for number, one in schemata.faults.items() if one.name in asks}
            kind = min(builds, key=_KINDS.index)
            known = activation(chip, sources, lived, runs, kind, out, pool) if lived else {}
            results = tuple(
                result.model_copy(update={"activated": known.get(result.name)}) for result in results
            )
            unknown = len(lived) - len(known)
            say(f"{sum(known.values())} of {len(lived)} survivors without a reason, and {unknown} not known")
    results += tuple(_of_python(request, plan, chip, builds, runs, clock))
    source = plan.design.source
    found = Qualification(
        stage=asked.stage,
        project=asked.project.name,
        model=source.name,
        model_sha256=source.sha256,
        recipe=recipe_record(plan.design),
        adapters=tuple(adapter.sha256 for adapter in plan.adapters),
        seed=request.seed,
        sources_sha256=bench.sources,
        fabric_sha256=chip.fabric.sha256,
        rom_sha256=chip.images.sha256,
        schemata_sha256=schemata.fabric.sha256,
        refused=len(schemata.refused),
        opinions=opinions,
        runs=tuple(run.record for run in runs),
        faults=results,
        wall_s=round(sum(clock.stages_s.values()), 1),
    )
    found = found.model_copy(update={"open_items": still_open(found, survivors, asked.today)})
    write_atomically(out / QUALIFICATION_FILE, found.model_dump_json(indent=1) + "\n")
    return found


def _of_python(
    request: QualifyRequest,
    plan: Plan,
    chip: Etched,
    builds: Mapping[Kind, Builds],
    runs: Sequence[Proven],
    clock: StageClock,
) -> Iterator[FaultResult]:
    """Faults of flow, golden model and checker; none where nobody quantized the model here.

    They are planted in this process, so nothing else may run meanwhile.
    """
    counts, asked = request.faults, request.signoff
    specs = [run.trial.spec for run in _within(_ELEMENTS, runs)]
    if not isinstance(plan.design.source, Quantized) or not specs or not (counts.flow or counts.checker):
        return

    from etchproof.qualify.checker_faults import make_watch_bench, run_checker_faults
    from etchproof.qualify.flow_faults import make_bench, run_flow_faults, standing_adapters

    plain, done = builds["fast"].plain, Counter[str]()

    def hear(result: FaultResult) -> None:
        done[result.kind] += 1
        clock.busy(f"{done.total()}: {result.name}")

    with clock.stage("flow") as say:
        adapters = standing_adapters(plan.design, plan.adapters, asked.out)
        wrong = make_bench(chip, plain, plan.gates, specs, adapters, asked.out)
        found = run_flow_faults(wrong, counts.flow, request.seed, hear)
        say(_states(found))
    yield from found
    done.clear()
    with clock.stage("checker") as say:
        whole = Chip(chip.design, chip.model, chip.fabric, chip.images, plain)
        adapted = [one for one in wrong.recorded if one.adapters]
        watch = make_watch_bench(asked, whole, plan.gates.injected_faults, adapted)
        found = run_checker_faults(watch, counts.checker, hear)
        say(_states(found))
    yield from found


def _within(elements: int, runs: Sequence[Proven]) -> Iterator[Proven]:
    """The first ones on a fast simulator that compare so many elements together, as far as memory goes."""
    for run in runs:
        elements -= run.record.elements
        if run.trial.spec.kind == "fast" and elements >= 0:
            yield run


def _states(results: Sequence[FaultResult]) -> str:
    states = Counter(result.state for result in results)
    return ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "none"


def _items(request: SignoffRequest, plan: Plan, clock: StageClock) -> Iterator[ItemSpec]:
    """One run of each of the stage's tests on its own chip, and the runs that close its coverage.

    A stage makes more of each, with other seeds and on slower simulators. A fault that only those see counts as not
    seen.
    """
    seen: set[str] = set()
    # The others count code coverage, or are of another chip.
    own = [
        item for item in plan.items if item.kind != "coverage" and item.context is None and item.shape is None
    ]
    for item in sorted(own, key=lambda item: _KINDS.index(item.kind)):
        if item.test not in seen:
            seen.add(item.test)
            yield item
    if request.project.coverage is None:
        return
    design = plan.design
    model = flow.etched_model(design, flow.cache_folder(), clock)
    golden = flow.make_golden(design, model)
    units = all_units(request.project, model, design.plan)
    directed = directed_sequences(plan, model, units, lambda tokens: golden.session().predict(tokens, True))
    yield from directed_items(request, directed)


def _declared(project: Project, plan: Plan) -> tuple[RtlEdit, ...]:
    name = project.qualify.rtl
    return () if name is None else tuple(hooks.hook(project, "qualify.rtl", name)(plan.design.plan))


def apart(project: Project) -> set[str]:
    """What in a fabric is no part of the chip."""
    top = () if project.host is None else TOP_FILES
    return {path.name for path in library_files()} | simulation_names(project) | set(top)
