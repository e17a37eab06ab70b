"""Covergroups of the host port, the cache and reset: what was asked, answered, held back and cut off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate

from etchproof.coverage.functional import Covergroup, RunSample
from models.chip import ChipPlan
from models.cycles import token_steps
from verif.protocol import NO_SLOT, Status

POSITIONS = ("first", "second", "middle", "last", "overflow")
REUSE = ("reuse_shorter", "reuse_longer", "reuse_after_close")
HANDSHAKE = ("none_held", "request_held", "response_held", "both_held")
IDLE = "idle"


def groups(plan: ChipPlan) -> tuple[Covergroup, ...]:
    """``kv_cache``, ``control``, ``handshake``, ``reset``."""
    heads = tuple(f"head_group_{index}" for index in range(plan.n_kv_heads))
    steps = dict.fromkeys(step for _, step, _ in token_steps(plan, 0))
    return (
        Covergroup("kv_cache", (*POSITIONS, *heads, *REUSE)),
        Covergroup("control", (*_statuses(plan), "back_to_back", "one_token", "many_tokens")),
        Covergroup("handshake", HANDSHAKE),
        Covergroup("reset", (IDLE, *steps)),
    )


def _statuses(plan: ChipPlan) -> Sequence[str]:
    """Statuses that can be: a refusal for want of a sequence needs none open, a full context needs one.

    A slot can be empty where the chip has slots, and be missing where it has not one for every number.
    """
    never = ["no_sequence_open", "context_full_closed"]
    if plan.lora_slots == 0:
        never += ["empty_slot_open", "empty_slot_closed"]
    if plan.lora_slots == NO_SLOT:
        never += ["bad_slot_open", "bad_slot_closed"]
    names = (f"{status.name.lower()}_{state}" for status in Status for state in ("open", "closed"))
    return [name for name in names if name not in never]


def sample(run: RunSample, plan: ChipPlan, found: Mapping[str, Counter[str]]) -> None:
    """Count what a run's records show."""
    _tokens(run, plan, found["kv_cache"], found["control"])
    held = Counter((token.request_stall > 0, token.response_stall > 0) for token in run.tokens)
    for name, case in zip(
        HANDSHAKE, ((False, False), (True, False), (False, True), (True, True)), strict=True
    ):
        found["handshake"][name] += held[case]
    for reset in run.resets:
        if run.adapters and reset.position is not None:
            continue  # an adapter's sequence takes other steps
        name = IDLE if reset.position is None else active_step(plan, reset.position, reset.cycles)
        found["reset"][name] += 1


def active_step(plan: ChipPlan, position: int, cycles: int) -> str:
    """The step that a token of the base is in, so many cycles after its acceptance.

    It is the cycle model's, which every token of a run that passed was held to; the last one lasts until the host takes
    the answer.
    """
    steps = [(step, cost) for _, step, cost in token_steps(plan, position)]
    ends = accumulate(cost for _, cost in steps)
    return next((step for (step, _), end in zip(steps, ends, strict=True) if cycles < end), steps[-1][0])


def _tokens(run: RunSample, plan: ChipPlan, kv: Counter[str], control: Counter[str]) -> None:
    context, middle = plan.context, plan.context // 2
    opened, longest, previous = False, 0, -1  # longest: of the rows written since the start
    lengths: Counter[int] = Counter(token.sequence for token in run.tokens if token.status == 0)
    after_close = False
    for token in run.tokens:
        status = Status(token.status)
        if status is Status.NO_SEQUENCE and opened:
            opened, after_close = False, True  # by a reset, or by the host
        control[f"{status.name.lower()}_{'open' if opened else 'closed'}"] += 1
        kv["overflow"] += status is Status.CONTEXT_FULL
        if status is not Status.OK:
            continue
        if token.sequence != previous:
            control["back_to_back"] += opened
            length = lengths[token.sequence]
            control["one_token" if length == 1 else "many_tokens"] += 1
            kv["reuse_shorter"] += 0 < length < longest
            kv["reuse_longer"] += 0 < longest < length
            kv["reuse_after_close"] += after_close and longest > 0
            longest, after_close, previous = max(longest, length), False, token.sequence
        opened = True
        for name, position in (("first", 0), ("second", 1), ("middle", middle), ("last", context - 1)):
            kv[name] += token.position == position
