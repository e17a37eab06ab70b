"""What a failed run was of, ``subject.json`` in its folder: enough to make model, adapters and golden model again.

It names no project: code is run of the one that a command chooses, and of none that a folder of results names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from etchproof.files.atomic import write_atomically
from etchproof.regress.spec import ItemSpec
from etchproof.run.design import Design

SUBJECT_FILE: Final = "subject.json"


class Subject(BaseModel):
    """``subject.json``.

    Attributes:
        project: its name.
        spec: the run; of a co-simulation, its prompt and length are in ``run.json`` alone.
        model_sha256: of the model that ran.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    project: str
    spec: ItemSpec
    model_sha256: str


def keep_subject(folder: Path, spec: ItemSpec, design: Design) -> None:
    """Write ``subject.json`` of a run that failed."""
    subject = Subject(project=design.project.name, spec=spec, model_sha256=design.source.sha256)
    write_atomically(folder / SUBJECT_FILE, subject.model_dump_json(indent=1) + "\n")
