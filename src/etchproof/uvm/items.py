"""What monitors publish: a token's passage over the host port, and its taps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from etchproof.compare import Array, TapKey


@dataclass(frozen=True, slots=True)
class TokenResult:
    """One token and its response, as seen on the pins."""

    token_in: int
    first: bool  # opened a sequence
    token_out: int
    position: int
    status: int
    cycles: int  # from acceptance to response


@dataclass(frozen=True, slots=True)
class TokenTaps:
    """A token and everything that the chip computed for it."""

    result: TokenResult
    taps: Mapping[
        TapKey, Array
    ]  # views of the simulator's memory, valid until the scoreboard has compared them
