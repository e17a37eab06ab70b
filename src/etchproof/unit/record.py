"""The record of a unit's run, ``run.json`` of its folder (docs/unit.md)."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from etchproof.compare.comparator import Divergence, TapCount
from etchproof.contract.element import shown, ulps
from etchproof.verdict.result import Count, Reason, Seconds, Sha256, Verdict

_SHOWN: Final = 8  # reasons


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class CodeCount(_Record):
    """Points of code of one kind, in the unit's own files."""

    passed: Count
    points: Count


class UnitResult(_Record):
    """What a unit's run was made from, what was compared, and the verdict."""

    schema_version: Literal[1] = 1
    verdict: Verdict
    reasons: tuple[Reason, ...] = Field(description="empty exactly when the verdict is PASS")
    test: str = Field(description="pytest's name of the test")
    top: str
    sources: tuple[str, ...] = Field(description="every file of the fabric, in the order of compilation")
    fabric_sha256: Sha256
    build: Literal["fast", "plain", "strict", "coverage"]
    waived: dict[str, str] = Field(description="warnings of Verilator that do not count, and why")
    tools: dict[str, str]
    seed: int
    taps: tuple[TapCount, ...]
    first_divergence: Divergence | None = Field(
        description="tap by tap as declared, then vector, then element; token is the number of the vector"
    )
    code: dict[str, CodeCount] | None = Field(description="by kind of point; null: not measured")
    wall_s: Seconds
    rerun: str

    @property
    def passed(self) -> bool:
        return self.verdict == "PASS"

    @property
    def elements(self) -> int:
        """Elements compared."""
        return sum(count.elements for count in self.taps)

    def __str__(self) -> str:
        lines = [f"{self.verdict} {self.top}: {self.elements:,} elements of {len(self.taps)} taps compared"]
        if first := self.first_divergence:
            kind = first.dtype
            apart = ulps(kind, first.expected, first.got)
            lines.append(
                f"first {first.tap}, vector {first.token}, element {first.element}: expected "
                f"{shown(kind, first.expected)}, got {shown(kind, first.got)}"
                + ("" if apart is None else f", {apart:,} ulp apart")
            )
        lines += [f"reason {reason.name}: {reason.message}" for reason in self.reasons[:_SHOWN]]
        if len(self.reasons) > _SHOWN:
            lines.append(f"and {len(self.reasons) - _SHOWN} more in run.json")
        return "\n".join(lines)
