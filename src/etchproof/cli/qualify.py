"""``etchproof qualify``: would the bench see it? Faults are planted, and each has to be seen."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from etchproof.cli.console import Progress, make_console, visible
from etchproof.cli.signoff import day_of, stage_request
from etchproof.cli.source import choose_project
from etchproof.files.lock import hold
from etchproof.signoff.testplan import Stage

if TYPE_CHECKING:
    from etchproof.signoff.qualification import FaultResult, Qualification


def run_qualify(
    *,
    project: Path | None,
    model: Path,
    out: Path,
    adapters: tuple[Path, ...],
    recipe: str | None,
    stage: Stage,
    counts: tuple[int, int, int, int],
    seed: int,
    jobs: int | None,
) -> int:
    """0 where every fault is seen, 1 where one is not.

    Args:
        counts: of faults, in the order of ``FaultCounts``.
    """
    found = choose_project(project, model, out, *adapters)
    console = make_console()
    progress = Progress(console)
    with progress.stage("start") as say:
        from etchproof.qualify.run import FaultCounts, QualifyRequest, qualify
        from etchproof.run.watcher import StageClock

        say(f"project {found.name}, stage {stage}")
    asked = stage_request(found, model, out, adapters, recipe, stage, jobs, day_of(None))
    with hold(asked.out):
        result = qualify(QualifyRequest(asked, FaultCounts(*counts), seed), StageClock(progress))
    return _print(console, result, out)


def _print(console: Console, result: Qualification, folder: Path) -> int:
    """Score by module and operator, what is open, the verdict."""
    console.print()
    for title, of in (("where", _module), ("operator", lambda one: one.operator)):
        console.print(_table(result, title, of))
        console.print()
    detected = [one for one in result.faults if one.state == "detected"]
    first = Counter(one.seen_by[0].run for one in detected)
    alone = Counter(one.seen_by[0].test for one in detected if len(one.seen_by) == 1)
    for run in result.runs:
        console.print(Text(f"run      {visible(run.name)}: saw {first[run.name]} first"), soft_wrap=True)
    for test, count in sorted(alone.items()) if result.opinions else ():
        console.print(
            Text(f"alone    {visible(test)}: {count} that none of {result.opinions} more tests sees"),
            soft_wrap=True,
        )
    for item in result.open_items:
        console.print(Text(f"open     {visible(item)}", style="red"), soft_wrap=True)
    passed = not result.open_items
    line = Text("PASS" if passed else "FAIL", style="bold green" if passed else "bold red")
    seen = sum(one.state == "detected" for one in result.faults)
    line.append(
        f"     {seen:,} of {len(result.faults):,} faults seen, stage {result.stage}", style="not bold default"
    )
    console.print(line)
    console.print(Text(f"record   {folder / 'qualification.json'}"), soft_wrap=True)
    return 0 if passed else 1


def _module(result: FaultResult) -> str:
    return "images" if result.kind == "image" else result.where


def _table(result: Qualification, title: str, of: Callable[[FaultResult], str]) -> Table:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for one in result.faults:
        counts[of(one)][one.state] += 1
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1))
    table.add_column(title, no_wrap=True)
    for name in ("seen", "of", "survived", "broken"):
        table.add_column(name, justify="right")
    for name in sorted(counts):
        count = counts[name]
        row = (count["detected"], count.total(), count["survived"], count["broken"])
        table.add_row(Text(visible(name)), *map(str, row))
    return table
