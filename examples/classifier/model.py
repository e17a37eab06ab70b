"""The classifier's weights: how they are read from a folder, and what the chip's memories hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as tensors_of

from etchproof.contract.memory import Memory
from etchproof.errors import InputError

Array = npt.NDArray[Any]

SIZES: Final = (64, 32, 16, 10)
"""Elements of the input vector, then outputs of each layer; they are wired into the RTL."""

LAYERS: Final = range(len(SIZES) - 1)


@dataclass(frozen=True)
class Model:
    """Integer weights: of each layer int8 (outputs, inputs) and int32 biases; a shift for each layer but the last."""

    files: tuple[Path, ...]
    weights: tuple[Array, ...]
    biases: tuple[Array, ...]
    shifts: Array
    context: int | None = None
    vocab_size: int | None = None
    elements: int = SIZES[0]


def load(path: Path) -> Model:
    """Read ``weights.safetensors`` of a folder; a tensor that is missing or does not fit the chip is refused."""
    file = path / "weights.safetensors"
    try:
        tensors = tensors_of(file.read_bytes())
    except (OSError, SafetensorError) as error:
        raise InputError(f"cannot be read: {error}", source=file) from error

    def taken(name: str, dtype: str, *shape: int) -> Array:
        found = tensors.get(name)
        if found is None or found.dtype != dtype or found.shape != shape:
            got = "missing" if found is None else f"{found.dtype} of shape {found.shape}"
            raise InputError(f"is {got}, expected {dtype} of shape {shape}", source=file, key=name)
        return found

    shifts = taken("shifts", "int32", len(SIZES) - 2)
    if shifts.min() < 0 or shifts.max() > 31:
        raise InputError(f"is {shifts.tolist()}, expected shifts of 0 to 31", source=file, key="shifts")
    weights = tuple(taken(f"weight{n}", "int8", SIZES[n + 1], SIZES[n]) for n in LAYERS)
    biases = tuple(taken(f"bias{n}", "int32", SIZES[n + 1]) for n in LAYERS)
    return Model((file,), weights, biases, shifts)


def memories(model: Model) -> list[Memory]:
    """The files that ``rtl/weights.v`` reads."""
    return [
        *(Memory(f"weights/layer{n}.hex", model.weights[n], 8) for n in LAYERS),
        *(Memory(f"weights/bias{n}.hex", model.biases[n], 32) for n in LAYERS),
        Memory("weights/shifts.hex", model.shifts, 5),
    ]
