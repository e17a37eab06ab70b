"""The verdict of a run: PASS only when everything that was planned ran, was compared, and was equal.

The testbench checks itself and lists what it found; what is checked again here does not trust it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from etchproof.compare import COMPARISON_FILE, Comparison, tap_plan
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
    """

    prompt: tuple[int, ...]
    new_tokens: int
    stop_tokens: tuple[int, ...] = ()


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
    *, comparison: Comparison | None, outcome: SimOutcome, planned: Generation, n_layers: int, context: int
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
        reasons += _differences(comparison)
        reasons += [Reason(name=failure.name, message=failure.message) for failure in comparison.failures]
        reasons += _tokens(comparison, planned, context)
        reasons += _coverage(comparison, tap_plan(n_layers))
    known = {reason.name for reason in reasons}
    for failure in outcome.failures:
        first = next((line.strip() for line in failure.message.splitlines() if line.strip()), "")
        if failure.name == "test_failed" and first.partition(":")[0] in known:
            continue  # the testbench's own verdict, on what stands above
        test = f"{failure.test}: " if failure.test else ""
        reasons.append(Reason(name=failure.name, message=f"{test}{first}"))
    if not reasons and (outcome.status != "passed" or not outcome.passed):
        reasons.append(
            Reason(name="no_test_run", message=f"the simulation ended as {outcome.status!r} without a test")
        )
    return reasons


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


def generated(comparison: Comparison, planned: Generation) -> tuple[int, ...]:
    """What the chip chose after the prompt."""
    return tuple(token.token_out for token in comparison.tokens if token.position >= len(planned.prompt) - 1)


def _differences(comparison: Comparison) -> list[Reason]:
    first = comparison.first_divergence
    if comparison.mismatches == 0 and first is None:
        return []
    where = "nowhere" if first is None else f"at {first.tap} of layer {first.layer}, token {first.token}"
    return [Reason(name="mismatch", message=f"{comparison.mismatches} elements differ, the first {where}")]


def _tokens(comparison: Comparison, planned: Generation, context: int) -> list[Reason]:
    """Whether the tokens are the prompt and then the chip's own, to the planned end."""
    tokens, prompt = comparison.tokens, planned.prompt

    def reason(message: str) -> list[Reason]:
        return [Reason(name="tokens", message=message)]

    for position, token in enumerate(tokens):
        fed = prompt[position] if position < len(prompt) else tokens[position - 1].token_out
        if (token.sequence, token.position, token.token_in) != (0, position, fed):
            return reason(
                f"token {fed} of sequence 0 expected at position {position}, found token {token.token_in} of "
                f"sequence {token.sequence} at {token.position}"
            )
        if token.status != 0:
            return reason(f"position {position} was answered with status {token.status}")
    made = generated(comparison, planned)
    if any(token in planned.stop_tokens for token in made[:-1]):
        return reason("generation went on after a stop token")
    if len(made) > planned.new_tokens or len(tokens) > context:
        return reason(f"{len(made)} tokens were generated, {planned.new_tokens} planned")
    if len(made) < planned.new_tokens and not (made and made[-1] in planned.stop_tokens):
        return reason(f"{len(made)} tokens were generated, {planned.new_tokens} planned")
    return []


def _coverage(comparison: Comparison, plan: Sequence[TapKey]) -> list[Reason]:
    """Whether every tap of every token was compared."""
    if comparison.elements == 0:
        return [Reason(name="nothing_compared", message="no element of any tap was compared")]
    counts = {(count.layer, count.tap): count for count in comparison.taps}
    if list(counts) != list(plan) or len(counts) != len(comparison.taps):
        missing = [key for key in plan if key not in counts] or [key for key in counts if key not in plan]
        named = ", ".join(f"layer {layer} {tap}" for layer, tap in missing[:3]) or "order or number"
        return [Reason(name="taps_missing", message=f"the taps compared are not those planned: {named}")]
    wanted = len(comparison.tokens)
    short = [count for count in comparison.taps if count.vectors != wanted or count.elements < count.vectors]
    if short:
        first = short[0]
        what = f"{first.vectors} of {wanted} vectors of layer {first.layer} {first.tap}"
        return [
            Reason(
                name="taps_missing", message=f"{what} were compared, and {len(short) - 1} more taps are short"
            )
        ]
    return []
