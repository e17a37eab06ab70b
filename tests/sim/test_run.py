"""How runs end: each way but one is a failure with a name, and no simulator is left behind."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from etchproof.contract.golden import GoldenSession
from etchproof.contract.taps import Tap, TapKey, TapPlan
from etchproof.errors import InputError
from etchproof.sim.build import Build
from etchproof.sim.child import RUN_ENV, run_config
from etchproof.sim.golden import GoldenSource
from etchproof.sim.progress import PROGRESS_FILE
from tests.conftest import ROOT
from tests.sim.conftest import BENCHES, RunMini

pytestmark = pytest.mark.sim

PLAN = TapPlan((Tap("x"),))


def names(outcome: Any) -> list[str]:
    return [failure.name for failure in outcome.failures]


def test_what_the_parent_passes_down_arrives(run_mini: RunMini) -> None:
    outcome = run_mini("environment", config={"text": "é", "numbers": [1, 2.5]}, plusargs=["+mini=yes"])
    assert (outcome.status, outcome.exit_code, outcome.failures) == ("passed", 0, ())


def test_a_run_does_not_inherit_the_settings_of_another(
    run_mini: RunMini, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COCOTB_TESTCASE", "fails")
    monkeypatch.setenv("COCOTB_RESULTS_FILE", "elsewhere.xml")
    monkeypatch.setenv("ETCHPROOF_TAP_BYTES", "1")
    assert run_mini("disabled").status == "passed"


# Beside what the installed cocotb reads, which the test below finds by itself.
READ_IN_A_SIMULATOR = (
    *(
        "MODULE",
        "TESTCASE",
        "TOPLEVEL",
        "TOPLEVEL_LANG",
        "RANDOM_SEED",
        "PLUSARGS",
        "WAVES",
        "SIM",
        "SIM_ARGS",
        "EXTRA_ARGS",
    ),
    *(
        "GPI_EXTRA",
        "GPI_USERS",
        "GPI_LOG_LEVEL",
        "PYGPI_USERS",
        "PYGPI_PYTHON_BIN",
        "LIBPYTHON_LOC",
        "VERILATOR_ROOT",
    ),
    *(
        "PYTHONOPTIMIZE",
        "PYTHONSTARTUP",
        "PYTHONWARNINGS",
        "PYTHONINSPECT",
        "PYTHONVERBOSE",
        "PYTHONBREAKPOINT",
    ),
    *(
        "PYTHONUTF8",
        "PYTHONIOENCODING",
        "PYTHONCASEOK",
        "PYTHONPROFILEIMPORTTIME",
        "PYTHONFAULTHANDLER",
        "PYTHONMALLOC",
    ),
    *(
        "COVERAGE",
        "COVERAGE_RCFILE",
        "COVERAGE_PROCESS_START",
        "PYTEST_ADDOPTS",
        "PYTEST_PLUGINS",
        "NO_COLOR",
        "FORCE_COLOR",
    ),
    *(
        "LC_CTYPE",
        "LC_NUMERIC",
        "LANG",
        "LANGUAGE",
        "TZ",
        "MALLOC_PERTURB_",
        "LD_BIND_NOW",
        "ETCHPROOF_TAP_BYTES",
    ),
    *(
        "ETCHPROOF_IMAGES",
        "ETCHPROOF_OPENED",
        "ETCHPROOF_READING",
        "ETCHPROOF_GOLDEN",
        "ETCHPROOF_PYTHON_PATH",
        "ETCHPROOF_PARENT",
        "NPY_DISABLE_CPU_FEATURES",
    ),
)
REACH_A_RUN = {
    *(
        "HOME",
        "PATH",
        "TMPDIR",
        "LD_LIBRARY_PATH",
        "LC_ALL",
        "MALLOC_MMAP_THRESHOLD_",
        "MALLOC_TRIM_THRESHOLD_",
    ),
    *(
        "PYTHONHOME",
        "PYTHONPATH",
        "PYTHONPYCACHEPREFIX",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONUTF8",
        "PYTHONHASHSEED",
    ),
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
    *(
        "ETCHPROOF_RUN",
        "ETCHPROOF_IMAGES",
        "ETCHPROOF_OPENED",
        "ETCHPROOF_READING",
        "ETCHPROOF_PARENT",
        "ETCHPROOF_PYTHON_PATH",
    ),
    *(
        "COCOTB_TOPLEVEL",
        "COCOTB_TEST_MODULES",
        "COCOTB_TEST_FILTER",
        "COCOTB_RANDOM_SEED",
        "COCOTB_RESULTS_FILE",
    ),
    *(
        "COCOTB_TRUST_INERTIAL_WRITES",
        "COCOTB_REWRITE_ASSERTION_FILES",
        "COCOTB_LOG_LEVEL",
        "COCOTB_ANSI_OUTPUT",
    ),
    *("GPI_USERS", "GPI_LOG_LEVEL", "PYGPI_PYTHON_BIN", "TOPLEVEL_LANG"),
}
"""The rule: nothing else is in a simulator's environment, PYGPI_USERS while Python starts excepted."""


def read_by_cocotb() -> set[str]:
    """The variables whose names stand in the sources of the installed cocotb and pyuvm."""
    pattern = re.compile(r"""(?:_env\.\w+|getenv|environ\.get|environ)[\[(]\s*["']([A-Z][A-Z0-9_]+)["']""")
    names: set[str] = set()
    for package in ("cocotb", "cocotb_tools", "pygpi", "pyuvm"):
        spec = importlib.util.find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        for file in Path(spec.origin).parent.rglob("*.py"):
            names.update(pattern.findall(file.read_text(encoding="utf-8")))
    return names


@pytest.mark.parametrize("value", ["1", "wrong"])
def test_no_variable_of_the_user_changes_a_run(
    run_mini: RunMini, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str
) -> None:
    found = read_by_cocotb()
    assert {"COVERAGE", "RANDOM_SEED", "COCOTB_RANDOM_SEED", "COCOTB_USER_COVERAGE"} <= found
    ours = {name: os.environ[name] for name in ("HOME", "PATH", "PYTHONPATH") if name in os.environ}
    for name in (found | set(READ_IN_A_SIMULATOR)) - {
        "PATH",
        "HOME",
        "PYTHONPATH",
        "PYTHONHOME",
        "LD_LIBRARY_PATH",
    }:
        monkeypatch.setenv(name, value)
    outcome = run_mini("surroundings", config={"import": "colorsys"})
    assert (outcome.status, outcome.failures) == ("passed", ())
    there = json.loads((tmp_path / "run" / "surroundings").read_text())["environment"]
    assert there.keys() <= REACH_A_RUN
    assert {name: there[name] for name in ours if name != "PYTHONPATH"} == {
        name: ours[name] for name in ours if name != "PYTHONPATH"
    }
    assert "wrong" not in there.values()
    assert there["COCOTB_RANDOM_SEED"] == "7"
    assert there["GPI_LOG_LEVEL"] == "WARNING"


def test_nothing_is_imported_from_a_runs_folder(run_mini: RunMini, tmp_path: Path) -> None:
    """A folder that a stranger filled is data, though cocotb puts it first on Python's path."""
    run = tmp_path / "run"
    run.mkdir()
    hostile = f"from pathlib import Path; Path({str(tmp_path / 'ran')!r}).touch()\n"
    for name in (
        "colorsys",
        "json",
        "pytest",
        "numpy",
        "mini_bench",
        "etchproof",
        "sitecustomize",
        "usercustomize",
    ):
        (run / f"{name}.py").write_text(hostile)
    outcome = run_mini("surroundings", config={"import": "colorsys"})
    assert (outcome.status, outcome.failures) == ("passed", ())
    assert not (tmp_path / "ran").exists()
    found = json.loads((run / "surroundings").read_text())
    assert found["folder"] == str(run)
    assert not any(str(tmp_path) in file for file in found["imported"])


@pytest.mark.parametrize("name", ["a:b", "a;b,c", "with space", "tab\tand é", "$HOME", "per%cent"])
def test_any_path_will_do(run_mini: RunMini, tmp_path: Path, name: str) -> None:
    """Of a project, of a run, of a model's images: a list of paths in one variable would split some of these."""
    bench = tmp_path / name / "project"
    shutil.copytree(BENCHES, bench)
    run = tmp_path / name / "run"
    outcome = run_mini("surroundings", config={"import": "colorsys"}, run_dir=run, python_path=[bench, ROOT])
    assert (outcome.status, outcome.failures) == ("passed", ())
    assert json.loads((run / "surroundings").read_text())["bench"] == str(bench / "mini_bench.py")


@pytest.mark.parametrize("locale", ["C", "POSIX", "xx_YY.ISO-8859-1"])
def test_text_is_utf_8_in_every_locale(
    run_mini: RunMini, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locale: str
) -> None:
    monkeypatch.setenv("LC_ALL", locale)
    monkeypatch.setenv("PYTHONUTF8", "0")
    assert run_mini("surroundings", config={"import": "colorsys"}).status == "passed"
    assert json.loads((tmp_path / "run" / "surroundings").read_text())["utf8"] == 1


def test_progress_arrives_in_order(run_mini: RunMini) -> None:
    events: list[dict[str, Any]] = []
    assert run_mini("progress", config={"events": 5}, on_progress=events.append).status == "passed"
    assert events == [{"done": done} for done in range(5)]


def test_an_error_in_the_progress_callback_ends_the_simulator(run_mini: RunMini) -> None:
    seen: list[int] = []

    def stop(event: dict[str, Any]) -> None:
        seen.append(event["pid"])
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        run_mini("hang", on_progress=stop)
    assert_gone(seen[0])


def test_a_failing_test_fails_the_run(run_mini: RunMini) -> None:
    outcome = run_mini("fails")
    assert (outcome.status, names(outcome)) == ("failed", ["test_failed"])
    assert outcome.failures[0].test == "mini_bench.fails"
    assert "seven is not eight" in outcome.failures[0].message


def test_a_skipped_test_fails_the_run(run_mini: RunMini) -> None:
    outcome = run_mini("skips")
    assert (outcome.status, names(outcome)) == ("failed", ["test_skipped"])


def test_a_test_that_is_not_there_fails_the_run(run_mini: RunMini) -> None:
    outcome = run_mini("nothing_of_the_kind")
    assert (outcome.status, names(outcome)) == ("failed", ["no_test_run"])


def test_a_module_that_is_not_there_is_a_crash(run_mini: RunMini) -> None:
    outcome = run_mini("taps", test_modules=["no_such_bench"])
    assert outcome.status == "crashed"
    assert "results_missing" in names(outcome)
    assert any("no_such_bench" in failure.message for failure in outcome.failures)


@pytest.mark.parametrize("kind", ["fast", "strict"])
@pytest.mark.parametrize(("case", "said"), [("fatal", "told to stop"), ("error", "told to complain")])
def test_an_error_in_rtl_fails_the_run(
    run_mini: RunMini, case: str, said: str, kind: str, request: pytest.FixtureRequest
) -> None:
    outcome = run_mini(case, request.getfixturevalue(f"mini_{kind}"))
    assert outcome.status == "failed"
    assert outcome.failures[0].name == "simulator_exit"
    assert "mini_chip.sv" in outcome.failures[0].message
    assert said in outcome.failures[0].message


def test_the_limit_ends_a_run(run_mini: RunMini) -> None:
    events: list[dict[str, Any]] = []
    outcome = run_mini("hang", timeout_s=2, on_progress=events.append)
    assert (outcome.status, names(outcome)[0]) == ("timeout", "timeout")
    assert 2 <= outcome.wall_s < 10
    assert_gone(events[0]["pid"])


@pytest.mark.parametrize(
    ("config", "status", "name"),
    [
        ({"status": 0}, "crashed", "results_missing"),
        ({"status": 3}, "crashed", "results_missing"),
        ({"signal": "SIGSEGV"}, "crashed", "simulator_killed"),
        ({"signal": "SIGKILL"}, "crashed", "simulator_killed"),
        ({"signal": "SIGTERM"}, "interrupted", "simulator_killed"),
    ],
)
def test_a_simulator_that_ends_by_itself(
    run_mini: RunMini, config: dict[str, Any], status: str, name: str
) -> None:
    outcome = run_mini("exits", config=config)
    assert outcome.status == status
    assert name in names(outcome)


def test_results_of_an_earlier_run_do_not_count(run_mini: RunMini) -> None:
    assert run_mini("disabled").status == "passed"
    assert run_mini("exits", config={"status": 0}).status == "crashed"


def test_a_simulator_that_is_gone_leaves_nothing_open(
    run_mini: RunMini, mini_fast: Build, tmp_path: Path
) -> None:
    def session() -> GoldenSession:
        raise AssertionError("nobody asks")

    gone = replace(mini_fast, executable=tmp_path / "gone")
    before = os.listdir("/proc/self/fd")
    with pytest.raises(FileNotFoundError):
        run_mini("disabled", gone, golden=GoldenSource(None, PLAN, session))
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_the_golden_model_is_gone_when_the_run_has_ended(run_mini: RunMini) -> None:
    """A thread that computes while Python ends would abort it."""
    gone = []

    class Slow:
        def predict(
            self, tokens: Sequence[int], first: bool, adapter: int | None = None
        ) -> dict[TapKey, Any]:
            return {}

        def __del__(self) -> None:
            time.sleep(0.5)
            gone.append(True)

    assert run_mini("disabled", golden=GoldenSource(None, PLAN, Slow)).status == "passed"
    assert gone


PARENT = """
import sys
from pathlib import Path
from etchproof.sim.build import Build
from etchproof.sim.run import simulate
executable, run_dir, index, *folders = map(Path, sys.argv[1:])
build = Build(executable, "mini_top", "fast", "", True, 0.0, executable)
try:
    simulate(build, run_dir=run_dir, test_modules=["mini_bench"], test_case="hang", images_index=index, config={},
             seed=1, timeout_s=60, python_path=folders)
except KeyboardInterrupt:
    sys.exit(77)
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 77), (signal.SIGKILL, -signal.SIGKILL)])
def test_the_simulator_goes_with_its_parent(
    mini_fast: Build, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    (tmp_path / "index").write_text("")
    arguments = [mini_fast.executable, tmp_path, tmp_path / "index", BENCHES, ROOT]
    parent = subprocess.Popen([sys.executable, "-c", PARENT, *map(str, arguments)], start_new_session=True)
    progress = tmp_path / PROGRESS_FILE
    deadline = time.monotonic() + 30
    while not (progress.exists() and progress.read_bytes().endswith(b"\n")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child = json.loads(progress.read_text())["pid"]
    parent.send_signal(number)
    assert parent.wait(timeout=10) == status
    assert_gone(child)


def assert_gone(pid: int) -> None:
    """The process ends within two seconds; a zombie has ended."""
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if "State:\tZ" not in Path(f"/proc/{pid}/status").read_text():
                time.sleep(0.02)
                continue
        return
    os.kill(pid, signal.SIGKILL)
    pytest.fail(f"process {pid} was left behind")


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ({"seed": 0}, "seed"),
        ({"seed": 2**31}, "seed"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"timeout_s": float("nan")}, "timeout_s"),
        ({"plusargs": ["--help"]}, "plusargs"),
        ({"images_index": Path("no such file")}, "images_index"),
    ],
)
def test_unusable_arguments_are_refused(run_mini: RunMini, arguments: dict[str, Any], key: str) -> None:
    with pytest.raises(InputError, match=key):
        run_mini("taps", **arguments)


class TestChild:
    def test_a_process_that_is_no_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv(RUN_ENV, raising=False)
        with pytest.raises(InputError, match=RUN_ENV):
            run_config()

    @pytest.mark.parametrize("text", [None, "", "[1]", "{"])
    def test_a_broken_configuration(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None
    ) -> None:
        monkeypatch.setenv(RUN_ENV, str(tmp_path))
        if text is not None:
            (tmp_path / "run_config.json").write_text(text)
        with pytest.raises(InputError, match=r"run_config\.json"):
            run_config()
