"""The files that judge a project: its own, or the engine's for a chip with a ``[host]`` that brings none."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from etchproof.errors import InputError
from etchproof.project.declaration import Project
from etchproof.project.sources import ENGINE, file_sha256
from etchproof.signoff.capabilities import capabilities, without
from etchproof.signoff.gates import StageGates
from etchproof.signoff.testplan import Testplan

Judge = Literal["testplan", "gates", "waivers", "exclusions"]
JUDGES: Final[tuple[Judge, ...]] = ("testplan", "gates", "waivers", "exclusions")

OWN: Final = ENGINE / "host" / "signoff"
"""The engine's testplan, gates and lists for a chip with a ``[host]``."""

_OWN_FILES: Final[dict[Judge, str]] = {"testplan": "testplan.hjson", "gates": "gates.yaml"}


def judge_file(project: Project, judge: Judge) -> Path | None:
    """A file that judges; None for waivers and exclusions where there are none.

    Raises:
        InputError: the testplan or the gates are missing.
    """
    name: str = getattr(project.signoff, judge)
    if (project.root / name).is_file():
        return project.root / name
    written = judge in project.signoff.model_fields_set  # a name that was written is meant
    if judge not in _OWN_FILES and not written:
        return None
    if written or project.host is None or is_own(project):
        raise InputError("no such file", source=project.root / name, key=f"signoff.{judge}")
    return OWN / _OWN_FILES[judge]


def is_own(project: Project) -> bool:
    """Whether a project brings a testplan or gates of its own."""
    return any((project.root / getattr(project.signoff, judge)).is_file() for judge in _OWN_FILES)


def stage_list(project: Project, name: str) -> str:
    """A regression list that gates name, as ``load_list`` takes it: the engine's by its file."""
    return name if project.host is None or is_own(project) else str(OWN / f"{name}.yaml")


def fitted(project: Project, testplan: Testplan, gates: StageGates) -> tuple[Testplan, StageGates]:
    """The engine's testplan and gates as far as a project has what they take; a project's own as they are."""
    if project.host is None or is_own(project):
        return testplan, gates
    held = capabilities(project)
    points = tuple(
        point for point in testplan.testpoints if all(without(test, held) is None for test in point.tests)
    )
    kept = {name: limit for name, limit in gates.gates.items() if without(name, held) is None}
    return testplan.model_copy(update={"testpoints": points}), gates.model_copy(update={"gates": kept})


def judged_by(project: Project) -> dict[str, str]:
    """Hash of each file that judges, by what it is.

    Raises:
        InputError: one is missing or cannot be read.
    """
    found = {judge: judge_file(project, judge) for judge in JUDGES}
    return {judge: file_sha256(path) for judge, path in found.items() if path is not None}
