"""The golden model, as the engine asks a project for it (``[golden]`` of ``etchproof.toml``, docs/testbench.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from etchproof.contract.taps import TapKey, TokenArrays

Items = Sequence[int] | npt.NDArray[np.int64]
"""Consecutive tokens, or vectors as an array (vectors, elements)."""


Given = Callable[[TapKey, npt.NDArray[Any]], npt.NDArray[Any]]
"""What a golden model goes on with: it is told each tap as it makes it, and gets an array of the same shape and type,
which is the chip's. A tap of bfloat16 may be told as float32."""


def unchanged(key: TapKey, made: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The ``Given`` of a golden model by itself: what it made."""
    return made


class Told(dict[str, npt.NDArray[Any]]):
    """The taps of a layer by name, for a golden model that keeps them so.

    What is set is told to a ``Given``, and what is read is what there is to go on with.
    """

    def __init__(self, given: Given, layer: int) -> None:
        super().__init__()
        self._given, self._layer = given, layer

    def __setitem__(self, name: str, made: npt.NDArray[Any]) -> None:
        super().__setitem__(name, self._given((self._layer, name), made))


class GoldenSession(Protocol):
    """Sequences of tokens or vectors through a golden model, one at a time.

    A ``predict`` that takes ``given=`` beside these, a ``Given`` that is called once for each tap of a single item, can
    be asked tap by tap: a diagnosis then knows the chip's units without a word of the project's (docs/diagnose.md).
    """

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
