"""The scoreboard: every tap of every token against the reference model, bit for bit.

All of it runs in a thread beside the simulator (``etchproof.uvm.worker``), in the order in which tokens came; the
simulator only waits for it when it is far behind, and at the end. Tokens are gathered and compared in batches, so that
the golden model runs over many tokens at once; that changes nothing in its integers. The reference follows the tokens
that the chip was given, so an early difference does not hide later ones.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from pyuvm import uvm_component, uvm_subscriber

from etchproof.compare.comparator import (
    Comparator,
    Comparison,
    Divergence,
    LoadRecord,
    RequestRecord,
    ResetRecord,
    RomRecord,
    TokenRecord,
    frame_sha256,
)
from etchproof.compare.differing import Keeper
from etchproof.compare.dump import Dumped, DumpWriter
from etchproof.contract.element import stored
from etchproof.contract.taps import Array, TapKey
from etchproof.uvm.items import LoadResult, LoadStart, ResetSeen, TokenResult, TokenTaps
from etchproof.uvm.reference import Expected, Opened, Reference
from etchproof.uvm.worker import Worker

BATCH_TOKENS: Final = 16
MAX_PENDING_BYTES: Final = 1 << 28
"""Of taps that wait to be compared: beyond it the simulator waits."""


class TapScoreboard(uvm_subscriber):  # type: ignore[misc]  # pyuvm is untyped
    """Subscribes to ``TokenTaps``, ``LoadStart`` and ``LoadResult``.

    ``reference`` is set by the environment in its connect phase. ``dump`` keeps the taps of every compared batch when
    set; ``keeper`` those that differ, unless it is set to None before the simulation starts. What the scoreboard found
    may be read after ``finish``.
    """

    def __init__(self, name: str, parent: uvm_component) -> None:
        super().__init__(name, parent)
        self.reference: Reference
        self.comparator: Comparator
        self.keeper: Keeper | None = Keeper()
        self.tokens: list[TokenRecord] = []
        self.loads: list[LoadRecord] = []
        self.resets: list[ResetRecord] = []
        self.requests: list[RequestRecord] = []
        self.roms: list[RomRecord] = []  # whoever checks the ROM test port adds to it
        self.golden_s = self.compare_s = self.wait_s = 0.0
        self._extended = {"sign", "zeros"}  # how answers were so far, one of them for the whole run
        self.dump: DumpWriter | None = None
        self._worker = Worker("scoreboard")
        self._submitted_bytes = 0
        self._pending: list[TokenTaps] = []  # tokens of the open sequence that are not compared yet
        self._pending_bytes = 0
        self._pending_opens = False  # the first of them opened it
        self._deferred: list[LoadStart | LoadResult] = []  # until a token that came before is answered
        self._sequence = -1
        self._compared = 0  # tokens of the open sequence
        self._divergence_ps: int | None = None
        self._opened = Opened(None, ())
        self._finished = False

    # In the simulator's thread

    def start_of_simulation_phase(self) -> None:
        self.comparator = Comparator(self.reference.taps, self.keeper)
        self._worker.submit(self.reference.wait_ready)

    def write(self, tt: TokenTaps | LoadStart | LoadResult) -> None:
        if not isinstance(tt, TokenTaps):
            self._worker.submit(partial(self._take_load, tt))
            return
        self._worker.submit(partial(self._check_token, tt))
        self._submitted_bytes += tt.batch.nbytes
        if self._submitted_bytes > MAX_PENDING_BYTES:
            self.wait()
            self._submitted_bytes = 0

    def fail(self, name: str, message: str) -> None:
        """Record a failure that the scoreboard does not see itself."""
        self._worker.submit(lambda: self.comparator.fail(name, message))

    def reset(self, seen: ResetSeen | None = None) -> None:
        """The chip was reset, amid what was seen; None where nothing had begun."""
        self._worker.submit(partial(self._reset, seen))

    def finish(self, sim_s: float) -> Comparison:
        """Compare the rest and report; with nothing compared the report holds a failure that says so.

        Args:
            sim_s: wall time of the test so far.
        """
        sim_s -= self.wait_s
        self._worker.submit(self._end)
        self.wait()
        comparator = self.comparator
        if not self._finished and sum(count.elements for count in comparator.counts()) == 0:
            comparator.fail("nothing_compared", "no element of any tap was compared")
        self._finished = True
        return Comparison(
            taps=comparator.counts(),
            sequences=comparator.sequences(),
            loads=tuple(self.loads),
            resets=tuple(self.resets),
            requests=tuple(self.requests),
            roms=tuple(self.roms),
            first_divergence=comparator.first_divergence,
            divergence_ps=self._divergence_ps,
            tokens=tuple(self.tokens),
            failures=tuple(comparator.failures),
            sim_s=sim_s,
            golden_s=self.golden_s,
            compare_s=self.compare_s,
            wait_s=self.wait_s,
        )

    def end(self) -> None:
        """Let it go, by whoever plays one run after the other to a scoreboard that is alone in its process."""
        self._worker.end()
        uvm_component.component_dict.pop(self.get_full_name(), None)
        self.get_parent().clear_children()

    def wait(self) -> None:
        """Wait until all that was written is checked, but for what is gathered for the next batch."""
        start = time.perf_counter()
        self._worker.join()
        self.wait_s += time.perf_counter() - start

    # In the worker's thread

    def _reset(self, seen: ResetSeen | None) -> None:
        self._end()
        if seen is not None:
            self.resets.append(
                ResetRecord(
                    tokens=len(self.tokens),
                    requests=len(self.requests),
                    position=seen.position,
                    cycles=seen.cycles,
                )
            )
        self.reference.reset()

    def _end(self) -> None:
        """No token that came before a deferred load is answered any more."""
        self._flush()
        self._check_deferred()

    def _check_token(self, tt: TokenTaps) -> None:
        result = tt.result
        for problem in tt.problems:
            self.comparator.fail(*problem)
        expected = self.reference.respond(result)
        self.requests.append(
            RequestRecord(
                token=result.token_in,
                op=result.op,
                slot=result.slot,
                status=result.status,
                sha256=result.sha256,
            )
        )
        self._check_answer(result, expected)
        if expected.opens is not None:
            self._flush()
            self._sequence, self._compared = self._sequence + 1, 0
            self._opened, self._pending_opens = expected.opens, True
            self.comparator.begin(self._sequence, expected.opens.adapter, expected.opens.slot)
        if expected.token:
            self.tokens.append(
                TokenRecord(
                    sequence=self._sequence,
                    position=result.position,
                    token_in=result.token_in,
                    token_out=result.token_out,
                    status=result.status,
                    cycles=result.cycles,
                    cycles_model=expected.cycles,
                    request_stall=result.request_stall,
                    response_stall=result.response_stall,
                )
            )
        if expected.computes and result.status == expected.status:
            self._pending.append(tt)
            self._pending_bytes += tt.batch.nbytes
            if len(self._pending) >= BATCH_TOKENS or self._pending_bytes > MAX_PENDING_BYTES:
                self._flush()
        elif tt.taps:
            self.comparator.fail(
                "unexpected_tap", f"{len(tt.taps)} taps of a refused token {result.token_in}"
            )
        self._check_deferred()

    def _check_answer(self, result: TokenResult, expected: Expected) -> None:
        if (result.status, result.position) != (expected.status, expected.position):
            self.comparator.fail(
                "status",
                f"token {result.token_in} answered with status {result.status} at position {result.position}, "
                f"expected {expected.status} at {expected.position}",
            )
        if expected.cycles is not None and result.cycles != expected.cycles:
            self.comparator.fail(
                "cycles",
                f"token at position {expected.position} took {result.cycles} cycles, the cycle model says "
                f"{expected.cycles}",
            )

    def _take_load(self, load: LoadStart | LoadResult) -> None:
        """A token that the chip accepted before, and has not answered yet, comes first."""
        self._deferred.append(load)
        if len(self._deferred) == 1 and not load.in_flight:
            self._check_deferred()

    def _check_deferred(self) -> None:
        deferred, self._deferred = self._deferred, []
        for load in deferred:
            if isinstance(load, LoadStart):
                self.reference.start_load(load)
            else:
                self._check_load(load)

    def _check_load(self, load: LoadResult) -> None:
        expected = self.reference.end_load(load)
        what = f"load of {len(load.words)} words"
        if (load.status, load.slot) != (expected.status, expected.slot):
            self.comparator.fail(
                "load_status",
                f"{what} answered with status {load.status} for slot {load.slot}, expected {expected.status} for "
                f"{expected.slot}",
            )
        if expected.cycles is not None and not load.stalled and load.cycles != expected.cycles:
            self.comparator.fail(
                "load_cycles", f"{what} took {load.cycles} cycles, the cycle model says {expected.cycles}"
            )
        if expected.loaded and expected.adapter is None:
            self.comparator.fail(
                "unknown_adapter", f"{what} put into slot {load.slot} what the golden model lacks"
            )
        self.loads.append(
            LoadRecord(
                adapter=expected.adapter,
                slot=load.slot,
                words=len(load.words),
                sha256=frame_sha256(load.words),
                status=load.status,
                cycles=load.cycles,
                stalled=load.stalled,
                sequence=self._sequence,
                held=expected.held,
                requests=len(self.requests),
                cycles_model=expected.cycles,
            )
        )

    def _flush(self) -> None:
        """Compare what is pending, tokens of one sequence."""
        pending, self._pending, self._pending_bytes = self._pending, [], 0
        if not pending:
            return
        results = [tt.result for tt in pending]
        plan, first = self._opened.plan, self._pending_opens
        self._pending_opens = False
        start = time.perf_counter()
        tokens = [result.token_in for result in results]
        expected = self.reference.predict(tokens, first, self._opened.adapter)
        middle = time.perf_counter()
        got = [tt.taps for tt in pending]
        positions = [result.position for result in results]
        before = self.comparator.first_divergence
        self.comparator.compare(self._sequence, plan, positions, expected, got)
        if before is None and (found := self.comparator.first_divergence) is not None:
            self._divergence_ps = _recorded(pending, found)
        self._check_responses(results, got)
        self.golden_s += middle - start
        self.compare_s += time.perf_counter() - middle
        if self.dump is not None:
            dumped = [Dumped(self._compared + at, token) for at, token in enumerate(tokens)]
            self.dump.write(self._sequence, dumped, got, expected)
        self._compared += len(pending)

    def _check_responses(self, results: Sequence[TokenResult], got: Sequence[Mapping[TapKey, Array]]) -> None:
        answer = self.reference.answer
        if answer is None:
            return
        kind = self.reference.taps.by_key[answer].dtype
        for result, taps in zip(results, got, strict=True):
            tap, said = taps.get(answer), list(result.answer or (result.token_out,))
            if tap is None or tap.itemsize != stored(kind).itemsize:
                continue  # a failure of the comparison
            computed = [int(element) for element in tap.view(stored(kind))]
            if len(computed) == len(said):
                extended = self._extended.intersection(
                    *(
                        _extensions(word, value, self.reference.answer_bits, 8 * tap.itemsize)
                        for word, value in zip(said, computed, strict=True)
                    )
                )
            else:
                extended = set()
            if extended:
                self._extended = extended
            else:
                self.comparator.fail(
                    "response_token",
                    f"host port says {_listed(said)}, tap says {_listed(computed)} at {result.position}",
                )


def _recorded(tokens: Sequence[TokenTaps], first: Divergence) -> int | None:
    """The simulated time at which a tap was recorded."""
    for token in tokens:
        if token.result.position == first.token:
            for record in token.batch.records():
                if (record.layer, record.name) == (first.layer, first.tap):
                    return record.time
    return None


def _extensions(word: int, value: int, bits: int, tap_bits: int) -> set[str]:
    """How a port of so many bits may extend a tap so as to have its whole value: with its sign, or with zeros."""
    found = set()
    if -(1 << bits - 1) <= value < 1 << bits and word == value % (1 << bits):
        found.add("sign")
    if tap_bits <= bits and word == value % (1 << tap_bits):
        found.add("zeros")
    return found


def _listed(words: Sequence[int]) -> str:
    """The first words of an answer."""
    return " ".join(map(str, words[:4])) + (" ..." if len(words) > 4 else "")
