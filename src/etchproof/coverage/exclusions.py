"""What code coverage leaves out, and why: ``verif/signoff/exclusions.yaml``.

Each entry carries a tag and a reason. An entry that matches no point is an error: it hides something that is no more,
or never was what its writer thought.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from etchproof.coverage.verilator import ModuleCoverage, Point, PointKind
from etchproof.errors import InputError
from etchproof.files.regular import read_text
from etchproof.files.validation import as_tuple
from etchproof.files.yaml_file import read_yaml_record

Tag = Literal["unreachable", "simulation-only", "unsupported", "low-risk"]
"""Cannot happen in this chip; is no silicon; of a feature that this chip does not have; may go unproven."""


class Exclusion(BaseModel):
    """Which points are left out.

    Attributes:
        file: of the source; ``*`` stands for any text, here and below.
        kinds: of the points.
        what: as Verilator names the point: ``scales[*]``, ``else``.
        text: the source's line, without the space around it; lines are not named by number, which every edit moves.
        tag: which kind of reason.
        reason: for the reader who has to sign.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    file: Annotated[str, Field(min_length=1)]
    kinds: Annotated[tuple[PointKind, ...], Field(min_length=1), BeforeValidator(as_tuple)]
    what: str = "*"
    text: str = "*"
    tag: Tag
    reason: Annotated[str, Field(min_length=10)]

    def matches(self, point: Point, text: str) -> bool:
        """Whether a point is left out; ``text`` is its line of the source."""
        return (
            point.kind in self.kinds
            and _glob(self.file).fullmatch(point.file) is not None
            and _glob(self.what).fullmatch(point.what) is not None
            and _glob(self.text).fullmatch(text) is not None
        )


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    name: str
    exclusions: Annotated[tuple[Exclusion, ...], BeforeValidator(as_tuple)]


@lru_cache(maxsize=256)
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
    exclusions: tuple[Exclusion, ...],
    source: Path,
    texts: Mapping[str, Sequence[str]],
) -> tuple[npt.NDArray[np.bool_], tuple[int, ...]]:
    """Which points are left out, (points,), and how many each entry leaves out.

    Args:
        source: the file of the exclusions, for messages.
        texts: ``source_lines`` of the fabric.

    Raises:
        InputError: an entry matches no point.
    """
    excluded = np.zeros(len(coverage.points), dtype=bool)
    counts = []
    lines = [_line(texts, point) for point in coverage.points]
    for number, exclusion in enumerate(exclusions):
        matched = np.fromiter(
            map(exclusion.matches, coverage.points, lines), dtype=bool, count=len(coverage.points)
        )
        if not matched.any():
            shown = f"{exclusion.file} {exclusion.what} {exclusion.text}"
            raise InputError(f"{shown!r} matches no point", source=source, key=f"exclusions[{number}]")
        counts.append(int(matched.sum()))
        excluded |= matched
    return excluded, tuple(counts)


def _line(texts: Mapping[str, Sequence[str]], point: Point) -> str:
    lines = texts.get(point.file, ())
    return lines[point.line - 1] if 0 < point.line <= len(lines) else ""
