"""Taps that were kept, read back token by token, a chunk in memory at a time (docs/taps.md, "Kept taps")."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np

from etchproof.compare.dump import (
    INDEX_ARRAY,
    INDEX_FILE,
    NO_VECTOR,
    Chunk,
    DumpedTap,
    DumpIndex,
    Selection,
    npz,
)
from etchproof.contract.taps import Array, TapKey
from etchproof.errors import InputError, shown
from etchproof.files.json_record import parse_json_record, read_json_record
from etchproof.files.regular import open_regular, read_bytes

DUMP_NAMES: Final = ("taps", "taps.npz")
"""What a dump is called in the folder of its run."""

_CHUNK_BYTES: Final = 1 << 29
"""The most that a chunk may hold; the scoreboard gathers half of it at most."""


class KeptToken(NamedTuple):
    """A token and its taps, as chip and golden model have them."""

    sequence: int
    position: int
    fed: int
    """The token's id; of a chip that takes vectors, the vector's number."""
    chip: Mapping[TapKey, Array]
    golden: Mapping[TapKey, Array]


class TapDump:
    """What ``--dump-taps`` left.

    Args:
        path: a dump's folder or ``.npz`` file, or the folder of a run that has one of them (``DUMP_NAMES``).

    Raises:
        InputError: there is no dump, the run that writes it has not ended, or it is not as it was written; also while
            tokens are read.

    Attributes:
        path: of the dump itself.
        index: what it holds.
    """

    def __init__(self, path: Path) -> None:
        self.path = _dump_in(path)
        if self.path.is_dir():
            self.index = read_json_record(self.path / INDEX_FILE, DumpIndex)
        else:
            with open_regular(self.path) as stream, _Arrays(stream, self.path) as arrays:
                text = arrays.read(INDEX_ARRAY).astype(np.uint8).tobytes().decode(errors="replace")
            self.index = parse_json_record(text, self.path, DumpIndex)
        keys = [tap.key for tap in self.index.taps]
        if len(set(keys)) != len(keys):
            raise InputError("names a tap twice", source=self.path, key="taps")
        self._last = (-1, -1)

    @property
    def tokens(self) -> int:
        """How many tokens it has."""
        return sum(chunk.tokens for chunk in self.index.chunks)

    def read(self, selection: Selection | None = None) -> Iterator[KeptToken]:
        """Each token with its taps, in the order of sequences and positions.

        Args:
            selection: which of those that were kept.
        """
        self._last = (-1, -1)
        selection = selection or Selection()
        wanted = [(at, tap) for at, tap in enumerate(self.index.taps) if selection.takes(tap.key)]
        if self.path.is_dir():
            for chunk in self.index.chunks:
                yield from self._chunk(io.BytesIO(self._content(chunk)), chunk, wanted, selection)
            return
        for chunk in self.index.chunks:
            with open_regular(self.path) as stream:
                yield from self._chunk(stream, chunk, wanted, selection)

    def _content(self, chunk: Chunk) -> bytes:
        """The bytes of a chunk's file, which are those of the index."""
        name = chunk.file
        if name is None or Path(name).name != name:
            raise InputError(f"is {shown(name)}, expected the name of a file", source=self.path, key="file")
        content = read_bytes(self.path / name, _CHUNK_BYTES)
        if hashlib.sha256(content).hexdigest() != chunk.sha256:
            raise InputError("is not the file that the run wrote", source=self.path / name, key="sha256")
        return content

    def _chunk(
        self,
        stream: BinaryIO,
        chunk: Chunk,
        wanted: list[tuple[int, DumpedTap]],
        selection: Selection,
    ) -> Iterator[KeptToken]:
        where = self.path if chunk.file is None else self.path / chunk.file
        with _Arrays(stream, where) as arrays:
            number = chunk.sequence
            positions, fed = (arrays.read(f"{name}.{number}").tolist() for name in ("positions", "fed"))
            sizes = arrays.read(f"sizes.{number}", (2, len(self.index.taps), chunk.tokens))
            if not len(positions) == len(fed) == chunk.tokens:
                raise InputError(f"has not {chunk.tokens} tokens of sequence {number}", source=where)
            chip: list[dict[TapKey, Array]] = [{} for _ in positions]
            golden: list[dict[TapKey, Array]] = [{} for _ in positions]
            for at, tap in wanted:
                name = f"{number}.{tap.layer}.{tap.tap}"
                for row, (side, tokens) in enumerate((("chip", chip), ("golden", golden))):
                    kept_as = _kept_as(arrays, side, name, sizes[:, at])
                    if kept_as is None:
                        continue
                    for token, vector in zip(tokens, arrays.vectors(kept_as, sizes[row, at]), strict=True):
                        if vector is not None:
                            token[tap.key] = vector
        for position, token_fed, mine, its in zip(positions, fed, chip, golden, strict=True):
            if (number, position) <= self._last:
                raise InputError(f"has token {position} of sequence {number} out of order", source=where)
            self._last = (number, position)
            if selection.takes_token(position):
                yield KeptToken(number, position, token_fed, mine, its)


def pack(folder: Path, file: Path) -> None:
    """One ``.npz`` file of a dump's folder: arrays ``{chip,golden}.SEQUENCE.LAYER.TAP``, tokens end to end.

    Raises:
        InputError: as of ``TapDump``.
        OSError: the file cannot be written.
    """
    dump = TapDump(folder)
    chunks: dict[int, list[_Arrays]] = {}
    with ExitStack() as stack, npz(file) as writer:
        for chunk in dump.index.chunks:
            stream = stack.enter_context(open_regular(folder / (chunk.file or "")))
            arrays = stack.enter_context(_Arrays(stream, folder))
            chunks.setdefault(chunk.sequence, []).append(arrays)
        for number, parts in chunks.items():
            for name in (f"positions.{number}", f"fed.{number}"):
                writer.add(name, np.concatenate([part.read(name) for part in parts]))
            sizes = [part.read_any(f"sizes.{number}") for part in parts]
            writer.add(f"sizes.{number}", np.concatenate(sizes, axis=2))
            for at, tap in enumerate(dump.index.taps):
                name = f"{number}.{tap.layer}.{tap.tap}"
                for side in ("chip", "golden"):
                    found = [
                        part.read(one)
                        for part, size in zip(parts, sizes, strict=True)
                        if (one := _kept_as(part, side, name, size[:, at])) is not None
                    ]
                    if found:
                        writer.add(f"{side}.{name}", np.concatenate(found))
        whole = tuple(
            Chunk(sequence=number, tokens=sum(len(part.read(f"fed.{number}")) for part in parts))
            for number, parts in chunks.items()
        )
        index = dump.index.model_copy(update={"chunks": whole})
        writer.add(INDEX_ARRAY, np.frombuffer(index.model_dump_json().encode(), np.uint8))


def _dump_in(path: Path) -> Path:
    """The dump itself."""
    try:
        if not path.is_dir() or (path / INDEX_FILE).exists():
            return path
        for name in DUMP_NAMES:
            if (path / name).exists():
                return _dump_in(path / name)
        if any(path.glob("[0-9]*.npz")):
            raise InputError(f"has no {INDEX_FILE}: the run that writes it has not ended", source=path)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", source=path) from None
    raise InputError(
        "holds no taps",
        source=path,
        hint=f"run cosim with --dump-taps {path / DUMP_NAMES[0]}, or name a dump",
    )


def _kept_as(arrays: _Arrays, side: str, name: str, sizes: Array) -> str | None:
    """The array that holds a tap of a side; None where it has no vector of it.

    Golden vectors that equal the chip's are kept once.

    Args:
        sizes: (2, tokens) of the tap, as chip and golden model have it.
    """
    if (sizes[0 if side == "chip" else 1] == NO_VECTOR).all():
        return None
    own = f"{side}.{name}"
    same = own not in arrays.names and np.array_equal(sizes[0], sizes[1])
    return f"chip.{name}" if same else own


class _Arrays:
    """The arrays of an ``.npz`` file of integers, each read when it is asked for; nothing is unpickled.

    Raises:
        InputError: it is no such file.
    """

    def __init__(self, stream: BinaryIO, source: Path) -> None:
        self._source = source
        try:
            self._zip = zipfile.ZipFile(stream)
        except Exception as error:  # zipfile has no one exception for what is no zip file
            raise self._no_npz(error) from None
        self.names = {info.filename.removesuffix(".npy"): info for info in self._zip.infolist()}

    def __enter__(self) -> _Arrays:
        return self

    def __exit__(self, *details: object) -> None:
        self._zip.close()

    def read(self, name: str, shape: tuple[int, ...] | None = None) -> Array:
        """An array of integers; of one dimension, or of a shape that is known."""
        array = self.read_any(name)
        if array.ndim != 1 if shape is None else array.shape != shape:
            expected = "one dimension" if shape is None else f"{shape}"
            raise InputError(f"has shape {array.shape}, expected {expected}", source=self._source, key=name)
        return array

    def read_any(self, name: str) -> Array:
        """An array of integers."""
        info = self.names.get(name)
        if info is None:
            raise InputError("is missing", source=self._source, key=name)
        if info.file_size > _CHUNK_BYTES:
            problem = f"holds {info.file_size:,} bytes, expected at most {_CHUNK_BYTES:,}"
            raise InputError(problem, source=self._source, key=name)
        try:
            content = io.BytesIO(self._zip.read(info))
            if np.lib.format.read_magic(content) != (1, 0):
                raise ValueError("another version")
            shape, _, dtype = np.lib.format.read_array_header_1_0(content)
            raw: Any = np.frombuffer(content.getbuffer()[content.tell() :], dtype)
            array: Array = raw.reshape(shape)
        except Exception as error:  # neither zipfile nor numpy has one
            raise self._no_npz(error) from None
        if dtype.kind not in "iu":
            raise InputError(f"holds {dtype}, expected integers", source=self._source, key=name)
        return array

    def vectors(self, name: str, sizes: Array) -> list[Array | None]:
        """An array cut into vectors of these sizes; None where there is none."""
        there = sizes[sizes != NO_VECTOR].astype(np.int64)
        if not len(there):
            return [None] * len(sizes)
        array, ends = self.read(name), np.cumsum(there)
        if (there < 0).any() or ends[-1] != array.size:
            raise InputError(
                f"holds {array.size} elements, not those of sizes", source=self._source, key=name
            )
        parts = iter(np.split(array, ends[:-1]))
        return [None if size == NO_VECTOR else next(parts) for size in sizes.tolist()]

    def _no_npz(self, error: Exception) -> InputError:
        return InputError(f"is no .npz file of numpy: {type(error).__name__}", source=self._source)
