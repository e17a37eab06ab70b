"""Codes out of the 32-bit words and the bytes that quantized safetensors pack them into."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

WORD_BITS: Final = 32

Words = npt.NDArray[np.int32]
Unsigned = npt.NDArray[np.uint8]


def period(bits: int) -> tuple[int, int]:
    """After how many codes a word begins with a code again, and how many words those are."""
    return (WORD_BITS // bits, 1) if WORD_BITS % bits == 0 else (WORD_BITS, bits)


def unpack(words: Words, bits: int) -> Unsigned:
    """The codes of each row, densely packed: code i is bits i * bits .. i * bits + bits - 1 of the row, the lowest bit
    of the first word first. A code of 3 bits may begin in one word and end in the next.

    Args:
        words: (rows, words), whole periods.
        bits: of a code, 1 to 8.

    Returns:
        (rows, codes) without sign, as many as the words hold.
    """
    codes, span = period(bits)
    unsigned = words.view(np.uint32)
    rows, count = unsigned.shape
    found = np.empty((rows, count // span, codes), dtype=np.uint8)
    for i in range(codes):
        word, shift = divmod(i * bits, WORD_BITS)
        values = unsigned[:, word::span] >> np.uint32(shift)
        if shift + bits > WORD_BITS:
            values = values | unsigned[:, word + 1 :: span] << np.uint32(WORD_BITS - shift)
        found[:, :, i] = values & np.uint32((1 << bits) - 1)
    return found.reshape(rows, -1)


def bytes_of(codes: int, bits: int) -> int:
    """How many bytes hold ``codes`` codes of ``bits`` bits, which fill the last byte."""
    return codes * bits // 8


def unpack_bytes(packed: Unsigned, bits: int) -> Unsigned:
    """The codes of each row, densely packed: code i is bits i * bits .. i * bits + bits - 1 of the row, the lowest bit
    of the first byte first. Of 4 bits, the low nibble is the first; of 6, four codes lie in three bytes.

    Args:
        packed: (rows, bytes), whole periods.
        bits: of a code, 4, 6 or 8.

    Returns:
        (rows, codes) without sign.
    """
    codes, span = {4: (2, 1), 6: (4, 3), 8: (1, 1)}[bits]
    rows, count = packed.shape
    found = np.empty((rows, count // span, codes), dtype=np.uint8)
    for i in range(codes):
        byte, shift = divmod(i * bits, 8)
        values = packed[:, byte::span] >> np.uint8(shift)
        if shift + bits > 8:
            values = values | packed[:, byte + 1 :: span] << np.uint8(8 - shift)
        found[:, :, i] = values & np.uint8((1 << bits) - 1)
    return found.reshape(rows, -1)


def signed(codes: Unsigned, bits: int) -> npt.NDArray[np.int8]:
    """Codes without sign less 2^(bits - 1)."""
    return (codes.astype(np.int16) - (1 << (bits - 1))).astype(np.int8)
