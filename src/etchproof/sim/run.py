"""Runs a built simulator with its cocotb testbench as a child process, and says how that ended.

Anything but a test that ran and passed in a process that ended well is a failure with a name.
"""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Literal

from etchproof.errors import InputError, said_by_the_system
from etchproof.project import reading
from etchproof.sim import child
from etchproof.sim.build import Build
from etchproof.sim.environment import simulator_env
from etchproof.sim.forks import Launcher, Process, start
from etchproof.sim.golden import GOLDEN_ENV, GoldenServer, GoldenSource
from etchproof.sim.opened import check_reading
from etchproof.sim.progress import PROGRESS_FILE, ProgressReader
from etchproof.sim.results import Failure, ResultsError, read_results

Status = Literal["passed", "failed", "timeout", "crashed", "interrupted"]
"""``crashed``: the simulator ended without results; ``interrupted``: a signal from outside ended it."""

MAX_TIMEOUT_S: Final = 30 * 24 * 3600
"""The longest limit of time of a simulation that somebody can mean."""

_POLL_S: Final = 0.05
_OPENED: Final = "opened.txt"  # gone when the run has ended
_FINISH: Final = re.compile(rb"- ([^:\s][^:]*:\d+: Verilog \$finish)")
_MISSING: Final = re.compile(rb"\s*(?:%Warning: )?(.*\$readmem file not found.*)")
_LOG_ERRORS: Final = 3
_LOG_TAIL_LINES: Final = 12
_INTERRUPTS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_MAX_SEED: Final = 2**31 - 1  # of Verilator's +verilator+seed
_KEPT_MEMORY: Final = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}
"""For the simulator's malloc, glibc's: memory of taps that were compared is used again, not given back and cleared."""


@dataclass(frozen=True, slots=True)
class SimOutcome:
    """How a run ended.

    Attributes:
        status: ``passed`` only when nothing is in ``failures``.
        exit_code: of the simulator; negative is the signal that killed it.
        passed: the tests that passed, ``module.name``.
        failures: every reason why the run is no pass.
        wall_s: seconds from start to end of the process.
        results_xml: cocotb's results; may be missing.
        log: output of the simulator and the testbench.
    """

    status: Status
    exit_code: int
    passed: tuple[str, ...]
    failures: tuple[Failure, ...]
    wall_s: float
    results_xml: Path
    log: Path


def simulate(
    build: Build,
    *,
    run_dir: Path,
    test_modules: Sequence[str],
    test_case: str,
    images_index: Path | None,
    memories: Mapping[str, tuple[int, int]] | None = None,
    data: Collection[str] = (),
    config: Mapping[str, Any],
    seed: int,
    timeout_s: float,
    golden: GoldenSource | None = None,
    python_path: Sequence[Path] = (),
    on_progress: Callable[[dict[str, Any]], None] | None = None,
    plusargs: Sequence[str] = (),
    tap_bytes: int | None = None,
    log_level: str = "WARNING",
    launcher: Launcher = start,
) -> SimOutcome:
    """Runs one test of a testbench in a simulator.

    The child is killed when it overruns, when this process is interrupted, and when this process dies.

    Args:
        build: the simulator.
        run_dir: where the run's files go; made when missing, files of an earlier run in it are replaced.
        test_modules: what cocotb imports.
        test_case: the name of their one test that runs.
        images_index: index of the ROM images (``etchproof.render.images_index``); None for a chip without.
        memories: words, and bits of each, of the files below ``run_dir`` that the RTL has to read. One that it did not
            read is a failure, ``memory_unread``; one that does not fill its array, or is wider, is ``memory_shape``.
        data: files below it that the RTL may read; any other is a failure, ``undeclared_file``.
        config: JSON-able, for ``etchproof.sim.child.run_config()``.
        seed: 1 .. 2^31 - 1, of cocotb and of a strict simulator's unknown values.
        timeout_s: wall-clock limit.
        golden: what the testbench's ``etchproof.sim.golden.GoldenClient`` reaches; None for a testbench without.
        python_path: folders from which the testbench imports.
        on_progress: gets each event that the testbench writes, while it runs.
        plusargs: further arguments of the simulator, each beginning with "+".
        tap_bytes: capacity of the memory for taps; 64 MiB by default.
        log_level: of cocotb's own log.
        launcher: starts the simulator.

    Raises:
        InputError: an argument is unusable, or the system refused what the run needs: a full disk, a limit. How else
            the run ended is never an exception.
    """
    _check_arguments(seed, timeout_s, plusargs, images_index)
    run_dir = run_dir.absolute()
    run_dir.mkdir(parents=True, exist_ok=True)
    results, log = run_dir / "results.xml", run_dir / "sim.log"
    opened = run_dir / _OPENED
    for stale in (results, run_dir / PROGRESS_FILE, opened):
        stale.unlink(missing_ok=True)
    (run_dir / child.CONFIG_FILE).write_text(json.dumps(config, indent=1), encoding="utf-8")

    command = [str(build.executable), *plusargs]
    if build.kind == "strict":
        command += ["+verilator+rand+reset+2", f"+verilator+seed+{seed}"]
    env = simulator_env(
        {
            **_cocotb_env(build.top, test_modules, test_case, seed, results, log_level),
            **cocotb_library_env(),
            "PYTHONPATH": _joined(_engine_path(), "PYTHONPATH"),
            child.PYTHON_PATH_ENV: json.dumps([str(folder.absolute()) for folder in python_path]),
            child.RUN_ENV: str(run_dir),
            "ETCHPROOF_PARENT": str(os.getpid()),
            **reading.to_environment(),
            **_KEPT_MEMORY,
        }
    )
    if images_index is not None:
        env["ETCHPROOF_IMAGES"] = str(images_index.absolute())
    env["ETCHPROOF_OPENED"] = _OPENED  # of the folder in which it runs
    if tap_bytes is not None:
        env["ETCHPROOF_TAP_BYTES"] = str(tap_bytes)

    server = GoldenServer(golden) if golden is not None else None
    if server is not None:
        env[GOLDEN_ENV] = ",".join(map(str, server.fds))

    started = time.monotonic()
    process = None
    try:
        with log.open("wb") as output:
            process = launcher(command, run_dir, env, output, server.fds if server is not None else ())
        if server is not None:
            server.start()
        timed_out = _wait(process, started + timeout_s, ProgressReader(run_dir), on_progress)
    finally:
        if process is not None:
            _kill(process)
        if server is not None:
            server.end()
    wall_s = time.monotonic() - started
    if server is not None and server.trouble is not None:
        raise server.trouble
    golden_failed = (Failure("golden_failed", "", server.failed),) if server and server.failed else ()
    seen = (*golden_failed, *check_reading(opened, memories or {}, data))
    assert process.returncode is not None
    outcome = _outcome(process.returncode, timed_out, timeout_s, test_case, results, log, seen, wall_s)
    for failure in outcome.failures:
        if refused := said_by_the_system(failure.message):
            raise InputError(f"the simulation could not go on: {refused}", source=run_dir)
    return outcome


def _check_arguments(seed: int, timeout_s: float, plusargs: Sequence[str], images_index: Path | None) -> None:
    if not 1 <= seed <= _MAX_SEED:
        raise InputError(f"is {seed}, expected 1 .. {_MAX_SEED}", key="seed")
    if not timeout_s > 0:
        raise InputError(f"is {timeout_s}, expected more than 0", key="timeout_s")
    for argument in plusargs:
        if not argument.startswith("+"):
            raise InputError(f"{argument!r} does not begin with '+'", key="plusargs")
    if images_index is not None and not images_index.is_file():
        raise InputError("no such file", source=images_index, key="images_index")


def _wait(
    process: Process,
    deadline: float,
    reader: ProgressReader,
    on_progress: Callable[[dict[str, Any]], None] | None,
) -> bool:
    """Waits for the end, reporting progress; True when the deadline came first."""
    while True:
        left = deadline - time.monotonic()
        timed_out = False
        try:
            process.wait(timeout=max(0.0, min(_POLL_S, left)))
        except subprocess.TimeoutExpired:
            timed_out = left <= 0
        if on_progress is not None:
            for event in reader.read():
                on_progress(event)
        if timed_out or process.returncode is not None:
            return timed_out


def _kill(process: Process) -> None:
    """Ends the child, unless it has ended, and what it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _outcome(
    exit_code: int,
    timed_out: bool,
    timeout_s: float,
    test_case: str,
    results: Path,
    log: Path,
    seen: tuple[Failure, ...],
    wall_s: float,
) -> SimOutcome:
    passed: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()
    status: Status = "failed"
    try:
        passed, failures = read_results(results, test_case)
    except ResultsError as error:
        status, failures = "crashed", (error.failure,)
    if timed_out:
        status = "timeout"
        failures = (Failure("timeout", test_case, f"not finished after {timeout_s:g} s"), *failures)
    elif exit_code < 0:
        number = -exit_code
        status = "interrupted" if number in _INTERRUPTS else "crashed"
        why = os.strerror(errno.EFBIG) if number == signal.SIGXFSZ else _complaint(log)
        message = f"the simulator was ended by {_signal_name(number)}: {why}"
        failures = (Failure("simulator_killed", "", message), *failures)
    elif exit_code > 0:
        message = f"the simulator ended with status {exit_code}: {_complaint(log)}"
        failures = (Failure("simulator_exit", "", message), *failures)
    elif status == "crashed":
        failures = (*failures, Failure("simulator_exit", "", f"the simulator ended early: {_complaint(log)}"))
    elif failures and (ended := _finish(log)):
        failures = (Failure("simulator_exit", "", f"the RTL ended the simulation: {ended}"), *failures)
    if missing := _missing_memory(log):
        failures = (*failures, Failure("memory_missing", "", missing))
    if status != "crashed":
        failures = (*seen, *failures)
    if not failures:
        status = "passed"
    return SimOutcome(
        status=status,
        exit_code=exit_code,
        passed=passed,
        failures=failures,
        wall_s=wall_s,
        results_xml=results,
        log=log,
    )


def _cocotb_env(
    top: str, test_modules: Sequence[str], test_case: str, seed: int, results: Path, log_level: str
) -> dict[str, str]:
    """What cocotb's own runner sets, and how it is kept quick and quiet."""
    libpython, entry_point = _python_libraries()
    return {
        "GPI_USERS": f"{libpython};{entry_point}",
        "PYGPI_PYTHON_BIN": sys.executable,
        "PYGPI_USERS": f"{child.__name__}:{child.start.__name__}",
        "TOPLEVEL_LANG": "verilog",
        "COCOTB_TOPLEVEL": top,
        "COCOTB_TEST_MODULES": ",".join(test_modules),
        "COCOTB_TEST_FILTER": rf"\.{test_case}$",
        "COCOTB_RANDOM_SEED": str(seed),
        "COCOTB_RESULTS_FILE": str(results),
        "COCOTB_TRUST_INERTIAL_WRITES": "1",
        # pytest's rewriting would go through every module that the testbench imports, torch included.
        "COCOTB_REWRITE_ASSERTION_FILES": "",
        "COCOTB_LOG_LEVEL": log_level,
        "GPI_LOG_LEVEL": log_level,
        "COCOTB_ANSI_OUTPUT": "0",
    }


@cache
def _python_libraries() -> tuple[str, str]:
    """libpython, and the library through which cocotb starts Python in it."""
    import cocotb_tools.config
    import find_libpython

    libpython = find_libpython.find_libpython()
    if libpython is None:
        raise InputError(
            "this Python has no shared library, which the simulator needs",
            key="libpython",
            hint="use a Python built with --enable-shared, or install libpython3-dev",
        )
    return libpython, str(cocotb_tools.config.pygpi_entry_point())


def cocotb_library_env() -> dict[str, str]:
    """The environment in which a simulator finds the libraries that it is linked with."""
    import cocotb_tools.config

    return {"LD_LIBRARY_PATH": _joined([Path(cocotb_tools.config.libs_dir)], "LD_LIBRARY_PATH")}


def _engine_path() -> list[Path]:
    """The folder that this package was imported from, unless every Python of this environment looks there anyway.

    Raises:
        InputError: it cannot stand in a list of paths.
    """
    root = Path(str(files("etchproof"))).parent
    if root.name in ("site-packages", "dist-packages"):
        return []
    if os.pathsep in str(root):
        if str(root) in _always_on_path():
            return []
        raise InputError(
            f"a path with {os.pathsep!r} cannot be one of PYTHONPATH", source=root, key="PYTHONPATH"
        )
    return [root]


def _always_on_path() -> set[str]:
    """Folders that the ``.pth`` files of this environment name, those of editable installations among them."""
    folders = {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}
    return {
        line for folder in folders for file in folder.glob("*.pth") for line in file.read_text().splitlines()
    }


def _joined(first: Sequence[Path], variable: str) -> str:
    """Folders before those that an environment variable has."""
    inherited = [part for part in os.environ.get(variable, "").split(os.pathsep) if part]
    return os.pathsep.join(dict.fromkeys([*map(str, first), *inherited]))


def _missing_memory(log: Path) -> str | None:
    """A file that `$readmemh` or `$readmemb` did not find: Verilator only warns, and the memory holds nothing."""
    return _first_said(log, _MISSING)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _finish(log: Path) -> str | None:
    """The first `$finish` of the RTL with its place; None where there was none: cocotb's own has no file."""
    return _first_said(log, _FINISH)


def _first_said(log: Path, pattern: re.Pattern[bytes]) -> str | None:
    """The group of the first line of a log that fits a pattern; None where none does."""
    with log.open("rb") as lines:
        for line in lines:
            if (match := pattern.match(line)) is not None:
                return match[1].decode("utf-8", errors="replace").strip()
    return None


def _complaint(log: Path) -> str:
    """What the log says is wrong, in one line: the simulator's and the sink's errors, otherwise its end."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    errors = [
        line for line in lines if line.startswith("etchproof: ") or "%Error: " in line or "%Fatal: " in line
    ]
    shown = errors[:_LOG_ERRORS] or [line for line in lines if line][-_LOG_TAIL_LINES:]
    return " | ".join(shown) or "it printed nothing"
