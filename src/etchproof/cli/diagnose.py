"""``etchproof diagnose``: why a run failed, on one screen and in ``diagnosis.json``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.text import Text

from etchproof.cli.console import Progress, make_console, visible
from etchproof.cli.source import choose_project
from etchproof.diagnose.limit import GRACE, LIMIT_S, TimeUp, at_most
from etchproof.diagnose.result import DIAGNOSIS_FILE, MEANINGS, PAGE_FILE, CauseRecord, Diagnosis
from etchproof.errors import EtchproofError
from etchproof.files.atomic import write_atomically
from etchproof.page.html import clipped

if TYPE_CHECKING:
    from etchproof.diagnose.triage_result import Triage
    from etchproof.project.declaration import Project
    from etchproof.regress.run import RegressionOutcome

_LINES: Final = 6
_GROUPS: Final = 12
_NAMES: Final = 3
_WIDTH: Final = 160


def run_diagnose(*, run: Path, project: Path | None, limit_s: float) -> int:
    """0 where every origin is explained, 1 where not."""
    found = choose_project(project, run)
    console = make_console()
    progress = Progress(console)
    with progress.stage("start") as say:
        from etchproof.diagnose.again import make_again
        from etchproof.diagnose.run import diagnose

        say(f"project {found.name}")
    again = make_again(run, found, progress)
    with progress.stage("diagnose") as say:
        diagnosis = diagnose(again.design, again.model, again.adapters, run, limit_s)
        say(f"{diagnosis.tried:,} hypotheses")
    console.print()
    print_diagnosis(console, diagnosis)
    _say(console, f"page     {run / PAGE_FILE}")
    return 0 if diagnosis.finding in ("explained", "rivals", "testbench", "golden") else 1


def diagnose_now(console: Console, design: Any, model: Any, adapters: Sequence[Any], folder: Path) -> None:
    """The diagnosis at the end of a run that failed; whatever becomes of it, it is no exception and no verdict."""
    console.print()
    try:
        from etchproof.diagnose.run import diagnose
        from etchproof.diagnose.units import import_all

        import_all(design.project)
        with at_most(GRACE * LIMIT_S):
            diagnosis = diagnose(design, model, adapters, folder, LIMIT_S)
        print_diagnosis(console, diagnosis)
        _say(console, f"page     {folder / PAGE_FILE}")
    except TimeUp:
        _say(
            console, f"diagnosis was given up after {GRACE * LIMIT_S:g} s; `etchproof diagnose` takes longer"
        )
    except EtchproofError as error:
        _say(console, f"diagnosis none: {error}")
    except Exception as error:  # of this, or of a project's code: the verdict stands
        _say(console, f"diagnosis failed: {type(error).__name__}: {error}")


def triage_now(console: Console, project: Project, outcome: RegressionOutcome, folder: Path) -> None:
    """The causes at the end of a regression that failed: on the screen, in ``triage.json`` and in ``junit.xml``."""
    from etchproof.diagnose.junit import tell_junit
    from etchproof.diagnose.report import triage_html
    from etchproof.diagnose.triage import failed_runs, looker, triage
    from etchproof.diagnose.triage_result import TRIAGE_FILE, TRIAGE_PAGE
    from etchproof.regress.run import JUNIT_FILE

    try:
        found = triage(failed_runs(outcome, folder), looker(project))
        write_atomically(folder / TRIAGE_FILE, found.to_json())
        page = triage_html(found, len(outcome.plan.items), outcome.plan.name)
        write_atomically(folder / TRIAGE_PAGE, page)
        if (folder / JUNIT_FILE).is_file():
            tell_junit(folder / JUNIT_FILE, found)
        print_triage(console, found)
        _say(console, f"page     {folder / TRIAGE_PAGE}")
    except Exception as error:  # the verdict stands
        _say(console, f"diagnosis failed: {type(error).__name__}: {error}")


def print_triage(console: Console, found: Triage) -> None:
    """The groups, that of the most failures first."""
    count = f"{found.diagnosed} of {len(found.failures)} failures diagnosed in {found.wall_s:.1f} s"
    console.print(Text("CAUSES", style="bold").append(f"   {count}", style="not bold"), soft_wrap=True)
    width = max((len(str(len(group.failures))) for group in found.groups), default=1)
    for group in found.groups[:_GROUPS]:
        known = f", certain in {group.certain}" if group.certain else ""
        _say(console, f"{len(group.failures):{width}}  {group.title}: {clipped(group.what, _WIDTH)}{known}")
        names = [*group.failures[:_NAMES]]
        names += [f"and {len(group.failures) - _NAMES} more"] if len(group.failures) > _NAMES else []
        _say(console, f"{'':{width}}  {', '.join(names)}")
        if group.alike:
            what = f"{len(group.alike)} not diagnosed, with the same first difference as one of them"
            _say(console, f"{'':{width}}  {what}")
    if len(found.groups) > _GROUPS:
        _say(console, f"{'':{width}}  and {len(found.groups) - _GROUPS} more groups in triage.json")


def print_diagnosis(console: Console, diagnosis: Diagnosis) -> None:
    """Origins, causes with their places and rivals, and what is not explained."""
    title = Text("CAUSE", style="bold").append(f"    {MEANINGS[diagnosis.finding]}", style="not bold")
    console.print(title, soft_wrap=True)
    for origin in diagnosis.origins[:_LINES]:
        places = ", ".join(f"{name} {of}" for name, of in origin.places.items())
        _say(
            console,
            f"origin   {origin.unit}: {origin.elements:,} of {origin.of_elements:,} elements, "
            f"{origin.vectors} of {origin.of_vectors} vectors; {clipped(places, _WIDTH)}",
        )
    if len(diagnosis.origins) > _LINES:
        _say(console, f"         and {len(diagnosis.origins) - _LINES} more in {DIAGNOSIS_FILE}")
    for cause in diagnosis.causes[:_LINES]:
        _cause(console, cause)
    if len(diagnosis.causes) > _LINES:
        _say(console, f"         and {len(diagnosis.causes) - _LINES} more causes in {DIAGNOSIS_FILE}")
    for one in diagnosis.unexplained[:_LINES]:
        tried = sum(one.excluded.values())
        _say(console, f"unknown  {one.unit}: none of {tried} hypotheses of {len(one.excluded)} kinds holds")
    for name in diagnosis.golden[:_LINES]:
        _say(console, f"golden   {name} of the golden model does not follow from its own taps")
    for note in diagnosis.notes[:_LINES]:
        _say(console, f"note     {note}")


def _cause(console: Console, cause: CauseRecord) -> None:
    where = f" of {len(cause.origins)} units" if len(cause.origins) > 1 else ""
    console.print(
        Text("cause    ", style="bold").append(
            visible(f"{cause.kind}{where}: {cause.what}"), style="not bold"
        ),
        soft_wrap=True,
    )
    for line in cause.places:
        _say(console, f"where    {line}")
    _say(console, f"explains {cause.explains} elements of {'their taps' if where else 'its tap'}")
    for rival in cause.rivals[:_LINES]:
        place = next(iter(rival.places), "")
        _say(console, f"rival    {rival.kind}: {rival.what}{f' ({place})' if rival.where.inject else ''}")


def _say(console: Console, line: str) -> None:
    console.print(Text(visible(line)), soft_wrap=True)
