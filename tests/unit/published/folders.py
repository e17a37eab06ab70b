"""Quantized linears as their formats' rules write them, each code placed by itself; shares nothing with the readers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pytest
import torch

from etchproof.errors import InputError
from etchproof.published.config import read_quantization
from etchproof.published.matrix import PublishedMatrix

MODULE = "model.layers.0.mlp.up_proj"
SOURCE: Final = Path("model")
Ints = npt.NDArray[np.int64]


def words_of(codes: list[int], bits: int) -> list[int]:
    """Codes in 32-bit words by GPTQ's rule. Three bits: 32 codes in three words, of which the eleventh and the
    twenty-second lie across the ends of a word."""
    if bits != 3:
        together = 32 // bits
        return [
            sum(code << (bits * place) for place, code in enumerate(codes[first : first + together]))
            for first in range(0, len(codes), together)
        ]
    words = []
    for first in range(0, len(codes), 32):
        part = codes[first : first + 32]
        one = sum(code << (3 * place) for place, code in enumerate(part[:10])) | (part[10] & 3) << 30
        two = part[10] >> 2 | sum(code << (3 * place + 1) for place, code in enumerate(part[11:21]))
        two |= (part[21] & 1) << 31
        three = part[21] >> 1 | sum(code << (3 * place + 2) for place, code in enumerate(part[22:]))
        words += [one, two, three]
    return words


def int32(words: list[list[int]]) -> torch.Tensor:
    """Rows of unsigned words as the file has them."""
    return torch.from_numpy(np.array(words, dtype=np.uint32).view(np.int32).copy())


def gptq(
    codes: Ints,
    stored: Ints,
    scales: torch.Tensor,
    bits: int,
    g_idx: Ints | None,
) -> dict[str, torch.Tensor]:
    """Args: codes (rows, cols), stored zeros (groups, rows), scales (groups, rows)."""
    columns = [words_of(row, bits) for row in codes.tolist()]  # along the inputs, for each output
    tensors = {
        "qweight": int32([list(words) for words in zip(*columns, strict=True)]),
        "qzeros": int32([words_of(row, bits) for row in stored.tolist()]),
        "scales": scales,
    }
    if g_idx is not None:
        tensors["g_idx"] = torch.from_numpy(g_idx.astype(np.int32))
    return {f"{MODULE}.{name}": tensor for name, tensor in tensors.items()}


def awq_words(codes: list[int]) -> list[int]:
    """Nibble i of a word is output 0, 2, 4, 6, 1, 3, 5, 7 of its eight."""
    words = []
    for first in range(0, len(codes), 8):
        even, odd = codes[first : first + 8 : 2], codes[first + 1 : first + 8 : 2]
        words.append(sum(code << (4 * place) for place, code in enumerate([*even, *odd])))
    return words


def awq(codes: Ints, zeros: Ints, scales: torch.Tensor) -> dict[str, torch.Tensor]:
    """Args: codes (rows, cols), zeros (groups, rows), scales (groups, rows)."""
    return {
        f"{MODULE}.qweight": int32([awq_words(row) for row in codes.T.tolist()]),
        f"{MODULE}.qzeros": int32([awq_words(row) for row in zeros.tolist()]),
        f"{MODULE}.scales": scales,
    }


def read(raw: dict[str, Any], tensors: dict[str, torch.Tensor], shape: tuple[int, int]) -> PublishedMatrix:
    return read_quantization(raw, SOURCE).read(MODULE, shape, tensors, SOURCE)


def refused(raw: dict[str, Any], tensors: dict[str, torch.Tensor], shape: tuple[int, int]) -> str:
    with pytest.raises(InputError) as caught:
        read(raw, tensors, shape)
    return str(caught.value)


def nibbles(patterns: Ints) -> torch.Tensor:
    """Patterns of 4 bits (rows, cols), two a byte, the first in the low nibble: (rows, cols / 2) uint8."""
    rows = [
        [low | high << 4 for low, high in zip(row[::2], row[1::2], strict=True)] for row in patterns.tolist()
    ]
    return torch.tensor(rows, dtype=torch.uint8)


def sixes(patterns: Ints) -> torch.Tensor:
    """Patterns of 6 bits (rows, cols), four in three bytes from the lowest bit on: (rows, cols * 3 / 4) uint8."""
    rows = []
    for row in patterns.tolist():
        number = sum(pattern << (6 * place) for place, pattern in enumerate(row))
        rows.append(list(number.to_bytes(len(row) * 3 // 4, "little")))
    return torch.tensor(rows, dtype=torch.uint8)


def weights(matrix: Any) -> npt.NDArray[np.float64]:
    """What a record says, element by element as its docstring has it."""
    rows, cols = matrix.codes.shape
    groups = np.arange(cols) // matrix.group_size if matrix.groups is None else matrix.groups
    made = np.empty((rows, cols))
    for o in range(rows):
        for k in range(cols):
            least = 0.0 if matrix.minimums is None else matrix.minimums[o, groups[k]]
            made[o, k] = matrix.scales[o, groups[k]] * int(matrix.codes[o, k]) + least
    return made * matrix.factor.numerator / matrix.factor.denominator


def ruled(codes: Ints, zeros: Ints, scales: torch.Tensor, group_of: Ints) -> npt.NDArray[np.float64]:
    """scale * (code - zero): exact, as a product of 11 or 24 and 9 bits."""
    exact = scales.to(torch.float64).numpy()
    return np.array(
        [
            [
                exact[group_of[k], o] * (int(codes[o, k]) - int(zeros[group_of[k], o]))
                for k in range(codes.shape[1])
            ]
            for o in range(codes.shape[0])
        ]
    )
