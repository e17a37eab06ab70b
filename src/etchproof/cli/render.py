"""``etchproof render``: the chip's SystemVerilog in a folder."""

from __future__ import annotations

from pathlib import Path

from etchproof.checkpoint.shape import cut_shape, load_shape
from etchproof.cli.console import make_console
from etchproof.cli.source import check_source, check_takes_shapes, choose_project
from etchproof.run import flow
from etchproof.run.folder import check_out


def run_render(
    *,
    project: Path | None,
    model: Path | None,
    shape: str | None,
    layers: int | None,
    vocab: int | None,
    recipe: str | None,
    out: Path,
    context: int | None,
) -> int:
    """Always 0."""
    check_source(model, shape, {"--layers": layers, "--vocab": vocab})
    found = choose_project(project, model, out)
    check_out(out)
    check_takes_shapes(found, shape)
    if model is not None:
        plan = flow.make_design(found, model, recipe, context).plan
    else:
        named = flow.read_recipe(found, recipe)
        config = cut_shape(load_shape(str(shape), found.shapes_dir), layers=layers, vocab=vocab)
        _, plan = flow.plan_chip(found, config, named, context)
    out.mkdir(parents=True, exist_ok=True)
    fabric = flow.render_plan(found, plan, out)
    console = make_console()
    for name in fabric.sources:
        console.print(str(out / name), soft_wrap=True)
    console.print(f"top {fabric.top}, fabric_sha256 {fabric.sha256}", soft_wrap=True)
    return 0
