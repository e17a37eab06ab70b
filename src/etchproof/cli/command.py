"""The application of the command line, to which each command is added."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final, NamedTuple

import typer

from etchproof import __version__


class Action(NamedTuple):
    """A command with its options, ready to run."""

    run: Callable[[], int]
    debug: bool


APP: Final = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="Prove that a chip with an etched language model computes exactly what its quantized model computes.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"etchproof {__version__}")
        raise typer.Exit


@APP.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass
