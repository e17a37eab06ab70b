"""The record of a qualification, ``qualification.json``: every fault, and what saw it."""

from __future__ import annotations

from collections import Counter
from typing import Final, Literal, Self

from pydantic import Field, model_validator

from etchproof.compare.comparator import Divergence
from etchproof.signoff.record import Record, agree
from etchproof.signoff.testplan import Stage
from etchproof.verdict.result import RecipeRecord, Sha256

QUALIFICATION_FILE: Final = "qualification.json"
FAULTS_FOLDER: Final = "faults"
_MESSAGE: Final = 300  # characters of a message that are kept

Kind = Literal["rtl", "image", "flow", "golden", "checker"]
State = Literal["detected", "survived", "broken"]
"""``broken``: the bench failed, not the chip, so nothing is known of the fault."""


class Detection(Record):
    """What one run saw of a fault."""

    run: str = Field(description="name of the run")
    test: str = Field(description="of the run; what judged, where no test did")
    reason: str = Field(description="name of the reason for which it is no PASS")
    message: str
    tap: str | None = Field(description="the first tap that differs; null where none does")
    layer: int | None
    token: int | None

    @classmethod
    def of(
        cls, run: str, reason: str, message: str, *, test: str | None = None, at: Divergence | None = None
    ) -> Self:
        """What a run saw first.

        Args:
            test: of the run; None where what judged is no test.
            at: the first element that differs; None where none does.
        """
        return cls(
            run=run,
            test=run if test is None else test,
            reason=reason,
            message=message[:_MESSAGE],
            tap=None if at is None else at.tap,
            layer=None if at is None else at.layer,
            token=None if at is None else at.token,
        )


class Outcome(Record):
    """One run of one fault, as it is stored."""

    name: str = Field(description="of the fault")
    seen: Detection | None = Field(description="null where the run is a PASS")
    broken: bool = Field(description="whether it was the bench that failed")


class FaultResult(Record):
    """One fault."""

    name: str = Field(description="of this fault alone")
    kind: Kind
    where: str = Field(description="module of the RTL, or image")
    place: str = Field(description="source and line of the RTL; the image")
    operator: str
    was: str
    becomes: str
    state: State
    seen_by: tuple[Detection, ...] = Field(description="of each test that saw it the first run, as tried")
    runs: int = Field(description="runs that were made of it")
    activated: bool | None = Field(
        None,
        description="of a survivor in RTL, whether what it changes was another value in any run; null: not known",
    )

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        agree(self.activated is None or self.state == "survived", f"{self.name}: {self.state}, and activated")
        agree((self.state == "survived") == (not self.seen_by), f"{self.name}: {self.state}, and seen_by")
        return self


class RunRecord(Record):
    """One run that every fault is held against, without a fault."""

    name: str
    test: str
    elements: int = Field(description="compared")
    cycles: int
    equal: bool = Field(
        description="whether the simulator with all faults, none chosen, did as the one without"
    )
    wall_s: float


class Qualification(Record):
    """``qualification.json``."""

    stage: Stage
    project: str
    model: str
    model_sha256: Sha256
    recipe: RecipeRecord | None = Field(description="None: a model of the project's own kind")
    adapters: tuple[Sha256, ...] = Field(description="that the command line names")
    seed: int
    sources_sha256: Sha256 = Field(description="of the project's own files, the engine and the tools")
    fabric_sha256: Sha256
    rom_sha256: Sha256
    schemata_sha256: Sha256
    refused: int = Field(description="faults that do not elaborate: no kill, and not counted")
    opinions: int = Field(description="further tests that a fault met after the first that saw it")
    runs: tuple[RunRecord, ...]
    faults: tuple[FaultResult, ...]
    open_items: tuple[str, ...] = Field((), description="why it is no PASS, on the day that it was made")
    wall_s: float

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        twice = [name for name, count in Counter(fault.name for fault in self.faults).items() if count > 1]
        agree(not twice, f"{twice[:1]} stands twice")
        return self
