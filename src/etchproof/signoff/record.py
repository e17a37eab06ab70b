"""What every record of a sign-off has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError


class Record(BaseModel):
    """Frozen; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def agree(holds: bool, problem: str) -> None:
    """A record that contradicts itself is no record."""
    if not holds:
        raise PydanticCustomError("contradiction", "{problem}", {"problem": problem})
