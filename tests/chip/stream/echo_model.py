"""A chip that adds: the smallest project with a ``[host]``, of vectors and pins without AXI."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from etchproof.contract.memory import Memory
from etchproof.contract.taps import Tap


@dataclass(frozen=True)
class Model:
    files: tuple[Path, ...]
    add: npt.NDArray[np.uint8]
    fault: int
    vocab_size: int | None = None
    context: int | None = None
    elements: int = 4


def load(path: Path) -> Model:
    add = np.load(path)
    return Model((path,), add[:4], int(add[4]))


def memories(model: Model) -> list[Memory]:
    return [Memory("tables/add.hex", model.add, 8), Memory("tables/fault.hex", np.array([model.fault]), 4)]


def flipped(model: Model, place: str, index: tuple[int, ...], bit: int) -> Model:
    add = model.add.copy()
    if place == "tables/add.hex":
        add[index] ^= 1 << bit
    return replace(model, add=add)


def taps(model: Model) -> list[Tap]:
    return [Tap("sum", dtype="u8")]


class Session:
    def __init__(self, model: Model) -> None:
        self._add = model.add

    def predict(
        self, vectors: npt.NDArray[np.int64], first: bool
    ) -> dict[tuple[int, str], npt.NDArray[np.uint8]]:
        return {(-1, "sum"): (vectors + self._add).astype(np.uint8)}
