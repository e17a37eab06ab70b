"""The smallest run that still fails as a stored one did, in a folder that repeats it on another machine."""

from __future__ import annotations

import shlex
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict

from etchproof.compare.comparator import COMPARISON_FILE, Comparison
from etchproof.contract.taps import TapKey
from etchproof.errors import InputError
from etchproof.files.atomic import write_atomically
from etchproof.files.json_record import read_json_record
from etchproof.files.validation import as_tuple
from etchproof.project.declaration import Project
from etchproof.run import flow
from etchproof.run.cosim import Outcome, cosim
from etchproof.run.folder import RERUN_FILE, check_out
from etchproof.run.request import CosimRequest, Job, check, option_words
from etchproof.run.shrink import shrink
from etchproof.run.streams import generation_test
from etchproof.run.testrun import Chip, Variation, prepare, run_test
from etchproof.run.watcher import Watcher
from etchproof.run.waves import Window
from etchproof.sim.forks import Forks
from etchproof.tools import own_command
from etchproof.verdict.result import RESULT_FILE, RunResult

REPLAY_FILE: Final = "replay.json"
CHECKPOINT: Final = "checkpoint"
"""A copy of the model."""

RECIPE_FILE: Final = "recipe.yaml"
PROJECT_ENV: Final = "ETCHPROOF_PROJECT"
"""Names the project on another machine, to the script that repeats a replay."""

_TRIALS: Final = 200
_BEFORE_PS: Final = 2_000_000  # of waves: a window around the first wrong value
_AFTER_PS: Final = 500_000
_MODEL_BYTES: Final = 1 << 30  # a larger model is named, and not copied

_SCRIPT: Final = """\
#!/bin/sh
# Repeats this replay; takes further options, such as --out. On another machine {variable} names the project, where it
# is not the reference chip of the installation.
here=$(cd "$(dirname "$0")" && pwd) || exit 2
project=${{{variable}:-{project}}}
if [ -f "$project/etchproof.toml" ]; then set -- "--project=$project" "$@"; fi
command -v etchproof >/dev/null || etchproof() {{ {command} "$@"; }}
etchproof cosim {model} {words} "$@"
"""


class ReplayRecord(BaseModel):
    """``replay.json``: what was left out of a run.

    Attributes:
        run: the stored run.
        layer: of the unit that fails; -1 outside the layers.
        tap: its name.
        fed: how many tokens the stored run fed.
        places: which of them are left, by their number.
        trials: simulations that it took.
        minimal: whether no single one of those that are left can go.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    run: str
    layer: int
    tap: str
    fed: int
    places: Annotated[tuple[int, ...], BeforeValidator(as_tuple)]
    trials: int
    minimal: bool


@dataclass(frozen=True)
class Replayed:
    """A replay that was made."""

    outcome: Outcome
    record: ReplayRecord


@dataclass(frozen=True)
class _Stored:
    """A stored run that failed.

    Attributes:
        unit: that is looked at.
        named: whether somebody named it; otherwise it is the one that differed first.
        tokens: that were fed until it differed.
        options: of the command that repeats the run, by name.
    """

    result: RunResult
    unit: TapKey
    named: bool
    tokens: tuple[int, ...]
    options: dict[str, str]


def replay(
    project: Project,
    run: Path,
    out: Path,
    watcher: Watcher,
    rerun_command: Callable[[CosimRequest, Sequence[int]], str],
    *,
    unit: TapKey | None = None,
    waves: bool = False,
    timeout_s: float = 600.0,
) -> Replayed:
    """Find the smallest run that fails as a stored one did, and make it.

    Args:
        project: of the stored run.
        run: its folder.
        out: for the new one, new or empty.
        rerun_command: of a request and the prompt's token ids, the command that repeats the run.
        unit: the tap that has to differ; None for the one that differed first, which then has to differ first again.
        waves: whether waves are written, of a window around the first wrong value.
        timeout_s: wall-clock limit of a simulation.

    Raises:
        InputError: the stored run has no tap that differs, cannot be repeated, or does not fail again.
    """
    check_out(out)
    stored = _stored(run, project, unit)
    request = _request(project, stored, out, timeout_s)
    with watcher.stage("import") as say:
        job = check(request, Path(stored.result.model.path))
        if job.design.source.sha256 != stored.result.model.sha256:
            raise InputError("is not the model of the run any more", source=stored.result.model.path)
        say(str(job.design.source))
    with tempfile.TemporaryDirectory(prefix="etchproof-replay-") as name:
        folder = Path(name)
        chip = prepare(job.design, folder, request.kind, flow.cache_folder(), watcher, asked=job.asked)
        trial = _Trial(job, chip, folder / "trial", stored)
        try:
            with watcher.stage("shrink") as say:
                if not trial(range(len(stored.tokens))):
                    problem = f"does not fail again at {named(stored.unit)}: what made it fail is not there any more"
                    raise InputError(problem, source=run)
                places, trials, minimal = shrink(range(len(stored.tokens)), trial, _TRIALS)
                say(f"{len(places)} of {stored.result.tokens_fed} tokens, {trials + 1} simulations")
                if not trial(places):
                    raise InputError("does not fail each time: the chip is not deterministic", source=run)
        finally:
            trial.close()
    final = replace(request, prompt_ids=tuple(stored.tokens[place] for place in places))
    if waves:
        at = trial.divergence_ps
        window = Window() if at is None else Window(max(0, at - _BEFORE_PS), at + _AFTER_PS)
        final = replace(final, waves=window, kind="waves")
    outcome = cosim(final, watcher, lambda prompt: rerun_command(final, prompt))
    record = ReplayRecord(
        run=str(run.absolute()),
        layer=stored.unit[0],
        tap=stored.unit[1],
        fed=stored.result.tokens_fed,
        places=tuple(places),
        trials=trials + 2,
        minimal=minimal,
    )
    _make_portable(outcome.folder, final)
    write_atomically(outcome.folder / REPLAY_FILE, record.model_dump_json(indent=1))
    return Replayed(outcome, record)


class _Trial:
    """Whether the chip still fails when it is fed some of the tokens, by their places; ``close`` has to be called.

    Attributes:
        divergence_ps: when the first difference was recorded in the last trial.
    """

    def __init__(self, job: Job, chip: Chip, folder: Path, stored: _Stored) -> None:
        self._job, self._chip, self._folder, self._stored = job, chip, folder, stored
        self._forks = Forks()
        self._injections = flow.locate(job.request.project, chip.plan, job.rom_sites, chip.images)
        self.divergence_ps: int | None = None

    def __call__(self, places: Sequence[int]) -> bool:
        request = self._job.request
        prompt = [self._stored.tokens[place] for place in places]
        done = run_test(
            self._chip,
            generation_test(request.project),
            self._folder,
            seed=request.seed,
            config={"sequences": [{"prompt": prompt, "new_tokens": 1, "stop_tokens": [], "adapter": None}]},
            injections=self._injections,
            timeout_s=request.timeout_s,
            variation=Variation(launcher=self._forks, keeps_taps=False),
        )
        if done.comparison is None:
            return False
        self.divergence_ps = done.comparison.divergence_ps
        return _fails(done.comparison, self._stored.unit, named=self._stored.named)

    def close(self) -> None:
        """End the simulator that waits."""
        self._forks.close()


def _fails(found: Comparison, unit: TapKey, *, named: bool) -> bool:
    """Whether a unit differs; where nobody named it, whether it differs first."""
    if named:
        return any((one.layer, one.tap) == unit and one.mismatches for one in found.taps)
    first = found.first_divergence
    return first is not None and (first.layer, first.tap) == unit


def _stored(run: Path, project: Project, unit: TapKey | None) -> _Stored:
    result = read_json_record(run / RESULT_FILE, RunResult)
    comparison = read_json_record(run / COMPARISON_FILE, Comparison)
    if result.project != project.name:
        raise InputError(
            f"is of project {result.project!r}, not of {project.name!r}",
            source=run,
            hint="name its project with --project",
        )
    first = comparison.first_divergence
    if first is None:
        raise InputError("has no tap that differs: there is nothing to replay", source=run)
    if result.adapters or result.vectors is not None:
        what = "adapters" if result.adapters else "vectors"
        raise InputError(f"has {what}, which a replay does not take yet", source=run)
    if unit is not None and not _fails(comparison, unit, named=True):
        raise InputError(f"{named(unit)} does not differ in the run", source=run, key="--unit")
    where = (first.layer, first.tap)
    # The chip is causal: what comes after the token of the first difference cannot matter to it. Of another unit it is
    # not known when it differs first.
    last = first.token + 1 if unit in (None, where) else None
    fed = tuple(token.token_in for token in comparison.tokens if token.status == 0)[:last]
    try:
        said = shlex.split(result.rerun)
    except ValueError as error:
        raise InputError(f"is no command: {error}", source=run / RESULT_FILE, key="rerun") from None
    words = [word[2:].partition("=") for word in said if word.startswith("--")]
    options = {name: value for name, equals, value in words if equals}
    return _Stored(result, unit or where, unit is not None, fed, options)


def _request(project: Project, stored: _Stored, out: Path, timeout_s: float) -> CosimRequest:
    """The stored run once more, fed the tokens until it differs."""
    result, context = stored.result, stored.options.get("context", "")
    return CosimRequest(
        project=project,
        model_dir=Path(result.model.path),
        recipe=stored.options.get("recipe"),
        prompt=None,
        prompt_ids=stored.tokens,
        tokens=1,
        out=out,
        inject=result.injected,
        seed=result.seed,
        kind="fast" if result.sim.kind == "waves" else result.sim.kind,
        timeout_s=timeout_s,
        context=int(context) if context.isdecimal() else None,
    )


def _make_portable(folder: Path, request: CosimRequest) -> None:
    """Copies of model and recipe, and a script that uses them, in place of the run's own."""
    model, recipe = request.model_dir, request.recipe
    assert model is not None
    files = [path for path in model.rglob("*") if path.is_file()] if model.is_dir() else [model]
    here = shlex.quote(str(model.absolute()))
    if sum(path.stat().st_size for path in files) <= _MODEL_BYTES:
        if model.is_dir():
            shutil.copytree(model, folder / CHECKPOINT)
            here = f'"$here"/{CHECKPOINT}'
        else:
            (folder / CHECKPOINT).mkdir()
            shutil.copyfile(model, folder / CHECKPOINT / model.name)
            here = f'"$here"/{CHECKPOINT}/{shlex.quote(model.name)}'
    prompt = ",".join(map(str, request.prompt_ids or ()))
    said = shlex.join([f"--prompt-ids={prompt}", *option_words(request)])
    if recipe is not None and recipe.endswith((".yaml", ".yml")):
        shutil.copyfile(recipe, folder / RECIPE_FILE)
        said += f' --recipe="$here"/{RECIPE_FILE}'
    elif recipe is not None:
        said += f" {shlex.quote(f'--recipe={recipe}')}"
    script = folder / RERUN_FILE
    script.write_text(
        _SCRIPT.format(
            variable=PROJECT_ENV,
            project=shlex.quote(str(request.project.root)),
            command=shlex.join(own_command()),
            model=here,
            words=said,
        ),
        encoding="utf-8",
    )
    script.chmod(0o755)


def named(unit: TapKey) -> str:
    """A unit as ``--unit`` names it."""
    return unit[1] if unit[0] < 0 else f"{unit[0]}.{unit[1]}"
