"""The record of a diagnosis, ``diagnosis.json`` (docs/diagnose.md).

``schema_version`` is raised when a field changes its meaning or goes; fields may be added without.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from etchproof.page.html import clipped

DIAGNOSIS_FILE: Final = "diagnosis.json"
PAGE_FILE: Final = "diagnosis.html"
SCHEMA_VERSION: Final = 1
_SHOWN: Final = 160  # characters of a place

Count = Annotated[int, Field(ge=0)]
Finding = Literal[
    "explained", "rivals", "unexplained", "testbench", "golden", "missing", "no_origin", "no_units"
]

MEANINGS: Final[dict[Finding, str]] = {
    "explained": "one fault for each origin, and nothing else explains it",
    "rivals": "every origin is explained, one of them by more than one fault",
    "unexplained": "an origin that no hypothesis explains",
    "testbench": "a tap is not what the chip went on with: it is early, or recorded wrongly",
    "golden": "the chip's every unit follows from its inputs, the golden model's do not",
    "missing": "taps are missing, and every unit whose taps are there follows from its inputs",
    "no_origin": "taps differ, yet every unit follows from its inputs in chip and golden model",
    "no_units": "nobody says what the units of this chip are",
}


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FirstRecord(_Record):
    """The first element of an origin that differs."""

    sequence: Count
    position: Count
    element: Count
    follows: int = Field(description="what follows from the unit's inputs; of floating point, its bits")
    got: int = Field(description="what the chip has; likewise")


class OriginRecord(_Record):
    """A unit whose output does not follow from the chip's own taps before it."""

    unit: str = Field(description="its name, in Hugging Face's words where it has one there")
    module: str = Field(description="what it is one of")
    layer: int = Field(description="-1 outside the layers")
    tap: str
    vectors: Count = Field(description="that differ")
    of_vectors: Count
    elements: Count = Field(description="that differ")
    of_elements: Count
    sequences: str = Field(description="in which vectors differ, as ranges")
    positions: str = Field(description="likewise, of tokens in their sequences")
    bits: Count = Field(
        description="what the run says of the fault: by chance, a fault that has nothing to do with it gives the same"
        " elements once in two to the power of it"
    )
    places: dict[str, str] = Field(description="likewise, of the elements: lane, block, head ...")
    first: FirstRecord


class PlaceRecord(_Record):
    """Where a cause is; null where it does not apply or is not known."""

    tensor: str | None = Field(default=None, description="Hugging Face's name")
    element: tuple[int, ...] | None = Field(default=None, description="index in the tensor")
    inject: tuple[str, ...] = Field(default=(), description="the bits, as --inject names them")
    layer: int | None = Field(default=None, description="of the ROM image; -1 outside the layers")
    image: str | None = Field(default=None, description="name of the ROM image")
    word: int | None = Field(default=None, description="address in the image")
    lane: tuple[int, ...] | None = Field(default=None, description="index of the element in its word")
    bits: tuple[int, ...] = Field(default=(), description="of the element")
    instances: tuple[str, ...] = Field(default=(), description="of the units, in the RTL")
    files: tuple[str, ...] = Field(default=(), description="of their modules")
    what: str | None = Field(default=None, description="anything else")


class ExplanationRecord(_Record):
    """A fault that gives every element of the units in which it is."""

    kind: str
    what: str
    at: str = Field(
        description="the part of the chip that one such fault is in: those of one kind and part are one fault,"
        " in whatever units and runs"
    )
    where: PlaceRecord

    @property
    def places(self) -> tuple[str, ...]:
        """Where it is, for a reader: bits, image, RTL, a line each."""
        where, found = self.where, []
        if where.inject:
            found.append(clipped(" ".join(where.inject), _SHOWN))
        if where.image is not None:
            of = "" if where.layer is None or where.layer < 0 else f"layer {where.layer} "
            word = "" if where.word is None else f", word {where.word}"
            lane = "" if where.lane is None else f", lane {','.join(map(str, where.lane))}"
            bits = "" if not where.bits else f", bit {' '.join(map(str, where.bits))}"
            found.append(f"image {of}{where.image}{word}{lane}{bits}")
        if where.instances or where.files:
            found.append(f"{clipped(' '.join(where.instances), _SHOWN)} ({' '.join(where.files)})")
        if where.what is not None:
            found.append(where.what)
        return tuple(found)


class CauseRecord(ExplanationRecord):
    """A fault, as far as the run tells it from others."""

    origins: tuple[str, ...] = Field(description="the units that it explains")
    explains: str = Field(
        description='"4842 of 4842": elements of their taps that it gives as the chip has them'
    )
    rivals: tuple[ExplanationRecord, ...] = Field(description="what explains as much")


class UnexplainedRecord(_Record):
    """An origin that nothing explains."""

    unit: str
    excluded: dict[str, Count] = Field(
        description="kinds of hypotheses that do not hold, and how many of each"
    )


class Diagnosis(_Record):
    """``diagnosis.json``."""

    schema_version: Literal[1] = SCHEMA_VERSION
    finding: Finding
    differing: Count = Field(description="vectors that are not the golden model's, of all taps")
    items: Count = Field(description="tokens or vectors of the run that were looked at")
    left_out: Count = Field(description="items after the first of a sequence with a tap that is missing")
    origins: tuple[OriginRecord, ...] = Field(description="in dataflow order")
    causes: tuple[CauseRecord, ...] = Field(description="one for each fault; that of the most origins first")
    unexplained: tuple[UnexplainedRecord, ...]
    golden: tuple[str, ...] = Field(
        description="units that the golden model computed otherwise than its own taps say"
    )
    notes: tuple[str, ...] = Field(description="what kept the diagnosis from saying more")
    tried: Count = Field(description="hypotheses that were computed")
    complete: bool = Field(description="whether no hypothesis was left out because time was up")
    certain: bool = Field(
        description="explained, complete, and the run says enough of each cause: at least 32 bits, of all its origins"
    )
    wall_s: float = Field(ge=0)

    def to_json(self) -> str:
        """The file's content."""
        return self.model_dump_json(indent=1) + "\n"


def json_schema() -> str:
    """JSON Schema of ``diagnosis.json``, the content of docs/diagnosis.schema.json."""
    schema: dict[str, Any] = Diagnosis.model_json_schema(mode="serialization")
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=1) + "\n"
