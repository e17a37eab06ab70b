"""Taps that are kept: their format, and writing them while the run goes (docs/taps.md, "Kept taps").

A dump is a folder of chunks, each an ``.npz`` file with some tokens of one sequence, and an index that comes last: a
folder without one is of a run that did not end. A short run fits into one ``.npz`` file that holds its index.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from etchproof.contract.element import ElementType, bits_of, stored
from etchproof.contract.taps import Array, TapKey, TapPlan, TokenArrays
from etchproof.files.atomic import write_atomically
from etchproof.files.validation import as_tuple

INDEX_FILE: Final = "index.json"
INDEX_ARRAY: Final = "index"
"""The same, as bytes, where one file holds all."""
NO_VECTOR: Final = -1
"""In ``sizes``: a token has no such tap."""

_LEVEL: Final = 1  # of zlib: higher ones take longer than the chip does, for a few per cent


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


Span = Annotated[tuple[int, int], BeforeValidator(as_tuple)]
"""First and last number."""

_Spans = Annotated[tuple[Span, ...] | None, BeforeValidator(as_tuple)]
_Names = Annotated[tuple[str, ...] | None, BeforeValidator(as_tuple)]


class Selection(_Record):
    """Which taps of which tokens; None takes all.

    Attributes:
        layers: -1 is what stands outside the layers.
        taps: by name.
        tokens: by position in their sequence.
    """

    layers: _Spans = None
    taps: _Names = None
    tokens: _Spans = None

    def takes(self, key: TapKey) -> bool:
        """Whether it takes a tap."""
        return _within(key[0], self.layers) and (self.taps is None or key[1] in self.taps)

    def takes_token(self, position: int) -> bool:
        """Whether it takes a token."""
        return _within(position, self.tokens)


def _within(number: int, spans: Sequence[Span] | None) -> bool:
    return spans is None or any(first <= number <= last for first, last in spans)


class DumpedTap(_Record):
    """A tap that a dump may have; floating point is kept as its bits."""

    layer: int = Field(ge=-1)
    tap: str
    dtype: ElementType

    @property
    def key(self) -> TapKey:
        return self.layer, self.tap


class Chunk(_Record):
    """Some consecutive tokens of one sequence."""

    file: str | None = None  # beside the index; None where one file holds all
    sha256: str | None = None  # of that file
    sequence: int = Field(ge=0)
    tokens: int = Field(ge=0)


class DumpIndex(_Record):
    """``index.json``: what a dump holds."""

    format: Literal["etchproof taps"] = "etchproof taps"
    version: Literal[1] = 1
    selection: Selection
    taps: Annotated[tuple[DumpedTap, ...], BeforeValidator(as_tuple)]  # dataflow order
    chunks: Annotated[tuple[Chunk, ...], BeforeValidator(as_tuple)]


class Dumped(NamedTuple):
    """A token whose taps are kept."""

    position: int
    """In its sequence."""
    fed: int
    """The token's id; of a chip that takes vectors, the vector's number."""


class DumpWriter:
    """Writes a dump, chunk after chunk; of a run that breaks off there is no index.

    Args:
        folder: made when missing; what a dump of before left there does not count any more.
        taps: every tap of the chip.
        selection: what is kept.

    Raises:
        OSError: it cannot be written, here and in each call.
    """

    def __init__(self, folder: Path, taps: TapPlan, selection: Selection) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / INDEX_FILE).unlink(missing_ok=True)
        self._folder, self._selection = folder, selection
        self._taps = [tap for key, tap in taps.by_key.items() if selection.takes(key)]
        self._chunks: list[Chunk] = []

    def write(
        self,
        sequence: int,
        tokens: Sequence[Dumped],
        chip: Sequence[Mapping[TapKey, Array]],
        golden: Mapping[TapKey, TokenArrays],
    ) -> None:
        """Keep consecutive tokens of a sequence.

        Args:
            chip: of each token, its taps.
            golden: of each tap, its tokens.
        """
        taken = [at for at, token in enumerate(tokens) if self._selection.takes_token(token.position)]
        if not taken:
            return
        sizes = np.full((2, len(self._taps), len(taken)), NO_VECTOR, np.int32)
        arrays: dict[str, Array] = {
            f"positions.{sequence}": np.array([tokens[at].position for at in taken], np.int64),
            f"fed.{sequence}": np.array([tokens[at].fed for at in taken], np.int64),
            f"sizes.{sequence}": sizes,
        }
        for number, tap in enumerate(self._taps):
            name = f"{sequence}.{tap.layer}.{tap.name}"
            mine = [_as_compared(tap.dtype, chip[at].get(tap.key)) for at in taken]
            wanted = _of_golden(tap.dtype, golden.get(tap.key), len(tokens))
            its = [wanted[at] for at in taken]
            for side, vectors in enumerate((mine, its)):
                sizes[side, number] = [NO_VECTOR if one is None else one.size for one in vectors]
            one, other = _joined(mine), _joined(its)
            if one is not None:
                arrays[f"chip.{name}"] = one
            if other is not None and not (
                one is not None
                and np.array_equal(sizes[0, number], sizes[1, number])
                and np.array_equal(one, other)
            ):
                arrays[f"golden.{name}"] = other
        content = _zipped(arrays)
        file = f"{len(self._chunks):06d}.npz"
        (self._folder / file).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        self._chunks.append(Chunk(file=file, sha256=digest, sequence=sequence, tokens=len(taken)))

    def close(self) -> None:
        """Write the index: the dump is whole."""
        taps = tuple(DumpedTap(layer=tap.layer, tap=tap.name, dtype=tap.dtype) for tap in self._taps)
        index = DumpIndex(selection=self._selection, taps=taps, chunks=tuple(self._chunks))
        write_atomically(self._folder / INDEX_FILE, index.model_dump_json(indent=1))


class NpzWriter:
    """Writes ``.npz`` files array by array, the same bytes for the same arrays."""

    def __init__(self, target: str | Path | io.BytesIO) -> None:
        self._zip = zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL)

    def add(self, name: str, array: Array) -> None:
        """One more array."""
        with self._zip.open(f"{name}.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)

    def close(self) -> None:
        """Write what makes it whole."""
        self._zip.close()


@contextlib.contextmanager
def npz(target: str | Path | io.BytesIO) -> Iterator[NpzWriter]:
    """A writer that is closed in the end."""
    writer = NpzWriter(target)
    try:
        yield writer
    finally:
        writer.close()


def _zipped(arrays: Mapping[str, Array]) -> bytes:
    buffer = io.BytesIO()
    with npz(buffer) as writer:
        for name, array in arrays.items():
            writer.add(name, array)
    return buffer.getvalue()


def _as_compared(kind: ElementType, array: Array | None) -> Array | None:
    """A vector of the chip as the comparison takes it; of another width than declared, as it was written."""
    if array is None or array.itemsize != stored(kind).itemsize:
        return array
    return array.view(stored(kind))


def _of_golden(kind: ElementType, arrays: TokenArrays | None, tokens: int) -> list[Array | None]:
    """Vectors of the golden model; None for each where it gave none that could be compared."""
    nothing: list[Array | None] = [None] * tokens
    if arrays is None or len(arrays) != tokens:
        return nothing
    try:
        return [bits_of(kind, array).reshape(-1) for array in arrays]
    except ValueError:
        return nothing


def _joined(vectors: Sequence[Array | None]) -> Array | None:
    """Vectors end to end; None of none."""
    there: list[Any] = [vector for vector in vectors if vector is not None]
    return np.concatenate(there) if there else None
