"""``etchproof signoff``: evidence, gates, verdict, report."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

from rich.console import Console
from rich.text import Text

from etchproof.cli.console import Progress, make_console, visible
from etchproof.cli.regress import ItemLines
from etchproof.errors import InputError
from etchproof.project import find_project, load_project
from etchproof.testplan import Stage


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
) -> int:
    """0 for PASS, 1 for FAIL."""
    found = load_project(project) if project else find_project()
    day = _day(today)
    console = make_console()
    progress = Progress(console)
    with progress.stage("start") as say:
        from etchproof.signoff.report import write_reports
        from etchproof.signoff.run import SignoffRequest, signoff
        from etchproof.watcher import StageClock

        say(f"project {found.name}, stage {stage}")
    if out.exists() and not out.is_dir():
        raise InputError("is not a folder", source=out, key="--out")
    out.mkdir(parents=True, exist_ok=True)
    request = SignoffRequest(
        project=found,
        model_dir=model,
        recipe=recipe,
        stage=stage,
        out=out.absolute(),
        jobs=jobs or len(os.sched_getaffinity(0)),
        today=day,
        adapters=adapters,
    )
    result = signoff(request, StageClock(progress), ItemLines(console, 0))
    write_reports(result, request.out)
    _print(console, result.verdict, result.open_items)
    console.print()
    for gate in result.gates:
        mark = "pass" if gate.passed else "FAIL"
        line = Text(f"{mark}  ", style="green" if gate.passed else "bold red")
        line.append(f"{gate.name:<28} {visible(gate.message)}", style="not bold default")
        console.print(line, soft_wrap=True)
    console.print()
    console.print(Text(f"report   {request.out / 'report.html'}"), soft_wrap=True)
    passed = result.verdict == "PASS"
    name = f"{result.evidence.model.name} under {result.evidence.recipe.name}, stage {stage}"
    console.print(Text(f"{result.verdict}     {name}", style="bold green" if passed else "bold red"))
    return 0 if passed else 1


def _print(console: Console, verdict: str, items: tuple[str, ...]) -> None:
    for item in items:
        console.print(Text(f"open     {visible(item)}", style="red"), soft_wrap=True)


def _day(text: str | None) -> datetime.date:
    if text is None:
        return datetime.datetime.now(tz=datetime.UTC).date()
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise InputError(f"is {text[:40]!r}, expected YYYY-MM-DD", key="--today") from None
