"""The commands that run a chip, compare and judge: cosim, compare, replay, diagnose, regress, test, signoff."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from etchproof.cli import options
from etchproof.cli.command import APP, Action


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
    chat: options.Chat = None,
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
            help="Invert a bit that only the simulator sees: rom:TENSOR[INDEX]^BIT of the ROM, lora:SLOT:ELEMENT^BIT "
            "of an adapter, each as the project names it. Repeatable.",
        ),
    ] = None,
    dump_taps: Annotated[
        Path | None,
        typer.Option(
            "--dump-taps",
            metavar="FILE.npz|DIR",
            help="Write every tap as chip and golden have it: one file of a short run; a folder of any run.",
        ),
    ] = None,
    only_layers: options.OnlyLayers = None,
    only_taps: options.OnlyTaps = None,
    only_tokens: options.OnlyTokens = None,
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
    waves: Annotated[
        bool,
        typer.Option(
            "--waves", help="Write the waves of the run, waves.fst, with layouts for Surfer and GTKWave."
        ),
    ] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Show and record where time and memory went.")
    ] = False,
    no_diagnose: options.NoDiagnose = False,
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
            chat=chat,
            tokens=tokens,
            vectors=vectors,
            out=out,
            adapters=tuple(adapter or ()),
            inject=tuple(inject or ()),
            dump_taps=dump_taps,
            only=(only_layers, only_taps, only_tokens),
            seed=seed,
            kind=build,
            timeout_s=timeout,
            context=context,
            waves=waves,
            profile=profile,
            diagnosed=not no_diagnose,
        )

    return Action(run, debug)


@APP.command()
def compare(
    a: Annotated[
        Path,
        typer.Argument(
            metavar="A",
            help="A dump of --dump-taps, or a run's folder that has one, taps or taps.npz.",
            show_default=False,
        ),
    ],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another.", show_default=False)],
    only_layers: options.OnlyLayers = None,
    only_taps: options.OnlyTaps = None,
    only_tokens: options.OnlyTokens = None,
    side: Annotated[
        Literal["chip", "golden"],
        typer.Option("--side", help="Whose taps: the chips', or the golden models'."),
    ] = "chip",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was found as JSON, and nothing else.")
    ] = False,
    debug: options.Debug = False,
) -> Action:
    """Compare the taps of two runs, of whatever commit, seed, simulator or recipe, bit for bit.

    Exit status: 0 equal, 1 not, 2 bad input.
    """

    def run() -> int:
        from etchproof.cli.compare import run_compare

        return run_compare(a=a, b=b, only=(only_layers, only_taps, only_tokens), side=side, as_json=as_json)

    return Action(run, debug)


@APP.command()
def replay(
    stored: Annotated[
        Path,
        typer.Argument(
            metavar="RUN",
            help="Folder of a run that failed, of cosim, test, regress or signoff; or of a replay.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="Its folder, new or empty. Default: runs/TIME-replay-MODEL."
        ),
    ] = None,
    unit: Annotated[
        str | None,
        typer.Option(
            "--unit",
            metavar="LAYER.TAP",
            help="The tap that has to differ. Default: the one that differed first has to differ first again.",
        ),
    ] = None,
    alone: Annotated[
        bool,
        typer.Option(
            "--alone",
            help="Simulate the unit's layer alone, fed what entered it, in place of the whole chip.",
        ),
    ] = False,
    waves: Annotated[
        bool,
        typer.Option(
            "--waves",
            help="Write the waves of the unit and its neighbours, of a window around the first wrong value.",
        ),
    ] = False,
    timeout: options.Timeout = 600.0,
    project: options.Project = None,
    debug: options.Debug = False,
) -> Action:
    """Find the fewest tokens with which a run still fails, and make that run in a folder of its own.

    Exit status: 1 it fails again, as it has to; 2 bad input, or it does not fail any more.
    """

    def run() -> int:
        from etchproof.cli.replay import run_replay

        return run_replay(
            run=stored, out=out, unit=unit, alone=alone, waves=waves, timeout_s=timeout, project=project
        )

    return Action(run, debug)


@APP.command()
def diagnose(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="The folder of a run that failed.", show_default=False),
    ],
    limit: Annotated[
        float,
        typer.Option(
            "--limit", metavar="SECONDS", min=0.1, max=86_400, help="After it, no more hypotheses are tried."
        ),
    ] = 120.0,
    project: options.Project = None,
    debug: options.Debug = False,
) -> Action:
    """Say why a run failed: the units whose output does not follow from their input, and what explains it.

    Exit status: 0 every origin is explained, 1 one is not, 2 bad input.
    """

    def action() -> int:
        from etchproof.cli.diagnose import run_diagnose

        return run_diagnose(run=run, project=project, limit_s=limit)

    return Action(action, debug)


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
def regress(
    listed: Annotated[
        str,
        typer.Argument(
            metavar="LIST", help="A list: a .yaml file, or a name below ci/ (smoke).", show_default=False
        ),
    ],
    model: Annotated[
        Path | None, typer.Option("--model", metavar="PATH", help="What @model in the list stands for.")
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
    no_diagnose: options.NoDiagnose = False,
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
            diagnosed=not no_diagnose,
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
    chat: options.Chat = None,
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
            chat=chat,
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
    adapter: options.Adapters = None,
    recipe: options.Recipe = None,
    stage: options.Stage = "V1",
    jobs: options.Jobs = None,
    today: Annotated[
        str | None,
        typer.Option("--today", metavar="YYYY-MM-DD", help="The day that waivers are held against."),
    ] = None,
    qualified: Annotated[
        Path | None,
        typer.Option(
            "--qualified", metavar="DIR", help="The --out of etchproof qualify, of this chip and stage."
        ),
    ] = None,
    no_diagnose: options.NoDiagnose = False,
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
            qualified=qualified,
            diagnosed=not no_diagnose,
        )

    return Action(run, debug)


@APP.command()
def qualify(
    model: options.Model,
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="DIR", help="Its folder; an interrupted one is resumed.", show_default=False
        ),
    ],
    adapter: options.Adapters = None,
    recipe: options.Recipe = None,
    stage: options.Stage = "V1",
    rtl_faults: Annotated[
        int, typer.Option("--rtl-faults", min=0, max=100_000, help="How many to draw in the RTL.")
    ] = 600,
    image_faults: Annotated[
        int, typer.Option("--image-faults", min=0, max=100_000, help="How many to draw in the ROM images.")
    ] = 300,
    flow_faults: Annotated[
        int, typer.Option("--flow-faults", min=0, max=100_000, help="Likewise, of flow and golden model.")
    ] = 100,
    checker_faults: Annotated[
        int, typer.Option("--checker-faults", min=0, max=100_000, help="Likewise, of the checker.")
    ] = 30,
    seed: options.Seed = 1,
    jobs: options.Jobs = None,
    project: options.Project = None,
    debug: options.Debug = False,
) -> Action:
    """Plant faults in RTL, ROM images, flow, golden model and checker, and see whether a stage sees each of them.

    Exit status: 0 every fault is seen, 1 one is not, 2 bad input.
    """

    def run() -> int:
        from etchproof.cli.qualify import run_qualify

        return run_qualify(
            project=project,
            model=model,
            out=out,
            adapters=tuple(adapter or ()),
            recipe=recipe,
            stage=stage,
            counts=(rtl_faults, image_faults, flow_faults, checker_faults),
            seed=seed,
            jobs=jobs,
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
