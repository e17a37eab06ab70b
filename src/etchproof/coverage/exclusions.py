"""What code coverage leaves out, and why.

``verif/signoff/exclusions.yaml`` has what holds for every chip of a project, ``[coverage] exclusions`` works out what
holds for one chip. Each entry carries a tag and a reason. An entry that stands in the file and matches no point is an
error: it hides something that is no more, or never was what its writer thought. A point that an entry calls impossible
and that was passed all the same is stale, and no gate takes that for good.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Final, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from etchproof.coverage.toggles import Edge, Signal, signals
from etchproof.coverage.verilator import ModuleCoverage, Point, PointKind
from etchproof.errors import InputError
from etchproof.files.regular import read_text
from etchproof.files.validation import as_tuple
from etchproof.files.yaml_file import read_yaml_record

Tag = Literal["unreachable", "simulation-only", "unsupported", "external", "low-risk"]
"""Cannot happen in this chip; is no silicon; of a feature that this chip does not have; another gate covers it; may go
unproven."""

IMPOSSIBLE: Final[tuple[Tag, ...]] = ("unreachable", "unsupported")
"""An entry with such a tag says that its points cannot be passed."""


class _Entry(BaseModel):
    """What every exclusion says.

    Attributes:
        file: of the source; ``*`` stands for any text.
        tag: which kind of reason.
        covered_by: of tag ``external``, the gates that show what these points would; each has to ask for all.
        reason: for the reader who has to sign.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    file: Annotated[str, Field(min_length=1)]
    tag: Tag
    covered_by: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = ()
    reason: Annotated[str, Field(min_length=10)]

    @model_validator(mode="after")
    def _covered(self) -> Self:
        if (self.tag == "external") != bool(self.covered_by):
            raise ValueError("covered_by goes with the tag external, and only with it")
        return self


class Exclusion(_Entry):
    """Points that are left out in every chip of the project, or are not there.

    Attributes:
        kinds: of the points.
        what: as Verilator names the point: ``else``, ``layer_i*``; ``*`` stands for any text, here and below.
        text: the source's line, without the space around it; lines are not named by number, which every edit moves.
    """

    kinds: Annotated[tuple[PointKind, ...], Field(min_length=1), BeforeValidator(as_tuple)]
    what: str = "*"
    text: str = "*"

    def matches(self, point: Point, text: str) -> bool:
        """Whether a point is left out; ``text`` is its line of the source."""
        return (
            point.kind in self.kinds
            and _glob(self.file).fullmatch(point.file) is not None
            and _glob(self.what).fullmatch(point.what) is not None
            and _glob(self.text).fullmatch(text) is not None
        )

    def __str__(self) -> str:
        return " ".join(part for part in (self.file, self.what, self.text) if part != "*") or "*"


class SignalExclusion(_Entry):
    """Toggles of signals that one chip does not use: worked out from what the chip was made from.

    What is given narrows it down: without any of it all toggles of the signals are left out.

    Attributes:
        signals: their names as declared, ``*`` for any text; a member of a struct is ``load_o.rank``.
        bits: of a vector.
        elements: of an array, counted row by row.
        filled: of an array, what is used: see ``Signal.beyond``.
        edge: the only edge that is left out; both without it.
    """

    signals: Annotated[tuple[str, ...], Field(min_length=1)]
    bits: tuple[int, ...] | None = None
    elements: tuple[int, ...] | None = None
    filled: tuple[tuple[int, int], ...] | None = None
    edge: Edge | None = None

    def matches(self, signal: Signal) -> npt.NDArray[np.bool_]:
        """(points of the signal,) which are left out."""
        found = np.ones(len(signal.places), dtype=bool)
        if self.bits is not None:
            found &= signal.at_bits(self.bits)
        if self.elements is not None:
            found &= np.isin(signal.elements, self.elements)
        if self.filled is not None:
            found &= signal.beyond(self.filled)
        if self.edge is not None:
            found &= signal.rises if self.edge == "rise" else ~signal.rises
        return found

    @property
    def kinds(self) -> tuple[PointKind, ...]:
        """Of its points."""
        return ("toggle",)

    def names(self, signal: Signal) -> bool:
        """Whether it is about this signal."""
        return _glob(self.file).fullmatch(signal.file) is not None and any(
            _glob(name).fullmatch(signal.name) is not None for name in self.signals
        )

    def __str__(self) -> str:
        what = ", ".join(self.signals)
        what += f" elements {_ranges(self.elements)}" if self.elements is not None else ""
        what += f" bits {_ranges(self.bits)}" if self.bits is not None else ""
        what += (
            f" beyond {', '.join(str(count) for _, count in self.filled)} elements"
            if self.filled is not None
            else ""
        )
        return f"{self.file} {what}" + (f", {self.edge}" if self.edge else "")


@dataclass(frozen=True)
class Left:
    """What an entry leaves out.

    Attributes:
        points: how many.
        hit: how many of them were passed all the same.
    """

    entry: Exclusion | SignalExclusion
    points: int
    hit: int


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    name: str
    exclusions: Annotated[tuple[Exclusion, ...], BeforeValidator(as_tuple)]


_WORD: Final = re.compile(r"[A-Za-z_]\w*")


@lru_cache(maxsize=1024)
def _glob(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\*", ".*"))


def load_exclusions(path: Path) -> tuple[Exclusion, ...]:
    """Read the file.

    Raises:
        InputError: it is bad; file, key and value are named.
    """
    return read_yaml_record(path, _File).exclusions


def source_lines(folder: Path) -> dict[str, list[str]]:
    """Each SystemVerilog file below a fabric's folder, by name: its lines, without the space around them."""
    return {
        path.name: [line.strip() for line in read_text(path).splitlines()]
        for path in sorted(folder.rglob("*.sv"))
    }


def apply_exclusions(
    coverage: ModuleCoverage,
    written: Sequence[Exclusion],
    derived: Sequence[Exclusion | SignalExclusion],
    source: Path,
    texts: Mapping[str, Sequence[str]],
) -> tuple[npt.NDArray[np.bool_], tuple[Left, ...]]:
    """Which points are left out, (points,), and what each entry leaves out, in the order in which they were given.

    A derived entry of signals may leave nothing out: the simulator counts no signal above a width, and a vector may
    have no padding.

    Args:
        written: in the project's file.
        derived: of this chip.
        source: the file, for messages.
        texts: ``source_lines`` of the fabric.

    Raises:
        InputError: an entry of the file, or a derived one of lines of the source, matches no point; or one names a
            signal that is nowhere.
    """
    excluded = np.zeros(len(coverage.points), dtype=bool)
    left = []
    lines = [_line(texts, point) for point in coverage.points]
    by_file = signals(coverage.points)
    words = {name: set(_WORD.findall("\n".join(those))) for name, those in texts.items()}
    for number, entry in enumerate((*written, *derived)):
        key = f"exclusions[{number}]" if number < len(written) else "coverage.exclusions"
        matched = np.zeros(len(coverage.points), dtype=bool)
        if isinstance(entry, Exclusion):
            matched[:] = list(map(entry.matches, coverage.points, lines))
            if not matched.any():
                shown = f"{entry.file} {entry.what} {entry.text}"
                raise InputError(f"{shown!r} matches no point", source=source, key=key)
        else:
            _check_names(entry, words)
            for signal in filter(entry.names, by_file):
                matched[signal.places] = entry.matches(signal)
        hit = int((coverage.counts[matched] > 0).sum())
        left.append(Left(entry, int(matched.sum()), hit))
        excluded |= matched
    return excluded, tuple(left)


def _check_names(entry: SignalExclusion, words: Mapping[str, Collection[str]]) -> None:
    """Refuse an entry about a signal that no source has: it is about another chip, or was renamed.

    Args:
        words: of each file.

    Raises:
        InputError: there is none.
    """
    known = {word for file, those in words.items() if _glob(entry.file).fullmatch(file) for word in those}
    for name in entry.signals:
        pattern = _glob(name.partition(".")[0])
        if not any(map(pattern.fullmatch, known)):
            raise InputError(f"{entry.file} has no signal {name!r}", key="coverage.exclusions")


def _ranges(bits: Sequence[int]) -> str:
    """Bits as SystemVerilog writes them: "[31:9], [3]"."""
    found: list[list[int]] = []
    for bit in sorted(bits, reverse=True):
        if found and found[-1][-1] == bit + 1:
            found[-1].append(bit)
        else:
            found.append([bit])
    return ", ".join(f"[{run[0]}:{run[-1]}]" if len(run) > 1 else f"[{run[0]}]" for run in found)


def _line(texts: Mapping[str, Sequence[str]], point: Point) -> str:
    lines = texts.get(point.file, ())
    return lines[point.line - 1] if 0 < point.line <= len(lines) else ""
