"""The pytest side of a regression: ``regression.json`` is collected, each of its items is a pytest item.

Loaded with ``-p`` into a pytest of its own (``etchproof.regress.run``), under pytest-xdist in every worker. The
controller writes what happens to ``progress.jsonl``.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from etchproof.errors import InputError, machine_trouble
from etchproof.project.declaration import load_project
from etchproof.regress.execute import ITEMS_FOLDER, run_item, stored_item
from etchproof.regress.item import NOT_RUN, ItemResult
from etchproof.regress.plan import PARENT_ENV, PLAN_FILE, REFUSALS_ENV, RegressionPlan
from etchproof.regress.spec import ItemSpec
from etchproof.sim.progress import ProgressWriter

_MESSAGE_LINES: Final = 3
_PR_SET_PDEATHSIG: Final = 1
_TROUBLE: Final = "trouble"


class ItemFailedError(Exception):
    """An item that is no PASS."""


def failure_text(result: ItemResult) -> str:
    """Why an item failed, and how to see it again."""
    reasons = [f"{reason.name}: {reason.message}" for reason in result.reasons]
    shown = reasons[:_MESSAGE_LINES]
    shown += [f"and {len(reasons) - len(shown)} more"] if len(reasons) > len(shown) else []
    return "\n".join([*shown, f"reproduce: {result.rerun}"])


class RegressionFile(pytest.File):
    """``regression.json``."""

    def collect(self) -> Iterator[pytest.Item]:
        plan = RegressionPlan.read(self.path.parent)
        for spec in plan.items:
            yield RegressionItem.from_parent(self, name=spec.name, spec=spec, plan=plan)


class RegressionItem(pytest.Item):
    """One run of one test."""

    def __init__(self, *, spec: ItemSpec, plan: RegressionPlan, **options: Any) -> None:
        super().__init__(**options)
        self._spec, self._plan = spec, plan

    def runtest(self) -> None:
        try:
            self._run()
        except Exception as error:
            if (trouble := machine_trouble(error, self.path.parent)) is not None:
                self.user_properties.append((_TROUBLE, str(trouble)))
            raise

    def _run(self) -> None:
        out, spec = self.path.parent, self._spec
        folder, key = out / ITEMS_FOLDER / spec.name, self._plan.key(spec)
        project = load_project(Path(self._plan.project))
        stored = stored_item(spec, project, out, folder, key)
        resumed = not isinstance(stored, str) and stored.verdict == "PASS"
        if isinstance(stored, str) or not resumed:
            if isinstance(stored, str) and stored != NOT_RUN:
                self.user_properties.append(("again", stored))
            result = run_item(spec, project, out, folder, key)
        else:
            result = stored
        self.user_properties += [
            ("resumed", resumed),
            ("seed", spec.seed),
            ("fabric_sha256", result.fabric_sha256),
            ("rom_sha256", result.rom_sha256),
            ("elements", result.elements),
            ("rerun", result.rerun),
        ]
        if result.verdict != "PASS":
            raise ItemFailedError(failure_text(result))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, (ItemFailedError, InputError)):
            return str(excinfo.value)
        if isinstance(excinfo.value, Exception) and (trouble := machine_trouble(excinfo.value)):
            return str(trouble)
        return super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, self.name


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> RegressionFile | None:
    """pytest's hook."""
    return RegressionFile.from_parent(parent, path=file_path) if file_path.name == PLAN_FILE else None


@pytest.hookimpl(tryfirst=True)
def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Dir:
    """pytest's hook: a folder is a folder. As a package, its ``__init__.py`` would be run."""
    return pytest.Dir.from_parent(parent, path=path)


def pytest_configure(config: pytest.Config) -> None:
    """pytest's hook: the controller tells how it goes, workers do not; neither outlives who started it."""
    _die_with_parent(None if hasattr(config, "workerinput") else os.environ.get(PARENT_ENV))
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Teller(Path(config.args[0]).parent), "etchproof-regress")


def _die_with_parent(parent: str | None) -> None:
    """Linux kills this process when the one that started it dies, however that was; simulators follow it.

    Args:
        parent: its process id; None where any parent but the one that adopts orphans will do.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    gone = os.getppid() == 1 if parent is None else os.getppid() != int(parent)
    if gone:  # before the line above
        os.kill(os.getpid(), signal.SIGKILL)


class _Teller:
    """Tells the process that started the regression how it goes, and what the machine refuses."""

    def __init__(self, out: Path) -> None:
        self._out, self._refusals = out, int(os.environ[REFUSALS_ENV])
        with self._telling():
            self._progress = ProgressWriter(out)

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """The full disk that fails an item may leave no room to say so: a pipe takes the line."""
        try:
            yield
        except OSError as error:
            self._refused(str(machine_trouble(error, self._out) or error))
            raise

    def _refused(self, line: str) -> None:
        with contextlib.suppress(BlockingIOError):  # the pipe is full: the first line counts
            os.write(self._refusals, f"{line}\n".encode())

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self) -> Iterator[None]:
        with self._telling():  # junit.xml is written now
            return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.failed:
            properties = dict(report.user_properties)
            if _TROUBLE in properties:
                self._refused(str(properties[_TROUBLE]))
            with self._telling():
                self._tell(report, properties)

    def _tell(self, report: pytest.TestReport, properties: dict[str, Any]) -> None:
        self._progress.write(
            {
                "event": "item",
                "name": report.nodeid.rpartition("::")[2],
                "passed": report.passed,
                "resumed": properties.get("resumed", False),
                "again": properties.get("again", ""),
                "wall_s": round(report.duration, 2),
                "message": _plain(report.longreprtext) if report.failed else "",
            }
        )


def _plain(text: str) -> str:
    """Without the line in which xdist says which worker it was."""
    return "\n".join(line for line in text.splitlines() if not line.startswith("[gw"))
