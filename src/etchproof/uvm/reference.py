"""The reference model as the scoreboard asks it: what has to be answered at the ports, and every tap of every token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from etchproof.contract.taps import TapKey, TapPlan, TokenArrays
from etchproof.uvm.items import LoadResult, LoadStart, TokenResult


@dataclass(frozen=True, slots=True)
class Opened:
    """A sequence that a token opens.

    Attributes:
        adapter: index of the run's adapters, None for the base alone.
        plan: the taps of each of its tokens, in dataflow order.
        slot: in which the chip holds the adapter; None for the base alone.
    """

    adapter: int | None
    plan: Sequence[TapKey]
    slot: int | None = None


@dataclass(frozen=True, slots=True)
class Expected:
    """What the host port must answer.

    Attributes:
        status: the chip's code.
        position: as answered.
        cycles: from acceptance to response; None when the project has no cycle model.
        computes: whether a token passes the chip, and taps are due.
        opens: the sequence that it opens.
        token: whether the request is about a token; only those are recorded.
    """

    status: int
    position: int
    cycles: int | None
    computes: bool
    opens: Opened | None = None
    token: bool = True


@dataclass(frozen=True, slots=True)
class ExpectedLoad:
    """What the load port must answer.

    Attributes:
        status: the chip's code.
        slot: as answered.
        cycles: from the first word taken to the answer, where the host does not stall; None without a cycle model.
        loaded: whether the slot holds an adapter from now on.
        adapter: which one, an index of the run's adapters; None where none was loaded or it is none of those.
        held: tokens that the open sequence held when the slot was checked; None where none was open.
    """

    status: int
    slot: int
    cycles: int | None
    loaded: bool
    adapter: int | None
    held: int | None = None


class Reference(Protocol):
    """What the scoreboard asks of a project's reference model; all of it in the scoreboard's thread."""

    taps: TapPlan
    """Every tap that the chip has."""

    answer: TapKey | None
    """The tap that holds what the host port answers with; None where there is none."""

    answer_bits: int
    """Bits of a word of that answer."""

    def wait_ready(self) -> None:
        """Called once, before anything else: waits for what is slow to load."""
        ...

    def respond(self, request: TokenResult) -> Expected:
        """What must be answered; called once per request, in the order of acceptance."""
        ...

    def start_load(self, load: LoadStart) -> None:
        """The chip has checked the slot of a load."""
        ...

    def end_load(self, load: LoadResult) -> ExpectedLoad:
        """What must be answered to the load that was started last."""
        ...

    def predict(
        self, tokens: Sequence[int], first: bool, adapter: int | None
    ) -> Mapping[TapKey, TokenArrays]:
        """Every tap of consecutive accepted tokens; ``first`` when they open a sequence, with that adapter."""
        ...

    def reset(self) -> None:
        """The chip was reset: no sequence is open, every slot is empty."""
        ...
