"""Faults that no run sees and that may stand, each with its reason (``[qualify] survivors``).

An entry says why a fault changes nothing that a chip computes (``equivalent``), or until when it is let pass
(``until``). One that is expired, or that no survivor needs, fails the verdict: what is on the list must be true today.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from etchproof.files.validation import Day, as_tuple
from etchproof.files.yaml_file import read_yaml_record
from etchproof.qualify.record import FaultResult


class Survivor(BaseModel):
    """One fault that may stand.

    Attributes:
        fault: its name.
        equivalent: why the chip with it computes the same, for every model and every input.
        waived: why it is let pass, ``until`` the last day on which that counts.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    fault: Annotated[str, Field(min_length=1)]
    equivalent: Annotated[str, Field(min_length=20)] | None = None
    waived: Annotated[str, Field(min_length=20)] | None = None
    until: Day | None = None

    @model_validator(mode="after")
    def _says_one(self) -> Survivor:
        if (self.equivalent is None) == (self.waived is None):
            raise ValueError("says either why it is equivalent, or why it is waived")
        if (self.waived is None) != (self.until is None):
            raise ValueError("until goes with waived")
        return self


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


def still_open(
    results: Sequence[FaultResult], survivors: Sequence[Survivor], today: datetime.date
) -> Iterator[str]:
    """Every fault that is not seen and not on the list, and every entry that is not true today."""
    listed = {survivor.fault: survivor for survivor in survivors}
    lived = {result.name for result in results if result.state == "survived"}
    for result in results:
        if result.state == "broken":
            last = result.seen_by[-1]
            said = f": {last.reason}: {last.message}"
            yield f"the bench broke at {result.name}{said}"
        elif result.state == "survived" and result.name not in listed:
            yield f"no run sees {result.name}, {result.place}"
    tried = {result.name for result in results}
    for survivor in survivors:
        if survivor.until is not None and today > survivor.until:
            yield f"{survivor.fault} is waived until {survivor.until}"
        elif survivor.fault in tried - lived:
            yield f"{survivor.fault} is on the list of survivors, and is seen"
