"""``etchproof regress`` and ``etchproof test``: many runs of the testbench's tests, and one."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.text import Text

from etchproof.cli.console import make_console, visible
from etchproof.cli.diagnose import triage_now
from etchproof.cli.options import token_ids
from etchproof.cli.source import check_source, choose_project
from etchproof.errors import InputError
from etchproof.files.lock import hold
from etchproof.files.regular import read_bytes
from etchproof.files.yaml_file import validation_problem

if TYPE_CHECKING:
    from etchproof.project.declaration import Project
    from etchproof.regress.plan import RegressionPlan


def run_regress(
    *,
    project: Path | None,
    listed: str,
    model: Path | None,
    recipe: str | None,
    adapters: tuple[Path, ...],
    jobs: int | None,
    out: Path | None,
    only: Sequence[str],
    seed: int | None,
    diagnosed: bool,
) -> int:
    """0 when everything passed, 1 when something failed or nothing ran."""
    from etchproof.regress import plan as planning
    from etchproof.regress.check import check_items
    from etchproof.regress.key import sources_sha256
    from etchproof.regress.spec import MODEL, RECIPE, expand, load_list
    from etchproof.run.watcher import tell
    from etchproof.signoff.testplan import all_tests

    found = choose_project(project, model, out, *adapters)
    for folder in adapters:
        if not folder.is_dir():
            raise InputError("is not a folder", source=folder, key="--adapter")
    content = load_list(listed, found.root)
    for placeholder, key, given in ((MODEL, "--model", model), (RECIPE, "--recipe", recipe)):
        used = {name for entry in content.entries for name in (*entry.models, *entry.recipes)}
        if given is not None and placeholder not in used:
            raise InputError(f"no entry of {content.name} runs {placeholder}", key=key)
    items = expand(
        content,
        found.root,
        all_tests(found),
        model=model,
        recipe=recipe or found.default_recipe,
        adapters=adapters,
        base_seed=seed,
    )
    chosen = planning.only(items, only)
    tell(check_items(chosen, found))
    plan = planning.RegressionPlan(
        name=content.name,
        project=str(found.root),
        sources_sha256=sources_sha256(found),
        items=chosen,
    )
    folder = out or Path("runs") / f"regress-{content.name}"
    with hold(folder):
        return _run_plan(plan, found, folder, jobs or len(os.sched_getaffinity(0)), diagnosed)


def _run_plan(plan: RegressionPlan, project: Project, folder: Path, jobs: int, diagnosed: bool) -> int:
    from etchproof.diagnose.triage_result import TRIAGE_FILE, TRIAGE_PAGE
    from etchproof.regress.run import check_folder, run_regression

    resumed = check_folder(folder, plan)
    console = make_console()
    show = ItemLines(console, len(plan.items))
    jobs = min(jobs, max(1, len(plan.items)))
    what = "resumed in" if resumed else "in"
    console.print(
        Text(f"{plan.name}: {len(plan.items)} items, {jobs} at once, {what} {folder}"), soft_wrap=True
    )
    for name in (TRIAGE_FILE, TRIAGE_PAGE):  # of an earlier run
        (folder / name).unlink(missing_ok=True)
    started = time.monotonic()
    outcome = run_regression(plan, folder, jobs, show)
    for line in outcome.broken:
        console.print(Text(f"broken   {visible(line)}", style="red"), soft_wrap=True)
    missing = [spec.name for spec in plan.items if outcome.results[spec.name] is None]
    for name in missing:
        console.print(Text(f"no result of {name}", style="red"), soft_wrap=True)
    if outcome.failed and diagnosed:
        triage_now(console, project, outcome, folder)
    elements = sum(result.elements for result in outcome.results.values() if result)
    passed = len(plan.items) - len(outcome.failed)
    console.print(
        Text(
            f"{passed} of {len(plan.items)} passed, {elements:,} elements compared, {time.monotonic() - started:.1f} s"
        ),
        soft_wrap=True,
    )
    verdict = "PASS" if outcome.passed else "FAIL"
    console.print(Text(f"{verdict}     {plan.name}", style="bold green" if outcome.passed else "bold red"))
    return 0 if outcome.passed else 1


class ItemLines:
    """A line for each item as it ends."""

    def __init__(self, console: Console, total: int) -> None:
        self._console, self._total, self._done = console, total, 0

    def __call__(self, event: Mapping[str, Any]) -> None:
        self._done += 1
        word = "PASS" if event["passed"] else "FAIL"
        took = "passed before" if event.get("resumed") else f"{event['wall_s']:.1f} s"
        total = str(self._total)
        width = len(total)
        line = Text(f"[{self._done:{width}}/{total}] ", style="dim")
        line.append(word, style="green" if event["passed"] else "bold red")
        line.append(f"  {visible(str(event['name']))}  ")
        line.append(took, style="dim")
        self._console.print(line, soft_wrap=True)
        if why := event.get("again"):
            self._console.print(Text(f"    ran again: {visible(why)}", style="dim"), soft_wrap=True)
        for text in str(event["message"]).splitlines():
            self._console.print(Text(f"    {visible(text)}"), soft_wrap=True)


def run_one_test(
    *,
    project: Path | None,
    test: str,
    model: Path | None,
    shape: str | None,
    layers: int | None,
    random_weights: int | None,
    vocab: int | None,
    recipe: str | None,
    adapters: tuple[str, ...],
    prompt: str | None,
    prompt_ids: str | None,
    chat: str | None,
    tokens: int,
    directed: Path | None,
    vectors: Path | None,
    corners: int | None,
    out: Path | None,
    seed: int,
    kind: Any,
    timeout_s: float,
    context: int | None,
) -> int:
    """0 when it passed, 1 when not."""
    check_source(model, shape, {"--layers": layers, "--random-weights": random_weights, "--vocab": vocab})
    if shape is not None and random_weights is None:
        raise InputError("is missing", key="--random-weights", hint="give the seed of the shape's weights")
    from etchproof.regress.check import check_items
    from etchproof.regress.execute import run_item
    from etchproof.regress.prompt import chat_of
    from etchproof.regress.spec import ItemSpec, ShapeEntry
    from etchproof.run.folder import check_out
    from etchproof.run.request import check_timeout
    from etchproof.run.slots import DRAWN
    from etchproof.run.streams import test_modules
    from etchproof.run.watcher import tell
    from etchproof.signoff.testplan import all_tests

    found = choose_project(
        project, model, out, *(Path(name) for name in adapters if not name.startswith(DRAWN))
    )
    known = all_tests(found)
    if test not in known:
        raise InputError(
            f"{test!r} is no test of {', '.join(test_modules(found))}",
            key="TEST",
            hint=f"known are {', '.join(known)}",
        )
    check_timeout(timeout_s)
    if out is not None:
        check_out(out)
    entry = None
    if shape is not None and random_weights is not None:
        entry = ShapeEntry(shape=shape, weights=random_weights, layers=layers, vocab=vocab)
    ids = token_ids(prompt_ids, prompt, chat)
    if chat is not None:
        said = chat_of(chat, model, found)
        ids = said.ids
        tell(said.notes)
    spec = ItemSpec(
        name=test,
        test=test,
        model=str(model.absolute()) if model else None,
        shape=entry,
        recipe=recipe or found.default_recipe,
        context=context,
        kind=kind,
        adapters=tuple(name if name.startswith(DRAWN) else str(Path(name).absolute()) for name in adapters),
        seed=seed,
        prompt=prompt,
        prompt_ids=ids,
        tokens=tokens,
        directed=_directed(directed),
        vectors=None if vectors is None else str(vectors.absolute()),
        corners=corners,
        timeout_s=timeout_s,
    )
    tell(check_items((spec,), found))
    console = make_console()
    with tempfile.TemporaryDirectory(prefix="etchproof-") as chips:
        folder = out.absolute() if out is not None else Path(tempfile.mkdtemp(prefix=f"etchproof-{test}-"))
        result = run_item(spec, found, Path(chips), folder, key="")
    for reason in result.reasons:
        console.print(Text(f"reason   {reason.name}: {visible(reason.message)}"), soft_wrap=True)
    console.print(Text(f"compared {result.vectors:,} vectors, {result.elements:,} elements"))
    passed = result.verdict == "PASS"
    console.print(Text(f"{result.verdict}     {test}", style="bold green" if passed else "bold red"))
    if out is None and passed:
        shutil.rmtree(folder)
    else:
        console.print(Text(f"run      {folder}"), soft_wrap=True)
    return 0 if passed else 1


def _directed(path: Path | None) -> tuple[tuple[int, ...], ...]:
    from etchproof.regress.spec import Token

    if path is None:
        return ()
    try:
        return TypeAdapter(tuple[tuple[Token, ...], ...]).validate_json(read_bytes(path))
    except InputError as error:
        raise InputError(error.problem, source=error.source, key="--directed") from None
    except ValidationError as error:
        raise InputError(
            f"holds no sequences of token ids: {validation_problem(error, path)}", key="--directed"
        ) from None
