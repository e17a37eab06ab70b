"""The commands on a project itself: init, check, build, render, recipes, shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from etchproof.cli import options
from etchproof.cli.command import APP, Action


@APP.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The project's folder.", show_default=False)],
    rtl: Annotated[
        Path | None,
        typer.Option("--from", metavar="RTL_DIR", help="RTL of yours, around which stubs are written."),
    ] = None,
    top: Annotated[
        str | None, typer.Option("--top", metavar="MODULE", help="The chip's module in that RTL.")
    ] = None,
    debug: options.Debug = False,
) -> Action:
    """Begin a project: a copy of the reference chip, or stubs around RTL of yours."""

    def run() -> int:
        from etchproof.cli.init import run_init

        return run_init(folder=folder, rtl=rtl, top=top)

    return Action(run, debug)


@APP.command()
def build(
    model: options.Model,
    recipe: options.Recipe = None,
    kind: Annotated[
        Literal["fast", "plain", "strict", "coverage", "waves"],
        typer.Option("--build", help="Of the simulator."),
    ] = "fast",
    context: options.Context = None,
    project: options.Project = None,
    debug: options.Debug = False,
) -> Action:
    """Build the chip's simulator and keep it in the cache; nothing is simulated."""

    def run() -> int:
        from etchproof.cli.build import run_build

        return run_build(project=project, model=model, recipe=recipe, kind=kind, context=context)

    return Action(run, debug)


@APP.command()
def render(
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder, new or empty.", show_default=False)
    ],
    model: options.ModelOrShape = None,
    shape: options.Shape = None,
    layers: options.Layers = None,
    vocab: options.Vocab = None,
    recipe: options.Recipe = None,
    context: options.Context = None,
    project: options.Project = None,
    debug: options.Debug = False,
) -> Action:
    """Write the chip's SystemVerilog, and nothing else."""

    def run() -> int:
        from etchproof.cli.render import run_render

        return run_render(
            project=project,
            model=model,
            shape=shape,
            layers=layers,
            vocab=vocab,
            recipe=recipe,
            out=out,
            context=context,
        )

    return Action(run, debug)


@APP.command()
def check(project: options.Project = None, debug: options.Debug = False) -> Action:
    """Say what the project declares, whether all of it is there, and what is not measured without the rest.

    Exit status: 0 all that is declared is there, 2 something is not.
    """

    def run() -> int:
        from etchproof.cli.check import run_check

        return run_check(project=project)

    return Action(run, debug)


@APP.command()
def recipes(project: options.Project = None, debug: options.Debug = False) -> Action:
    """List the project's recipes."""

    def run() -> int:
        from etchproof.cli.recipes import run_recipes

        return run_recipes(project=project)

    return Action(run, debug)


@APP.command()
def shapes(project: options.Project = None, debug: options.Debug = False) -> Action:
    """List the project's shapes."""

    def run() -> int:
        from etchproof.cli.shapes import run_shapes

        return run_shapes(project=project)

    return Action(run, debug)
