"""The ROM scoreboard: every answer of the ROM test port against the ROM files on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyuvm import ConfigDB, uvm_component, uvm_subscriber

from etchproof.compare.comparator import RomRecord
from etchproof.compare.readback import LISTED, Readback, UnitReadback
from etchproof.render.images import read_images
from models.cycles import rom_cycles
from verif.rom_port.agent import RomResult
from verif.rom_port.units import (
    RomOp,
    RomStatus,
    RomUnit,
    Slices,
    differing_bits,
    file_slices,
    rom_units,
    signature,
)


class RomScoreboard(uvm_subscriber):  # type: ignore[misc]  # pyuvm is untyped
    """Predicts status, data and cycles of every ``RomResult``; ``fail(name, message)`` and ``record`` are set by the
    environment.

    Attributes:
        units: every ROM of the chip by its number.
    """

    def __init__(self, name: str, parent: uvm_component) -> None:
        super().__init__(name, parent)
        self.fail: Callable[[str, str], None]
        self.record: Callable[[RomRecord], None]
        self._found: dict[int, UnitReadback] = {}

    def start_of_simulation_phase(self) -> None:
        folder = ConfigDB().get(self, "", "ROM_FOLDER")
        self._plan: Any = ConfigDB().get(self, "", "GOLDEN").plan
        self._images = read_images(Path(folder)) if folder else None
        units = rom_units(self._plan, self._images) if self._images else ()
        self.units: dict[int, RomUnit] = {unit.number: unit for unit in units}
        self._file: tuple[int, Slices] | None = None  # the unit read last

    def readback(self) -> Readback:
        """What was read so far; a unit that was not is there with nothing read."""
        assert self._images is not None, "rom_folder: the run was not told where the ROM files are"
        units = tuple(self._of(unit) for unit in self.units.values())
        return Readback(rom_sha256=self._images.sha256, units=units)

    def write(self, tt: RomResult) -> None:
        asked, answer, unit = tt.asked, tt.answer, self.units.get(tt.asked.unit)
        self.record(
            RomRecord(op=asked.op, unit=asked.unit, word=asked.word, words=asked.words, status=answer.status)
        )
        what = f"{RomOp(asked.op).name} of {asked.words} words from {asked.word} of {unit or hex(asked.unit)}"
        status, requests = RomStatus.OK, asked.words  # how many of them are answered with data
        if unit is None:
            status, requests = RomStatus.BAD_UNIT, 0
        elif asked.op == RomOp.READ and asked.word + asked.words > unit.words:
            status, requests = RomStatus.BAD_WORD, max(0, unit.words - asked.word)
        allowed = {True: {RomStatus.BUSY}, False: {status}, None: {status, RomStatus.BUSY}}[tt.busy]
        if answer.status not in allowed:
            names = " or ".join(sorted(code.name for code in allowed))
            self.fail("rom_status", f"{what} answered with status {answer.status}, expected {names}")
        if answer.status == RomStatus.BUSY:
            return
        self._check_cycles(tt, unit, requests, status, what)
        if unit is None or requests == 0:
            if len(answer.slices):
                self.fail("rom_word", f"{what} was refused and answered {len(answer.slices)} slices")
        elif asked.op == RomOp.READ:
            self._check_words(unit, asked.word, requests, answer.slices, what)
        else:
            self._check_signature(unit, answer.slices, what)

    def _check_cycles(
        self, tt: RomResult, unit: RomUnit | None, requests: int, status: RomStatus, what: str
    ) -> None:
        slices = 0
        if unit is not None:
            slices = unit.slices * (unit.words if tt.asked.op == RomOp.SIGNATURE else 1)
        cycles = requests * rom_cycles(self._plan, slices)
        if status is not RomStatus.OK:
            cycles += rom_cycles(self._plan, 0)
        if not tt.asked.stall_seed and tt.answer.cycles != cycles:
            self.fail("rom_cycles", f"{what} took {tt.answer.cycles} cycles, the cycle model says {cycles}")

    def _check_words(self, unit: RomUnit, word: int, words: int, slices: Slices, what: str) -> None:
        expected = self._slices(unit)[word : word + words]
        if len(slices) != expected.size:
            self.fail("rom_word", f"{what} answered {len(slices)} slices, expected {expected.size}")
            return
        got = slices.reshape(expected.shape)
        kept = self._of(unit)
        wrong = int((got != expected).sum())
        names: tuple[str, ...] = ()
        if wrong:
            base = self._slices(unit).copy()
            base[word : word + words] = got
            found = differing_bits(self._plan, unit, base, self._slices(unit))
            names = tuple(name for name, _ in zip(found, range(LISTED), strict=False))
            self.fail("rom_word", f"{wrong} of {got.size} slices differ, the first: {names[0]}")
        self._found[unit.number] = kept.model_copy(
            update={
                "read": kept.read + got.size,
                "wrong": kept.wrong + wrong,
                "bits": (*kept.bits, *names)[:LISTED],
            }
        )

    def _check_signature(self, unit: RomUnit, slices: Slices, what: str) -> None:
        kept = self._of(unit)
        if len(slices) != 1:
            self.fail("rom_signature", f"{what} answered {len(slices)} words, expected one")
            return
        found = int(slices[0])
        if found != kept.expected_signature:
            self.fail(
                "rom_signature", f"{unit}: {found:08x} in the chip, {kept.expected_signature:08x} of the file"
            )
        self._found[unit.number] = kept.model_copy(update={"signature": found})

    def _slices(self, unit: RomUnit) -> Slices:
        """(words, slices) of the file."""
        if self._file is None or self._file[0] != unit.number:
            assert self._images is not None
            self._file = unit.number, file_slices(self._images, unit)
        return self._file[1]

    def _of(self, unit: RomUnit) -> UnitReadback:
        if unit.number not in self._found:
            expected = self._slices(unit)
            self._found[unit.number] = UnitReadback(
                unit=unit.number,
                name=unit.name,
                layer=unit.image.layer,
                image=unit.image.name,
                sha256=unit.image.sha256,
                words=unit.words,
                slices=expected.size,
                read=0,
                wrong=0,
                bits=(),
                signature=None,
                expected_signature=signature(expected),
            )
        return self._found[unit.number]
