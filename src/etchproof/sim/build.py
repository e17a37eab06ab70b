"""Fabric in, simulator out: Verilator and g++ behind a cache, so that each fabric is built once on a machine.

A cache entry is ``builds/<key>/``: the executable, ``build.log``, and ``build.json`` with everything that went into
the key. It is made in a temporary folder and renamed when complete; a build that was killed leaves no entry.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Literal

import platformdirs
from filelock import FileLock

from etchproof.errors import InputError, machine_trouble, said_by_the_system
from etchproof.files.json_file import read_json_object
from etchproof.project.sources import file_sha256
from etchproof.render.fabric import HEADERS, Fabric
from etchproof.sim.dependencies import foreign
from etchproof.sim.environment import build_env
from etchproof.sim.identity import compiler_sha256, engine_sha256, own_source, verilator_sha256
from etchproof.sim.rewrite.rewrites import TESTED_VERILATORS, Rewrites
from etchproof.tools import Verilator, compiler_version

Kind = Literal["fast", "plain", "strict", "coverage", "waves"]
"""``fast`` is for long runs: Etchproof rewrites the C++ that Verilator wrote (``etchproof.sim.rewrite``). The others
compile it as it is. ``plain`` has the same flags as ``fast``, and shows that the two agree. ``strict`` is for sign-off:
assertions on, and every register that is not reset, every unknown value, drawn at random from the run's seed.
``coverage`` counts lines, branches and toggles, and leaves them in the run's folder as ``coverage.dat``; it is slow.
``waves`` computes what ``plain`` does, and can write signals and taps into an FST file (``native/ep_waves.h``)."""

CACHE_ENV: Final = "ETCHPROOF_CACHE"
"""Environment variable with the folder of the cache, in place of the user's cache folder."""

TIME_PRECISION: Final = ("1ns", "1ps")
"""Unit and precision of every simulation."""

_CPP: Final = ("ep_sink.cpp", "ep_sink.h")
_CPP_OF_WAVES: Final = ("ep_waves.cpp", "ep_waves.h", "fst/lz4.h", "fst/zlib.h")
_FORMAT: Final = 6  # of the cache entries; part of the key
_READMEM: Final = "_Z12VL_READMEM_NbimiRKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEEPvmm"
_COMMON: Final = (
    "--timing",
    "-CFLAGS", "-std=c++20",    # coroutines, for --timing
    "-LDFLAGS", "-rdynamic",    # Python finds the sink's functions in the executable
    "-LDFLAGS", "-Wl,--wrap=fopen",  # the sink hears which files the RTL reads, and into which arrays
    "-LDFLAGS", f"-Wl,--wrap={_READMEM}",
    "-LDFLAGS", "-Wl,--enable-new-dtags",  # LD_LIBRARY_PATH, the running cocotb, goes before the one linked with
    "-fno-slice",               # arrays are copied whole, not element by element
    "--unroll-count", "1",      # loops stay loops: g++ turns them into vector instructions
    "-fno-split",               # always blocks stay whole: each condition is tested once, and there is less to schedule
)  # fmt: skip
_SPEED_FLAGS: Final = ("-O3", "--x-assign", "fast", "--x-initial", "fast", "--no-assert")
_SPEED_VARIABLES: Final = ("OPT_FAST=-O3 -march=native --param max-completely-peel-times=8", "OPT_GLOBAL=-O3")
_VERILATOR_FLAGS: Final[dict[Kind, tuple[str, ...]]] = {
    "fast": _SPEED_FLAGS,
    "plain": _SPEED_FLAGS,
    "strict": ("--assert", "--x-assign", "unique", "--x-initial", "unique"),
    "coverage": (
        *("--assert", "--x-assign", "fast", "--x-initial", "fast"),
        *("--coverage-line", "--coverage-toggle"),
        *("--coverage-max-width", "4096"),  # vectors of registers included
        # Short functions: among those of layers Verilator finds equal ones, and g++ compiles a third less.
        *("--output-split-cfuncs", "500"),
    ),
    "waves": (
        *_SPEED_FLAGS,
        *("--trace-fst", "--trace-structs"),
        *(
            "--trace-max-array",
            "64",
            "--trace-max-width",
            "1024",
        ),  # registers and small tables, no ROM and no SRAM
        *("-CFLAGS", "-I.."),  # lz4.h and zlib.h of the engine
    ),
}
_MAKE_VARIABLES: Final[dict[Kind, tuple[str, ...]]] = {
    "fast": _SPEED_VARIABLES,
    "plain": _SPEED_VARIABLES,
    "strict": ("OPT_FAST=-O1",),
    "coverage": (
        "OPT_FAST=-O1",
        "OPT_GLOBAL=-O2",
    ),  # its counters are inserted and written by Verilator's own code
    # LDLIBS without the libraries of the system that FST files would need: native/fst has what is used of them.
    "waves": (
        "OPT_FAST=-O1",
        "OPT_GLOBAL=-O2",
        "LDLIBS=$(filter-out -lz -llz4,$(USER_LDLIBS) $(VM_USER_LDLIBS) $(CFG_LDLIBS_THREADS))",
    ),
}
_COMPILER: Final = ("CXX=g++", "LINK=g++", "CFG_CXXFLAGS_PCH_I=-include")
_LOG_TAIL_LINES: Final = 40
_WARNING: Final = re.compile(r"%Warning-(\w+): ")
_BYTES_PER_JOB: Final = 1 << 30  # of memory, for one g++ on a large file


class BuildError(InputError):
    """Verilator or g++ refused the fabric.

    Attributes:
        log: the whole log, kept until the same build succeeds.
        log_tail: its last lines.
    """

    def __init__(self, problem: str, *, log: Path, log_tail: str, hint: str | None = None) -> None:
        super().__init__(problem, source=log, hint=hint)
        self.log, self.log_tail = log, log_tail


@dataclass(frozen=True, slots=True)
class Build:
    """A simulator that is ready to run.

    Attributes:
        executable: the simulator.
        top: name of its top module.
        kind: which flags it was built with.
        key: its name in the cache, a hash of everything that went in.
        cached: True when it was there already.
        build_s: seconds that building it took, when it was built.
        log: the output of Verilator and make.
        rewrites: what was changed in the C++ that Verilator wrote; None for nothing, the simulator is untouched.
    """

    executable: Path
    top: str
    kind: Kind
    key: str
    cached: bool
    build_s: float
    log: Path
    rewrites: Rewrites | None = None


def build(
    fabric: Fabric,
    kind: Kind,
    *,
    verilator: Verilator,
    cache_dir: Path | None = None,
    main: Path | None = None,
) -> Build:
    """The simulator of a fabric, from the cache or built now with every core.

    Safe beside other runs: one of them builds, the others wait for it.

    Args:
        fabric: what to build; it must still be as hashed.
        kind: which flags.
        verilator: the Verilator that runs.
        cache_dir: the cache; ``$ETCHPROOF_CACHE`` or the user's cache folder by default.
        main: C++ with another ``main``, for benchmarks; by default cocotb and Python drive the chip.

    Raises:
        BuildError: Verilator or g++ failed.
        InputError: the fabric has changed, the cache cannot be used, or a tool is missing.
    """
    if fabric.hashed_now() != fabric.sha256:
        raise InputError("has changed since it was hashed", source=fabric.folder, hint="render it again")
    cache = _cache_folder(cache_dir)
    names = (*_CPP, *_CPP_OF_WAVES) if kind == "waves" else _CPP
    cpp = (main or own_source("native/ep_main.cpp"), *(own_source(f"native/{name}") for name in names))
    inputs = _inputs(fabric, kind, verilator, cpp)
    key = _key(inputs)
    entry = cache / "builds" / key
    if found := _load(entry, key):  # without a lock: a cache that cannot be written to serves what it has
        return found
    try:
        (cache / "locks").mkdir(parents=True, exist_ok=True)
        with FileLock(cache / "locks" / f"{key}.lock"):
            return _load(entry, key) or _build(fabric, kind, verilator, cache, entry, inputs, cpp)
    except OSError as error:
        trouble = machine_trouble(error, cache)
        if trouble is None:
            raise
        raise InputError(
            trouble.problem, source=trouble.source, key="cache", hint=trouble.hint or f"set {CACHE_ENV}"
        ) from error


def _build(
    fabric: Fabric,
    kind: Kind,
    verilator: Verilator,
    cache: Path,
    entry: Path,
    inputs: dict[str, Any],
    cpp: tuple[Path, ...],
) -> Build:
    """Builds under the key's lock and puts the result in place."""
    # Slow to import and not needed for a cached build.
    from etchproof.sim.runner import VerilatorRunner

    key = entry.name
    for dead in entry.parent.glob(f".tmp-{key}-*"):  # whoever holds the lock is the only builder
        shutil.rmtree(dead, ignore_errors=True)
    work = entry.parent / f".tmp-{key}-{os.getpid()}"
    sources, made = work / "src", work / "entry"
    made.mkdir(parents=True)
    started = time.monotonic()
    try:
        for name in fabric.sources:
            (sources / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(fabric.folder / name, sources / name)
        native = [fabric.folder / name for name in sorted(fabric.setup.native)]
        for path in (*cpp, *native):
            shutil.copyfile(path, work / path.name)
        log = made / "build.log"
        runner = VerilatorRunner(
            verilator,
            make_variables=(*_COMPILER, *_MAKE_VARIABLES[kind]),
            jobs=at_once(len(os.sched_getaffinity(0)), _BYTES_PER_JOB),
            kept=_kept(cache, inputs, native),
            rewritten=inputs["rewritten"],
        )
        status = runner.run_build(
            sources=sources,
            names=fabric.compiled,
            cpp=[work / path.name for path in (*cpp, *native) if path.suffix not in HEADERS],
            top=fabric.top,
            flags=(*_COMMON, *_VERILATOR_FLAGS[kind], *fabric.setup.flags),
            include=fabric.setup.include,
            timescale=TIME_PRECISION,
            folder=work / "obj",
            log=log,
        )
        executable = work / "obj" / fabric.top
        if status != 0 or not executable.is_file():
            raise _failure(cache, key, log, status)
        if read := foreign(work, work / "obj", native, verilator):
            raise InputError(
                "is read by the sources, and is no part of the fabric: its content is in no hash",
                source=read[0],
                key="rtl.include",
                hint="name its folder in [rtl] include, and include it by its name alone",
            )
        os.rename(executable, made / fabric.top)
        record = {
            "inputs": inputs,
            "build_s": round(time.monotonic() - started, 3),
            "rewrites": None if runner.rewrites is None else runner.rewrites.model_dump(),
            "executable_sha256": file_sha256(made / fabric.top),
        }
        (made / "build.json").write_text(json.dumps(record, indent=1, sort_keys=True), encoding="utf-8")
        if entry.exists():  # incomplete or damaged, or it would have been used
            shutil.rmtree(entry)
        os.rename(made, entry)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    found = _load(entry, key)
    if found is None:
        raise InputError("the finished build is not usable", source=entry)
    return Build(**{**_fields(found), "cached": False})


def _kept(cache: Path, inputs: Mapping[str, Any], native: Sequence[Path]) -> dict[Path, Sequence[str]]:
    """Objects that other designs need, too, by the folder of each: of Verilator and the engine, and of the project.

    C++ that includes what Verilator writes of a design is of that design alone: every such header is named ``Vtop...``.
    """
    runtime = cache / "runtime" / _key({k: v for k, v in inputs.items() if k not in ("fabric", "top")})
    sources = {path.name: file_sha256(path) for path in native}
    kept: dict[Path, Sequence[str]] = {runtime: ("verilated*.o", "ep_sink.o")}
    if not any(b"Vtop" in path.read_bytes() for path in native):
        kept[runtime / _key(sources)] = [f"{path.stem}.o" for path in native if path.suffix not in HEADERS]
    return kept


def _fields(record: Build) -> dict[str, Any]:
    return {name: getattr(record, name) for name in Build.__slots__}


def _load(entry: Path, key: str) -> Build | None:
    """The entry of the cache, None when there is none or it is not whole."""
    try:
        record = read_json_object(entry / "build.json")
        executable = entry / record["inputs"]["top"]
        whole = file_sha256(executable) == record["executable_sha256"] and os.access(executable, os.X_OK)
        rewrites = None if record["rewrites"] is None else Rewrites.model_validate(record["rewrites"])
        if (
            not whole
            or _key(record["inputs"]) != key
            or (rewrites is not None) != record["inputs"]["rewritten"]
        ):
            return None
        return Build(
            executable=executable,
            top=record["inputs"]["top"],
            kind=record["inputs"]["kind"],
            key=key,
            cached=True,
            build_s=float(record["build_s"]),
            log=entry / "build.log",
            rewrites=rewrites,
        )
    except (InputError, OSError, ValueError, KeyError, TypeError):
        return None


def _failure(cache: Path, key: str, log: Path, status: int) -> BuildError:
    """The error of a failed build; its log is copied to ``failed/`` since the build's folder goes."""
    kept = cache / "failed" / f"{key}.log"
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(log, kept)
    text = log.read_text(encoding="utf-8", errors="replace")
    lines = text.splitlines()
    complaints = [line for line in lines if "error" in line.lower() or line.startswith("%Warning")]
    first = said_by_the_system(text) or (complaints or lines or ["no output"])[0]
    warnings = [match[1] for line in lines if (match := _WARNING.match(line))]
    hint = None
    if (match := _WARNING.match(first)) is not None:
        waive = f"[rtl] waive = {{{match[1]} = '...'}}"
        hint = f"{len(warnings)} in all; mend the RTL, or waive it with a reason: {waive}"
    return BuildError(
        f"the build failed with status {status}: {first[:300]}",
        log=kept,
        log_tail="\n".join(lines[-_LOG_TAIL_LINES:]),
        hint=hint,
    )


def _inputs(fabric: Fabric, kind: Kind, verilator: Verilator, cpp: tuple[Path, ...]) -> dict[str, Any]:
    """Everything that decides what comes out. Each variable of the environment is here, or decides nothing."""
    env = build_env(verilator)
    return {
        "format": _FORMAT,
        "fabric": fabric.sha256,
        "top": fabric.top,
        "kind": kind,
        "rewritten": kind == "fast" and verilator.version in TESTED_VERILATORS,
        "verilator_flags": [*_COMMON, *_VERILATOR_FLAGS[kind], *TIME_PRECISION],
        "make_variables": [*_COMPILER, *_MAKE_VARIABLES[kind]],
        "cpp": {path.name: file_sha256(path) for path in cpp},
        "engine": engine_sha256(),
        "verilator": f"{verilator.version} ({verilator.source})",
        "verilator_sha256": verilator_sha256(verilator, env),
        "g++": compiler_version(),
        "compiler_sha256": compiler_sha256(env),
        "libraries": env.get("LD_LIBRARY_PATH", ""),
        "libc": " ".join(platform.libc_ver()),
        "cocotb": version("cocotb"),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpu": _cpu_sha256(),
    }


def _key(inputs: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:32]


def _cpu_sha256() -> str:
    """Hash of the processor's instruction sets: -march=native is for these only."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "unknown"
    lines = [line for line in text.splitlines() if line.startswith(("flags", "Features", "model name"))]
    return hashlib.sha256("\n".join(sorted(set(lines))).encode()).hexdigest()


def _cache_folder(cache_dir: Path | None) -> Path:
    named = os.environ.get(CACHE_ENV)
    folder = cache_dir or (
        Path(named) if named else platformdirs.user_cache_path("etchproof", appauthor=False)
    )
    folder = folder.absolute()
    if any(character.isspace() for character in str(folder)):
        raise InputError(
            "make cannot build in a path with white space",
            source=folder,
            key="cache",
            hint=f"set {CACHE_ENV}",
        )
    return folder


def at_once(jobs: int, each: int) -> int:
    """As many of the jobs as memory has room for, each of so many bytes; at least one."""
    try:
        meminfo = Path("/proc/meminfo").read_text(encoding="ascii")
        available = int(meminfo.partition("MemAvailable:")[2].split()[0]) << 10
    except (OSError, ValueError, IndexError):
        return jobs
    return max(1, min(jobs, available // each))
