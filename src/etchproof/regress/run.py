"""Runs a regression: pytest under pytest-xdist as a child process, and its results read with suspicion."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from etchproof.errors import InputError, machine_trouble
from etchproof.files.atomic import write_atomically
from etchproof.files.lock import LOCK_FILES
from etchproof.project.declaration import load_project
from etchproof.regress.execute import ITEMS_FOLDER
from etchproof.regress.item import ItemResult, read_item
from etchproof.regress.key import sources_sha256
from etchproof.regress.plan import PARENT_ENV, PLAN_FILE, REFUSALS_ENV, RegressionPlan
from etchproof.regress.spec import ItemSpec
from etchproof.sim.progress import PROGRESS_FILE, ProgressReader

JUNIT_FILE: Final = "junit.xml"
LOG_FILE: Final = "pytest.log"
_INI: Final = "pytest.ini"
_POLL_S: Final = 0.1

OnItem = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class RegressionOutcome:
    """A regression that came to its end.

    Attributes:
        plan: what had to run.
        results: by item; None where an item left no result.
        broken: what went wrong outside the items, a line each.
    """

    plan: RegressionPlan
    results: Mapping[str, ItemResult | None]
    broken: tuple[str, ...]

    @property
    def failed(self) -> tuple[ItemSpec, ...]:
        """The items that are no PASS."""
        return tuple(
            spec
            for spec in self.plan.items
            if (result := self.results.get(spec.name)) is None or result.verdict != "PASS"
        )

    @property
    def passed(self) -> bool:
        """Whether something ran, and all of it passed."""
        return bool(self.plan.items) and not self.failed and not self.broken


def check_folder(out: Path, plan: RegressionPlan) -> bool:
    """Whether ``out`` holds an earlier run of the same regression, to be resumed.

    Raises:
        InputError: it holds something else.
    """
    if not out.exists() or (out.is_dir() and not {path.name for path in out.iterdir()} - LOCK_FILES):
        return False
    if not (out / PLAN_FILE).is_file():
        raise InputError("is not empty and holds no regression", source=out, key="--out")
    earlier = RegressionPlan.read(out)
    if earlier.name != plan.name:
        raise InputError(
            f"holds regression {earlier.name!r}", source=out, key="--out", hint="name another folder"
        )
    return True


def run_regression(
    plan: RegressionPlan, out: Path, jobs: int, on_item: OnItem | None = None
) -> RegressionOutcome:
    """Run every item that has not passed already.

    Args:
        out: the regression's folder (``check_folder``).
        jobs: simulators at once.
        on_item: gets each item's end.

    Raises:
        InputError: the machine refused something, as a full disk does; results that are complete stay for a resumption.
    """
    try:
        return _run(plan, out.absolute(), jobs, on_item)
    except OSError as error:
        if (trouble := machine_trouble(error, out)) is not None:
            raise trouble from error
        raise


def _run(plan: RegressionPlan, out: Path, jobs: int, on_item: OnItem | None) -> RegressionOutcome:
    out.mkdir(parents=True, exist_ok=True)
    plan.write(out)
    write_atomically(out / _INI, "[pytest]\njunit_family = xunit2\n")
    for stale in (JUNIT_FILE, PROGRESS_FILE, LOG_FILE):  # a link in their place goes, and is not followed
        (out / stale).unlink(missing_ok=True)
    broken: list[str] = []
    if plan.items:
        status = _pytest(out, jobs, on_item)
        if status not in (0, 1):
            broken.append(f"pytest ended with status {status}, see {out / LOG_FILE}")
        if not (out / JUNIT_FILE).is_file():
            broken.append(f"pytest left no {JUNIT_FILE}")
    else:
        broken.append("the list is empty: nothing ran")
    project = load_project(Path(plan.project))
    if sources_sha256(project) != plan.sources_sha256:
        broken.append("the project, the engine or a tool changed while it ran: run it again")
    results: dict[str, ItemResult | None] = {}
    for spec in plan.items:
        found = read_item(out / ITEMS_FOLDER / spec.name, spec, plan.key(spec))
        results[spec.name] = None if isinstance(found, str) else found
    return RegressionOutcome(plan, results, tuple(broken))


def _pytest(out: Path, jobs: int, on_item: OnItem | None) -> int:
    command = [
        sys.executable,
        "-m",
        "pytest",
        str(out / PLAN_FILE),
        "-c",
        str(out / _INI),
        f"--rootdir={out}",
    ]
    command += ["-p", "xdist", "-p", "etchproof.regress.plugin", "-p", "no:cacheprovider", "--noconftest"]
    command += ["-n", str(jobs), f"--junitxml={out / JUNIT_FILE}", "-q", "--tb=short", "--color=no"]
    engine = str(Path(str(files("etchproof"))).parent)
    inherited = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    env = {
        name: value for name, value in os.environ.items() if name not in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS")
    }
    env |= {
        PARENT_ENV: str(os.getpid()),
        "PYTHONSAFEPATH": "1",  # the folder in which it runs holds data
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # what else is installed must not change a regression
        "PYTHONPATH": os.pathsep.join(dict.fromkeys([engine, *map(os.path.abspath, inherited)])),
    }
    reader = ProgressReader(out)
    refusals, told = os.pipe()
    for end in (refusals, told):
        os.set_blocking(end, False)
    with os.fdopen(refusals, "rb", 0) as said, (out / LOG_FILE).open("xb") as log:
        with os.fdopen(told, "wb"):
            process = subprocess.Popen(
                command,
                cwd=out,
                env={**env, REFUSALS_ENV: str(told)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(told,),
            )
        try:
            while True:
                ended = process.poll() is not None
                for event in reader.read():
                    if on_item is not None and event.get("event") == "item":
                        on_item(event)
                if ended:
                    if lines := said.read():
                        raise InputError(lines.decode(errors="replace").splitlines()[0])
                    return process.returncode
                time.sleep(_POLL_S)
        finally:
            if process.poll() is None:  # interrupted: workers and their simulators go with it
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
