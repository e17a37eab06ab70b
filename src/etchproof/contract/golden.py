"""The golden model, as the engine asks a project for it (``[golden]`` of ``etchproof.toml``, docs/testbench.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from etchproof.contract.taps import TapKey, TokenArrays

Items = Sequence[int] | npt.NDArray[np.int64]
"""Consecutive tokens, or vectors as an array (vectors, elements)."""


class GoldenSession(Protocol):
    """Sequences of tokens or vectors through a golden model, one at a time."""

    def predict(self, items: Any, first: bool, adapter: int | None = ..., /) -> Mapping[TapKey, TokenArrays]:
        """Every tap of consecutive items; ``first`` when they open a sequence, which keeps the adapter named then.

        Args:
            items: ``Items``; a golden model takes either tokens or vectors.
            adapter: index of the adapters that the model was made with; not given for the base alone, so that a model
                without adapters need not take it.
        """
        ...


class Golden(Protocol):
    """A golden model: of one quantized model and the adapters that it was made with."""

    def session(self) -> GoldenSession:
        """A new session, whose cache is its own."""
        ...
