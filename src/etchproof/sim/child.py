"""How Python starts inside the simulator, and what the testbench there knows of its run."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from importlib.abc import PathEntryFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from etchproof.errors import InputError
from etchproof.files.json_file import read_json_object
from etchproof.project import reading
from etchproof.sim import forks_child

RUN_ENV: Final = "ETCHPROOF_RUN"
"""Environment variable of the child: the run's folder."""

PYTHON_PATH_ENV: Final = "ETCHPROOF_PYTHON_PATH"
"""Environment variable of the child: folders to import from before all others, a list in JSON, so that a path may hold
any sign."""

FORKS_ENV: Final = "ETCHPROOF_FORKS"
"""Environment variable of a simulator that others are forked from: the file descriptor of its socket."""

CONFIG_FILE: Final = "run_config.json"
_CONFIG_BYTES: Final = 32 << 20  # it may hold every token of a long directed test


def start() -> None:
    """What cocotb calls first: says where to import from, and goes on as cocotb does by itself.

    In a simulator that others are forked from, it returns in each of those.
    """
    from pygpi.entry import load_entry

    sys.path[:0] = json.loads(os.environ[PYTHON_PATH_ENV])
    if FORKS_ENV in os.environ:
        _enter()
        forks_child.serve(int(os.environ[FORKS_ENV]))
    _enter()
    load_entry()


def _enter() -> None:
    """Take what the environment says of the run."""
    # cocotb puts the working folder, which is the run's, first of all. What lies in it is data.
    sys.path_importer_cache[os.getcwd()] = _Nothing()
    os.environ.pop("PYGPI_USERS", None)
    reading.from_environment(run_dir(), _hashed_files)


def _hashed_files(root: Path) -> Iterable[Path]:
    from etchproof.project.code import hashed_files  # slow to import, and seldom needed here

    return hashed_files(root)


class _Nothing(PathEntryFinder):
    """Finds no module in a folder."""

    def find_spec(self, fullname: str, target: ModuleType | None = None) -> ModuleSpec | None:
        return None

    def invalidate_caches(self) -> None:
        """Stays."""


def run_dir() -> Path:
    """The folder of this run.

    Raises:
        InputError: this process was not started by ``etchproof.sim.run.simulate``.
    """
    folder = os.environ.get(RUN_ENV)
    if not folder:
        raise InputError(
            "is not set", key=RUN_ENV, hint="the testbench runs in a simulation that etchproof starts"
        )
    return Path(folder)


def run_config() -> dict[str, Any]:
    """The configuration that ``simulate`` was given.

    Raises:
        InputError: no run, or its ``run_config.json`` is missing or broken.
    """
    file = run_dir() / CONFIG_FILE
    return read_json_object(file, _CONFIG_BYTES)
