"""``etchproof cosim``: a co-simulation with its progress, table and verdict on stdout."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etchproof.cli.console import Progress, make_console
from etchproof.errors import InputError
from etchproof.project import find_project, load_project

if TYPE_CHECKING:
    from etchproof.cosim import CosimRequest


def run_cosim(*, project: Path | None, prompt_ids: str | None, model: Path, **options: Any) -> int:
    """0 for PASS, 1 for FAIL."""
    found = load_project(project) if project else find_project()
    ids = _ids(prompt_ids, options["prompt"])
    console = make_console()
    progress = Progress(console)
    with progress.stage("start") as say:
        from etchproof.cli.report import print_report
        from etchproof.cosim import CosimRequest, cosim

        say(f"project {found.name}")
    request = CosimRequest(project=found, model_dir=model, prompt_ids=ids, **options)
    outcome = cosim(request, progress, lambda prompt: rerun_command(request, prompt))
    print_report(console, outcome)
    return 0 if outcome.result.verdict == "PASS" else 1


def rerun_command(request: CosimRequest, prompt: Sequence[int]) -> str:
    """The command that repeats a run from anywhere, in one line; where its files go is left to the next run.

    Args:
        prompt: the prompt's token ids, used in place of a text that cannot stand in one line.
    """
    words = [
        *_program(),
        "cosim",
        str(request.model_dir.absolute()),
        f"--project={request.project.root}",
        f"--recipe={_recipe(request)}",
    ]
    if request.prompt is not None and request.prompt.isprintable():
        words.append(f"--prompt={request.prompt}")
    else:
        words.append(f"--prompt-ids={','.join(map(str, prompt))}")
    words += [f"--tokens={request.tokens}", f"--seed={request.seed}", f"--build={request.kind}"]
    words.append(f"--timeout={request.timeout_s:g}")
    words += [f"--inject={site}" for site in request.inject]
    if request.context is not None:
        words.append(f"--context={request.context}")
    return shlex.join(words)


def _recipe(request: CosimRequest) -> str:
    name = request.recipe or request.project.recipes.default
    return str(Path(name).absolute()) if name.endswith((".yaml", ".yml")) else name


def _program() -> list[str]:
    script = Path(sys.executable).with_name("etchproof")
    return [str(script)] if script.is_file() else [sys.executable, "-m", "etchproof"]


def _ids(text: str | None, prompt: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    if prompt is not None:
        raise InputError("stands beside --prompt", key="--prompt-ids", hint="give one of them")
    try:
        ids = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"is {text[:80]!r}, expected token ids like 1,2,3", key="--prompt-ids") from None
    return ids
