"""The record of many failed runs, grouped by cause: ``triage.json`` (docs/regression.md, "Failures by cause").

``schema_version`` is raised when a field changes its meaning or goes; fields may be added without.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from etchproof.diagnose.result import Finding

TRIAGE_FILE: Final = "triage.json"
TRIAGE_PAGE: Final = "triage.html"
SCHEMA_VERSION: Final = 1

Count = Annotated[int, Field(ge=0)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FailureRecord(_Record):
    """A run that failed."""

    name: str
    reason: str = Field(description="name of its first reason; no_result where it left no result")
    first: str | None = Field(
        description="the tap that differs first; null where none does, or it is not known"
    )
    finding: Finding | None = Field(description="of its diagnosis; null where it was not diagnosed")
    certain: bool = Field(description="whether its diagnosis says so of itself")
    like: str | None = Field(
        default=None, description="not diagnosed: a failure with the same first difference, which was"
    )
    line: str = Field(description="the diagnosis in one line, or why there is none")


class GroupRecord(_Record):
    """Failures of one cause. A run with two causes is in two groups."""

    kind: str = Field(
        description="of the cause; unexplained, not diagnosed, or another finding without a cause"
    )
    unit: str = Field(
        description="classes of the units at fault, of all failures; of runs not diagnosed, the reason's name"
    )
    place: str = Field(
        description="the bits as --inject names them, else image and word, else the part of the chip"
    )
    what: str = Field(description="the cause as a sentence's end; of runs not diagnosed, why")
    failures: tuple[str, ...] = Field(description="names")
    certain: Count = Field(description="of them, those of which the diagnosis calls it certain")
    alike: tuple[str, ...] = Field(
        default=(),
        description="not diagnosed, with the same first difference as one of them; perhaps of this cause",
    )

    @property
    def title(self) -> str:
        """Kind, unit class, place."""
        of = f" of {self.unit}" if self.kind != NOT_DIAGNOSED else f": {self.unit}"
        return f"{self.kind}{of}{f', {self.place}' if self.place else ''}"


NOT_DIAGNOSED: Final = "not diagnosed"


class Triage(_Record):
    """``triage.json``."""

    schema_version: Literal[1] = SCHEMA_VERSION
    groups: tuple[GroupRecord, ...] = Field(description="that of the most failures first")
    failures: tuple[FailureRecord, ...] = Field(description="in the order of the plan")
    budget_s: float = Field(ge=0, description="after it, no further failure was diagnosed")
    wall_s: float = Field(ge=0)

    @property
    def diagnosed(self) -> int:
        """How many failures were diagnosed."""
        return sum(one.finding is not None for one in self.failures)

    def line(self, name: str) -> str:
        """The diagnosis of a failure in one line; empty where it is no failure."""
        return next((one.line for one in self.failures if one.name == name), "")

    def to_json(self) -> str:
        """The file's content."""
        return self.model_dump_json(indent=1) + "\n"


def json_schema() -> str:
    """JSON Schema of ``triage.json``, the content of docs/triage.schema.json."""
    schema: dict[str, Any] = Triage.model_json_schema(mode="serialization")
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=1) + "\n"
