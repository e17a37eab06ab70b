"""``etchproof replay``: the smallest run that fails as a stored one did."""

from __future__ import annotations

import re
from pathlib import Path

from etchproof.cli.console import Progress, make_console
from etchproof.cli.source import choose_project
from etchproof.errors import InputError, shown


def run_replay(
    *,
    run: Path,
    out: Path | None,
    unit: str | None,
    alone: bool,
    waves: bool,
    timeout_s: float,
    project: Path | None,
) -> int:
    """1: it fails again, as it has to."""
    key = None if unit is None else _unit(unit)
    found = choose_project(project, run, out)
    console = make_console()
    progress = Progress(console)
    from etchproof.cli.report import print_report
    from etchproof.replay.record import named
    from etchproof.replay.run import replay
    from etchproof.run.request import check_timeout

    check_timeout(timeout_s)
    done = replay(found, run, out, progress, unit=key, alone=alone, waves=waves, timeout_s=timeout_s)
    print_report(console, done.outcome)
    record = done.record
    what = named(record.unit)
    if record.scenario is not None:
        said = f"{what} differs in {record.scenario} as it was: its tokens alone do not show it"
    else:
        more = "" if record.minimal else "; more may go, the limit of simulations came first"
        where = f", layer {record.layer} alone as layer 0" if record.alone else ""
        said = (
            f"{what} differs with {len(record.places)} of {record.fed} tokens{where}, "
            f"{record.trials} simulations{more}"
        )
    console.print(f"replay   {said}", soft_wrap=True)
    console.print(f"repeat   {done.outcome.folder / 'rerun.sh'}", soft_wrap=True)
    return 0 if done.outcome.result.verdict == "PASS" else 1


def _unit(text: str) -> tuple[int, str]:
    """``LAYER.TAP``, or ``TAP`` of what stands outside the layers."""
    match = re.fullmatch(r"(?:([0-9]{1,9})\.)?([A-Za-z_][\w.\[\]-]{0,126})", text)
    if match is None:
        problem = f"is {shown(text)}, expected LAYER.TAP, or TAP outside the layers"
        raise InputError(problem, key="--unit")
    return (-1 if match[1] is None else int(match[1])), match[2]
