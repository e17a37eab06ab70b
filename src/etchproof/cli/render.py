"""``etchproof render``: the chip's SystemVerilog in a folder."""

from __future__ import annotations

from pathlib import Path

from etchproof import flow
from etchproof.cli.console import make_console
from etchproof.project import find_project, load_project
from etchproof.run_folder import check_out


def run_render(
    *, project: Path | None, model: Path, recipe: str | None, out: Path, context: int | None
) -> int:
    """Always 0."""
    found = load_project(project) if project else find_project()
    check_out(out)
    design = flow.plan_design(found, model, flow.read_recipe(found, recipe), context)
    out.mkdir(parents=True, exist_ok=True)
    fabric = flow.render_fabric(design, out)
    console = make_console()
    for name in fabric.sources:
        console.print(str(out / name), soft_wrap=True)
    console.print(f"top {fabric.top}, fabric_sha256 {fabric.sha256}", soft_wrap=True)
    return 0
