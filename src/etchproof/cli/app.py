"""What can be said on the command line. Each command only gathers options: what it does is imported when it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

import typer

from etchproof import __version__
from etchproof.cli import options
from etchproof.errors import named, shown


class Action(NamedTuple):
    """A command with its options, ready to run."""

    run: Callable[[], int]
    debug: bool


class UsageError(Exception):
    """The words on the command line are not a command."""


APP: Final = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="Prove that a chip with an etched language model computes exactly what its quantized model computes.",
)


def parse(arguments: Sequence[str]) -> Action:
    """The command that the words ask for; help and version are printed at once.

    Raises:
        UsageError: there is no such command or option, or a word is no text.
    """
    words = list(arguments) or ["--help"]
    for word in words:
        if (problem := _no_text(word)) is not None:
            raise UsageError(f"{shown(word)} {problem}")
    try:
        chosen: Any = APP(args=words, prog_name="etchproof", standalone_mode=False)
    except Exception as error:
        # typer carries its own copy of click from some version on, and so its exceptions have no stable home.
        describe = getattr(error, "format_message", None)
        if describe is None:
            raise
        raise UsageError(f"{named(' '.join(describe().split()))} (see etchproof --help)") from error
    return chosen if isinstance(chosen, Action) else Action(lambda: int(chosen or 0), False)


def _no_text(word: str) -> str | None:
    """Why no command could use a word, be it a path or a prompt: no record could hold it."""
    if "\0" in word:
        return "holds a NUL"
    try:
        word.encode()
    except UnicodeEncodeError:
        return "is not UTF-8"
    return None


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


@APP.command()
def cosim(
    model: options.ModelOrShape = None,
    shape: options.Shape = None,
    layers: options.Layers = None,
    random_weights: options.RandomWeights = None,
    vocab: options.Vocab = None,
    recipe: options.Recipe = None,
    prompt: Annotated[
        str | None,
        typer.Option(
            "--prompt", metavar="TEXT", help="What the chip continues. Default: the BOS token alone."
        ),
    ] = None,
    prompt_ids: Annotated[
        str | None,
        typer.Option("--prompt-ids", metavar="1,2,3", help="The prompt as token ids; no BOS is added."),
    ] = None,
    tokens: options.Tokens = 32,
    vectors: Annotated[
        Path | None,
        typer.Option(
            "--vectors",
            metavar="FILE.npy",
            help="What a chip is fed that takes vectors, (vectors, elements).",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="Run folder, new or empty. Default: runs/TIME-MODEL-RECIPE."
        ),
    ] = None,
    adapter: Annotated[
        list[Path] | None,
        typer.Option(
            "--adapter",
            metavar="DIR",
            help="LoRA adapter in PEFT form: the base runs, then it, then swaps between them. Repeatable.",
        ),
    ] = None,
    inject: Annotated[
        list[str] | None,
        typer.Option(
            "--inject",
            metavar="SITE",
            help="Invert a bit that only the simulator sees, as rom:model.layers.2.mlp.down_proj[17,5]^1, or in an "
            "adapter's SRAM as lora:0:model.layers.1.self_attn.v_proj.lora_B[3,2]^4. Repeatable.",
        ),
    ] = None,
    dump_taps: Annotated[
        Path | None,
        typer.Option("--dump-taps", metavar="FILE.npz", help="Write every tap as chip and golden have it."),
    ] = None,
    seed: options.Seed = 1,
    build: Annotated[
        Literal["fast", "plain", "strict"],
        typer.Option(
            "--build",
            help="fast: Etchproof rewrites Verilator's C++ for speed; plain: it does not. "
            "strict: untouched, assertions on, registers and unknowns start at random; slower.",
        ),
    ] = "fast",
    timeout: options.Timeout = 600.0,
    context: options.Context = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Show and record where time and memory went.")
    ] = False,
    project: options.Project = None,
    debug: options.Debug = False,
) -> Action:
    """Simulate the chip and compare every operation result of every token with the golden model.

    Exit status: 0 all equal, 1 verdict FAIL, 2 bad input or a missing tool.
    """

    def run() -> int:
        from etchproof.cli.cosim import run_cosim

        return run_cosim(
            project=project,
            model=model,
            shape=shape,
            layers=layers,
            random_weights=random_weights,
            vocab=vocab,
            recipe=recipe,
            prompt=prompt,
            prompt_ids=prompt_ids,
            tokens=tokens,
            vectors=vectors,
            out=out,
            adapters=tuple(adapter or ()),
            inject=tuple(inject or ()),
            dump_taps=dump_taps,
            seed=seed,
            kind=build,
            timeout_s=timeout,
            context=context,
            profile=profile,
        )

    return Action(run, debug)


@APP.command()
def quality(
    model: options.Model,
    recipe: options.Recipe = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE.json", help="Also write the report as JSON.")
    ] = None,
    sequences: Annotated[
        int, typer.Option("--sequences", metavar="N", min=1, max=100_000, help="Texts to sample.")
    ] = 16,
    length: Annotated[
        int | None,
        typer.Option(
            "--length",
            metavar="N",
            min=2,
            help="Tokens of each, BOS included. Default: 200, or the chip's context.",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=options.MAX_SEED, help="Of the sampled text.")
    ] = 2,
    adapter: Annotated[
        list[Path] | None,
        typer.Option("--adapter", metavar="DIR", help="Also measure it with this LoRA adapter. Repeatable."),
    ] = None,
    context: options.Context = None,
    project: options.Project = None,
    debug: options.Debug = False,
) -> Action:
    """Measure the golden model against the float model, on text that the float model writes."""

    def run() -> int:
        from etchproof.cli.quality import run_quality

        return run_quality(
            project=project,
            model=model,
            recipe=recipe,
            out=out,
            sequences=sequences,
            length=length,
            seed=seed,
            context=context,
            adapters=tuple(adapter or ()),
        )

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


@APP.command()
def regress(
    listed: Annotated[
        str,
        typer.Argument(
            metavar="LIST", help="A list: a .yaml file, or a name below ci/ (smoke).", show_default=False
        ),
    ],
    model: Annotated[
        Path | None, typer.Option("--model", metavar="DIR", help="What @model in the list stands for.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="NAME|FILE",
            callback=options.name_or_file,
            help="What @recipe in the list stands for.",
        ),
    ] = None,
    adapter: Annotated[
        list[Path] | None,
        typer.Option("--adapter", metavar="DIR", help="What @adapters in the list stands for. Repeatable."),
    ] = None,
    jobs: options.Jobs = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Its folder; one that holds an interrupted run is resumed. Default: runs/regress-LIST.",
        ),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="ITEM", help="Run this item alone. Repeatable.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, max=options.MAX_SEED, help="Base seed, in place of the list's."),
    ] = None,
    project: options.Project = None,
    debug: options.Debug = False,
) -> Action:
    """Run a list of tests side by side.

    Exit status: 0 all passed, 1 something failed or nothing ran, 2 bad input.
    """

    def run() -> int:
        from etchproof.cli.regress import run_regress

        return run_regress(
            project=project,
            listed=listed,
            model=model,
            recipe=recipe,
            adapters=tuple(adapter or ()),
            jobs=jobs,
            out=out,
            only=tuple(only or ()),
            seed=seed,
        )

    return Action(run, debug)


@APP.command()
def test(
    name: Annotated[str, typer.Argument(metavar="TEST", help="A test of the testbench.", show_default=False)],
    model: options.ModelOrShape = None,
    shape: options.Shape = None,
    layers: options.Layers = None,
    random_weights: options.RandomWeights = None,
    vocab: options.Vocab = None,
    recipe: options.Recipe = None,
    adapter: Annotated[
        list[str] | None,
        typer.Option("--adapter", metavar="DIR|@KIND", help="Folder, or a kind to draw. Repeatable."),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option("--prompt", metavar="TEXT", help="Of a test that generates.")
    ] = None,
    prompt_ids: Annotated[
        str | None, typer.Option("--prompt-ids", metavar="1,2,3", help="Likewise, as token ids.")
    ] = None,
    tokens: options.Tokens = 32,
    directed: Annotated[
        Path | None,
        typer.Option("--directed", metavar="FILE.json", help="Of a test of given tokens: the sequences."),
    ] = None,
    vectors: Annotated[
        Path | None, typer.Option("--vectors", metavar="FILE.npy", help="Of a test of given vectors.")
    ] = None,
    corners: Annotated[
        int | None,
        typer.Option(
            "--corners",
            metavar="SEED",
            min=0,
            max=options.MAX_SEED,
            help="Drawn weights in place of the checkpoint's.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Its folder, new or empty.")
    ] = None,
    seed: options.Seed = 1,
    build: Annotated[
        Literal["fast", "plain", "strict", "coverage"], typer.Option("--build", help="Of the simulator.")
    ] = "fast",
    timeout: options.Timeout = 600.0,
    context: options.Context = None,
    project: options.Project = None,
    debug: options.Debug = False,
) -> Action:
    """Run one test of the testbench: what repeats an item of a regression.

    Exit status: 0 passed, 1 failed, 2 bad input.
    """

    def run() -> int:
        from etchproof.cli.regress import run_one_test

        return run_one_test(
            project=project,
            test=name,
            model=model,
            shape=shape,
            layers=layers,
            random_weights=random_weights,
            vocab=vocab,
            recipe=recipe,
            adapters=tuple(adapter or ()),
            prompt=prompt,
            prompt_ids=prompt_ids,
            tokens=tokens,
            directed=directed,
            vectors=vectors,
            corners=corners,
            out=out,
            seed=seed,
            kind=build,
            timeout_s=timeout,
            context=context,
        )

    return Action(run, debug)


@APP.command()
def signoff(
    model: options.Model,
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="DIR", help="Its folder; an interrupted sign-off is resumed.", show_default=False
        ),
    ],
    adapter: Annotated[
        list[Path] | None, typer.Option("--adapter", metavar="DIR", help="A PEFT adapter. Repeatable.")
    ] = None,
    recipe: options.Recipe = None,
    stage: Annotated[Literal["V1", "V2", "V3"], typer.Option("--stage", help="Of the testplan.")] = "V1",
    jobs: options.Jobs = None,
    today: Annotated[
        str | None,
        typer.Option("--today", metavar="YYYY-MM-DD", help="The day that waivers are held against."),
    ] = None,
    project: options.Project = None,
    debug: options.Debug = False,
) -> Action:
    """Run what a stage asks for, measure every coverage, apply gates and waivers, write the report.

    Exit status: 0 every gate holds, 1 one does not, 2 bad input.
    """

    def run() -> int:
        from etchproof.cli.signoff import run_signoff

        return run_signoff(
            project=project,
            model=model,
            out=out,
            adapters=tuple(adapter or ()),
            recipe=recipe,
            stage=stage,
            jobs=jobs,
            today=today,
        )

    return Action(run, debug)


@APP.command()
def report(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The --out of a sign-off.", show_default=False)
    ],
    project: options.Project = None,
    debug: options.Debug = False,
) -> Action:
    """Write the reports of a stored signoff.json once more, after holding it against all that it follows from.

    Exit status: 0 the verdict is PASS, 1 it is FAIL, 2 it does not follow from evidence, runs, chip and project.
    """

    def run() -> int:
        from etchproof.cli.signoff import run_report

        return run_report(folder=folder, project=project)

    return Action(run, debug)
