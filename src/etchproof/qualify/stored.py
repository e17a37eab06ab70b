"""Results of faults as a campaign that goes on finds them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from etchproof.errors import InputError
from etchproof.files.atomic import write_atomically
from etchproof.files.json_record import read_json_record
from etchproof.signoff.qualification import FaultResult, Outcome

_Result = TypeVar("_Result", FaultResult, Outcome)


def read_stored(file: Path, record: type[_Result], name: str) -> _Result | None:
    """What is stored of a fault of that name; None where nothing is, or nothing that can be read."""
    with suppress(InputError):
        found = read_json_record(file, record)
        if found.name == name:
            return found
    return None


def store(file: Path, result: FaultResult | Outcome) -> None:
    """Write it, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, result.model_dump_json(indent=1) + "\n")
