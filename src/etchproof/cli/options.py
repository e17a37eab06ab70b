"""Options and arguments that several commands share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from etchproof.errors import InputError, shown

if TYPE_CHECKING:
    from etchproof.compare.dump import Selection

MAX_SEED: Final = 2**31 - 1
_SPAN: Final = re.compile(r" *(-1|[0-9]{1,9})(?: *- *([0-9]{1,9}))? *")


def name_or_file(value: str | None) -> str | None:
    """A name as it is; an empty one is no name, and does not stand for the default."""
    if value == "":
        raise typer.BadParameter("is empty")
    return value


Model = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL_DIR",
        help="Checkpoint folder in Hugging Face form, or a GGUF file.",
        show_default=False,
    ),
]
Adapters = Annotated[
    list[Path] | None, typer.Option("--adapter", metavar="DIR", help="A PEFT adapter. Repeatable.")
]
Stage = Annotated[Literal["V1", "V2", "V3"], typer.Option("--stage", help="Of the testplan.")]
ModelOrShape = Annotated[
    Path | None,
    typer.Argument(
        metavar="MODEL_DIR",
        help="Checkpoint folder in Hugging Face form, or a GGUF file; none with --shape.",
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
Chat = Annotated[
    str | None,
    typer.Option(
        "--chat",
        metavar="TEXT",
        help="What a user says to the model: its own chat template makes the prompt of it.",
    ),
]
NoDiagnose = Annotated[bool, typer.Option("--no-diagnose", help="Do not look for the cause of a FAIL.")]
Tokens = Annotated[
    int, typer.Option("--tokens", metavar="N", min=1, max=2**31 - 1, help="Tokens to generate.")
]
Seed = Annotated[int, typer.Option("--seed", min=1, max=MAX_SEED, help="Of everything random.")]
Timeout = Annotated[float, typer.Option("--timeout", metavar="S", help="Wall-clock limit of the simulation.")]
Jobs = Annotated[
    int | None,
    typer.Option("-j", "--jobs", metavar="N", min=1, max=1024, help="At once. Default: every core."),
]

OnlyLayers = Annotated[
    str | None,
    typer.Option(
        "--only-layers", metavar="0,3-5", help="Of taps: those of these layers; -1 is outside of them."
    ),
]
OnlyTaps = Annotated[
    str | None, typer.Option("--only-taps", metavar="NAME,...", help="Of taps: those of these names.")
]
OnlyTokens = Annotated[
    str | None,
    typer.Option("--only-tokens", metavar="0-15,40", help="Of taps: those of tokens at these positions."),
]
Only = tuple[str | None, str | None, str | None]
"""What ``OnlyLayers``, ``OnlyTaps`` and ``OnlyTokens`` say."""


def selection(only: Only) -> Selection:
    """The taps that the three options name, all of them where they name none.

    Raises:
        InputError: an option does not name any.
    """
    from etchproof.compare.dump import Selection

    layers, taps, tokens = only
    names = None if taps is None else tuple(name.strip() for name in taps.split(","))
    if names is not None and not all(names):
        raise InputError(f"is {shown(taps)}, expected names with commas between them", key="--only-taps")
    return Selection(
        layers=_spans(layers, "--only-layers", -1), taps=names, tokens=_spans(tokens, "--only-tokens", 0)
    )


def _spans(text: str | None, key: str, least: int) -> tuple[tuple[int, int], ...] | None:
    """Numbers and ranges of them, ends included."""
    if text is None:
        return None
    spans = []
    for part in text.split(","):
        match = _SPAN.fullmatch(part)
        first, last = (0, -1) if match is None else (int(match[1]), int(match[2] or match[1]))
        if first > last or first < least:
            raise InputError(f"is {shown(text)}, expected numbers like 0,3-5", key=key)
        spans.append((first, last))
    return tuple(spans)


def token_ids(text: str | None, prompt: str | None, chat: str | None) -> tuple[int, ...] | None:
    """``--prompt-ids`` as numbers.

    Raises:
        InputError: they are none, or more than one of ``--prompt``, ``--prompt-ids`` and ``--chat`` is given.
    """
    options = {"--prompt": prompt, "--prompt-ids": text, "--chat": chat}
    given = [option for option, value in options.items() if value is not None]
    if len(given) > 1:
        raise InputError(f"stands beside {given[0]}", key=given[1], hint="give one of them")
    if text is None:
        return None
    try:
        if not re.fullmatch(r" *[0-9]+ *(?:, *[0-9]+ *)*", text):
            raise ValueError
        return tuple(map(int, text.split(",")))
    except ValueError:  # also of more digits than Python converts
        raise InputError(f"is {shown(text)}, expected token ids like 1,2,3", key="--prompt-ids") from None
