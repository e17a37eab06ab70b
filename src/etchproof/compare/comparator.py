"""Bit-for-bit comparison of taps, and the record of it.

There is no tolerance: integers are compared by value, floating point by its bits (``etchproof.contract.element``).
Nothing compared is a failure, like everything else that is missing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from etchproof.compare.differing import Keeper
from etchproof.contract.element import ElementType, bits_of, stored
from etchproof.contract.taps import Array, TapKey, TapPlan, TokenArrays

COMPARISON_FILE: Final = "comparison.json"
MAX_FAILURES: Final = 100


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TapCount(_Record):
    """What was compared of one tap over all tokens; a vector is one tap of one token."""

    layer: int
    tap: str
    vectors: int
    elements: int
    mismatches: int  # elements that differ


class Divergence(_Record):
    """The first element that differs: earliest token, then dataflow order, then index."""

    sequence: int
    token: int  # position in the sequence
    layer: int
    tap: str
    element: int
    expected: int  # golden; of floating point, its bits
    got: int  # chip; likewise
    dtype: ElementType = "i32"


class TokenRecord(_Record):
    """One token on the host port."""

    sequence: int
    position: int
    token_in: int
    token_out: int
    status: int
    cycles: int  # from acceptance to response
    cycles_model: int | None = None  # what the cycle model says; None without one
    request_stall: int = 0  # cycles for which the host held the request back
    response_stall: int = 0  # cycles for which it held the response off

    @property
    def untimed(self) -> bool:
        """Whether the host's stalls are the reason why no cycle model speaks of it."""
        return self.cycles_model is None and bool(self.request_stall or self.response_stall)


class RequestRecord(_Record):
    """One request on the host port, as it was seen on the pins, and its answer; codes are the chip's own."""

    token: int  # of a chip that takes vectors, the vector's number
    op: int
    slot: int
    status: int
    sha256: str | None = None  # of a vector's words; None for a token


class ResetRecord(_Record):
    """A reset during the test, but for the one that it begins with."""

    tokens: int  # recorded before it
    requests: int = 0  # answered before it
    position: int | None  # of the token that was in the chip; None for none
    cycles: int  # since that token was accepted; 0 for none


class SequenceCount(_Record):
    """What was compared of one sequence."""

    sequence: int
    adapter: int | None  # index of the run's adapters; None for the base alone
    slot: int | None = None  # in which the chip held it; None for the base alone
    vectors: int
    elements: int
    mismatches: int


class LoadRecord(_Record):
    """One load of an adapter through the host's load port."""

    adapter: int | None  # index of the run's adapters; None where it was not loaded
    slot: int  # as answered
    words: int
    sha256: str  # of the words that the host sent; their CRC would be the same of every frame with a right checksum
    status: int
    cycles: int  # from the first word taken to the answer
    stalled: bool  # the host kept the chip waiting, so cycles are not held against the cycle model
    sequence: int = -1  # opened last before the answer; -1 for none
    held: int | None = None  # tokens that it held when the slot was checked; None where none was open
    requests: int = 0  # on the host port, answered before
    cycles_model: int | None = None  # what the cycle model says; None without one


class RomRecord(_Record):
    """One range that was asked of the ROM test port, and its answer; codes are the chip's own."""

    op: int
    unit: int
    word: int
    words: int
    status: int


class NamedFailure(_Record):
    """A reason why the run proves nothing, other than an element that differs."""

    name: str
    message: str


class Comparison(_Record):
    """What the testbench hands back (``comparison.json``)."""

    taps: tuple[TapCount, ...]  # dataflow order; of an adapter's taps, those that a sequence had
    sequences: tuple[SequenceCount, ...]
    loads: tuple[LoadRecord, ...]
    resets: tuple[ResetRecord, ...] = ()
    requests: tuple[RequestRecord, ...] = ()  # everything that the host asked for, tokens included, in order
    roms: tuple[RomRecord, ...] = ()  # everything that was asked of the ROM test port, in order
    first_divergence: Divergence | None
    divergence_ps: int | None = None  # simulated time at which the chip recorded that tap
    tokens: tuple[TokenRecord, ...]
    failures: tuple[NamedFailure, ...]
    sim_s: float  # wall time of the test, without the waits below
    golden_s: float  # beside it, in the scoreboard's thread
    compare_s: float
    wait_s: float  # wall time in which the simulator waited for the scoreboard

    @property
    def vectors(self) -> int:
        return sum(count.vectors for count in self.taps)

    @property
    def timed(self) -> tuple[TokenRecord | LoadRecord, ...]:
        """Answers that the cycle model speaks of."""
        tokens = (token for token in self.tokens if not token.untimed)
        return (*tokens, *(load for load in self.loads if not load.stalled))

    @property
    def elements(self) -> int:
        return sum(count.elements for count in self.taps)

    @property
    def mismatches(self) -> int:
        return sum(count.mismatches for count in self.taps)

    @property
    def problem(self) -> str | None:
        """What is wrong first, ``name: message``; None where all is clean."""
        if self.failures:
            first = self.failures[0]
            return f"{first.name}: {first.message} ({len(self.failures)} failures)"
        if (found := self.first_divergence) is not None:
            return f"mismatch: layer {found.layer} {found.tap} element {found.element} of token {found.token}"
        return None


def frame_sha256(words: NDArray[np.uint32]) -> str:
    """Hash of the words of a frame, little endian: what ``LoadRecord`` names them by."""
    return hashlib.sha256(words.astype("<u4").tobytes()).hexdigest()


class Comparator:
    """Counts and locates differences.

    Args:
        taps: every tap that the chip has, in dataflow order.
        keeper: gets what differs.
    """

    def __init__(self, taps: TapPlan, keeper: Keeper | None = None) -> None:
        self._keeper = keeper
        self._counts = {key: [0, 0, 0] for key in taps.by_key}
        self._kinds = {key: tap.dtype for key, tap in taps.by_key.items()}
        self._planned: set[TapKey] = set()
        self._sequences: dict[int, tuple[int | None, int | None, list[int]]] = {}
        self.first_divergence: Divergence | None = None
        self.failures: list[NamedFailure] = []
        self.failure_count = 0

    def fail(self, name: str, message: str) -> None:
        """Record a named failure; the first ``MAX_FAILURES`` and the first of each name are kept, all are counted."""
        self.failure_count += 1
        if len(self.failures) < MAX_FAILURES or name not in {failure.name for failure in self.failures}:
            self.failures.append(NamedFailure(name=name, message=message))

    def begin(self, sequence: int, adapter: int | None, slot: int | None = None) -> None:
        """A sequence was opened."""
        self._sequences[sequence] = (adapter, slot, [0, 0, 0])

    def compare(
        self,
        sequence: int,
        plan: Sequence[TapKey],
        positions: Sequence[int],
        expected: Mapping[TapKey, TokenArrays],
        got: Sequence[Mapping[TapKey, Array]],
    ) -> None:
        """Compare some consecutive tokens of a sequence.

        Args:
            sequence: its number in the run, known from ``begin``.
            plan: the taps that each of its tokens must have and no other, in dataflow order.
            positions: of the tokens.
            expected: each tap of the tokens.
            got: per token, its taps.
        """
        self._planned.update(plan)
        if self._keeper is not None:
            self._keeper.begin(sequence)
        totals = self._sequences[sequence][2]
        found: list[tuple[int, int, Divergence]] = []  # token, dataflow index
        for order, key in enumerate(plan):
            golden = self._golden(sequence, key, positions, expected)
            if golden is None:
                continue
            mine, kind = [taps.get(key) for taps in got], self._kinds[key]
            vectors, elements, mismatches = len(mine), _equal_elements(kind, mine, golden), 0
            if not elements:
                vectors, elements, mismatches, divergence = self._differences(
                    sequence, key, positions, mine, golden
                )
                if divergence is not None:
                    found.append((divergence.token, order, divergence))
            for total in (self._counts[key], totals):
                total[0] += vectors
                total[1] += elements
                total[2] += mismatches
        planned = set(plan)
        for token, taps in enumerate(got):
            for key in taps.keys() - planned:
                self.fail("unknown_tap", f"{_where(sequence, positions[token], key)} is not of its plan")
        if found and self.first_divergence is None:
            self.first_divergence = min(found, key=lambda each: each[:2])[2]

    def _golden(
        self,
        sequence: int,
        key: TapKey,
        positions: Sequence[int],
        expected: Mapping[TapKey, TokenArrays],
    ) -> TokenArrays | None:
        """A tap of the golden model, as it is compared; None where that gave none, which is a failure."""
        arrays = expected.get(key)
        problem = "is not given" if arrays is None else None
        if arrays is not None and len(arrays) != len(positions):
            problem = f"is given for {len(arrays)} tokens of {len(positions)}"
        elif arrays is not None:
            try:
                if isinstance(arrays, np.ndarray):
                    return bits_of(self._kinds[key], arrays).reshape(len(arrays), -1)
                return [bits_of(self._kinds[key], array).reshape(-1) for array in arrays]
            except ValueError as error:
                problem = str(error)
        self.fail("golden_tap", f"{_where(sequence, positions[0], key)} {problem} by the golden model")
        return None

    def _differences(
        self,
        sequence: int,
        key: TapKey,
        positions: Sequence[int],
        mine: Sequence[Array | None],
        golden: TokenArrays,
    ) -> tuple[int, int, int, Divergence | None]:
        """Of a tap that is not all equal: vectors, elements, mismatches, and the first of those."""
        vectors = elements = mismatches = 0
        first: Divergence | None = None
        kind = self._kinds[key]
        for item, (position, raw, wanted) in enumerate(zip(positions, mine, golden, strict=True)):
            where = _where(sequence, position, key)
            if raw is None:
                self.fail("missing_tap", where)
                self._keep(key, item, None)
                continue
            if raw.itemsize != stored(kind).itemsize:
                self.fail("tap_type", f"{where} has elements of {8 * raw.itemsize} bits, declared is {kind}")
                self._keep(key, item, None)
                continue
            array = raw.view(stored(kind))
            if array.shape != wanted.shape:
                self.fail("tap_size", f"{where} has {array.size} elements, expected {wanted.size}")
                self._keep(key, item, raw)
                continue
            vectors += 1
            elements += array.size
            wrong = np.flatnonzero(array != wanted)
            mismatches += len(wrong)
            if len(wrong):
                self._keep(key, item, raw)
            if len(wrong) and first is None:
                element = int(wrong[0])
                first = Divergence(
                    sequence=sequence,
                    token=position,
                    layer=key[0],
                    tap=key[1],
                    element=element,
                    expected=int(wanted[element]),
                    got=int(array[element]),
                    dtype=kind,
                )
        return vectors, elements, mismatches, first

    def _keep(self, key: TapKey, item: int, raw: Array | None) -> None:
        if self._keeper is not None:
            self._keeper.keep(key, item, raw)

    def counts(self) -> tuple[TapCount, ...]:
        """Counts per tap that was planned, in dataflow order."""
        return tuple(
            TapCount(layer=layer, tap=tap, vectors=c[0], elements=c[1], mismatches=c[2])
            for (layer, tap), c in self._counts.items()
            if (layer, tap) in self._planned
        )

    def sequences(self) -> tuple[SequenceCount, ...]:
        """Counts per sequence, in the order in which they were opened."""
        return tuple(
            SequenceCount(
                sequence=number, adapter=adapter, slot=slot, vectors=c[0], elements=c[1], mismatches=c[2]
            )
            for number, (adapter, slot, c) in self._sequences.items()
        )


def _equal_elements(kind: ElementType, mine: Sequence[Array | None], golden: TokenArrays) -> int:
    """The number of elements if every token's array is there and is the golden one; 0 if not.

    One comparison for all tokens.
    """
    dtype = stored(kind)
    arrays = [array for array in mine if array is not None and array.itemsize == dtype.itemsize]
    if isinstance(golden, np.ndarray):
        wanted, sizes = golden.reshape(-1), [golden.shape[1]] * len(golden)
    else:
        wanted, sizes = np.concatenate(golden), [array.size for array in golden]
    if [array.size for array in arrays] != sizes:
        return 0
    together = np.concatenate(arrays).view(dtype)
    return together.size if (together == wanted).all() else 0


def _where(sequence: int, position: int, key: TapKey) -> str:
    return f"layer {key[0]} {key[1]} of sequence {sequence} position {position}"
