"""What monitors publish: a token's passage over the host port with its taps, and loads of adapters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from etchproof.contract.taps import Array, TapKey
from etchproof.sim.sink import TapBatch


class TokenResult(NamedTuple):
    """A request as it was taken and its answer, as seen on the pins; codes are the chip's own."""

    token_in: int
    op: int
    """What was asked for: to open a sequence with this token, to go on, ..."""
    slot: int
    """Of the adapter, where a sequence was to be opened."""
    token_out: int
    position: int
    status: int
    cycles: int
    """From acceptance to response."""
    request_stall: int = 0
    """Cycles for which the host held the request back."""
    response_stall: int = 0
    """Cycles for which it held the response off."""
    answer: tuple[int, ...] = ()
    """Every word of the answer, where it may have several."""
    sha256: str | None = None
    """Of what was fed, where it is a vector and ``token_in`` its number."""


@dataclass(frozen=True, slots=True)
class ResetSeen:
    """What the chip was doing when it was reset."""

    position: int | None  # of the token in it; None for none
    cycles: int  # since that token was accepted


@dataclass(frozen=True, slots=True)
class LoadStart:
    """The chip has checked which slot a load is for."""

    words: NDArray[np.uint32]  # what the host sends
    in_flight: bool  # a token was accepted before, and is not answered yet


@dataclass(frozen=True, slots=True)
class LoadResult:
    """A load and its answer."""

    words: NDArray[np.uint32]  # what the host sent
    status: int
    slot: int
    cycles: int  # from the first word taken to the answer
    stalled: bool  # the host kept the chip waiting
    in_flight: bool  # a token was accepted before the answer, and is not answered yet


@dataclass(frozen=True)
class TokenTaps:
    """A token and everything that the chip computed for it.

    Attributes:
        result: the token.
        batch: its taps as they were written; parsed when ``taps`` is first read.
    """

    result: TokenResult
    batch: TapBatch

    @property
    def taps(self) -> Mapping[TapKey, Array]:
        """Each tap's elements, read-only."""
        return self._parsed[0]

    @property
    def problems(self) -> tuple[tuple[str, str], ...]:
        """(name, message) of each record that is not this token's, or is there twice."""
        return self._parsed[1]

    @cached_property
    def _parsed(self) -> tuple[dict[TapKey, Array], tuple[tuple[str, str], ...]]:
        taps: dict[TapKey, Array] = {}
        problems = []
        position = self.result.position
        for record in self.batch.records():
            key = (record.layer, record.name)
            if record.pos != position:
                problems.append(
                    ("stray_tap", f"layer {key[0]} {key[1]} of position {record.pos} beside {position}")
                )
            elif key in taps:
                problems.append(("duplicate_tap", f"layer {key[0]} {key[1]} twice at position {position}"))
            taps[key] = record.data
        return taps, tuple(problems)
