"""What the simulated chip's ROM test port answers, against the ROM files: the last links of the provenance chain."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from etchproof.compare.readback import Readback, UnitReadback
from etchproof.render.images import ImageSet
from etchproof.run.testrun import Chip, run_test
from etchproof.signoff.checks import Found
from etchproof.verdict.result import Reason

READBACK_SEED: Final = 1


@dataclass(frozen=True)
class ReadBack:
    """What a run read from the chip's ROMs.

    Attributes:
        record: None where the run left none.
        reasons: why the run is no PASS.
    """

    record: Readback | None
    reasons: tuple[Reason, ...]


NONE: Final = ReadBack(None, ())
"""Of a chip whose ROM cannot be read back."""


def read_back(chip: Chip, test: str, folder: Path) -> ReadBack:
    """Run the test that reads every ROM of a chip back; the run's files stay in ``folder``."""
    shutil.rmtree(folder, ignore_errors=True)
    run = run_test(chip, test, folder, seed=READBACK_SEED)
    return ReadBack(run.readback, run.reasons)


def check_rom_readback(images: ImageSet, read: ReadBack) -> Found:
    """Every word of every ROM, as the chip answered it, is that of its file on disk."""
    slices = sum(unit.read for unit in read.record.units) if read.record else 0
    return _judged(images, read, _wrong_words, f"{slices:,} slices of 32 bits")


def check_rom_signature(images: ImageSet, read: ReadBack) -> Found:
    """Every signature that the chip took of a ROM is that of its file on disk."""
    return _judged(images, read, _wrong_signature, "signatures")


def _judged(images: ImageSet, read: ReadBack, problem: Callable[[UnitReadback], str], what: str) -> Found:
    """A ROM for each file, each of that file's hash and without a problem, in a run that passed."""
    run = [f"{reason.name}: {reason.message}" for reason in read.reasons]
    if read.record is None:
        return False, f"nothing was read back: {run[0] if run else 'the run left no record'}"
    units = read.record.units
    known = {(image.layer, image.name): image.sha256 for image in images.images}
    there = {(unit.layer, unit.image) for unit in units}
    problems = [text for unit in units if (text := problem(unit))]
    problems += [
        f"{unit.name} is of another file"
        for unit in units
        if known.get((unit.layer, unit.image)) != unit.sha256
    ]
    problems += [
        f"layer {layer} {name} was not read back" for layer, name in known if (layer, name) not in there
    ]
    if read.record.rom_sha256 != images.sha256 or not units:
        problems.append(f"the record is of ROM files {read.record.rom_sha256[:12]}, not {images.sha256[:12]}")
    problems += run
    if problems:
        return False, f"{len(problems)} problems: {problems[0]}"
    return True, f"{what} of {len(units)} ROMs read back, all as in the files"


def _wrong_words(unit: UnitReadback) -> str:
    if unit.words_hold:
        return ""
    return unit.bits[0] if unit.bits else f"{unit.name}: {unit.read} of {unit.slices} slices read"


def _wrong_signature(unit: UnitReadback) -> str:
    if unit.signature_holds:
        return ""
    found = "no signature" if unit.signature is None else f"signature {unit.signature:08x}"
    return (
        f"unit {unit.unit:#x} ({unit.name}): {found} of the chip, {unit.expected_signature:08x} of the file"
    )
