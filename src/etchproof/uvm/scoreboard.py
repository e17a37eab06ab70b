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
from typing import Final, Protocol

from pyuvm import uvm_component, uvm_subscriber

from etchproof.compare import Comparator, Comparison, TokenRecord
from etchproof.taps import Array, TapKey, TokenArrays
from etchproof.uvm.items import TokenResult, TokenTaps
from etchproof.uvm.worker import Worker

BATCH_TOKENS: Final = 16
MAX_BATCH_BYTES: Final = 1 << 26
MAX_PENDING_BYTES: Final = 1 << 28
"""Of taps that wait to be compared: beyond it the simulator waits."""


class Reference(Protocol):
    """What the scoreboard asks of a project's reference model; all of it in the scoreboard's thread."""

    plan: Sequence[TapKey]

    def wait_ready(self) -> None:
        """Called once, before anything else: waits for what is slow to load."""
        ...

    def respond(self, token: int, first: bool) -> tuple[int, int]:
        """(status, position) that the host port must answer; called once per token, in order."""
        ...

    def cycles(self, status: int, position: int) -> int | None:
        """Cycles from acceptance to response; None when the project has no cycle model."""
        ...

    def predict(self, tokens: Sequence[int], first: bool) -> Mapping[TapKey, TokenArrays]:
        """Every tap of consecutive accepted tokens; ``first`` when they open a sequence."""
        ...

    def reset(self) -> None:
        """The chip was reset: no sequence is open."""
        ...


class TapScoreboard(uvm_subscriber):  # type: ignore[misc]  # pyuvm is untyped
    """Subscribes to ``TokenTaps``.

    ``reference`` is set by the environment in its connect phase. ``dump`` receives every compared batch when set. What
    the scoreboard found may be read after ``finish``.
    """

    def __init__(self, name: str, parent: uvm_component) -> None:
        super().__init__(name, parent)
        self.reference: Reference
        self.comparator: Comparator
        self.tokens: list[TokenRecord] = []
        self.golden_s = self.compare_s = self.wait_s = 0.0
        self.dump: list[tuple[int, TapKey, list[Array], list[Array]]] | None = None
        self._worker = Worker("scoreboard")
        self._written: list[TokenTaps] = []
        self._written_bytes = self._submitted_bytes = 0
        self._pending: list[TokenTaps] = []
        self._pending_bytes = 0
        self._sequence = -1
        self._finished = False

    # In the simulator's thread

    def start_of_simulation_phase(self) -> None:
        self.comparator = Comparator(self.reference.plan)
        self._worker.submit(self.reference.wait_ready)

    def write(self, tt: TokenTaps) -> None:
        # Handed over in batches: to wake the thread for each token would cost the simulator more than the check.
        self._written.append(tt)
        self._written_bytes += tt.batch.nbytes
        if len(self._written) >= BATCH_TOKENS or self._written_bytes > MAX_BATCH_BYTES:
            self._hand_over()

    def _hand_over(self) -> None:
        written, self._written = self._written, []
        if not written:
            return
        self._worker.submit(partial(self._check_tokens, written))
        self._submitted_bytes += self._written_bytes
        self._written_bytes = 0
        if self._submitted_bytes > MAX_PENDING_BYTES:
            self.wait()
            self._submitted_bytes = 0

    def fail(self, name: str, message: str) -> None:
        """Record a failure that the scoreboard does not see itself."""
        self._hand_over()
        self._worker.submit(lambda: self.comparator.fail(name, message))

    def reset(self) -> None:
        """The chip was reset."""
        self._hand_over()
        self._worker.submit(self._reset)

    def finish(self, sim_s: float) -> Comparison:
        """Compare the rest and report; with nothing compared the report holds a failure that says so.

        Args:
            sim_s: wall time of the test so far.
        """
        sim_s -= self.wait_s
        self._hand_over()
        self._worker.submit(self._flush)
        self.wait()
        comparator = self.comparator
        if not self._finished and sum(count.elements for count in comparator.counts()) == 0:
            comparator.fail("nothing_compared", "no element of any tap was compared")
        self._finished = True
        return Comparison(
            taps=comparator.counts(),
            first_divergence=comparator.first_divergence,
            tokens=tuple(self.tokens),
            failures=tuple(comparator.failures),
            sim_s=sim_s,
            golden_s=self.golden_s,
            compare_s=self.compare_s,
            wait_s=self.wait_s,
        )

    def wait(self) -> None:
        """Wait until all that was written is checked, but for what is gathered for the next batch."""
        start = time.perf_counter()
        self._worker.join()
        self.wait_s += time.perf_counter() - start

    # In the worker's thread

    def _reset(self) -> None:
        self._flush()
        self.reference.reset()

    def _check_tokens(self, written: Sequence[TokenTaps]) -> None:
        for tt in written:
            self._check_token(tt)

    def _check_token(self, tt: TokenTaps) -> None:
        result = tt.result
        if result.first:
            self._flush()
        for problem in tt.problems:
            self.comparator.fail(*problem)
        status, position = self.reference.respond(result.token_in, result.first)
        if (result.status, result.position) != (status, position):
            self.comparator.fail(
                "status",
                f"token {result.token_in} answered with status {result.status} at position {result.position}, "
                f"expected {status} at {position}",
            )
        cycles = self.reference.cycles(status, position)
        if cycles is not None and result.cycles != cycles:
            self.comparator.fail(
                "cycles",
                f"token at position {position} took {result.cycles} cycles, the cycle model says {cycles}",
            )
        if status == 0 and result.first:
            self._sequence += 1
        self.tokens.append(
            TokenRecord(
                sequence=self._sequence,
                position=result.position,
                token_in=result.token_in,
                token_out=result.token_out,
                status=result.status,
                cycles=result.cycles,
            )
        )
        if status == 0 and result.status == 0:
            self._pending.append(tt)
            self._pending_bytes += tt.batch.nbytes
            if len(self._pending) >= BATCH_TOKENS or self._pending_bytes > MAX_PENDING_BYTES:
                self._flush()
        elif tt.taps:
            self.comparator.fail(
                "unexpected_tap", f"{len(tt.taps)} taps of a refused token {result.token_in}"
            )

    def _flush(self) -> None:
        """Compare what is pending, tokens of one sequence."""
        pending, self._pending, self._pending_bytes = self._pending, [], 0
        if not pending:
            return
        results = [tt.result for tt in pending]
        start = time.perf_counter()
        expected = self.reference.predict([result.token_in for result in results], results[0].first)
        middle = time.perf_counter()
        got = [tt.taps for tt in pending]
        self.comparator.compare(self._sequence, [result.position for result in results], expected, got)
        self._check_responses(results, got)
        self.golden_s += middle - start
        self.compare_s += time.perf_counter() - middle
        if self.dump is not None:
            for key in self.reference.plan:
                chip = [taps[key] for taps in got if key in taps]
                self.dump.append((self._sequence, key, chip, [golden.copy() for golden in expected[key]]))

    def _check_responses(self, results: Sequence[TokenResult], got: Sequence[Mapping[TapKey, Array]]) -> None:
        for result, taps in zip(results, got, strict=True):
            token = taps.get((-1, "token"))
            if token is not None and int(token[0]) != result.token_out:
                self.comparator.fail(
                    "response_token",
                    f"host port says {result.token_out}, tap says {int(token[0])} at {result.position}",
                )
