"""``etchproof replay``: the smallest run that fails as a stored one did."""

from __future__ import annotations

import re
from pathlib import Path

from etchproof.cli.console import Progress, make_console
from etchproof.cli.cosim import rerun_command
from etchproof.cli.source import choose_project
from etchproof.errors import InputError, shown


def run_replay(
    *, run: Path, out: Path, unit: str | None, waves: bool, timeout_s: float, project: Path | None
) -> int:
    """1: it fails again, as it has to."""
    key = None if unit is None else _unit(unit)
    found = choose_project(project, run, out)
    console = make_console()
    progress = Progress(console)
    from etchproof.cli.report import print_report
    from etchproof.run.replay import named, replay
    from etchproof.run.request import check_timeout

    check_timeout(timeout_s)
    done = replay(found, run, out, progress, rerun_command, unit=key, waves=waves, timeout_s=timeout_s)
    print_report(console, done.outcome)
    record = done.record
    more = "" if record.minimal else "; more may go, the limit of simulations came first"
    console.print(
        f"replay   {named((record.layer, record.tap))} differs with {len(record.places)} of {record.fed} tokens, "
        f"{record.trials} simulations{more}",
        soft_wrap=True,
    )
    console.print(f"repeat   {done.outcome.folder / 'rerun.sh'}", soft_wrap=True)
    return 0 if done.outcome.result.verdict == "PASS" else 1


def _unit(text: str) -> tuple[int, str]:
    """``LAYER.TAP``, or ``TAP`` of what stands outside the layers."""
    match = re.fullmatch(r"(?:([0-9]{1,9})\.)?([A-Za-z_][\w.\[\]-]{0,126})", text)
    if match is None:
        problem = f"is {shown(text)}, expected LAYER.TAP, or TAP outside the layers"
        raise InputError(problem, key="--unit")
    return (-1 if match[1] is None else int(match[1])), match[2]
