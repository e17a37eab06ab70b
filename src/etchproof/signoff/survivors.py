"""Faults that no run sees and that may stand, each with its reason (``[qualify] survivors``).

An entry says why a fault changes nothing that a chip computes (``equivalent``), which later stage sees it (``later``),
or until when it is let pass (``until``). One that is expired, or that no survivor needs, fails the verdict: what is on
the list must be true today.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from etchproof.files.validation import Day, as_tuple
from etchproof.files.yaml_file import read_yaml_record
from etchproof.project.declaration import Project
from etchproof.signoff.qualification import Qualification
from etchproof.signoff.testplan import STAGES, Stage

Excuse = Literal["equivalent", "later", "waived"]
_Why = Annotated[str, Field(min_length=20)]


class Survivor(BaseModel):
    """One fault that may stand.

    Attributes:
        fault: its name.
        equivalent: why the chip with it computes the same, for every model and every input.
        later: what sees it in the stage ``seen_at``, before which it may stand.
        waived: why it is let pass, ``until`` the last day on which that counts.
        models: names of those whose chips it is said of, where others have a shape in which it shows; all by default.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    fault: Annotated[str, Field(min_length=1)]
    equivalent: _Why | None = None
    later: _Why | None = None
    seen_at: Stage | None = None
    waived: _Why | None = None
    until: Day | None = None
    models: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = ()

    @model_validator(mode="after")
    def _says_one(self) -> Survivor:
        if sum(why is not None for why in (self.equivalent, self.later, self.waived)) != 1:
            raise ValueError("says one of: why it is equivalent, what sees it later, why it is waived")
        if (self.waived is None) != (self.until is None):
            raise ValueError("until goes with waived")
        if (self.later is None) != (self.seen_at is None):
            raise ValueError("seen_at goes with later")
        return self

    @property
    def excuse(self) -> Excuse:
        return "equivalent" if self.equivalent else "later" if self.later else "waived"

    @property
    def why(self) -> str:
        return self.equivalent or self.later or self.waived or ""

    def is_of(self, stage: Stage, model: str) -> bool:
        """Whether it excuses anything in a qualification of a model at a stage."""
        later = self.seen_at is None or STAGES.index(stage) < STAGES.index(self.seen_at)
        return later and (not self.models or model in self.models)


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    name: str
    survivors: Annotated[tuple[Survivor, ...], BeforeValidator(as_tuple)]


def load_survivors(path: Path) -> tuple[Survivor, ...]:
    """Read the file.

    Raises:
        InputError: it is bad; file, key and value are named.
    """
    return read_yaml_record(path, _File).survivors


def survivors_of(project: Project) -> tuple[Survivor, ...]:
    """What a project lists; nothing where it has no such file and names none.

    Raises:
        InputError: as ``load_survivors``.
    """
    file = project.root / project.qualify.survivors
    if not file.exists() and "survivors" not in project.qualify.model_fields_set:
        return ()
    return load_survivors(file)


def excused(found: Qualification, survivors: Sequence[Survivor]) -> Mapping[str, Survivor]:
    """The survivors of a qualification that are on the list, by name."""
    lived = {result.name for result in found.faults if result.state == "survived"}
    return {one.fault: one for one in survivors if one.fault in lived and one.is_of(found.stage, found.model)}


def still_open(found: Qualification, survivors: Sequence[Survivor], today: datetime.date) -> tuple[str, ...]:
    """Everything for which a qualification is no PASS: what is not seen and not on the list, what is not true today."""
    return tuple(_still_open(found, survivors, today))


_ACTIVATION: Final[Mapping[bool | None, str]] = {
    None: "",
    True: ": it is activated, and nothing that is compared follows from it",
    False: ": it is not activated",
}


def _still_open(found: Qualification, survivors: Sequence[Survivor], today: datetime.date) -> Iterator[str]:
    stand = excused(found, survivors)
    for result in found.faults:
        if result.state == "broken":
            last = result.seen_by[-1]
            yield f"the bench broke at {result.name}: {last.reason}: {last.message}"
        elif result.state == "survived" and result.name not in stand:
            yield f"no run sees {result.name}, {result.place}{_ACTIVATION[result.activated]}"
    seen = {result.name for result in found.faults if result.state != "survived"}
    for survivor in survivors:
        if survivor.until is not None and today > survivor.until:
            yield f"{survivor.fault} is waived until {survivor.until}"
        elif survivor.fault in seen and survivor.is_of(found.stage, found.model):
            yield f"{survivor.fault} is on the list of survivors, and is seen"
    for run in found.runs:
        if not run.equal:
            yield f"unequal: {run.name} differs with every fault off"
    if not found.faults:
        yield "no fault was drawn"
