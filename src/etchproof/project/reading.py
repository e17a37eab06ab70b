"""What a project's own Python reads, held to the files that its results are hashed with.

A result counts only for what it was made from (docs/regression.md, "What a result counts for"). So the project's
modules may read the files that a key names, the files of the model, and what the engine or they themselves wrote; any
other read is refused where it happens. Python tells of each file that it opens (PEP 578, audit events).
"""

from __future__ import annotations

import contextlib
import functools
import json
import linecache
import os
import sys
import sysconfig
import tempfile
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
_EXECUTED: Final = frozenset({"ctypes.dlopen", "os.exec", "os.posix_spawn", "subprocess.Popen"})

_Files = Callable[[Path], Iterable[Path]]
_roots: dict[str, tuple[Path, _Files]] = {}  # by the folder with a separator behind it
_allowed: set[str] = set()  # files and folders
_written: set[str] = set()
_gathered: list[set[Path]] = []  # innermost last


def watch(root: Path, files: Callable[[Path], Iterable[Path]]) -> None:
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


def from_environment(run_dir: Path, files: Callable[[Path], Iterable[Path]]) -> None:
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
        if flags & os.O_ACCMODE == os.O_WRONLY or flags & os.O_TRUNC:
            _written.add(_place(path))
            return
    elif event == "os.rename":
        _written.add(_place(arguments[1]))
        return
    elif event in _EXECUTED:
        path = arguments[0]
        if path is None or os.sep not in os.fsdecode(path):
            return  # the system finds it
    elif event == "sqlite3.connect":
        path = arguments[0]
    else:
        return
    if (frame := _project_frame(sys._getframe(1))) is not None:
        _check(_place(path), frame)


def _place(path: str | bytes | os.PathLike[str]) -> str:
    return os.path.realpath(os.fsdecode(path))


_real = functools.lru_cache(maxsize=4096)(os.path.realpath)  # of modules


def _project_frame(frame: FrameType | None) -> FrameType | None:
    """The innermost frame that answers for a read, where it is that of a project's module.

    An import is none: what modules import is hashed. Nor is a look at source for a traceback. The engine answers for
    its own reads.
    """
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith("<frozen importlib") or name == linecache.__file__:
            return None
        if name.startswith("<"):
            frame = frame.f_back
            continue
        name = _real(name)
        if not name.startswith(_CARRIED):
            if name.startswith(_ENGINE):
                return None
            if name.startswith(_LIBRARIES):
                frame = frame.f_back
                continue
        return frame if _is_hashed(name) else None
    return None


def _is_hashed(place: str) -> bool:
    return any(place in _files(root, files, _stamp(root)) for root, files in _roots.values())


def _stamp(root: Path) -> int:
    return os.stat(root / "etchproof.toml").st_mtime_ns


@functools.lru_cache(maxsize=64)
def _files(root: Path, files: _Files, _stamp: int) -> frozenset[str]:
    """Every file that a project's results are hashed with."""
    return frozenset(map(os.path.realpath, files(root)))


def _check(place: str, frame: FrameType) -> None:
    roots = [root for root in _roots if place.startswith(root)]
    exempt = [_ENGINE, *_LIBRARIES, *_SYSTEM, f"{os.path.realpath(tempfile.gettempdir())}{os.sep}"]
    outside = [folder for folder in exempt if place.startswith(folder)]
    if len(max(outside, key=len, default="")) > len(max(roots, key=len, default="")):
        return
    home = os.path.expanduser("~/.")
    if not roots and place.startswith(home):
        return  # settings and caches of libraries
    if place in _written or os.path.isdir(place):
        return
    if any(f"{place}{os.sep}".startswith(f"{allowed}{os.sep}") for allowed in _allowed):
        return
    if f"{os.sep}__pycache__{os.sep}" in place or _is_hashed(place):
        return
    _files.cache_clear()  # a file may be new
    if _is_hashed(place):
        return
    if _gathered:
        _gathered[-1].add(Path(place))
        return
    where = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
    root = max(roots, key=len, default=next(iter(_roots)))
    raise InputError(
        f"{where} reads {os.path.relpath(place, root) if roots else place}, which no key names",
        source=f"{root}etchproof.toml",
        key="golden.data",
        hint="name it there: a result counts only while what it was made from is the same",
    )
