"""``python -m etchproof.cli.lint MODEL[:RECIPE] ...``: lint of the project's chips; ``--format``: its SystemVerilog.

For whoever works on a project; sign-off lints by itself (``signoff.lint``).
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from etchproof.checkpoint import load_config
from etchproof.errors import InputError
from etchproof.project.declaration import find_project
from etchproof.render.lint import WAIVERS, lint_folder, lint_project, read_waivers, stale_waivers
from etchproof.render.sources import matched
from etchproof.render.templates import format_files, library_files
from etchproof.run import flow


def main(arguments: Sequence[str]) -> int:
    """Lint configurations of the project's chip, or format; 0 when nothing is open and no waiver is stale."""
    project = find_project()
    hw = lint_folder(project)
    if list(arguments) == ["--format"]:
        beside = matched(project.root, project.rtl.testbench, source=project.file, key="rtl.testbench")
        own = [*sorted(hw.rglob("*.sv")), *(path for path in beside if path.suffix == ".sv")]
        format_files([*own, *library_files()])
        return 0
    rules = hw / "lint"
    reports = []
    for argument in arguments:
        model, _, recipe = argument.partition(":")
        _, plan = flow.plan_chip(project, load_config(model), flow.read_recipe(project, recipe or None))
        with tempfile.TemporaryDirectory() as folder:
            fabric = flow.render_plan(project, plan, Path(folder))
            report = lint_project(project, fabric)
        reports.append(report)
        for finding in report.open:
            print(finding)
        waived = len(report.findings) - len(report.open)
        print(f"{argument}: {len(fabric.sources)} files, {len(report.open)} findings, {waived} waived")
    stale = stale_waivers(reports, read_waivers(rules / WAIVERS))
    for waiver in stale:
        print(f"{rules / WAIVERS}: covers nothing: {waiver.file} {waiver.quote}")
    return int(bool(stale) or not all(report.ok for report in reports))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
