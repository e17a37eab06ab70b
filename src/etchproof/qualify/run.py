"""A qualification: faults are drawn, tried, and counted."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from etchproof.files.atomic import write_atomically
from etchproof.host.top import FILES as TOP_FILES
from etchproof.project.declaration import Project
from etchproof.qualify import images
from etchproof.qualify.campaign import Bench, Fault, run_faults
from etchproof.qualify.record import QUALIFICATION_FILE, Qualification
from etchproof.qualify.schemata import draw, make_schemata, read_sources
from etchproof.qualify.survivors import Survivor, load_survivors, still_open
from etchproof.qualify.trial import Builds, make_trial, prove
from etchproof.regress.key import sources_sha256
from etchproof.regress.spec import ItemSpec
from etchproof.render.sources import simulation_names
from etchproof.render.templates import library_files
from etchproof.run import flow
from etchproof.run.testrun import etch
from etchproof.run.watcher import StageClock
from etchproof.signoff.directed import directed_items, directed_sequences
from etchproof.signoff.observed import all_units
from etchproof.signoff.plan import Plan, SignoffRequest, make_plan
from etchproof.sim.build import build
from etchproof.tools import find_verilator


@dataclass(frozen=True)
class QualifyRequest:
    """What is asked for.

    Attributes:
        signoff: the stage whose runs are qualified, and on what.
        rtl_faults: how many to draw in RTL; ``image_faults`` likewise.
        seed: of what is drawn.
    """

    signoff: SignoffRequest
    rtl_faults: int
    image_faults: int
    seed: int


def qualify(request: QualifyRequest, clock: StageClock) -> Qualification:
    """Draw faults, try each, write the record into the folder.

    Raises:
        InputError: bad input, or a run that is no PASS without a fault.
    """
    asked = request.signoff
    out = asked.out
    with clock.stage("plan") as say:
        plan, survivors = make_plan(asked), _survivors(asked.project)
        items = list(_items(asked, plan, clock))
        say(f"{len(items)} runs on the chip of stage {asked.stage}")
    with clock.stage("chip") as say:
        shutil.rmtree(out / "chip", ignore_errors=True)
        chip = etch(plan.design, out / "chip", flow.cache_folder())
        say(f"fabric {chip.fabric.sha256[:12]}, rom {chip.images.sha256[:12]}")
    with clock.stage("draw") as say:
        sources = read_sources(chip.fabric, _apart(asked.project))
        drawn = draw(sources, request.seed)
        shutil.rmtree(out / "schemata", ignore_errors=True)
        schemata = make_schemata(chip.fabric, sources, drawn, request.rtl_faults, out / "schemata")
        of_images = images.draw(chip.images, request.image_faults, request.seed)
        say(
            f"{len(schemata.faults)} faults of RTL, {len(schemata.refused)} more do not elaborate; "
            f"{len(of_images)} of images"
        )
    with clock.stage("build") as say:
        clock.busy("compiling simulators, with every fault and without")
        kinds = sorted({item.kind for item in items})
        verilator, cache = find_verilator(), flow.cache_folder()
        builds = {
            kind: Builds(
                build(chip.fabric, kind, verilator=verilator, cache_dir=cache),
                build(schemata.fabric, kind, verilator=verilator, cache_dir=cache),
            )
            for kind in kinds
        }
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
            results = run_faults(bench, faults, pool, asked.jobs, clock.busy)
            states = Counter(result.state for result in results)
            say(", ".join(f"{count} {state}" for state, count in sorted(states.items())))
    records = tuple(run.record for run in runs)
    reasons = list(still_open(results, survivors, asked.today))
    reasons += [f"unequal: {one.name} differs with every fault off" for one in records if not one.equal]
    reasons += [] if results else ["no fault was drawn"]
    found = Qualification(
        stage=asked.stage,
        project=asked.project.name,
        model=plan.design.source.name,
        recipe=asked.recipe or asked.project.default_recipe,
        seed=request.seed,
        fabric_sha256=chip.fabric.sha256,
        rom_sha256=chip.images.sha256,
        schemata_sha256=schemata.fabric.sha256,
        refused=len(schemata.refused),
        runs=records,
        faults=results,
        verdict="FAIL" if reasons else "PASS",
        reasons=tuple(reasons),
        wall_s=round(sum(clock.stages_s.values()), 1),
    )
    write_atomically(out / QUALIFICATION_FILE, found.model_dump_json(indent=1) + "\n")
    return found


def _items(request: SignoffRequest, plan: Plan, clock: StageClock) -> Iterator[ItemSpec]:
    """The stage's runs on its own chip, but those that count code coverage, and the runs that close its coverage."""
    for item in plan.items:
        if item.kind != "coverage" and item.context is None and item.shape is None:
            yield item  # the others are the same tests on a slow simulator, or on another chip
    if request.project.coverage is None:
        return
    design = plan.design
    model = flow.etched_model(design, flow.cache_folder(), clock)
    golden = flow.make_golden(design, model)
    units = all_units(request.project, model, design.plan)
    directed = directed_sequences(plan, model, units, lambda tokens: golden.session().predict(tokens, True))
    yield from directed_items(request, directed)


def _survivors(project: Project) -> tuple[Survivor, ...]:
    """What the project lists; nothing where it has no such file and names none."""
    file = project.root / project.qualify.survivors
    if not file.exists() and "survivors" not in project.qualify.model_fields_set:
        return ()
    return load_survivors(file)


def _apart(project: Project) -> set[str]:
    """What in a fabric is no part of the chip."""
    top = () if project.host is None else TOP_FILES
    return {path.name for path in library_files()} | simulation_names(project) | set(top)
