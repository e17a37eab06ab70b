"""The golden model, as the engine asks a project for it (``[golden]`` of ``etchproof.toml``, docs/testbench.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from etchproof.contract.taps import TapKey, TokenArrays


class GoldenSession(Protocol):
    """Sequences of tokens through a golden model, one at a time."""

    def predict(
        self, tokens: Sequence[int], first: bool, adapter: int | None = None
    ) -> Mapping[TapKey, TokenArrays]:
        """Every tap of consecutive tokens; ``first`` when they open a sequence, which keeps the adapter named then.

        Args:
            adapter: index of the adapters that the model was made with; None for the base alone.
        """
        ...


class Golden(Protocol):
    """A golden model: of one quantized model and the adapters that it was made with."""

    def session(self) -> GoldenSession:
        """A new session, whose cache is its own."""
        ...
