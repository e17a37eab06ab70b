"""What a run was fed, held against what it had to be fed: every request, load, reset and ROM read."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from etchproof.compare.comparator import Comparison, LoadRecord, TokenRecord
from etchproof.verdict.expect import Beside, CutOff, Expectation, Generation, Loaded, Request, Reset, Step
from etchproof.verdict.result import Reason


def check_fed(comparison: Comparison, expectation: Expectation, context: int | None) -> list[Reason]:
    """The first difference on each port; none when everything was fed as planned.

    Args:
        context: positions of the chip; None for no limit.
    """
    loads = _loads(comparison, expectation)
    if expectation.texts:
        tokens = _texts(comparison, expectation, context)
        loads = loads or _loads_of_texts(comparison, expectation)
    else:
        replay = _Replay(comparison)
        tokens = replay.run(expectation.steps)
        loads = loads or (replay.places() if tokens is None else None)
    found = {
        "tokens": tokens,
        "loads": loads,
        "rom_reads": _roms(comparison, expectation),
        "cycles": _cycles(comparison, untimed=expectation.stalled_untimed),
    }
    return [Reason(name=name, message=message) for name, message in found.items() if message is not None]


def tokens_of(comparison: Comparison, sequence: int) -> tuple[TokenRecord, ...]:
    """The tokens of one sequence."""
    return tuple(token for token in comparison.tokens if token.sequence == sequence)


def _cycles(comparison: Comparison, *, untimed: bool) -> str | None:
    """Whether each answer took as long as the cycle model says, where there is one: of all of a port, or of none.

    Args:
        untimed: whether it says nothing of items that the host stalled.
    """
    loads = tuple(load for load in comparison.loads if not load.stalled)
    ports: tuple[tuple[str, tuple[TokenRecord | LoadRecord, ...]], ...] = (
        ("token", tuple(token for token in comparison.tokens if not (untimed and token.untimed))),
        ("load", loads),
    )
    for what, answers in ports:
        if all(answer.cycles_model is None for answer in answers):
            continue
        for number, answer in enumerate(answers):
            if answer.cycles != answer.cycles_model:
                return (
                    f"{what} {number} took {answer.cycles} cycles, the cycle model says {answer.cycles_model}"
                )
    return None


def _loads(comparison: Comparison, expectation: Expectation) -> str | None:
    loads, planned = comparison.loads, expectation.loads
    for number, (load, wanted) in enumerate(zip(loads, planned, strict=False)):
        if load.status not in wanted.statuses:
            expected = _codes(wanted.statuses)
            return f"load {number} for slot {load.slot} was answered with status {load.status}, expected {expected}"
        if (load.words, load.sha256) != (wanted.words, wanted.sha256):
            return f"load {number} sent other words than planned"
        if load.stalled != wanted.stalled:
            return f"load {number} says stalled is {load.stalled}, planned was {wanted.stalled}"
        if load.status == 0 and (load.slot, load.adapter) != (wanted.slot, wanted.adapter):
            where = f"adapter {load.adapter} into slot {load.slot}"
            return f"load {number} put {where}, planned was {wanted.adapter} into {wanted.slot}"
        if load.status != 0 and load.adapter is not None:
            return f"load {number} was refused, and says that it loaded adapter {load.adapter}"
    if len(loads) != len(planned):
        return f"{len(loads)} frames were loaded, {len(planned)} planned"
    return None


def _roms(comparison: Comparison, expectation: Expectation) -> str | None:
    roms, planned = comparison.roms, expectation.roms
    for number, (read, wanted) in enumerate(zip(roms, planned, strict=False)):
        if (read.op, read.unit, read.word, read.words) != (wanted.op, wanted.unit, wanted.word, wanted.words):
            return f"ROM read {number} asked for unit {read.unit:#x}, word {read.word}, which was not planned"
        if read.status not in wanted.statuses:
            return f"ROM read {number} got status {read.status}, expected {_codes(wanted.statuses)}"
    if len(roms) != len(planned):
        return f"{len(roms)} ranges of ROMs were read, {len(planned)} planned"
    return None


def _codes(statuses: object) -> str:
    assert isinstance(statuses, (set, frozenset))
    return " or ".join(map(str, sorted(statuses)))


# Sequences in which the chip's own choices are fed back


def _texts(comparison: Comparison, expectation: Expectation, context: int | None) -> str | None:
    """Whether each sequence's tokens are its prompt and then the chip's own, to the planned end, with its adapter."""
    planned = expectation.texts
    order = [token.sequence for token in comparison.tokens]
    if order != sorted(order) or set(order) - set(range(len(planned))):
        return f"sequences 0 .. {len(planned) - 1} expected in this order"
    if comparison.resets:
        return f"{len(comparison.resets)} resets, none planned"
    adapters = {count.sequence: count.adapter for count in comparison.sequences}
    if sorted(adapters) != list(range(len(planned))):
        return f"{len(adapters)} sequences were opened, {len(planned)} planned"
    slots = {load.adapter: load.slot for load in expectation.loads}
    for number, (sequence, count) in enumerate(zip(planned, comparison.sequences, strict=True)):
        problem = _text(tokens_of(comparison, number), number, sequence, context)
        if problem is None and adapters[number] != sequence.adapter:
            problem = f"adapter {adapters[number]} was in use, {sequence.adapter} planned"
        if problem is None and count.slot != slots.get(sequence.adapter):
            problem = f"slot {count.slot} was in use, {slots.get(sequence.adapter)} planned"
        if problem is not None:
            return f"sequence {number}: {problem}" if len(planned) > 1 else problem
    return _requests_of_texts(comparison, len(expectation.loads))


def _loads_of_texts(comparison: Comparison, expectation: Expectation) -> str | None:
    """Whether each load came right before the first sequence that needs it."""
    held: dict[int | None, int | None] = {}
    number = 0
    for sequence, text in enumerate(expectation.texts):
        if number == min(len(expectation.loads), len(comparison.loads)):
            break
        planned, found = expectation.loads[number], comparison.loads[number]
        if text.adapter is None or planned.adapter != text.adapter or held.get(planned.slot) == text.adapter:
            continue
        held[planned.slot] = text.adapter
        if found.sequence != sequence - 1:
            return f"load {number} came after sequence {found.sequence}, planned was before {sequence}"
        number += 1
    return None


def _text(tokens: Sequence[TokenRecord], number: int, planned: Generation, context: int | None) -> str | None:
    """What is wrong with one sequence's tokens."""
    prompt = planned.prompt
    for position, token in enumerate(tokens):
        fed = prompt[position] if position < len(prompt) else tokens[position - 1].token_out
        if (token.position, token.token_in) != (position, fed):
            return (
                f"token {fed} of sequence {number} expected at position {position}, found token {token.token_in} "
                f"at {token.position}"
            )
        if token.status != 0:
            return f"position {position} was answered with status {token.status}"
        if token.request_stall or token.response_stall:
            return f"position {position} was stalled, which was not planned"
    made = [token.token_out for token in tokens if token.position >= len(prompt) - 1]
    if any(token in planned.stop_tokens for token in made[:-1]):
        return "generation went on after a stop token"
    if len(made) > planned.new_tokens or (context is not None and len(tokens) > context):
        return f"{len(made)} tokens were generated, {planned.new_tokens} planned"
    if len(made) < planned.new_tokens and not (made and made[-1] in planned.stop_tokens):
        return f"{len(made)} tokens were generated, {planned.new_tokens} planned"
    return None


def _requests_of_texts(comparison: Comparison, loads: int) -> str | None:
    """Whether the requests on the pins are the tokens, and at most one before each load that frees its slot."""
    at, others = 0, 0
    for number, request in enumerate(comparison.requests):
        token = comparison.tokens[at] if at < len(comparison.tokens) else None
        if token is not None and (request.token, request.status) == (token.token_in, token.status):
            at += 1
        elif request.status == 0 and others < loads:
            others += 1
        else:
            return f"request {number} on the host port, of token {request.token}, is no token of the run"
    if at != len(comparison.tokens):
        return f"{len(comparison.tokens)} tokens are recorded, {at} were asked for on the host port"
    return None


# Everything else


class _Replay:
    """Follows the steps of an expectation through what was recorded."""

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison
        self._requests, self._tokens, self._resets = comparison.requests, comparison.tokens, comparison.resets
        self._counts = {count.sequence: count for count in comparison.sequences}
        self._at = self._token = self._reset = 0  # next of each
        self._sequence = -1  # opened last
        self._held = 0  # tokens of the open one
        self._opened: list[int] = []  # of each sequence, which request opened it
        self._earliest = dict.fromkeys(
            range(len(comparison.loads)), (0, 0)
        )  # of loads: requests, tokens held
        self._latest: dict[int, int] = {}

    def run(self, steps: Sequence[Step]) -> str | None:
        """The first difference; None when there is none."""
        for number, step in enumerate(steps):
            problem = self._step(step, steps[number + 1 :])
            if problem is not None:
                return problem
        if [count.sequence for count in self._comparison.sequences] != list(range(self._sequence + 1)):
            return (
                f"{len(self._comparison.sequences)} sequences are counted, {self._sequence + 1} were opened"
            )
        for what, at, found in (
            ("requests", self._at, len(self._requests)),
            ("tokens", self._token, len(self._tokens)),
            ("resets", self._reset, len(self._resets)),
        ):
            if at != found:
                return f"{found} {what} are recorded, {at} planned"
        return None

    def _loaded(self, step: Loaded) -> None:
        for number in range(len(self._comparison.loads)):
            if number >= step.loads:
                self._earliest[number] = self._at, self._held
            else:
                self._latest.setdefault(number, self._at)

    def places(self) -> str | None:
        """Whether each load stands where it was planned; only the order of what runs beside it is timing's."""
        for number, load in enumerate(self._comparison.loads):
            (first, held), last = self._earliest[number], self._latest.get(number, self._at)
            opened = sum(at < load.requests for at in self._opened) - 1
            if not first <= load.requests <= last:
                return f"load {number} came after {load.requests} requests, planned was {first} to {last}"
            if load.sequence != opened or (first == last and load.held != (held or None)):
                return f"load {number} is recorded beside sequence {load.sequence} with {load.held} tokens"
        return None

    def _step(self, step: Step, after: Sequence[Step]) -> str | None:
        if isinstance(step, Request):
            return self._request(step)
        if isinstance(step, Reset):
            return self._reset_at(step)
        if isinstance(step, CutOff):
            return self._cut_off(step)
        if isinstance(step, Loaded):
            self._loaded(step)
            return None
        return self._beside(step, after)

    def _request(self, wanted: Request) -> str | None:
        if self._at >= len(self._requests):
            return f"request {self._at}, token {wanted.token}, was not made"
        if self._reset < len(self._resets) and self._resets[self._reset].requests <= self._at:
            return f"a reset before request {self._at} was not planned"
        found, number = self._requests[self._at], self._at
        self._at += 1
        if (found.token, found.op, found.slot) != (wanted.token, wanted.op, wanted.slot):
            return (
                f"request {number} was token {found.token}, operation {found.op}, slot {found.slot}; planned was "
                f"token {wanted.token}, operation {wanted.op}, slot {wanted.slot}"
            )
        if found.sha256 != wanted.sha256:
            return f"request {number} fed other words than planned"
        if found.status not in wanted.statuses:
            return f"request {number} got status {found.status}, expected {_codes(wanted.statuses)}"
        if found.status == 0 and wanted.closes:
            self._held = 0
            return None
        return self._of_token(wanted, number, found.status)

    def _of_token(self, wanted: Request, number: int, status: int) -> str | None:
        """The record of a token, and the sequence in which it stands."""
        if self._token >= len(self._tokens):
            return f"request {number} left no record of its token"
        token = self._tokens[self._token]
        self._token += 1
        if status == 0 and wanted.opens is not None:
            self._sequence, self._held = self._sequence + 1, 0
            self._opened.append(number)
            count = self._counts.get(self._sequence)
            if count is None or count.adapter not in wanted.opens:
                found = None if count is None else count.adapter
                return f"sequence {self._sequence} ran under adapter {found}, which was not planned"
            if count.slot != (None if count.adapter is None else wanted.slot):
                return f"sequence {self._sequence} ran in slot {count.slot}, planned was {wanted.slot}"
        place = (wanted.token, status, self._sequence, self._held)
        if (token.token_in, token.status, token.sequence, token.position) != place:
            return f"the token of request {number} is recorded as another one, or at another place"
        if (token.request_stall, token.response_stall) != wanted.stalls:
            return f"the token of request {number} was stalled otherwise than planned"
        self._held += status == 0
        return None

    def _reset_at(self, wanted: Reset) -> str | None:
        problem = self._any_reset()
        if problem is None and self._resets[self._reset - 1].position != wanted.position:
            position = self._resets[self._reset - 1].position
            return f"reset {self._reset - 1} cut off position {position}, planned was {wanted.position}"
        if problem is None and self._resets[self._reset - 1].cycles != wanted.cycles:
            cycles = self._resets[self._reset - 1].cycles
            return f"reset {self._reset - 1} came after {cycles} cycles, planned was after {wanted.cycles}"
        return problem

    def _any_reset(self) -> str | None:
        if self._reset >= len(self._resets):
            return f"reset {self._reset} was not made"
        reset = self._resets[self._reset]
        self._reset += 1
        self._held = 0
        if (reset.requests, reset.tokens) != (self._at, self._token):
            return (
                f"reset {self._reset - 1} came after {reset.requests} requests, planned was after {self._at}"
            )
        return None

    def _cut_off(self, step: CutOff) -> str | None:
        if self._reset >= len(self._resets):
            return f"reset {self._reset} was not made"
        count = self._resets[self._reset].requests - self._at
        if not 0 <= count <= len(step.requests):
            return f"{count} requests before reset {self._reset}, planned were at most {len(step.requests)}"
        for request in step.requests[:count]:
            problem = self._request(request)
            if problem is not None:
                return problem
        position = self._resets[self._reset].position
        going = self._held if count else 0
        if position not in ((None,) if count == len(step.requests) else (None, going)):
            return f"reset {self._reset} cut off position {position}, planned was {going} or none"
        return self._any_reset()

    def _beside(self, step: Beside, after: Sequence[Step]) -> str | None:
        """What comes after is of a fixed number, so how many there are follows."""
        if not all(isinstance(other, Request | Loaded) for other in after):
            return "the expectation has more behind requests that timing ends than plain requests and loads"
        count = len(self._requests) - self._at - sum(isinstance(other, Request) for other in after)
        if count < step.least:
            return f"{count} requests beside other traffic, planned were at least {step.least}"
        for request in islice(step.requests, count):
            problem = self._request(request)
            if problem is not None:
                return problem
        return None
