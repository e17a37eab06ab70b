"""Stimulus: sequences of tokens on the host port."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Sequence
from typing import Final

from pyuvm import ConfigDB, uvm_sequence

from etchproof.uvm import TokenResult
from verif.host_port.agent import TokenBurst
from verif.host_port.port import HostRequest
from verif.protocol import NO_SLOT, Op

BURST_REQUESTS: Final = 16
"""At once: as many tokens as are compared at once (etchproof.uvm.scoreboard)."""

TokensCallback = Callable[[Sequence[tuple[TokenResult, bool]]], None]
"""Called with some responses, each with whether its token continues the text."""


class TokenSequence(uvm_sequence):  # type: ignore[misc]  # pyuvm is untyped
    """Base: sends requests, optionally with random stalls on both handshakes.

    Args:
        stalls: draws the clock cycles of a stall; None for no stalls.

    Attributes:
        cut_off: whether a reset ended it.
    """

    def __init__(self, name: str = "tokens", stalls: Callable[[], int] | None = None) -> None:
        super().__init__(name)
        self._stalls = stalls
        self.cut_off = False

    async def send(
        self,
        requests: Iterable[tuple[int | None, int, int]],
        stop_tokens: Collection[int] = (),
        ends_at_refusal: bool = False,
    ) -> AsyncIterator[list[TokenResult]]:
        """Send (token, op, slot) in bursts and yield what each is answered.

        A token of None is the one that was answered last. A reset ends it, and what ends a ``TokenBurst``.
        """
        left = [HostRequest(*request, *self._stall()) for request in requests]
        while left:
            item = TokenBurst(left[:BURST_REQUESTS], stop_tokens, ends_at_refusal)
            await self.start_item(item)
            await self.finish_item(item)
            yield item.results
            self.cut_off = item.cut_off
            played = len(item.results)
            if item.cut_off or (played < len(item.requests) and not item.paused):
                return
            left, last = left[played:], item.results[-1]
            if ends_at_refusal and last.status:
                return
            if left and left[0].token is None:
                if last.token_out in stop_tokens:
                    return
                left[0] = left[0]._replace(token=last.token_out)

    def _stall(self) -> tuple[int, int]:
        return (self._stalls(), self._stalls()) if self._stalls else (0, 0)

    async def run(self) -> None:
        """Start on the environment's sequencer."""
        await self.start(ConfigDB().get(None, "", "TOKEN_SEQUENCER"))


class GreedySequence(TokenSequence):
    """A prompt, then the chip's own tokens; a refusal ends it.

    Args:
        prompt: token ids, at least one.
        new_tokens: how many to generate.
        stop: tokens after which generation ends.
        on_tokens: called with every burst's responses.
        slot: of the adapter; none by default.
    """

    def __init__(
        self,
        prompt: Sequence[int],
        new_tokens: int,
        stop: Iterable[int] = (),
        on_tokens: TokensCallback | None = None,
        stalls: Callable[[], int] | None = None,
        slot: int = NO_SLOT,
    ) -> None:
        super().__init__("greedy", stalls)
        self.slot = slot
        self.prompt, self.new_tokens, self.stop = list(prompt), new_tokens, frozenset(stop)
        self.generated: list[int] = []
        self._on_tokens = on_tokens

    async def body(self) -> None:
        # The last token of the text is not fed back: nothing would come of it.
        tokens = [*self.prompt, *[None] * (self.new_tokens - 1)]
        sent = 0
        async for results in self.send(_sequence(tokens, self.slot), self.stop, ends_at_refusal=True):
            accepted = [result for result in results if result.status == 0]
            first = len(self.prompt) - 1 - sent  # the response with which the text goes on
            told = [(result, index >= first and self.new_tokens > 0) for index, result in enumerate(accepted)]
            self.generated += [result.token_out for result, continues in told if continues]
            sent += len(accepted)
            if self._on_tokens is not None:
                self._on_tokens(told)


class StreamSequence(TokenSequence):
    """Given tokens as one sequence, whatever the chip answers; a reset ends it.

    Attributes:
        results: what was answered; None, the last one, for the token that a reset cut off.
    """

    def __init__(
        self, tokens: Sequence[int], stalls: Callable[[], int] | None = None, slot: int = NO_SLOT
    ) -> None:
        super().__init__("stream", stalls)
        self.tokens, self.slot = list(tokens), slot
        self.results: list[TokenResult | None] = []

    async def body(self) -> None:
        async for results in self.send(_sequence(self.tokens, self.slot)):
            self.results += results
        if self.cut_off:
            self.results.append(None)


class RawSequence(TokenSequence):
    """(token, op, slot) as they are, for the protocol's corners; ``results`` as of ``StreamSequence``."""

    def __init__(self, requests: Sequence[tuple[int, int, int]]) -> None:
        super().__init__("raw")
        self.requests = list(requests)
        self.results: list[TokenResult | None] = []

    async def body(self) -> None:
        async for results in self.send(self.requests):
            self.results += results
        if self.cut_off:
            self.results.append(None)


def _sequence(tokens: Sequence[int | None], slot: int) -> Iterator[tuple[int | None, int, int]]:
    """Requests of one sequence."""
    return ((token, Op.NEXT if index else Op.FIRST, slot) for index, token in enumerate(tokens))
