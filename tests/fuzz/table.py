"""A row of the fuzzer's table, and how a case is made from it."""

from __future__ import annotations

import importlib
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.mutate import Kind, mutate

AS_IT_IS = 0
"""The number of the case that changes nothing: the loader has to take it."""


@dataclass(frozen=True)
class Loader:
    """A loader of files that others wrote.

    Attributes:
        name: of the row, one word.
        make: writes valid input into a folder.
        files: those of them that are changed, with the kind of each.
        load: loads a folder; everything that it raises but ``InputError`` is a finding.
        reads: the functions that this row exercises, ``module:qualified.name``, of those that read files.
        weight: how many cases it gets of a run, relative to the others.
    """

    name: str
    make: Callable[[Path], object]
    files: Mapping[str, Kind]
    load: Callable[[Path], object]
    reads: tuple[str, ...]
    weight: float = 1.0


def loaders(module: str) -> dict[str, Loader]:
    """The rows of a module's ``LOADERS`` by name."""
    table: tuple[Loader, ...] = importlib.import_module(module).LOADERS
    return {loader.name: loader for loader in table}


def make_case(loader: Loader, seeds: Path, number: int, folder: Path) -> None:
    """The input of a case, in a folder that is new.

    Args:
        seeds: the folder into which ``loader.make`` wrote.
        number: of the case; ``AS_IT_IS`` changes nothing.
    """
    shutil.copytree(seeds, folder, symlinks=True)
    if number != AS_IT_IS:
        mutate(random.Random(f"{loader.name} {number}"), folder, loader.files)
