"""``etchproof build``: a chip's simulator, in the cache."""

from __future__ import annotations

import tempfile
from pathlib import Path

from etchproof.cli.console import Progress, make_console
from etchproof.cli.source import choose_project
from etchproof.run import flow
from etchproof.run.testrun import prepare
from etchproof.sim.build import Kind


def run_build(
    *, project: Path | None, model: Path, recipe: str | None, kind: Kind, context: int | None
) -> int:
    """Always 0."""
    found = choose_project(project, model)
    console = make_console()
    design = flow.make_design(found, model, recipe, context)
    with tempfile.TemporaryDirectory(prefix="etchproof-") as folder:
        chip = prepare(design, Path(folder), kind, flow.cache_folder(), Progress(console))
        console.print(f"simulator {chip.build.executable}", soft_wrap=True)
    return 0
