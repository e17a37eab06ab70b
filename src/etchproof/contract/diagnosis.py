"""The units of a chip, as a diagnosis asks a project for them (``[diagnose]`` of ``etchproof.toml``, docs/diagnose.md).

A unit makes one tap from others and from what it holds. A diagnosis computes it from the chip's own taps: where its
output follows from them, the unit is innocent, however much the tap differs from the golden model's. For a unit that
is not, the project proposes what may be wrong; the engine computes the unit under each proposal and takes only what
gives the chip's every element.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from etchproof.contract.taps import TapKey, TokenArrays

Array = npt.NDArray[Any]
Rows = npt.NDArray[np.intp]

BASE: Final = -1
"""The adapter of a token that runs without one."""


@dataclass(frozen=True)
class Column:
    """A tap of the tokens of a run.

    Attributes:
        at: (vectors,) the tokens that have it, ascending.
        values: of each of them, (vectors, elements), or a list of arrays where their lengths differ.
    """

    at: Rows
    values: TokenArrays

    def take(self, kept: npt.NDArray[np.bool_], number: Rows) -> Column:
        """The vectors of some tokens, which are numbered anew.

        Args:
            kept: (tokens,) which.
            number: (tokens,) new number of each.
        """
        here = kept[self.at]
        if isinstance(self.values, np.ndarray):
            return Column(number[self.at[here]], self.values[here])
        return Column(number[self.at[here]], [self.values[i] for i in np.flatnonzero(here)])

    def of(self, tokens: Rows) -> TokenArrays:
        """Of tokens that all have it."""
        place = np.searchsorted(self.at, tokens)
        if isinstance(self.values, np.ndarray):
            found: Array = self.values[place]
            return found
        return [self.values[i] for i in place]


@dataclass(frozen=True)
class Seen:
    """What was fed, and the taps of it: of the chip, or of the golden model.

    Attributes:
        tokens: (tokens,) ids; of vectors, their numbers.
        positions: (tokens,) in its sequence.
        sequences: (tokens,) number of its sequence, ascending.
        adapters: (tokens,) index of the run's adapters, ``BASE`` for none.
        taps: integers, as they are compared.
    """

    tokens: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    sequences: npt.NDArray[np.int64]
    adapters: npt.NDArray[np.int64]
    taps: Mapping[TapKey, Column]

    def __len__(self) -> int:
        return len(self.tokens)

    def take(self, tokens: Rows) -> Seen:
        """Some tokens alone, ascending."""
        kept = np.zeros(len(self), dtype=bool)
        kept[tokens] = True
        number = np.cumsum(kept) - 1
        return Seen(
            self.tokens[kept],
            self.positions[kept],
            self.sequences[kept],
            self.adapters[kept],
            {key: column.take(kept, number) for key, column in self.taps.items()},
        )

    def having(self, taps: Mapping[TapKey, Column]) -> Seen:
        """With other taps in the place of some."""
        return replace(self, taps={**self.taps, **taps})

    def of(self, key: TapKey, tokens: Rows) -> Array:
        """(tokens, elements) int64 of a tap that all of them have, each of one length."""
        found = self.taps[key].of(tokens)
        return np.asarray(found, dtype=np.int64)

    def ragged(self, key: TapKey, tokens: Rows) -> list[Array]:
        """An array for each token of a tap that all of them have."""
        return list(self.taps[key].of(tokens))

    @cached_property
    def spans(self) -> tuple[slice, ...]:
        """The tokens of each sequence."""
        begins = [*np.flatnonzero(np.diff(self.sequences, prepend=-1)).tolist(), len(self)]
        return tuple(map(slice, begins, begins[1:]))


@dataclass(frozen=True)
class Place:
    """Where a cause is; what does not apply is None.

    Attributes:
        tensor: Hugging Face's name of the tensor.
        element: index in it.
        inject: as ``--inject`` names the bits.
        image: name of the ROM image; ``layer`` its layer.
        word: address in it.
        lane: index of the element in its word.
        bits: of the element.
        instance: of the unit in the RTL.
        file: of its module.
        what: anything else.
    """

    tensor: str | None = None
    element: tuple[int, ...] | None = None
    inject: tuple[str, ...] = ()
    layer: int | None = None
    image: str | None = None
    word: int | None = None
    lane: tuple[int, ...] | None = None
    bits: tuple[int, ...] = ()
    instance: str | None = None
    file: str | None = None
    what: str | None = None


@dataclass(frozen=True)
class Hypothesis:
    """What may be wrong with a unit.

    Attributes:
        kind: a word or two that name it, the same in every unit that has it: "round.down".
        what: a sentence's end, for a reader: "a tie is rounded down".
        made: the unit's output under it, of the tokens that have its tap.
        at: the part of the chip that one such fault is in. Hypotheses of one kind and part in several units are one
            cause: a fault of a module is in each of its instances. "" where it is the unit's own.
        rank: of hypotheses that explain as much, that of the lowest rank is named first.
        place: where it would be.
    """

    kind: str
    what: str
    made: Callable[[Seen], TokenArrays]
    at: str = ""
    rank: int = 5
    place: Place = field(default_factory=Place)


@dataclass(frozen=True)
class Excluded:
    """Hypotheses of a kind that a unit has computed itself, in a quicker way, and that do not hold."""

    kind: str
    count: int


@dataclass(frozen=True)
class Question:
    """A unit whose output does not follow from its inputs, and what is known of it.

    Attributes:
        seen: the chip's taps.
        made: the output that follows from its inputs, likewise.
        differs: the vectors of the tap that are not what was made, ascending.
        known: kinds of hypotheses that hold for other units of the run. Where there are any, only those are asked for.
    """

    seen: Seen
    got: Column
    made: TokenArrays
    differs: Rows
    known: frozenset[str] = frozenset()

    def asks(self, kind: str) -> bool:
        """Whether hypotheses of a kind are asked for; to be looked at before what is costly to propose."""
        return not self.known or kind in self.known


class Unit(Protocol):
    """What makes one tap."""

    @property
    def name(self) -> str:
        """Of this unit alone, "model.layers.0.self_attn.q_proj"."""
        ...

    @property
    def module(self) -> str:
        """What it is one of: "linear". Units of one module have the same faults of logic."""
        ...

    @property
    def sources(self) -> Collection[TapKey]:
        """The taps that it reads."""
        ...

    @property
    def result(self) -> TapKey:
        """The tap that it makes."""
        ...

    @property
    def place(self) -> Place:
        """Where it is in the RTL."""
        ...

    @property
    def memory(self) -> bool:
        """Whether it reads taps of earlier tokens of the sequence."""
        ...

    def groups(self, elements: int) -> Mapping[str, Rows]:
        """How its output is laid out: of each name, such as "lane" or "head", the number of each element's.

        Args:
            elements: of the vector.
        """
        ...

    def made(self, seen: Seen) -> TokenArrays:
        """Its output, of the tokens that have its tap, from the taps that it reads."""
        ...

    def hypotheses(self, question: Question) -> Iterator[Hypothesis | Excluded]:
        """What may be wrong with it, the likeliest first; the engine tests each."""
        ...


class Units(Protocol):
    """``[diagnose] units``: every unit of a chip, in dataflow order; each tap is made by one."""

    def __call__(self, model: Any, plan: Any, adapters: Sequence[Any], /) -> Sequence[Unit]: ...
