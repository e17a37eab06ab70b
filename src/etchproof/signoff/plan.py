"""What a sign-off will do, read and checked before anything runs."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etchproof.coverage import hooks
from etchproof.coverage.exclusions import load_exclusions
from etchproof.coverage.functional import Covergroup
from etchproof.errors import InputError
from etchproof.files.json_record import read_json_record
from etchproof.project.declaration import Project
from etchproof.regress.check import check_items
from etchproof.regress.key import sources_sha256
from etchproof.regress.spec import ItemSpec, expand, load_list
from etchproof.run import flow, slots
from etchproof.run.design import Design, Quantized
from etchproof.run.record import recipe_record
from etchproof.run.watcher import tell
from etchproof.signoff.capabilities import capabilities, due_claims
from etchproof.signoff.covered import check_covered
from etchproof.signoff.gates import StageGates
from etchproof.signoff.gates_file import load_gates
from etchproof.signoff.judges import fitted, judge_file, stage_list
from etchproof.signoff.qualification import QUALIFICATION_FILE, Qualification
from etchproof.signoff.testplan import LORA, Stage, Testplan, all_tests, load_testplan
from etchproof.signoff.waivers import Waiver, load_waivers

if TYPE_CHECKING:
    from etchproof.adapter import Adapter


@dataclass(frozen=True)
class SignoffRequest:
    """What is asked for.

    Attributes:
        recipe: name or file; None is the project's default.
        jobs: simulators at once.
        today: what waivers are held against.
        qualified: the folder of a qualification of this very chip, at this stage.
        diagnosed: whether runs that fail are diagnosed.
    """

    project: Project
    model_dir: Path
    recipe: str | None
    stage: Stage
    out: Path
    jobs: int
    today: datetime.date
    adapters: tuple[Path, ...] = ()
    qualified: Path | None = None
    diagnosed: bool = True


@dataclass(frozen=True)
class Plan:
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


def make_plan(request: SignoffRequest) -> Plan:
    """Read and check all of it.

    Raises:
        InputError: bad input.
    """
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
    names_planned = tuple(group.name for group in testplan.covergroups)
    gates = load_gates(gates_file, request.stage, names_planned)
    testplan, gates = fitted(project, testplan, gates)
    waivers_file, exclusions_file = judge_file(project, "waivers"), judge_file(project, "exclusions")
    waivers = () if waivers_file is None else load_waivers(waivers_file)
    excluded = () if exclusions_file is None else load_exclusions(exclusions_file)
    listed = load_list(stage_list(project, gates.regression), project.root)
    name = request.recipe or project.default_recipe
    items = expand(
        listed, project.root, tests, model=request.model_dir, recipe=name, adapters=request.adapters
    )
    if not has_slots:
        items = tuple(item for item in items if not item.adapters)
        testplan, gates = testplan.without(LORA), gates.without(absent)
    if exclusions_file is not None:
        check_covered(excluded, gates, exclusions_file, "exclusions")
    tell(check_items(items, project))
    return Plan(design, testplan, gates, waivers, groups, items, listed.name, adapters, absent)


def read_qualification(request: SignoffRequest, plan: Plan) -> Qualification | None:
    """The qualification that a sign-off rests on; None where it names none.

    Raises:
        InputError: it is of something else.
    """
    if request.qualified is None:
        return None
    file = request.qualified / QUALIFICATION_FILE
    found = read_json_record(file, Qualification)
    source = plan.design.source
    due: dict[str, Any] = {
        "stage": request.stage,
        "project": request.project.name,
        "model_sha256": source.sha256,
        "recipe": recipe_record(plan.design),
        "adapters": tuple(adapter.sha256 for adapter in plan.adapters),
        "sources_sha256": sources_sha256(request.project),
    }
    for key, value in due.items():
        if getattr(found, key) != value:
            raise InputError(
                "is of another one than this sign-off", source=file, key=key, hint="qualify again"
            )
    return found
