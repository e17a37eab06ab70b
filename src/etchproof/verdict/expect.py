"""What a run has to do, stated before it runs: requests of the host, loads, refusals, resets, what is read back.

The process that starts the simulator states it and judges by it (``etchproof.verdict.judge``); the testbench inside the
simulator never does. So a test that drops, repeats or alters what it was to feed is no PASS, however clean its own
comparison is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final

from etchproof.compare.readback import UnitReadback
from etchproof.contract.taps import TapKey
from etchproof.render.images import ImageSet

OK: Final = frozenset({0})
"""The status of what the chip accepts, on every port."""


@dataclass(frozen=True)
class Generation:
    """A planned sequence: a prompt, and greedy text after it.

    Attributes:
        prompt: token ids, at least one.
        new_tokens: how many to generate.
        stop_tokens: ids after which generation ends early.
        adapter: index of the run's adapters; None for the base alone.
    """

    prompt: tuple[int, ...]
    new_tokens: int
    stop_tokens: tuple[int, ...] = ()
    adapter: int | None = None


@dataclass(frozen=True)
class Request:
    """A request on the host port; codes are the chip's own.

    Attributes:
        statuses: the answers that it may get; several only where timing decides.
        opens: where it opens a sequence when it is accepted: the adapters that this may run under, indices of the
            run's, None for the base alone. None where it opens none.
        closes: whether it closes the open sequence when it is accepted; no token passes the chip then.
        stalls: cycles for which the host holds it back, and then its answer off.
        sha256: of a vector's words; None for a token.
    """

    token: int
    op: int
    slot: int
    statuses: AbstractSet[int] = OK
    opens: AbstractSet[int | None] | None = None
    closes: bool = False
    stalls: tuple[int, int] = (0, 0)
    sha256: str | None = None


@dataclass(frozen=True)
class Reset:
    """A reset of the chip.

    Attributes:
        position: of the token that it cuts off; None for none.
        cycles: since that token was accepted.
    """

    position: int | None = None
    cycles: int = 0


@dataclass(frozen=True)
class Loaded:
    """How many loads are answered by now; those that follow are answered later, or now.

    One before and one after a load, or after what runs beside loads, say where among the requests these stand.
    """

    loads: int


@dataclass(frozen=True)
class CutOff:
    """Requests that a reset ends at a moment that timing decides: a beginning of them is answered, maybe nothing."""

    requests: tuple[Request, ...]


@dataclass(frozen=True)
class Beside:
    """Requests beside other traffic, which decides how many of them there are: a beginning of an endless stream.

    There is at most one in a run.

    Attributes:
        requests: the stream; a new iterator each time that it is iterated.
        least: how many there are at least.
    """

    requests: Iterable[Request]
    least: int = 1


Step = Request | Reset | CutOff | Beside | Loaded


@dataclass(frozen=True)
class Load:
    """A frame on the load port that is answered; one that a reset cuts off is not.

    Attributes:
        words: 32-bit words that the host sends.
        sha256: of them (``etchproof.compare.comparator.frame_sha256``).
        statuses: the answers that it may get.
        slot: that an answer of status 0 names.
        adapter: that the slot then holds, an index of the run's adapters.
        stalled: whether the host keeps the chip waiting, so that a cycle model does not hold.
    """

    words: int
    sha256: str
    statuses: AbstractSet[int] = OK
    slot: int | None = None
    adapter: int | None = None
    stalled: bool = False


@dataclass(frozen=True)
class RomRead:
    """A range that is asked of the ROM test port and answered; codes are the chip's own."""

    op: int
    unit: int
    word: int
    words: int
    statuses: AbstractSet[int] = OK


@dataclass(frozen=True)
class RomUnit:
    """A ROM that has to be read back whole, with its signature.

    Attributes:
        sha256: of the file that it was etched from.
        slices: of 32 bits, of all of its words.
    """

    unit: int
    layer: int
    image: str
    sha256: str
    slices: int

    def is_of(self, found: UnitReadback) -> bool:
        """Whether a record is of this ROM."""
        return (self.unit, self.layer, self.image, self.sha256, self.slices) == (
            found.unit,
            found.layer,
            found.image,
            found.sha256,
            found.slices,
        )


@dataclass(frozen=True)
class Expectation:
    """What a run has to do. Exactly one of ``texts`` and ``steps`` says what the host port is fed.

    Attributes:
        texts: sequences in which the chip's own choices are fed back.
        steps: everything else on the host port, in order.
        loads: on the load port, in order.
        roms: on the ROM test port, in order.
        read_back: the ROMs that ``readback.json`` has to hold, each whole; empty where the run reads none back.
        adapted: of each of the run's adapters, the linears that it adapts, by (layer, linear).
        stalled_untimed: whether the cycle model says nothing of what the host stalled.
    """

    texts: tuple[Generation, ...] = ()
    steps: tuple[Step, ...] = ()
    loads: tuple[Load, ...] = ()
    roms: tuple[RomRead, ...] = ()
    read_back: tuple[RomUnit, ...] = ()
    adapted: tuple[AbstractSet[TapKey], ...] = ()
    stalled_untimed: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether it asks for nothing: by such an expectation any run would pass."""
        return not self.texts and not self.steps

    def feeds(self, sequences: Sequence[Sequence[int]]) -> bool:
        """Whether the host port is fed these sequences, each token accepted, and nothing else."""
        found: list[list[int]] = []
        for step in self.steps:
            if not isinstance(step, Request) or step.closes or step.statuses != OK:
                return False
            if step.opens is not None:
                found.append([])
            if not found:
                return False
            found[-1].append(step.token)
        return found == [list(tokens) for tokens in sequences]


@dataclass(frozen=True)
class PlannedRun:
    """What a project is told of a run when it is asked what the run has to do (``[verif] expect``).

    Attributes:
        plan: the project's own record of the chip.
        seed: of the test's random choices.
        config: the test's, as it finds it in the simulator.
        frames: of each of the run's adapters, the words that write it into its slot, uint32.
        images: the chip's ROM images; None where the run is not told of them.
    """

    plan: Any
    seed: int
    config: Mapping[str, Any]
    frames: Sequence[Any]
    images: ImageSet | None
