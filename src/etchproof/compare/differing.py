"""What a run keeps of its chip's taps: those that differ from the golden model's, and what that was asked.

Where a vector is not kept, the chip's is the golden model's: it was compared, bit for bit. So a run that passes keeps
nothing, and one that fails is known whole from this file and a golden model that says the same once more
(docs/diagnose.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from etchproof.contract.taps import Array, TapKey
from etchproof.errors import InputError
from etchproof.files.regular import open_regular

KEPT_FILE: Final = "chip-taps.npz"
MISSING: Final = -1
"""Elements of a vector that the chip did not give."""

_FORMAT: Final = 1
_MAX_BYTES: Final = 1 << 28
_MAX_FILE_BYTES: Final = 1 << 30
_NAMES: Final = ("facts", "calls", "items", "names", "vectors", "data")

Items = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Call:
    """Consecutive items of one sequence that the golden model was asked for at once.

    Attributes:
        sequence: its number in the run.
        first: whether they open it.
        adapter: index of the run's adapters; None for the base alone.
        items: (items,) tokens, or (items, elements) vectors.
    """

    sequence: int
    first: bool
    adapter: int | None
    items: Items


@dataclass(frozen=True)
class KeptTaps:
    """What a run kept.

    Attributes:
        calls: in order.
        vectors: the chip's vector of a tap by call, item of the call, layer and name; None where it gave none.
        whole: whether everything that differs was kept.
    """

    calls: tuple[Call, ...]
    vectors: dict[tuple[int, int, TapKey], Array | None]
    whole: bool


class Keeper:
    """Collects what differs while a run goes on; at most 256 MiB of it."""

    def __init__(self) -> None:
        self._sequences: list[int] = []
        self._vectors: list[tuple[int, int, TapKey, Array | None]] = []
        self._bytes = 0
        self._whole = True

    def begin(self, sequence: int) -> None:
        """What follows is of the next call."""
        self._sequences.append(sequence)

    def keep(self, key: TapKey, item: int, chip: Array | None) -> None:
        """The chip's vector of an item of the call, which is not the golden model's."""
        self._bytes += 0 if chip is None else chip.nbytes
        if self._bytes > _MAX_BYTES:
            self._whole = False
            return
        self._vectors.append((len(self._sequences) - 1, item, key, None if chip is None else chip.copy()))

    def save(self, file: Path, asked: Sequence[tuple[Any, bool, int | None]]) -> None:
        """Write the file; nothing where nothing differed.

        Args:
            asked: items, first and adapter of each call of the golden model.
        """
        if not self._vectors:
            return
        asked = asked[: len(self._sequences)]
        calls = [
            (sequence, first, -1 if adapter is None else adapter, len(items))
            for sequence, (items, first, adapter) in zip(self._sequences, asked, strict=True)
        ]
        names = list(dict.fromkeys(key for _, _, key, _ in self._vectors))
        number = {key: index for index, key in enumerate(names)}
        vectors, parts = [], []
        for call, item, key, chip in self._vectors:
            size, width = (MISSING, 0) if chip is None else (chip.size, chip.itemsize)
            vectors.append((call, item, number[key], size, width))
            if chip is not None:
                parts.append(np.ascontiguousarray(chip).reshape(-1).view(np.uint8))
        np.savez_compressed(
            file,
            facts=np.array([_FORMAT, self._whole], np.int64),
            calls=np.array(calls, np.int64).reshape(-1, 4),
            items=np.concatenate([np.asarray(items, np.int64) for items, *_ in asked]),
            names=np.frombuffer("\n".join(f"{layer}.{name}" for layer, name in names).encode(), np.uint8),
            vectors=np.array(vectors, np.int64).reshape(-1, 5),
            data=np.concatenate([np.zeros(0, np.uint8), *parts]),
        )


def read_kept(file: Path) -> KeptTaps:
    """What a run kept; a vector is unsigned integers of its elements' width.

    Raises:
        InputError: the file is missing or is none that a run writes.
    """
    try:
        with open_regular(file) as stream, np.load(stream, allow_pickle=False) as arrays:
            if sum(info.file_size for info in arrays.zip.infolist()) > _MAX_FILE_BYTES:
                raise ValueError("its arrays are larger than any run's")
            found = {name: arrays[name] for name in _NAMES}
        return _read(found)
    except InputError:
        raise
    except Exception as error:  # NumPy and zlib raise whatever they like
        raise InputError(f"holds no taps of a run: {error}", source=file) from error


def _read(found: dict[str, Array]) -> KeptTaps:
    calls, items, vectors, data = (found[name] for name in ("calls", "items", "vectors", "data"))
    shapes = (calls.shape[1:], vectors.shape[1:], data.ndim, found["names"].ndim)
    kinds = tuple(array.dtype for array in (calls, items, vectors))
    told = (data.dtype, found["names"].dtype)
    facts = found["facts"].tolist()
    if facts not in ([_FORMAT, 0], [_FORMAT, 1]) or shapes != ((4,), (5,), 1, 1) or items.ndim not in (1, 2):
        raise ValueError("another format")
    if kinds != (np.dtype(np.int64),) * 3 or told != (np.dtype(np.uint8),) * 2:
        raise ValueError("another type")
    counts = calls[:, 3]
    if (counts < 0).any() or (calls[:, 0] < 0).any() or int(counts.sum()) != len(items):
        raise ValueError("its calls are not of its items")
    ends = np.cumsum(counts)
    given = tuple(
        Call(int(sequence), bool(first), None if adapter < 0 else int(adapter), items[end - count : end])
        for (sequence, first, adapter, count), end in zip(calls.tolist(), ends.tolist(), strict=True)
    )
    names: list[TapKey] = []
    for text in found["names"].tobytes().decode().split("\n"):
        layer, _, name = text.partition(".")
        names.append((int(layer), name))
    kept: dict[tuple[int, int, TapKey], Array | None] = {}
    at = 0
    for call, item, tap, size, width in vectors.tolist():
        if not (0 <= call < len(given) and 0 <= item < len(given[call].items) and 0 <= tap < len(names)):
            raise ValueError("a vector of no call")
        if size == MISSING:
            kept[call, item, names[tap]] = None
            continue
        if size < 0 or width not in (1, 2, 4, 8) or at + size * width > len(data):
            raise ValueError("a vector of no size")
        kept[call, item, names[tap]] = data[at : at + size * width].view(f"<u{width}")
        at += size * width
    return KeptTaps(given, kept, bool(facts[1]))
