"""``readback.json``: what a run read back from the chip's mask ROM, against the ROM files on disk."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

READBACK_FILE: Final = "readback.json"
LISTED: Final = 20
"""Differing bits of a unit that are named."""

Count = Annotated[int, Field(ge=0)]
Word32 = Annotated[int, Field(ge=0, lt=1 << 32)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class UnitReadback(_Record):
    """One ROM of the chip."""

    unit: Annotated[int, Field(ge=0)] = Field(description="its number at the test port")
    name: str = Field(description="where it is and what it holds: layer 0 up.codes")
    layer: int = Field(description="of its image; -1 outside the decoder layers, and of the tables in them")
    image: str = Field(description="its image's name, up.codes")
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] = Field(description="of the file")
    words: Count
    slices: Count = Field(description="of 32 bits, of all words")
    read: Count = Field(description="slices that the chip answered")
    wrong: Count = Field(description="of them, those that differ from the file")
    bits: tuple[str, ...] = Field(description="the first differing bits, by name")
    signature: Word32 | None = Field(description="the chip's; None when it gave none")
    expected_signature: Word32 = Field(description="of the file")

    @property
    def words_hold(self) -> bool:
        """Every slice was read and is the file's."""
        return self.read == self.slices > 0 and self.wrong == 0

    @property
    def signature_holds(self) -> bool:
        return self.signature == self.expected_signature


class Readback(_Record):
    """All ROMs of the chip, each once."""

    rom_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] = Field(description="of the files on disk")
    units: tuple[UnitReadback, ...]
