"""Stimulus: sequences of tokens on the host port."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from pyuvm import ConfigDB, uvm_sequence

from etchproof.uvm import TokenResult
from verif.agent import TokenItem
from verif.reference import NO_SLOT, Op

TokenCallback = Callable[[TokenResult, bool], None]
"""Called with each response and whether its token continues the text."""


class TokenSequence(uvm_sequence):  # type: ignore[misc]  # pyuvm is untyped
    """Base: sends tokens, optionally with random stalls on both handshakes.

    Args:
        stalls: draws the clock cycles of a stall; None for no stalls.
    """

    def __init__(self, name: str = "tokens", stalls: Callable[[], int] | None = None) -> None:
        super().__init__(name)
        self._stalls = stalls

    async def send(self, token: int, op: int, slot: int = NO_SLOT) -> TokenResult | None:
        """Send one request; None when a reset cut it off."""
        request, response = (self._stalls(), self._stalls()) if self._stalls else (0, 0)
        item = TokenItem(token, op, slot, request, response)
        await self.start_item(item)
        await self.finish_item(item)
        return item.result

    async def run(self) -> None:
        """Start on the environment's sequencer."""
        await self.start(ConfigDB().get(None, "", "TOKEN_SEQUENCER"))


class GreedySequence(TokenSequence):
    """A prompt, then the chip's own tokens.

    Args:
        prompt: token ids, at least one.
        new_tokens: how many to generate.
        stop: tokens after which generation ends.
        on_token: called for every response.
        slot: of the adapter; none by default.
    """

    def __init__(
        self,
        prompt: Sequence[int],
        new_tokens: int,
        stop: Iterable[int] = (),
        on_token: TokenCallback | None = None,
        stalls: Callable[[], int] | None = None,
        slot: int = NO_SLOT,
    ) -> None:
        super().__init__("greedy", stalls)
        self.slot = slot
        self.prompt, self.new_tokens, self.stop = list(prompt), new_tokens, frozenset(stop)
        self.generated: list[int] = []
        self._on_token = on_token

    async def body(self) -> None:
        following, generated = list(self.prompt), self.generated
        sent = 0
        while sent < len(following):
            result = await self.send(following[sent], Op.NEXT if sent else Op.FIRST, self.slot)
            if result is None or result.status != 0:
                return
            sent += 1
            continues = sent >= len(self.prompt) and len(generated) < self.new_tokens
            if continues:
                generated.append(result.token_out)
                # The last token of the text is not fed back: nothing would come of it.
                if result.token_out not in self.stop and len(generated) < self.new_tokens:
                    following.append(result.token_out)
            if self._on_token is not None:
                self._on_token(result, continues)


class StreamSequence(TokenSequence):
    """Given tokens as one sequence, whatever the chip answers; a reset ends it."""

    def __init__(
        self, tokens: Sequence[int], stalls: Callable[[], int] | None = None, slot: int = NO_SLOT
    ) -> None:
        super().__init__("stream", stalls)
        self.tokens, self.slot = list(tokens), slot
        self.results: list[TokenResult | None] = []

    async def body(self) -> None:
        for index, token in enumerate(self.tokens):
            self.results.append(await self.send(token, Op.NEXT if index else Op.FIRST, self.slot))
            if self.results[-1] is None:
                return


class RawSequence(TokenSequence):
    """(token, op, slot) as they are, for the protocol's corners."""

    def __init__(self, requests: Sequence[tuple[int, int, int]]) -> None:
        super().__init__("raw")
        self.requests = list(requests)
        self.results: list[TokenResult | None] = []

    async def body(self) -> None:
        for token, op, slot in self.requests:
            self.results.append(await self.send(token, op, slot))


def random_stalls(rng: np.random.Generator) -> Callable[[], int]:
    """Mostly none, sometimes a few cycles, seldom many."""
    return lambda: int(rng.choice([0, 0, 0, 1, 2, 3, 7, 40]))
