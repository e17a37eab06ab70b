"""What Etchproof changes in the C++ that Verilator wrote: in builds of the kind ``fast`` only, and written down.

The rules know C++ by its looks, so they are for the versions of Verilator that the suite compares with untouched
builds. Every other kind of build, and ``fast`` with another version, compiles what Verilator wrote.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from etchproof.sim.rewrite.merge import merge_equal_functions
from etchproof.sim.rewrite.triggers import quicken_triggers

TESTED_VERILATORS: Final = frozenset({"5.048"})
"""Versions whose C++ is rewritten: the suite compares runs of rewritten and of untouched builds with these."""

Count = Annotated[int, Field(ge=0)]


class Rewrites(BaseModel):
    """How often each rule was applied in a build; a build that was left as Verilator wrote it has no such record."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    merged_functions: Count = Field(
        description="functions left out, since an equal one is called in their place"
    )
    renamed_members: Count = Field(
        description="members for temporary values left out, since their function uses an equal one's"
    )
    gathered_files: Count = Field(description="files compiled as a part of another, or left out as empty")
    clock_signals: Count = Field(description="signals whose clocks are looked at all at once")
    nested_tests: Count = Field(description="tests of triggers that were put under a common test")


def rewrite(folder: Path) -> Rewrites:
    """Rewrite the C++ that Verilator wrote into ``folder``, and say what was done."""
    merged = merge_equal_functions(folder)
    quickened = quicken_triggers(folder)
    return Rewrites(
        merged_functions=merged.functions,
        renamed_members=merged.members,
        gathered_files=merged.files,
        clock_signals=quickened.signals,
        nested_tests=quickened.tests,
    )
