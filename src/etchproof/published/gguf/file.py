"""One GGUF file: its header, and its tensors as published codes or as plain numbers, read when they are asked for."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np
import numpy.typing as npt

from etchproof.errors import InputError, shown_name
from etchproof.files.regular import open_regular
from etchproof.files.stamp import Stamp
from etchproof.published.gguf.blocks import Blocks, take_apart
from etchproof.published.gguf.header import GgufTensor, Header, read_header
from etchproof.published.matrix import PublishedMatrix

_PLAIN: Final[dict[str, np.dtype[Any]]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}
_VALUES_AT_ONCE: Final = 1 << 22

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class GgufFile:
    """A GGUF file whose header has been checked. Values are read on demand and kept nowhere.

    Attributes:
        path: of the file.
        header: version, metadata and the table of tensors.
        stamp: of the file when its header was read.
    """

    path: Path
    header: Header
    stamp: Stamp

    def matrix(self, name: str, rows: Rows | None = None) -> PublishedMatrix:
        """A quantized matrix with its codes, scales and minimums, exact.

        Args:
            name: of a tensor of two dimensions and a quantized type.
            rows: the order of its rows, (rows,): row i is the file's row ``rows[i]``; None for the file's own.

        Raises:
            KeyError: no such tensor.
            ValueError: it is no matrix of codes.
            InputError: a scale or minimum is NaN or infinite, or the file was changed since it was opened.
        """
        tensor = self.header.tensors[name]
        kind = tensor.type
        if kind.bits is None or kind.group is None or len(tensor.shape) != 2:
            raise ValueError(f"{name} is no matrix of codes")
        count, columns = tensor.shape
        found = self._blocks(tensor, self._bytes(tensor, rows))
        groups = columns // kind.group
        minimums = found.minimums
        return PublishedMatrix(
            form=kind.name,
            bits=kind.bits,
            group_size=kind.group,
            codes=found.codes.reshape(count, columns),
            scales=found.scales.reshape(count, groups),
            minimums=None if minimums is None else minimums.reshape(count, groups),
        )

    def values(self, name: str, rows: Rows | None = None) -> npt.NDArray[np.float32]:
        """Any tensor as ggml dequantizes it: float32, of its own memory.

        ggml computes scale * code in float32, which is exact in every type that is read, and adds the minimum, which
        rounds once. So does the sum in float64, which is exact, and then rounded to float32.

        Args:
            rows: as for ``matrix``; of the first dimension.

        Raises:
            KeyError: no such tensor.
            InputError: a number is NaN or infinite, or the file was changed since it was opened.
        """
        tensor = self.header.tensors[name]
        raw = self._bytes(tensor, rows)
        if tensor.type.bits is None:
            return self._plain(tensor, raw)
        found = np.empty(tensor.shape, dtype=np.float32)
        flat = found.reshape(-1, tensor.type.block)
        size = _VALUES_AT_ONCE // tensor.type.block
        for start in range(0, len(flat), size):
            part = self._blocks(tensor, raw[start : start + size], start)
            flat[start : start + size] = _weights(part)
        return found

    def _plain(self, tensor: GgufTensor, raw: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        stored = raw.reshape(-1).view(_PLAIN[tensor.type.name])
        if tensor.type.name == "BF16":
            stored = (stored.astype(np.uint32) << 16).view(np.float32)
        wrong = np.flatnonzero(~np.isfinite(stored))
        if wrong.size:
            at = [int(index) for index in np.unravel_index(int(wrong[0]), tensor.shape)]
            self._refuse(
                f"is NaN or infinite in {wrong.size} of {stored.size} values, the first is {stored[wrong[0]]} at {at}",
                tensor,
            )
        numbers: npt.NDArray[np.float32] = stored.astype(np.float32).reshape(tensor.shape)
        return numbers

    def _blocks(self, tensor: GgufTensor, raw: npt.NDArray[np.uint8], first: int = 0) -> Blocks:
        """Blocks of a tensor, the first of which is number ``first``."""
        found = take_apart(tensor.type.name, raw)
        wrong = np.argwhere(~np.isfinite(found.halves))
        if wrong.size:
            block, which = (int(index) for index in wrong[0])
            row, place = divmod(first + block, tensor.shape[-1] // tensor.type.block)
            what = "minimum" if which else "scale"
            self._refuse(
                f"has the {what} {found.halves[block, which]} in block {place} of row {row}, expected a finite number",
                tensor,
            )
        return found

    def _bytes(self, tensor: GgufTensor, rows: Rows | None) -> npt.NDArray[np.uint8]:
        """A tensor's blocks, (blocks, size_bytes of one), a copy."""
        with self._mapped() as data:
            raw: npt.NDArray[np.uint8] = np.frombuffer(
                data, dtype=np.uint8, count=tensor.size_bytes, offset=tensor.offset
            )
            lines = raw.reshape(tensor.shape[0] if len(tensor.shape) > 1 else 1, -1)
            copied = lines.copy() if rows is None else lines[rows]
            del raw, lines  # a view would keep the file mapped
        return copied.reshape(-1, tensor.type.size_bytes)

    @contextmanager
    def _mapped(self) -> Iterator[mmap.mmap]:
        self.stamp.check(self.path)
        with mapped(self.path) as data:
            yield data

    def _refuse(self, problem: str, tensor: GgufTensor) -> NoReturn:
        raise InputError(problem, source=self.path, key=shown_name(tensor.name))


def open_gguf(path: str | Path) -> GgufFile:
    """Read the header of a GGUF file, and check it against the file.

    Raises:
        InputError: one line that names the file, the key or tensor, what was found and what was expected
            (``etchproof.published.gguf.header``).
    """
    path = Path(path)
    with mapped(path) as data:
        stamp = Stamp.of(path)
        if stamp.size_bytes != len(data):
            raise InputError("was changed while it was opened", source=path)
        return GgufFile(path, read_header(data, path), stamp)


@contextmanager
def mapped(path: Path) -> Iterator[mmap.mmap]:
    """A regular file in memory, as the system maps it.

    Raises:
        InputError: it is missing, no regular file, empty, or cannot be read.
    """
    with open_regular(path) as stream:
        try:
            data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            raise InputError("is empty, expected a GGUF file", source=path) from None
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", source=path) from None
        with data:
            yield data


def _weights(blocks: Blocks) -> npt.NDArray[Any]:
    """(n, values) float64, exact."""
    n, groups = blocks.scales.shape
    codes = blocks.codes.reshape(n, groups, -1)
    exact = blocks.scales[:, :, None] * codes
    if blocks.minimums is not None:
        exact = exact + blocks.minimums[:, :, None]
    return exact.reshape(n, -1)
