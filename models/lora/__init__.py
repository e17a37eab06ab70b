"""How an adapter enters the chip: the frame that the host writes, and where its elements come to lie."""

from models.lora.frames import (
    FRAME_WORDS,
    MAGIC,
    MAX_A_SHIFT,
    NO_SLOT,
    SECTION_WORDS,
    checksum,
    frame,
    frame_ranks,
    load_frame,
    section,
    section_words,
    sram_site,
)

__all__ = [
    "FRAME_WORDS",
    "MAGIC",
    "MAX_A_SHIFT",
    "NO_SLOT",
    "SECTION_WORDS",
    "checksum",
    "frame",
    "frame_ranks",
    "load_frame",
    "section",
    "section_words",
    "sram_site",
]
