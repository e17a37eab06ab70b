"""A stored sign-off held against everything that it follows from: its own parts, its folder, the project's files.

Whoever edits a record by hand and mends its hashes, too, has to make every other record agree with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from etchproof.compare.readback import READBACK_FILE, Readback
from etchproof.contract.taps import TapKey
from etchproof.coverage.functional import FunctionalCoverage
from etchproof.diagnose.triage_result import Triage
from etchproof.errors import InputError
from etchproof.files.json_record import read_json_record
from etchproof.host.top import TOP
from etchproof.project.declaration import Project
from etchproof.project.sources import file_sha256
from etchproof.quantize.health import is_quantity
from etchproof.regress.execute import ITEMS_FOLDER
from etchproof.regress.item import ITEM_FILE, ItemResult, read_item
from etchproof.regress.plan import RegressionPlan
from etchproof.regress.spec import ItemSpec, expand, load_list
from etchproof.render.fabric import FABRIC_FILE, read_fabric
from etchproof.render.images import memory_site, read_images
from etchproof.run import flow
from etchproof.signoff import derive
from etchproof.signoff.capabilities import TABLES, capabilities
from etchproof.signoff.capabilities import links as due_links
from etchproof.signoff.covered import FUNCTIONAL_FILE, LCOV_FILE
from etchproof.signoff.evidence import InjectionEvidence
from etchproof.signoff.gates_file import read_gates
from etchproof.signoff.judges import JUDGES, fitted, judge_file, stage_list
from etchproof.signoff.qualification import QUALIFICATION_FILE, Qualification
from etchproof.signoff.result import RUNS, SIGNOFF_FILE, TRIAGED, SignoffResult
from etchproof.signoff.survivors import survivors_of
from etchproof.signoff.testplan import LORA, read_testplan
from etchproof.signoff.waivers import load_waivers
from etchproof.verdict.judge import read_comparison

CHIP: Final = "chip"
INJECTED: Final = "injected"
READBACK: Final = f"readback/{READBACK_FILE}"

Problem = tuple[str, str]  # key of signoff.json, what is wrong


def verify(result: SignoffResult, out: Path, project: Project) -> None:
    """Hold a stored sign-off against what it follows from.

    Args:
        out: its folder.
        project: whose chip it is.

    Raises:
        InputError: something does not agree; the first finding is named.
    """
    for check in _CHECKS:
        for key, problem in check(result, out, project):
            raise InputError(problem, source=out / SIGNOFF_FILE, key=key, hint="sign off again")


def _rules(result: SignoffResult, out: Path, project: Project) -> Iterator[Problem]:
    """The project's own files decide the limits, the waivers and the testpoints."""
    evidence, files = result.evidence, project.signoff
    if evidence.project != project.name:
        yield "evidence.project", f"is {evidence.project!r}, the project is {project.name!r}"
    if evidence.capabilities != capabilities(project):
        yield "evidence.capabilities", "are not those that the project declares"
    judges = {judge: judge_file(project, judge) for judge in JUDGES}
    there = {judge: path for judge, path in judges.items() if path is not None}
    for judge, sha256 in result.judged_by.items():
        if judge in there and file_sha256(there[judge]) != sha256:
            yield "judged_by", f"{getattr(files, judge)} has changed since"
    if set(result.judged_by) != set(there):
        yield "judged_by", "are not the files that judge this project"
    gates, testplan, waivers = there["gates"], there["testplan"], judges["waivers"]
    plan, rules = fitted(project, read_testplan(testplan), read_gates(gates, evidence.stage))
    if rules.without(evidence.not_applicable) != result.rules:
        yield "rules", f"are not those of stage {evidence.stage} in {gates.name}"
    waived = () if waivers is None else load_waivers(waivers)
    if waived != tuple(found.waiver for found in result.waivers):
        yield "waivers", f"are not those of {files.waivers}"
    absent = tuple(entry.name for entry in plan.tagged(LORA))
    if evidence.not_applicable not in ((), absent):
        yield "evidence.not_applicable", f"is not what {files.testplan} says of adapters"
    plan = plan.without(LORA) if evidence.not_applicable else plan
    points = plan.stage_points(evidence.stage)
    if derive.testpoint_evidence(points, evidence.items, evidence.checks) != evidence.testpoints:
        yield "evidence.testpoints", "do not follow from the testplan, the runs and the checks"
    groups = {group.name for group in plan.covergroups}
    if {group.name for group in evidence.covergroups} != groups:
        yield "evidence.covergroups", f"are not those of {files.testplan}"


def _runs(result: SignoffResult, out: Path, project: Project) -> Iterator[Problem]:
    """Every run that the list asks for is there, and is as it was recorded."""
    evidence, runs = result.evidence, out / RUNS
    plan = RegressionPlan.read(runs)
    names = [item.name for item in evidence.items]
    if evidence.list_name != plan.name or names != [spec.name for spec in plan.items]:
        yield "evidence.items", f"are not the runs of {RUNS}/regression.json"
        return
    due = _due(result, project)
    for missing in sorted(due - set(names)):
        yield "evidence.items", f"the list asks for {missing}, which is not there"
    for spec in plan.items:
        if spec.name not in due and not spec.directed:
            yield "evidence.items", f"the list does not ask for {spec.name}"
    for spec, item in zip(plan.items, evidence.items, strict=True):
        if spec.model != evidence.model.path:
            yield "evidence.model.path", f"run {spec.name} is of {spec.model}"
        found = _item(runs / ITEMS_FOLDER / spec.name, spec)
        if isinstance(found, str):
            if item.verdict != "MISSING":
                yield "evidence.items", f"run {spec.name}: {found}"
            continue
        if derive.item_evidence(spec, found, item.why_not, runs) != item:
            yield "evidence.items", f"run {spec.name} is recorded otherwise in its {ITEM_FILE}"
        if not item.counts:
            continue
        if found.checkpoint_sha256 != evidence.model.sha256 or found.model_name != evidence.model.name:
            yield "evidence.model", f"run {spec.name} is of another checkpoint"
        recipe = evidence.recipe
        own = ("", "") if recipe is None else (recipe.name, recipe.sha256)
        if (found.recipe_name, found.recipe_sha256) != own and spec.context is None:
            yield "evidence.recipe", f"run {spec.name} is of another recipe"
        if spec.context is None and recipe is not None and found.context != recipe.context:
            yield "evidence.recipe.context", f"run {spec.name} has {found.context} positions"
        if spec.context is None and found.fabric_sha256 != evidence.fabric_sha256:
            yield "evidence.fabric_sha256", f"run {spec.name} simulated another fabric"
        if spec.context is None and spec.corners is None and found.rom_sha256 != evidence.rom_sha256:
            yield "evidence.rom_sha256", f"run {spec.name} read another ROM"


def _item(folder: Path, spec: ItemSpec) -> ItemResult | str:
    """A stored item, whatever its key: whether it is still of today's sources is a question of signing off."""
    try:
        key = read_json_record(folder / ITEM_FILE, ItemResult).key
    except InputError:
        return f"its {ITEM_FILE} is missing or broken"
    return read_item(folder, spec, key)


def _due(result: SignoffResult, project: Project) -> set[str]:
    """The names of the runs that the stage's list comes to."""
    evidence = result.evidence
    listed = load_list(stage_list(project, result.rules.regression), project.root)
    items = expand(
        listed,
        project.root,
        [test for entry in listed.entries for test in entry.tests],  # signing off has looked for each
        model=Path(evidence.model.path),
        recipe="" if evidence.recipe is None else evidence.recipe.name,
        adapters=[Path(adapter.path) for adapter in evidence.adapters],
    )
    return {item.name for item in items if not (evidence.not_applicable and item.adapters)}


def _chip(result: SignoffResult, out: Path, project: Project) -> Iterator[Problem]:
    """The fabric and the ROM in ``chip/`` are those of the record."""
    evidence = result.evidence
    try:
        fabric = read_fabric(out / CHIP / "fabric", out / CHIP / FABRIC_FILE)
    except InputError as error:
        yield "evidence.fabric_sha256", f"is not that of {CHIP}/fabric: {error}"
        return
    top = project.rtl.top if project.host is None else TOP
    if fabric.sha256 != evidence.fabric_sha256 or fabric.top != top:
        yield "evidence.fabric_sha256", f"is not that of {CHIP}/fabric"
    images = read_images(out / CHIP / "rom")
    if images.sha256 != evidence.rom_sha256:
        yield "evidence.rom_sha256", f"is not that of {CHIP}/rom"
    for image in images.images:
        if file_sha256(images.path(image)) != image.sha256:
            yield (
                "evidence.provenance.images",
                f"{image.name} in {CHIP}/rom has another content than its name",
            )
    stored = [
        (image.layer, image.name, image.bits, image.size_bytes, image.sha256) for image in images.images
    ]
    links = evidence.provenance.images if evidence.provenance else ()
    if stored != [(image.layer, image.name, image.bits, image.size_bytes, image.sha256) for image in links]:
        yield "evidence.provenance.images", f"are not those of {CHIP}/rom"


def _links(result: SignoffResult, out: Path, project: Project) -> Iterator[Problem]:
    """Each provenance link holds exactly when its evidence does."""
    evidence = result.evidence
    if evidence.provenance is None:
        return
    links = {link.name: link for link in evidence.provenance.links}
    if tuple(links) != due_links(evidence.capabilities):
        yield "evidence.provenance.links", "are not the links of the chain, in order"
        return
    sha256 = {
        "checkpoint": evidence.model.sha256,
        "images": evidence.rom_sha256,
        "files": evidence.rom_sha256,
        "fabric": evidence.fabric_sha256,
        "simulated": evidence.rom_sha256,
        "read back": evidence.rom_sha256,
        "signatures": evidence.rom_sha256,
    }
    for name, wanted in sha256.items():
        if name in links and links[name].holds and links[name].sha256 != wanted:
            yield f"evidence.provenance.links.{name}", "holds with another hash than the record's"
    checks = {check.name: check.passed for check in evidence.checks}
    for name, check in (
        ("files", "signoff.rom_files"),
        ("read back", "signoff.rom_readback"),
        ("signatures", "signoff.rom_signature"),
    ):
        if name in links and links[name].holds and not checks.get(check):
            yield f"evidence.provenance.links.{name}", f"holds, and check {check} does not"
    counted = [item for item in evidence.items if item.counts and item.verdict == "PASS"]
    if links["simulated"].holds and not any(item.rom_sha256 == evidence.rom_sha256 for item in counted):
        yield "evidence.provenance.links.simulated", "holds, and no run read these images"
    units = [unit for image in evidence.provenance.images for unit in image.units]
    whole = bool(units) and all(image.units for image in evidence.provenance.images)
    if checks.get("signoff.rom_readback") and not (whole and all(unit.words_hold for unit in units)):
        yield "evidence.checks", "signoff.rom_readback passed, and words of the chip differ or are missing"
    if checks.get("signoff.rom_signature") and not (whole and all(unit.signature_holds for unit in units)):
        yield "evidence.checks", "signoff.rom_signature passed, and a signature differs or is missing"
    foreign = [
        unit
        for image in evidence.provenance.images
        for unit in image.units
        if (unit.layer, unit.image, unit.sha256) != (image.layer, image.name, image.sha256)
    ]
    if foreign:
        yield "evidence.provenance.images", f"{foreign[0].name} stands under another image"


def _measured(result: SignoffResult, out: Path, project: Project) -> Iterator[Problem]:
    """Checks that follow from figures agree with them."""
    evidence = result.evidence
    checks = {check.name: check.passed for check in evidence.checks}
    if evidence.rom is not None and checks.get("signoff.rom_observability") != derive.observed(evidence.rom):
        yield "evidence.checks", "signoff.rom_observability does not follow from the bits"
    if evidence.rom is not None and sum(evidence.rom.by_run.values()) != evidence.rom.proven:
        yield "evidence.rom.by_run", "does not add up to the bits that are proven"
    if evidence.tables is not None and sum(evidence.tables.by_run.values()) != evidence.tables.proven:
        yield "evidence.tables.by_run", "does not add up to the bits that are proven"
    if "signoff.injected_faults" in checks and checks["signoff.injected_faults"] != derive.injected(
        evidence.injection
    ):
        yield "evidence.checks", "signoff.injected_faults does not follow from the bits"
    if evidence.recipe is None:
        return
    recipe = flow.read_recipe(project, _recipe_name(result, out))
    recorded = (evidence.recipe.name, evidence.recipe.method, evidence.recipe.calibration)
    if recorded != (recipe.name, recipe.method, recipe.calibration.source):
        yield "evidence.recipe", "is not what the recipe's file says"


def _figures(result: SignoffResult, out: Path, project: Project) -> Iterator[Problem]:
    """Figures are of the whole chip, each once: every tensor that the project declares, and every tap."""
    evidence = result.evidence
    declared = derive.mask_sites(evidence, project)
    sites = [part.site for part in evidence.rom.parts] if evidence.rom else []
    if len(set(sites)) != len(sites):
        yield "evidence.rom.parts", "has a part twice"
    if evidence.provenance and evidence.rom:
        tensors = {name.removesuffix(".codes").removesuffix(".gains") for name in evidence.provenance.tensors}
        if {name for name in tensors - set(sites) if not name.endswith(".bias")}:
            yield "evidence.rom.parts", "are not the tensors of the checkpoint"
        images = {(image.layer, image.name) for image in evidence.provenance.images}
        if {(image.layer, image.name) for image in evidence.rom.images} != images:
            yield "evidence.rom.images", "are not those of the chip"
        sizes = {
            (image.layer, image.name): math.prod(image.shape) * image.bits
            for image in read_images(out / CHIP / "rom").images
        }
        if any(sizes.get((image.layer, image.name)) != image.bits for image in evidence.rom.images):
            yield "evidence.rom.images", "have other sizes than those of the chip"
    if evidence.rom and {part.tensor for part in evidence.rom.parts} != {one.site for one in declared}:
        yield "evidence.rom.parts", "are not those of the tensors that the project declares"
    summed = [accumulator.site for accumulator in evidence.accumulators]
    if summed and sorted(summed) != sorted(one.site for one in declared if one.sums):
        yield "evidence.accumulators", "are not those of the tensors that the project declares"
    if evidence.rom and not set(summed) <= set(sites):
        yield "evidence.rom.parts", "do not hold every tensor whose sums were seen"
    taps = [(tap.layer, tap.tap) for tap in evidence.health.taps] if evidence.health else []
    compared = _compared(result, out)
    if evidence.health and taps != [key for key in compared if is_quantity(key[1])]:
        yield "evidence.health.taps", "are not those that a run of the base alone compared"
    if evidence.injection:
        yield from _injected(evidence.injection, out, set(_compared(result, out)))
    bits = [bit.site for bit in evidence.injection.bits] if evidence.injection else []
    if len(set(bits)) != len(bits):
        yield "evidence.injection.bits", "has a bit twice"
    if (evidence.tables is not None) != (TABLES in capabilities(project)):
        yield "evidence.tables", "are there, or missing, against what the project declares"
    names = {image.name for image in (evidence.provenance.images if evidence.provenance else ())}
    for site in bits:
        if site.partition(":")[2].partition("[")[0] not in (sites if evidence.rom else names):
            yield "evidence.injection.bits", f"{site} is no bit of the mask"


def _injected(injection: InjectionEvidence, out: Path, compared: set[TapKey]) -> Iterator[Problem]:
    """Each bit is one of the chip, seen in a tap that it has; runs of those that were missed are in ``injected/``."""
    key, images = "evidence.injection.bits", read_images(out / CHIP / "rom")
    missed = sum(not bit.caught for bit in injection.bits)
    left = len(list((out / INJECTED).iterdir())) if (out / INJECTED).is_dir() else 0
    if left != missed:
        yield key, f"say that {missed} were not caught, {INJECTED}/ holds the runs of {left}"
    for bit in injection.bits:
        if bit.expected[:2] not in compared or bit.expected[2] < 0 or not bit.prompt:
            yield key, f"{bit.site} is expected in a tap that no run compared, or was fed nothing"
        if any(image.is_memory for image in images.images):
            try:
                place = memory_site(bit.site.removeprefix("rom:"), images)
            except InputError as error:
                yield key, f"{bit.site}: {error.problem}"
                continue
            if place[1] in injection.tables:
                yield key, f"{bit.site} is of a memory of which no bit is said to be drawn"
            if f"rom:{place[1]}[{','.join(map(str, place[2]))}]^{place[3]}" != bit.site:
                yield key, f"{bit.site} is not written as sign-off writes it"


def _compared(result: SignoffResult, out: Path) -> list[TapKey]:
    """The taps that a run of the chip under sign-off compared without adapters, in dataflow order."""
    runs = out / RUNS
    counted = {item.name for item in result.evidence.items if item.counts and item.verdict == "PASS"}
    for spec in RegressionPlan.read(runs).items:
        if spec.name in counted and not spec.adapters:
            found, _ = read_comparison(runs / ITEMS_FOLDER / spec.name)
            if found is not None:
                return [(count.layer, count.tap) for count in found.taps]
    return []


def _left(result: SignoffResult, out: Path, project: Project) -> Iterator[Problem]:
    """What else the sign-off left is there, named by its hash, and says what the record says."""
    evidence = result.evidence
    checks = {check.name for check in evidence.checks if check.passed}
    due = {FUNCTIONAL_FILE} if evidence.covergroups else set()
    due |= {LCOV_FILE} if evidence.code else set()
    due |= {QUALIFICATION_FILE} if evidence.qualification else set()
    due |= {TRIAGED} if evidence.triage else set()
    due |= {READBACK} if checks & {"signoff.rom_readback", "signoff.rom_signature"} else set()
    for name in sorted(due - set(evidence.files)):
        yield "evidence.files", f"do not name {name}"
    for name, sha256 in evidence.files.items():
        if not (out / name).is_file() or file_sha256(out / name) != sha256:
            yield "evidence.files", f"{name} is not the file of this sign-off"
    if FUNCTIONAL_FILE in evidence.files:
        found = FunctionalCoverage.read(out / FUNCTIONAL_FILE)
        if derive.covergroups(found) != evidence.covergroups:
            yield "evidence.covergroups", f"are not those of {FUNCTIONAL_FILE}"
    if QUALIFICATION_FILE in evidence.files:
        planted = read_json_record(out / QUALIFICATION_FILE, Qualification)
        if derive.qualification(planted, survivors_of(project), result.today) != evidence.qualification:
            yield (
                "evidence.qualification",
                f"is not what {QUALIFICATION_FILE} and the list of survivors come to",
            )
        own = (evidence.stage, evidence.model.sha256, evidence.fabric_sha256, evidence.rom_sha256)
        if (planted.stage, planted.model_sha256, planted.fabric_sha256, planted.rom_sha256) != own:
            yield "evidence.qualification", "is of another stage, model or chip"
    if TRIAGED in evidence.files and read_json_record(out / TRIAGED, Triage) != evidence.triage:
        yield "evidence.triage", f"is not what {TRIAGED} says"
    failed = {item.name for item in evidence.items if item.verdict != "PASS"}
    if evidence.triage and {one.name for one in evidence.triage.failures} != failed:
        yield "evidence.triage", "is not of the runs that failed"
    if READBACK in evidence.files and evidence.provenance:
        answered = read_json_record(out / READBACK, Readback).units
        units = [unit for image in evidence.provenance.images for unit in image.units]
        if sorted(units, key=str) != sorted(answered, key=str):
            yield "evidence.provenance.images", f"are not what {READBACK} says of them"


def _recipe_name(result: SignoffResult, out: Path) -> str | None:
    plan = RegressionPlan.read(out / RUNS)
    assert result.evidence.recipe is not None
    return next((spec.recipe for spec in plan.items), result.evidence.recipe.name)


_CHECKS: Final[tuple[Callable[[SignoffResult, Path, Project], Iterator[Problem]], ...]] = (
    _rules,
    _runs,
    _chip,
    _left,
    _links,
    _measured,
    _figures,
)
