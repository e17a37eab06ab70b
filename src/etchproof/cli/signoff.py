"""``etchproof signoff`` and ``etchproof report``: evidence, gates, verdict, report."""

from __future__ import annotations

import datetime
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from etchproof.cli.console import Progress, make_console, visible
from etchproof.cli.diagnose import print_triage
from etchproof.cli.regress import ItemLines
from etchproof.cli.source import choose_project
from etchproof.errors import InputError
from etchproof.files.lock import hold
from etchproof.files.regular import check_regular
from etchproof.signoff.testplan import Stage

if TYPE_CHECKING:
    from etchproof.project.declaration import Project
    from etchproof.signoff.plan import SignoffRequest
    from etchproof.signoff.result import SignoffResult


def run_signoff(
    *,
    project: Path | None,
    model: Path,
    out: Path,
    adapters: tuple[Path, ...],
    recipe: str | None,
    stage: Stage,
    jobs: int | None,
    today: str | None,
    qualified: Path | None,
    diagnosed: bool,
) -> int:
    """0 for PASS, 1 for FAIL."""
    data = (*adapters, *([] if qualified is None else [qualified]))
    found = choose_project(project, model, out, *data)
    day = day_of(today)
    console = make_console()
    progress = Progress(console)
    with progress.stage("start") as say:
        from etchproof.run.watcher import StageClock
        from etchproof.signoff.derive import mask_sites
        from etchproof.signoff.report import write_reports
        from etchproof.signoff.run import signoff

        say(f"project {found.name}, stage {stage}")
    asked = stage_request(found, model, out, adapters, recipe, stage, jobs, day, qualified)
    request = replace(asked, diagnosed=diagnosed)
    with hold(request.out):
        result = signoff(request, StageClock(progress), lambda runs: ItemLines(console, runs))
        write_reports(result, request.out, mask_sites(result.evidence, found))
    return _print(console, result, out)


def stage_request(
    project: Project,
    model: Path,
    out: Path,
    adapters: tuple[Path, ...],
    recipe: str | None,
    stage: Stage,
    jobs: int | None,
    today: datetime.date,
    qualified: Path | None = None,
) -> SignoffRequest:
    """What a command asks for of a stage.

    Raises:
        InputError: ``out`` is no folder.
    """
    from etchproof.signoff.plan import SignoffRequest

    if out.exists() and not out.is_dir():
        raise InputError("is not a folder", source=out, key="--out")
    return SignoffRequest(
        project=project,
        model_dir=model,
        recipe=recipe,
        stage=stage,
        out=out.absolute(),
        jobs=jobs or len(os.sched_getaffinity(0)),
        today=today,
        adapters=adapters,
        qualified=qualified,
    )


def day_of(text: str | None) -> datetime.date:
    """The day that a text names; today where there is none.

    Raises:
        InputError: it names none.
    """
    if text is None:
        return datetime.datetime.now(tz=datetime.UTC).date()
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise InputError(f"is {text[:40]!r}, expected YYYY-MM-DD", key="--today") from None


def run_report(*, folder: Path, project: Path | None) -> int:
    """The reports of a stored verdict once more: 0 for PASS, 1 for FAIL."""
    from etchproof.signoff.derive import mask_sites
    from etchproof.signoff.report import write_reports
    from etchproof.signoff.result import SIGNOFF_FILE, read_result
    from etchproof.signoff.verify import verify

    if not folder.is_dir():
        raise InputError("is no folder of a sign-off", source=folder, key="DIR")
    found = choose_project(project, folder)
    check_regular(folder / SIGNOFF_FILE)  # before anything is written there
    with hold(folder):
        result = read_result(folder / SIGNOFF_FILE)
        verify(result, folder.absolute(), found)
        write_reports(result, folder, mask_sites(result.evidence, found))
    return _print(make_console(), result, folder)


def _print(console: Console, result: SignoffResult, folder: Path) -> int:
    """The gates, what is open, where the report is, and the verdict."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1))
    table.add_column("gate", no_wrap=True)
    table.add_column("")
    table.add_column("figures", overflow="fold")
    for gate in result.gates:
        state, style = ("holds", "green") if gate.passed else ("FAILS", "bold red")
        if not gate.passed and gate.name in result.waived:
            state, style = "waived", "yellow"
        table.add_row(Text(gate.name), Text(state, style=style), Text(visible(gate.message)))
    console.print()
    console.print(table)
    console.print()
    if result.evidence.triage is not None:
        print_triage(console, result.evidence.triage)
        console.print()
    for item in result.open_items:
        console.print(Text(f"open     {visible(item)}", style="red"), soft_wrap=True)
    for one in result.not_measured:
        console.print(Text(f"without  {visible(f'{one.what}: {one.why}')}", style="dim"), soft_wrap=True)
    evidence = result.evidence
    passed = result.verdict == "PASS"
    line = Text(result.verdict, style="bold green" if passed else "bold red")
    under = "" if evidence.recipe is None else f" under {evidence.recipe.name}"
    what = f"{evidence.model.name}{under}, stage {evidence.stage}"
    absent = ", ".join(one.what for one in result.not_measured)
    what += f"; not measured: {absent}" if absent else ""
    line.append(f"     {visible(what)}", style="not bold default")
    console.print(line, soft_wrap=True)
    console.print(Text(f"report   {folder / 'report.html'}"), soft_wrap=True)
    return 0 if passed else 1
