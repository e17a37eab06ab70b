"""Sequences of tokens: what is asked for burst by burst, whatever the size of a burst."""

from __future__ import annotations

import asyncio

import pytest

from etchproof.uvm import TokenResult
from verif.host_port.agent import TokenBurst
from verif.host_port.sequences import BURST_REQUESTS, GreedySequence, StreamSequence, TokenSequence
from verif.protocol import Op

REFUSED = 1000
"""This token and those above are refused."""


def play(
    sequence: TokenSequence, pause_after: int = BURST_REQUESTS, reset_at: int | None = None
) -> list[TokenBurst]:
    """Run a sequence against a chip that answers t with t + 1; a burst pauses after some requests."""
    bursts: list[TokenBurst] = []

    async def start_item(item: TokenBurst) -> None:
        bursts.append(item)

    async def finish_item(item: TokenBurst) -> None:
        results = item.results
        for index, request in enumerate(item.requests):
            if sum(len(burst.results) for burst in bursts) == reset_at:
                item.cut_off = True
                return
            if results and item.ends_at_refusal and results[-1].status:
                return
            if request.token is None and results[-1].token_out in item.stop_tokens:
                return
            if index == pause_after:
                item.paused = True
                return
            token = results[-1].token_out if request.token is None else request.token
            stalls = request.request_stall, request.response_stall
            status = int(token >= REFUSED)
            results.append(TokenResult(token, request.op, request.slot, token + 1, index, status, 5, *stalls))

    sequence.start_item, sequence.finish_item = start_item, finish_item
    asyncio.run(sequence.body())
    return bursts


def asked(bursts: list[TokenBurst]) -> list[int]:
    """The tokens that reached the chip."""
    return [result.token_in for burst in bursts for result in burst.results]


PAUSES = pytest.mark.parametrize("pause_after", [1, 2, 3, 7, BURST_REQUESTS])


@PAUSES
@pytest.mark.parametrize("prompt", [[5], [5, 90], list(range(50, 85))])
@pytest.mark.parametrize("new_tokens", [0, 1, 2, 16, 40])
def test_the_text_goes_on_from_the_prompt(prompt: list[int], new_tokens: int, pause_after: int) -> None:
    told: list[tuple[TokenResult, bool]] = []
    sequence = GreedySequence(prompt, new_tokens, on_tokens=told.extend, slot=3)
    bursts = play(sequence, pause_after)
    text = [prompt[-1] + 1 + index for index in range(new_tokens)]
    assert sequence.generated == text
    assert asked(bursts) == [*prompt, *text[:-1]]
    assert [result.token_in for result, _ in told] == asked(bursts)
    assert [result.token_out for result, continues in told if continues] == text
    results = [result for burst in bursts for result in burst.results]
    assert [result.op for result in results] == [Op.FIRST, *[Op.NEXT] * (len(results) - 1)]
    assert {result.slot for result in results} == {3}


@PAUSES
def test_a_stop_token_is_generated_and_not_fed_back(pause_after: int) -> None:
    for stop in range(8, 30):
        sequence = GreedySequence([stop, 7], 64, stop=[stop])
        assert asked(play(sequence, pause_after)) == [stop, *range(7, stop)], "the prompt may hold it"
        assert sequence.generated == [*range(8, stop + 1)]


@PAUSES
def test_a_refusal_ends_a_text(pause_after: int) -> None:
    for length in range(1, 40):
        prompt = [1] * length
        prompt[-1] = REFUSED
        sequence = GreedySequence([*prompt, 2, 3], 8)
        assert asked(play(sequence, pause_after)) == prompt
        assert sequence.generated == []


@PAUSES
def test_a_stream_goes_on_whatever_is_answered(pause_after: int) -> None:
    tokens = [REFUSED, 4, REFUSED] * 13
    sequence = StreamSequence(tokens)
    assert asked(play(sequence, pause_after)) == tokens
    assert [result.token_in for result in sequence.results if result] == tokens


@PAUSES
def test_a_reset_ends_a_stream(pause_after: int) -> None:
    for reset_at in range(20):
        sequence = StreamSequence(range(100, 120))
        assert asked(play(sequence, pause_after, reset_at)) == [*range(100, 100 + reset_at)]
        assert sequence.cut_off
        assert sequence.results[-1] is None
        assert len(sequence.results) == reset_at + 1


@PAUSES
def test_stalls_are_drawn_once_for_each_request(pause_after: int) -> None:
    draws = iter(range(1000))
    sequence = StreamSequence(range(40), stalls=lambda: next(draws))
    results = [result for burst in play(sequence, pause_after) for result in burst.results]
    assert [result.request_stall for result in results] == [*range(0, 80, 2)]
    assert [result.response_stall for result in results] == [*range(1, 80, 2)]
