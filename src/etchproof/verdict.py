"""The verdict of a run: PASS only when everything that was planned ran, was compared, and was equal.

The testbench checks itself and lists what it found; what is checked again here does not trust it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from etchproof.compare import COMPARISON_FILE, Comparison, TokenRecord, tap_plan
from etchproof.errors import InputError
from etchproof.result import Reason
from etchproof.sim.build import Build
from etchproof.sim.fabric import Fabric, fabric_sha256
from etchproof.sim.run import SimOutcome
from etchproof.taps import TapKey


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
class Plan:
    """What a run has to do.

    Attributes:
        sequences: one after the other.
        loads: (adapter, slot) of each load of an adapter, in order.
        adapted: of each adapter, the linears that it adapts, by (layer, linear).
    """

    sequences: tuple[Generation, ...]
    loads: tuple[tuple[int, int], ...] = ()
    adapted: tuple[AbstractSet[TapKey], ...] = ()


def read_comparison(run_dir: Path) -> tuple[Comparison | None, list[Reason]]:
    """What the testbench wrote, or the reason why there is none that counts."""
    file = run_dir / COMPARISON_FILE
    try:
        return Comparison.model_validate_json(file.read_bytes(), strict=True), []
    except FileNotFoundError:
        return None, [Reason(name="comparison_missing", message=f"the testbench wrote no {COMPARISON_FILE}")]
    except OSError as error:
        return None, [
            Reason(name="comparison_broken", message=f"{COMPARISON_FILE} cannot be read: {error.strerror}")
        ]
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        where = ".".join(map(str, detail["loc"]))
        return None, [
            Reason(name="comparison_broken", message=f"{COMPARISON_FILE}: {where}: {detail['msg']}")
        ]


def judge(
    *, comparison: Comparison | None, outcome: SimOutcome, planned: Plan, n_layers: int, context: int
) -> list[Reason]:
    """Every reason why a generation run is no PASS; none when it is.

    Args:
        comparison: what the testbench wrote; None when ``read_comparison`` gave a reason.
        outcome: how the simulator ended.
        planned: what had to run.
        n_layers: decoder layers of the chip.
        context: positions of the chip.
    """
    reasons = []
    if comparison is not None:
        reasons += _found(comparison)
        reasons += _loads(comparison, planned)
        reasons += _tokens(comparison, planned, context)
        adapters = {number: sequence.adapter for number, sequence in enumerate(planned.sequences)}
        reasons += _coverage(comparison, adapters, planned.adapted, n_layers)
    return reasons + _ended(outcome, reasons)


def judge_test(
    comparison: Comparison | None,
    outcome: SimOutcome,
    n_layers: int,
    adapted: Sequence[AbstractSet[TapKey]] = (),
) -> list[Reason]:
    """Every reason why a run of any test is no PASS; ``judge`` knows more of generated tokens.

    Args:
        adapted: of each of the run's adapters, the linears that it adapts.
    """
    reasons = []
    if comparison is not None:
        reasons += _found(comparison)
        opened = {token.sequence for token in comparison.tokens if token.status == 0}
        adapters = dict.fromkeys(sorted(opened)) | {
            count.sequence: count.adapter for count in comparison.sequences
        }
        reasons += _coverage(comparison, adapters, adapted, n_layers)
    return reasons + _ended(outcome, reasons)


def _found(comparison: Comparison) -> list[Reason]:
    """What the testbench itself found."""
    failures = [Reason(name=failure.name, message=failure.message) for failure in comparison.failures]
    return [*_differences(comparison), *failures]


def _ended(outcome: SimOutcome, reasons: Sequence[Reason]) -> list[Reason]:
    """How the simulator ended, beside the reasons that are known already."""
    known = {reason.name for reason in reasons}
    more = []
    for failure in outcome.failures:
        first = next((line.strip() for line in failure.message.splitlines() if line.strip()), "")
        if failure.name == "test_failed" and first.partition(":")[0] in known:
            continue  # the testbench's own verdict, on what stands above
        test = f"{failure.test}: " if failure.test else ""
        more.append(Reason(name=failure.name, message=f"{test}{first}"))
    if not reasons and not more and (outcome.status != "passed" or not outcome.passed):
        more.append(
            Reason(name="no_test_run", message=f"the simulation ended as {outcome.status!r} without a test")
        )
    return more


def check_fabric(fabric: Fabric, build: Build) -> list[Reason]:
    """Whether the simulator was built from the fabric that was rendered, and that still is as it was."""
    try:
        record = json.loads((build.executable.parent / "build.json").read_text(encoding="utf-8"))
        built = record["inputs"]["fabric"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [Reason(name="fabric_unknown", message=f"the simulator's build.json cannot be read: {error}")]
    if built != fabric.sha256:
        return [
            Reason(name="fabric_changed", message=f"rendered {fabric.sha256}, the simulator is of {built}")
        ]
    try:
        now = fabric_sha256(fabric.folder, fabric.sources, fabric.top)
    except InputError as error:
        return [Reason(name="fabric_changed", message=str(error))]
    if now != fabric.sha256:
        return [
            Reason(name="fabric_changed", message=f"rendered {fabric.sha256}, now the folder holds {now}")
        ]
    return []


def tokens_of(comparison: Comparison, sequence: int) -> tuple[TokenRecord, ...]:
    """The tokens of one sequence."""
    return tuple(token for token in comparison.tokens if token.sequence == sequence)


def generated(comparison: Comparison, planned: Plan, sequence: int = 0) -> tuple[int, ...]:
    """What the chip chose after the prompt of a sequence."""
    start = len(planned.sequences[sequence].prompt) - 1
    return tuple(token.token_out for token in tokens_of(comparison, sequence) if token.position >= start)


def _differences(comparison: Comparison) -> list[Reason]:
    first = comparison.first_divergence
    if comparison.mismatches == 0 and first is None:
        return []
    where = "nowhere"
    if first is not None:
        which = f" of sequence {first.sequence}" if first.sequence else ""
        where = f"at {first.tap} of layer {first.layer}, token {first.token}{which}"
    return [Reason(name="mismatch", message=f"{comparison.mismatches} elements differ, the first {where}")]


def _loads(comparison: Comparison, planned: Plan) -> list[Reason]:
    """Whether the adapters were loaded as planned, each with status 0."""
    found = [(load.adapter, load.slot) for load in comparison.loads]
    refused = [load for load in comparison.loads if load.status != 0]
    if refused:
        message = f"a load for slot {refused[0].slot} was answered with status {refused[0].status}"
        return [Reason(name="loads", message=message)]
    if found != list(planned.loads):
        at = next(
            (i for i, (one, two) in enumerate(zip(found, planned.loads, strict=False)) if one != two),
            min(len(found), len(planned.loads)),
        )
        message = f"{len(found)} adapters were loaded, {len(planned.loads)} planned; load {at} is not the planned one"
        return [Reason(name="loads", message=message)]
    return []


def _tokens(comparison: Comparison, planned: Plan, context: int) -> list[Reason]:
    """Whether each sequence's tokens are its prompt and then the chip's own, to the planned end, with its adapter."""
    order = [token.sequence for token in comparison.tokens]
    if order != sorted(order) or set(order) - set(range(len(planned.sequences))):
        return [
            Reason(
                name="tokens", message=f"sequences 0 .. {len(planned.sequences) - 1} expected in this order"
            )
        ]
    adapters = {count.sequence: count.adapter for count in comparison.sequences}
    for number, sequence in enumerate(planned.sequences):
        tokens = tokens_of(comparison, number)
        problem = _sequence(tokens, number, sequence, context)
        if problem is None and (number not in adapters or adapters[number] != sequence.adapter):
            problem = f"adapter {adapters.get(number)} was in use, {sequence.adapter} planned"
        if problem is not None:
            where = f"sequence {number}: " if len(planned.sequences) > 1 else ""
            return [Reason(name="tokens", message=f"{where}{problem}")]
    return []


def _sequence(tokens: Sequence[TokenRecord], number: int, planned: Generation, context: int) -> str | None:
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
    made = [token.token_out for token in tokens if token.position >= len(prompt) - 1]
    if any(token in planned.stop_tokens for token in made[:-1]):
        return "generation went on after a stop token"
    if len(made) > planned.new_tokens or len(tokens) > context:
        return f"{len(made)} tokens were generated, {planned.new_tokens} planned"
    if len(made) < planned.new_tokens and not (made and made[-1] in planned.stop_tokens):
        return f"{len(made)} tokens were generated, {planned.new_tokens} planned"
    return None


def _coverage(
    comparison: Comparison,
    adapters: Mapping[int, int | None],
    adapted: Sequence[AbstractSet[TapKey]],
    n_layers: int,
) -> list[Reason]:
    """Whether every tap of every token was compared, those of a sequence's adapter included and no others.

    Args:
        adapters: of each sequence, the index of its adapter, None for the base alone.
        adapted: of each adapter, the linears that it adapts.
    """
    if comparison.elements == 0:
        return [Reason(name="nothing_compared", message="no element of any tap was compared")]

    def missing(message: str) -> list[Reason]:
        return [Reason(name="taps_missing", message=message)]

    used = {adapter for adapter in adapters.values() if adapter is not None}
    if unknown := used - set(range(len(adapted))):
        return missing(f"adapter {min(unknown)} of {len(adapted)} was in use")
    plan = tap_plan(n_layers, frozenset[TapKey]().union(*(adapted[adapter] for adapter in used)))
    counts = {(count.layer, count.tap): count for count in comparison.taps}
    if list(counts) != list(plan) or len(counts) != len(comparison.taps):
        absent = [key for key in plan if key not in counts] or [key for key in counts if key not in plan]
        named = ", ".join(f"layer {layer} {tap}" for layer, tap in absent[:3]) or "order or number"
        return missing(f"the taps compared are not those planned: {named}")
    accepted = Counter(token.sequence for token in comparison.tokens if token.status == 0)
    wanted = dict.fromkeys(plan, 0)
    held = {count.sequence: count for count in comparison.sequences}
    for number, adapter in adapters.items():
        taps = tap_plan(n_layers, adapted[adapter] if adapter is not None else frozenset())
        for key in taps:
            wanted[key] += accepted[number]
        vectors = held[number].vectors if number in held else 0
        if vectors != accepted[number] * len(taps):
            message = (
                f"{vectors} of {accepted[number] * len(taps)} vectors of sequence {number} were compared"
            )
            return missing(message)
    short = [
        count
        for key, count in counts.items()
        if count.vectors != wanted[key] or count.elements < count.vectors
    ]
    if short:
        first = short[0]
        what = (
            f"{first.vectors} of {wanted[first.layer, first.tap]} vectors of layer {first.layer} {first.tap}"
        )
        return missing(f"{what} were compared, and {len(short) - 1} more taps are short")
    return []
