"""A model of a project's own kind, as ``[model] load`` gives it (docs/project.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Model(Protocol):
    """What the engine reads of a model; everything else of it is the project's own.

    A language model has ``vocab_size`` and ``context``; ``stop_tokens`` may be left out. Of any other model
    ``vocab_size`` is None: vectors of ``elements`` integers go into the chip, one after the other. Their elements are
    0 .. 2^bits - 1 of the port that takes them, unless ``element_range``, (least, most), says otherwise.
    """

    @property
    def files(self) -> Sequence[Path]:
        """Every file that it was read from: their content is what a result is of."""
        ...

    @property
    def vocab_size(self) -> int | None:
        """Tokens that the chip takes, 0 .. vocab_size - 1; None where vectors go in."""
        ...

    @property
    def context(self) -> int | None:
        """Positions of a sequence that the chip holds; None for no limit."""
        ...


@dataclass(frozen=True)
class Inputs:
    """What goes into a chip, one item after the other.

    Attributes:
        vocab_size: items are tokens, 0 .. vocab_size - 1; None where they are vectors.
        context: items of a sequence that the chip holds; None for no limit.
        elements: of a vector; 1 of a token.
        element_range: the least and the most that an element may be; None for whatever the port takes.
        stop_tokens: that end a text.
    """

    vocab_size: int | None
    context: int | None
    elements: int = 1
    element_range: tuple[int, int] | None = None
    stop_tokens: tuple[int, ...] = ()
