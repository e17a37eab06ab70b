"""What was read back from the chip, judged: each way in which it is no evidence is found and named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from etchproof.compare.readback import Readback, UnitReadback
from etchproof.render.images import ImageSet, StoredImage
from etchproof.signoff.readback import ReadBack, check_rom_readback, check_rom_signature
from etchproof.verdict.result import Reason

IMAGES = ImageSet(
    Path(),
    (
        StoredImage(-1, "rope.cos", 16, "i2", (4, 2), "a" * 64, 16),
        StoredImage(0, "q_proj.codes", 6, "u1", (2, 4, 16), "b" * 64, 128),
    ),
)


def unit(number: int, name: str, image: StoredImage, **changes: object) -> UnitReadback:
    fields = {
        "unit": number,
        "name": name,
        "layer": image.layer,
        "image": image.name,
        "sha256": image.sha256,
        "words": image.shape[0],
        "slices": image.size_bytes // 4,
        "read": image.size_bytes // 4,
        "wrong": 0,
        "bits": (),
        "signature": 0x12345678,
        "expected_signature": 0x12345678,
    }
    return UnitReadback.model_validate({**fields, **changes})


def read(units: tuple[UnitReadback, ...], rom_sha256: str = IMAGES.sha256, *reasons: Reason) -> ReadBack:
    return ReadBack(Readback(rom_sha256=rom_sha256, units=units), reasons)


TABLES = tuple(unit(32 * stage + 23, f"layer {stage - 1} rope.cos", IMAGES.images[0]) for stage in (1, 2))
CODES = unit(32, "layer 0 q_proj.codes", IMAGES.images[1])
GOOD = (*TABLES, CODES)
BOTH = (check_rom_readback, check_rom_signature)


def test_good() -> None:
    assert check_rom_readback(IMAGES, read(GOOD)) == (
        True,
        "40 slices of 32 bits of 3 ROMs read back, all as in the files",
    )
    assert check_rom_signature(IMAGES, read(GOOD)) == (
        True,
        "signatures of 3 ROMs read back, all as in the files",
    )


BIT = "unit 0x20 (layer 0 q_proj.codes) word 1 row 4 input 3 bit 2: 1 in the chip, 0 in the file"
BAD = {
    "a wrong bit": (
        (check_rom_readback,),
        read((*TABLES, CODES.model_copy(update={"wrong": 1, "bits": (BIT,)}))),
        f"1 problems: {BIT}",
    ),
    "a word not read": (
        (check_rom_readback,),
        read((*TABLES, CODES.model_copy(update={"read": 31}))),
        "1 problems: layer 0 q_proj.codes: 31 of 32 slices read",
    ),
    "a ROM of nothing": (
        (check_rom_readback,),
        read((*TABLES, CODES.model_copy(update={"read": 0, "slices": 0}))),
        "1 problems: layer 0 q_proj.codes: 0 of 0 slices read",
    ),
    "a wrong signature": (
        (check_rom_signature,),
        read((*TABLES, CODES.model_copy(update={"signature": 0x1234567A}))),
        "1 problems: unit 0x20 (layer 0 q_proj.codes): signature 1234567a of the chip, 12345678 of the file",
    ),
    "no signature": (
        (check_rom_signature,),
        read((*TABLES, CODES.model_copy(update={"signature": None}))),
        "1 problems: unit 0x20 (layer 0 q_proj.codes): no signature of the chip, 12345678 of the file",
    ),
    "a ROM left out": (BOTH, read(TABLES), "1 problems: layer 0 q_proj.codes was not read back"),
    "another file": (
        BOTH,
        read((*TABLES, CODES.model_copy(update={"sha256": "c" * 64}))),
        "1 problems: layer 0 q_proj.codes is of another file",
    ),
    "another chip's record": (
        BOTH,
        read(GOOD, "d" * 64),
        "1 problems: the record is of ROM files dddddddddddd",
    ),
    "a record of nothing": (BOTH, read(()), "3 problems: layer -1 rope.cos was not read back"),
    "a run that failed": (
        BOTH,
        read(GOOD, IMAGES.sha256, Reason(name="mismatch", message="1 elements differ")),
        "1 problems: mismatch: 1 elements differ",
    ),
    "no record": (BOTH, ReadBack(None, ()), "nothing was read back: the run left no record"),
    "no run": (
        BOTH,
        ReadBack(None, (Reason(name="timeout", message="not finished"),)),
        "nothing was read back: timeout: not finished",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad(case: str) -> None:
    checks, found, said = BAD[case]
    for check in checks:
        holds, message = check(IMAGES, found)
        assert not holds and message.startswith(said), message
    others: list[Callable[[ImageSet, ReadBack], tuple[bool, str]]] = [c for c in BOTH if c not in checks]
    assert all(check(IMAGES, found)[0] for check in others)
