"""Types of tensors in GGUF, by ggml's numbers: which are read, and the names of those that are not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class TensorType:
    """How the values of a tensor are stored: in blocks along a row.

    Attributes:
        name: ggml's.
        block: values of a block; 1 for plain numbers.
        size_bytes: of a block.
        bits: of a code; None for plain numbers.
        group: values that share a scale; None for plain numbers.
    """

    name: str
    block: int
    size_bytes: int
    bits: int | None = None
    group: int | None = None


TYPES: Final = {
    0: TensorType("F32", 1, 4),
    1: TensorType("F16", 1, 2),
    30: TensorType("BF16", 1, 2),
    2: TensorType("Q4_0", 32, 18, 4, 32),
    3: TensorType("Q4_1", 32, 20, 4, 32),
    6: TensorType("Q5_0", 32, 22, 5, 32),
    7: TensorType("Q5_1", 32, 24, 5, 32),
    8: TensorType("Q8_0", 32, 34, 8, 32),
    11: TensorType("Q3_K", 256, 110, 3, 16),
    12: TensorType("Q4_K", 256, 144, 4, 32),
    13: TensorType("Q5_K", 256, 176, 5, 32),
    14: TensorType("Q6_K", 256, 210, 6, 16),
}

_UNREAD: Final = {
    **{9: "Q8_1", 10: "Q2_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL"},
    **{21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M"},
    **{34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4", 41: "Q1_0"},
}  # fmt: skip

READ: Final = ", ".join(found.name for found in TYPES.values())
"""Names of the types that are read, for messages."""


def name_of(number: int) -> str:
    """A type's name; its number where ggml has none of that number."""
    found = TYPES.get(number)
    return found.name if found else _UNREAD.get(number, f"number {number}")
