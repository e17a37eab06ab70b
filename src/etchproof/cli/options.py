"""Options and arguments that several commands share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from etchproof.errors import InputError, shown

MAX_SEED: Final = 2**31 - 1


def name_or_file(value: str | None) -> str | None:
    """A name as it is; an empty one is no name, and does not stand for the default."""
    if value == "":
        raise typer.BadParameter("is empty")
    return value


Model = Annotated[
    Path,
    typer.Argument(metavar="MODEL_DIR", help="Checkpoint folder in Hugging Face form.", show_default=False),
]
Adapters = Annotated[
    list[Path] | None, typer.Option("--adapter", metavar="DIR", help="A PEFT adapter. Repeatable.")
]
Stage = Annotated[Literal["V1", "V2", "V3"], typer.Option("--stage", help="Of the testplan.")]
ModelOrShape = Annotated[
    Path | None,
    typer.Argument(
        metavar="MODEL_DIR",
        help="Checkpoint folder in Hugging Face form; none with --shape.",
        show_default=False,
    ),
]
Shape = Annotated[
    str | None,
    typer.Option(
        "--shape",
        metavar="NAME|FILE",
        callback=name_or_file,
        help="In place of MODEL_DIR: a shape (`etchproof shapes`) or a .yaml file.",
    ),
]
Layers = Annotated[
    int | None, typer.Option("--layers", metavar="N", help="Of the shape. Default: all of its layers.")
]
Vocab = Annotated[
    int | None,
    typer.Option("--vocab", metavar="N", help="Of the shape. Default: 512, or its own where it is smaller."),
]
Recipe = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="NAME|FILE",
        callback=name_or_file,
        help="Recipe: a name (`etchproof recipes`) or a .yaml file. The project has a default.",
    ),
]
Project = Annotated[
    Path | None,
    typer.Option(
        "--project",
        metavar="DIR",
        help="The project. Default: the one around the current folder, else the reference chip.",
    ),
]
Context = Annotated[
    int | None,
    typer.Option(
        "--context", metavar="N", help="Positions of the chip, in place of the recipe's; at most the model's."
    ),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback with an error.")]
RandomWeights = Annotated[
    int | None,
    typer.Option(
        "--random-weights", metavar="SEED", min=0, max=MAX_SEED, help="Of the shape: the weights' seed."
    ),
]
Tokens = Annotated[
    int, typer.Option("--tokens", metavar="N", min=1, max=2**31 - 1, help="Tokens to generate.")
]
Seed = Annotated[int, typer.Option("--seed", min=1, max=MAX_SEED, help="Of everything random.")]
Timeout = Annotated[float, typer.Option("--timeout", metavar="S", help="Wall-clock limit of the simulation.")]
Jobs = Annotated[
    int | None,
    typer.Option("-j", "--jobs", metavar="N", min=1, max=1024, help="At once. Default: every core."),
]


def token_ids(text: str | None, prompt: str | None) -> tuple[int, ...] | None:
    """``--prompt-ids`` as numbers.

    Raises:
        InputError: they are none, or ``--prompt`` is given, too.
    """
    if text is None:
        return None
    if prompt is not None:
        raise InputError("stands beside --prompt", key="--prompt-ids", hint="give one of them")
    try:
        if not re.fullmatch(r" *[0-9]+ *(?:, *[0-9]+ *)*", text):
            raise ValueError
        return tuple(map(int, text.split(",")))
    except ValueError:  # also of more digits than Python converts
        raise InputError(f"is {shown(text)}, expected token ids like 1,2,3", key="--prompt-ids") from None
