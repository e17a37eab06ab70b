"""``etchproof cosim``: a co-simulation with its progress, table and verdict on stdout."""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etchproof.cli.console import Progress, make_console
from etchproof.cli.options import Only, selection, token_ids
from etchproof.cli.source import check_source, check_takes_shapes, choose_project
from etchproof.errors import InputError
from etchproof.tools import own_command

if TYPE_CHECKING:
    from etchproof.regress.spec import ItemSpec
    from etchproof.run.request import CosimRequest


def run_cosim(
    *,
    project: Path | None,
    prompt_ids: str | None,
    model: Path | None,
    shape: str | None,
    layers: int | None,
    random_weights: int | None,
    vocab: int | None,
    only: Only,
    waves: bool,
    diagnosed: bool,
    **options: Any,
) -> int:
    """0 for PASS, 1 for FAIL; ``diagnosed`` says whether a FAIL is looked into."""
    begun = time.perf_counter()
    check_source(model, shape, {"--layers": layers, "--random-weights": random_weights, "--vocab": vocab})
    if shape is not None and random_weights is None:
        raise InputError(
            "is missing", key="--random-weights", hint="a shape has no weights: give the seed of random ones"
        )
    found = choose_project(project, model, options["out"], *options["adapters"])
    check_takes_shapes(found, shape)
    ids = token_ids(prompt_ids, options["prompt"], options["chat"])
    for key, value in zip(("--only-layers", "--only-taps", "--only-tokens"), only, strict=True):
        if value is not None and options["dump_taps"] is None:
            raise InputError("stands without --dump-taps", key=key, hint="it says which taps are written")
    if waves:
        if options["kind"] != "fast":
            raise InputError(
                "stands beside --build", key="--waves", hint="waves have a simulator of their own"
            )
        options["kind"] = "waves"
    console = make_console()
    progress = Progress(console)
    with progress.stage("start") as say:
        from etchproof.checkpoint.shape import RandomModel
        from etchproof.cli.diagnose import diagnose_now
        from etchproof.cli.report import print_report
        from etchproof.regress.subject import keep_subject
        from etchproof.run.cosim import CosimRequest, cosim
        from etchproof.run.waves import Window

        say(f"project {found.name}")
    random_model = None
    if shape is not None and random_weights is not None:
        random_model = RandomModel(shape, random_weights, layers, vocab)
    request = CosimRequest(
        project=found,
        model_dir=model,
        random_model=random_model,
        prompt_ids=ids,
        dump_only=selection(only),
        waves=Window() if waves else None,
        **options,
    )
    outcome = cosim(request, progress, lambda prompt: rerun_command(request, prompt), begun)
    print_report(console, outcome)
    if outcome.result.verdict == "PASS":
        return 0
    with contextlib.suppress(OSError):  # the verdict stands, whatever the disk takes
        keep_subject(outcome.folder, _spec(request), outcome.chip.design)
    if diagnosed and outcome.result.mismatches:
        adapters = [adapter.quantized for adapter in outcome.loaded]
        diagnose_now(console, outcome.chip.design, outcome.chip.model, adapters, outcome.folder)
    return 1


def _spec(request: CosimRequest) -> ItemSpec:
    """What the run was of, as a regression says it."""
    from etchproof.regress.spec import ItemSpec, ShapeEntry

    model = request.random_model
    recipe = request.recipe or request.project.default_recipe
    return ItemSpec(
        name="cosim",
        test=request.project.verif.generation,
        model=None if request.model_dir is None else str(request.model_dir.absolute()),
        shape=None
        if model is None
        else ShapeEntry(
            shape=_name_or_file(model.shape), weights=model.seed, layers=model.layers, vocab=model.vocab
        ),
        recipe=_name_or_file(recipe),
        context=request.context,
        kind=request.kind,
        adapters=tuple(str(folder.absolute()) for folder in request.adapters),
        seed=request.seed,
    )


def rerun_command(request: CosimRequest, prompt: Sequence[int]) -> str:
    """The command that repeats a run from anywhere, in one line; where its files go is left to the next run.

    Args:
        prompt: the prompt's token ids, used in place of a text that cannot stand in one line, and of a chat, whose
            template may ask for the date.
    """
    from etchproof.run.request import option_words

    words = [
        *own_command(),
        "cosim",
        *_source(request),
        f"--project={request.project.root}",
    ]
    if recipe := request.recipe or request.project.default_recipe:
        words.append(f"--recipe={_name_or_file(recipe)}")
    if request.vectors is not None:
        words.append(f"--vectors={request.vectors.absolute()}")
    elif request.prompt is not None and request.prompt.isprintable():
        words.append(f"--prompt={request.prompt}")
    else:
        words.append(f"--prompt-ids={','.join(map(str, prompt))}")
    return shlex.join([*words, *option_words(request)])


def _source(request: CosimRequest) -> list[str]:
    """The words for what is simulated."""
    model = request.random_model
    if model is None:
        assert request.model_dir is not None
        return [str(request.model_dir.absolute())]
    words = [f"--shape={_name_or_file(model.shape)}", f"--random-weights={model.seed}"]
    words += [f"--layers={model.layers}"] if model.layers is not None else []
    words += [f"--vocab={model.vocab}"] if model.vocab is not None else []
    return words


def _name_or_file(name: str) -> str:
    """A recipe's or a shape's name as it is; a file from anywhere."""
    return str(Path(name).absolute()) if name.endswith((".yaml", ".yml")) else name
