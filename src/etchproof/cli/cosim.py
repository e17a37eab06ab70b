"""``etchproof cosim``: a co-simulation with its progress, table and verdict on stdout."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etchproof.cli.console import Progress, make_console
from etchproof.cli.source import check_source, choose_project
from etchproof.errors import InputError, shown
from etchproof.tools import own_command

if TYPE_CHECKING:
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
    **options: Any,
) -> int:
    """0 for PASS, 1 for FAIL."""
    begun = time.perf_counter()
    check_source(model, shape, {"--layers": layers, "--random-weights": random_weights, "--vocab": vocab})
    if shape is not None and random_weights is None:
        raise InputError(
            "is missing", key="--random-weights", hint="a shape has no weights: give the seed of random ones"
        )
    found = choose_project(project, model, options["out"], *options["adapters"])
    ids = _ids(prompt_ids, options["prompt"])
    console = make_console()
    progress = Progress(console)
    with progress.stage("start") as say:
        from etchproof.checkpoint.shape import RandomModel
        from etchproof.cli.report import print_report
        from etchproof.run.cosim import CosimRequest, cosim

        say(f"project {found.name}")
    random_model = None
    if shape is not None and random_weights is not None:
        random_model = RandomModel(shape, random_weights, layers, vocab)
    request = CosimRequest(
        project=found, model_dir=model, random_model=random_model, prompt_ids=ids, **options
    )
    outcome = cosim(request, progress, lambda prompt: rerun_command(request, prompt), begun)
    print_report(console, outcome)
    return 0 if outcome.result.verdict == "PASS" else 1


def rerun_command(request: CosimRequest, prompt: Sequence[int]) -> str:
    """The command that repeats a run from anywhere, in one line; where its files go is left to the next run.

    Args:
        prompt: the prompt's token ids, used in place of a text that cannot stand in one line.
    """
    words = [
        *own_command(),
        "cosim",
        *_source(request),
        f"--project={request.project.root}",
        f"--recipe={_name_or_file(request.recipe or request.project.recipes.default)}",
    ]
    if request.prompt is not None and request.prompt.isprintable():
        words.append(f"--prompt={request.prompt}")
    else:
        words.append(f"--prompt-ids={','.join(map(str, prompt))}")
    words += [f"--tokens={request.tokens}", f"--seed={request.seed}", f"--build={request.kind}"]
    words.append(f"--timeout={request.timeout_s:g}")
    words += [f"--adapter={folder.absolute()}" for folder in request.adapters]
    words += [f"--inject={site}" for site in request.inject]
    if request.context is not None:
        words.append(f"--context={request.context}")
    if request.profile:
        words.append("--profile")
    return shlex.join(words)


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


def _ids(text: str | None, prompt: str | None) -> tuple[int, ...] | None:
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
