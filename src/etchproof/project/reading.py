"""What a project's own Python reads, held to the files that its results are hashed with.

A result counts only for what it was made from (docs/regression.md, "What a result counts for"). So the project's
modules may read the files that a key names, the files of the model, and what the engine or they themselves wrote; any
other read is refused where it happens. Python tells of each file that it opens (PEP 578, audit events).
"""

from __future__ import annotations

import contextlib
import dis
import functools
import importlib.util
import json
import linecache
import os
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Final

from etchproof.errors import InputError

READING_ENV: Final = "ETCHPROOF_READING"
"""Environment variable of the simulator: the projects that are watched, and where they may read, in JSON."""

_ENGINE: Final = str(Path(__file__).resolve().parents[1]) + os.sep
_CARRIED: Final = tuple(f"{_ENGINE}{name}{os.sep}" for name in ("_reference", "_examples"))
_LIBRARIES: Final = tuple(
    {os.path.realpath(path) + os.sep for path in (sys.prefix, sys.base_prefix, sysconfig.get_path("stdlib"))}
)
_SYSTEM: Final = ("/bin/", "/dev/", "/etc/", "/lib/", "/lib64/", "/proc/", "/sbin/", "/sys/", "/usr/")
_IMPORT_SYSTEM: Final = "<frozen importlib"
_IMPORT_NAME: Final = dis.opmap["IMPORT_NAME"]
_EXECUTED: Final = frozenset({"ctypes.dlopen", "os.exec", "os.posix_spawn", "subprocess.Popen"})

Files = Callable[[Path], Iterable[Path]]
_roots: dict[str, tuple[Path, Files]] = {}  # by the folder with a separator behind it
_allowed: set[str] = set()  # files and folders
_written: set[str] = set()
_gathered: list[set[Path]] = []  # innermost last


def watch(root: Path, files: Files) -> None:
    """Hold what the modules of a project read to what its keys name, from now on in this process.

    Args:
        root: the project's folder.
        files: gives every file that its results are hashed with; called when its code reads something.
    """
    _install()
    _roots.setdefault(f"{root}{os.sep}", (root, files))


def allow(*paths: Path) -> None:
    """Let projects read files, and whatever lies in folders, that somebody else answers for."""
    _allowed.update(map(os.path.realpath, paths))


@contextlib.contextmanager
def allowed(folder: Path) -> Iterator[None]:
    """Inside, projects may read whatever lies in a folder, as that of a run."""
    place = os.path.realpath(folder)
    added = place not in _allowed
    _allowed.add(place)
    try:
        yield
    finally:
        if added:
            _allowed.discard(place)


@contextlib.contextmanager
def gathered() -> Iterator[set[Path]]:
    """Inside, what would be refused is gathered instead."""
    _gathered.append(set())
    try:
        yield _gathered[-1]
    finally:
        _gathered.pop()


def to_environment() -> dict[str, str]:
    """For the simulator, whose tests are the project's."""
    state = {"roots": [str(root) for root, _ in _roots.values()], "allowed": sorted(_allowed)}
    return {READING_ENV: json.dumps(state)} if _roots else {}


def from_environment(run_dir: Path, files: Files) -> None:
    """In the simulator: as in the process that started it, and whatever lies in the run's folder."""
    if (text := os.environ.get(READING_ENV)) is None:
        return
    state = json.loads(text)
    _allowed.update(state["allowed"])
    allow(run_dir)
    for root in state["roots"]:
        watch(Path(root), files)


@functools.cache
def _install() -> None:
    sys.addaudithook(_heard)


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    """One audit event; raises where a project's module reads what no key names."""
    if event == "open":
        path, _, flags = arguments
        if isinstance(path, int):
            return  # opened before
        if flags & os.O_TRUNC or (flags & os.O_CREAT and not os.path.lexists(path)):
            _written.add(_place(path))
            return
        if flags & os.O_ACCMODE == os.O_WRONLY:
            return
        if os.fsdecode(path).endswith(".pyc"):
            _refuse_stale(_place(path))
    elif event == "os.rename":
        _written.add(_place(arguments[1]))
        return
    elif event in _EXECUTED:
        path = arguments[0]
        if path is None or os.sep not in os.fsdecode(path):
            return  # the system finds it
    elif event == "import" and isinstance(arguments[1], str):
        path = arguments[1]  # of a compiled module
    elif event == "sqlite3.connect" and arguments[0] != ":memory:":
        path = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        if (where := _reader(sys._getframe(1), "")) is not None:
            raise InputError(
                f"{where} connects to {arguments[1][0]}: what it is told is in no hash",
                key="golden",
                hint="read it from a file that [golden] data names",
            )
        return
    else:
        return
    place = _place(path)
    if _is_exempt(place) or _is_statement(sys._getframe(1), place):
        return
    if (where := _reader(sys._getframe(1), os.fsdecode(path))) is not None:
        _check(place, where)


def _refuse_stale(path: str) -> None:
    """A compiled module that is older than the last change of its source, whatever the source's own time says.

    Raises:
        FileNotFoundError: so that the interpreter compiles the source again.
    """
    if not _is_below_a_root(path):
        return
    try:
        source = os.stat(importlib.util.source_from_cache(path))
        is_stale = source.st_ctime_ns >= os.stat(path).st_mtime_ns
    except (OSError, ValueError):
        return
    if is_stale:
        raise FileNotFoundError(path)


def _place(path: str | bytes | os.PathLike[str]) -> str:
    return os.path.realpath(os.fsdecode(path))


_real = functools.lru_cache(maxsize=4096)(os.path.realpath)  # of modules


def _is_below_a_root(place: str) -> bool:
    """Whether a file is of a project, and of no interpreter that lies in it: the more specific folder decides."""
    root = max((len(root) for root in _roots if place.startswith(root)), default=0)
    return root > max((len(one) for one in _LIBRARIES if place.startswith(one)), default=0)


def _is_statement(frame: FrameType | None, place: str) -> bool:
    """Whether an import statement reads a module of its own project, which is hashed since the statement names it."""
    if frame is None or not frame.f_code.co_filename.startswith(_IMPORT_SYSTEM):
        return False
    while frame is not None and frame.f_code.co_filename.startswith(_IMPORT_SYSTEM):
        frame = frame.f_back
    if frame is None or frame.f_code.co_code[frame.f_lasti] != _IMPORT_NAME:
        return False
    name = frame.f_code.co_names[frame.f_code.co_code[frame.f_lasti + 1]]
    root = max((root for root in _roots if place.startswith(root)), key=len, default=None)
    first = "" if root is None else place[len(root) :].split(os.sep, maxsplit=1)[0]
    return bool(first) and first.partition(".")[0] in (
        name.partition(".")[0],
        str(frame.f_globals.get("__name__")).partition(".")[0],
    )


def _reader(frame: FrameType | None, path: str) -> str | None:
    """The module and line of a project that answers for a read; None where another does.

    It is the innermost frame that is neither a library's nor the import system's. The engine answers for its own reads.
    A thread in which libraries are alone was started by the project, which alone has such.
    """
    while frame is not None:
        name = frame.f_code.co_filename
        if name == linecache.__file__ and any(path == file for file in _sources()):
            return None  # for a traceback
        if not name.startswith("<"):
            name = _real(name)
            if name.startswith(_ENGINE) and not name.startswith(_CARRIED):
                return None
            if _is_below_a_root(name) or not name.startswith(_LIBRARIES):
                return f"{Path(name).name}:{frame.f_lineno}" if _is_hashed(name) else None
        frame = frame.f_back
    return None if threading.current_thread() is threading.main_thread() else "a thread"


def _is_hashed(place: str) -> bool:
    return any(place in _files(root, files, _stamp(root)) for root, files in _roots.values())


def _sources() -> Iterator[str]:
    """The sources of every module that is loaded."""
    return (file for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None)))


def _stamp(root: Path) -> int:
    return os.stat(root / "etchproof.toml").st_mtime_ns


@functools.lru_cache(maxsize=64)
def _files(root: Path, files: Files, _stamp: int) -> frozenset[str]:
    """Every file that a project's results are hashed with."""
    return frozenset(map(os.path.realpath, files(root)))


def _is_exempt(place: str) -> bool:
    """Whether a file is the engine's, an installed package's or the system's."""
    if place.startswith(_ENGINE):
        return not place.startswith(_CARRIED)
    return place.startswith((*_LIBRARIES, *_SYSTEM)) and not _is_below_a_root(place)


def check_libraries() -> None:
    """Hold the shared libraries of this process to what may be read, whoever found and loaded them.

    Raises:
        InputError: one is in no hash.
    """
    with contextlib.suppress(OSError), open("/proc/self/maps", encoding="utf-8", errors="replace") as lines:
        found = {line.split(maxsplit=5)[-1].strip() for line in lines if " r-xp " in line and "/" in line}
        for place in sorted(found):
            if os.path.isfile(place):
                _check(os.path.realpath(place), "the process")


def _check(place: str, where: str) -> None:
    if place.endswith(".pyc"):
        with contextlib.suppress(ValueError):
            place = os.path.realpath(importlib.util.source_from_cache(place))
    if _is_exempt(place):  # as a source of what was compiled may be
        return
    roots = [root for root in _roots if place.startswith(root)]
    home = os.path.expanduser("~/.")
    if not roots and place.startswith(home):
        return  # settings and caches of libraries
    if place in _written or os.path.isdir(place):
        return
    if any(f"{place}{os.sep}".startswith(f"{one}{os.sep}") for one in tuple(_allowed)):  # other threads add
        return
    if _is_hashed(place):
        return
    _files.cache_clear()  # a file may be new
    if _is_hashed(place):
        return
    if _gathered:
        _gathered[-1].add(Path(place))
        return
    root = max(roots, key=len, default=next(iter(_roots)))
    raise InputError(
        f"{where} reads {os.path.relpath(place, root) if roots else place}, which no key names",
        source=f"{root}etchproof.toml",
        key="golden.data",
        hint="name it there: a result counts only while what it was made from is the same",
    )
