"""The verdict of a run: PASS only when everything that was planned ran, was compared, and was equal.

The testbench checks itself and lists what it found; what is checked again here does not trust it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final

from etchproof.compare.comparator import COMPARISON_FILE, Comparison
from etchproof.compare.readback import READBACK_FILE, Readback
from etchproof.contract.taps import TapKey, TapPlan
from etchproof.errors import InputError
from etchproof.files.json_file import read_json_object
from etchproof.files.json_record import read_json_record
from etchproof.project.sources import file_sha256
from etchproof.render.fabric import Fabric
from etchproof.render.images import ImageSet
from etchproof.sim.build import Build
from etchproof.sim.run import SimOutcome
from etchproof.verdict.expect import Expectation, Generation
from etchproof.verdict.fed import check_fed, tokens_of
from etchproof.verdict.result import Reason

_FOLLOW: Final = frozenset(
    {"comparison_missing", "memory_unread", "nothing_compared", "taps_missing", "test_failed", "tokens"}
)
"""Reasons that follow where a run ends early, whatever ended it."""


def read_comparison(run_dir: Path) -> tuple[Comparison | None, list[Reason]]:
    """What the testbench wrote, or the reason why there is none that counts."""
    file = run_dir / COMPARISON_FILE
    if not file.exists():
        return None, [Reason(name="comparison_missing", message=f"the testbench wrote no {COMPARISON_FILE}")]
    try:
        return read_json_record(file, Comparison, strict=True), []
    except InputError as error:
        words = ": ".join(part for part in (COMPARISON_FILE, error.key, error.problem) if part is not None)
        return None, [Reason(name="comparison_broken", message=str(InputError(words)))]


def judge(
    *,
    comparison: Comparison | None,
    outcome: SimOutcome,
    expectation: Expectation | None,
    taps: TapPlan,
    context: int | None,
    readback: Readback | None = None,
) -> list[Reason]:
    """Every reason why a run is no PASS; none when it is. There is no other judge.

    Args:
        comparison: what the testbench wrote; None when ``read_comparison`` gave a reason.
        outcome: how the simulator ended.
        expectation: what had to run; a run of which nobody knows that is no PASS.
        taps: that the chip has.
        context: positions of the chip; None for no limit.
        readback: what the testbench read back from the chip's ROMs; None where it left no such record.
    """
    reasons = []
    if expectation is None or expectation.is_empty:
        reasons.append(Reason(name="no_expectation", message="nothing says what this run had to do"))
    if comparison is not None:
        reasons += _found(comparison)
        if expectation is not None and not expectation.is_empty:
            reasons += check_fed(comparison, expectation, context)
            reasons += _coverage(comparison, expectation.adapted, taps)
            reasons += _read_back(readback, expectation)
    return reasons + ended(outcome, reasons)


def _found(comparison: Comparison) -> list[Reason]:
    """What the testbench itself found."""
    failures = [Reason(name=failure.name, message=failure.message) for failure in comparison.failures]
    return [*_differences(comparison), *failures]


def ended(outcome: SimOutcome, reasons: Sequence[Reason]) -> list[Reason]:
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


def causes_first(reasons: Sequence[Reason]) -> tuple[Reason, ...]:
    """Reasons, each once, those last that follow where a run ends early, whatever ended it."""
    return tuple(sorted(dict.fromkeys(reasons), key=lambda reason: reason.name in _FOLLOW))


def check_fabric(fabric: Fabric, build: Build) -> list[Reason]:
    """Whether the simulator was built from the fabric that was rendered, and that still is as it was."""
    try:
        record = read_json_object(build.executable.parent / "build.json")
        built = record["inputs"]["fabric"]
    except (InputError, KeyError, TypeError) as error:
        return [Reason(name="fabric_unknown", message=f"the simulator's build.json cannot be read: {error}")]
    if built != fabric.sha256:
        return [
            Reason(name="fabric_changed", message=f"rendered {fabric.sha256}, the simulator is of {built}")
        ]
    try:
        now = fabric.hashed_now()
    except InputError as error:
        return [Reason(name="fabric_changed", message=str(error))]
    if now != fabric.sha256:
        return [
            Reason(name="fabric_changed", message=f"rendered {fabric.sha256}, now the folder holds {now}")
        ]
    return []


def check_rom(images: ImageSet) -> list[Reason]:
    """Whether every ROM file that the simulator read still has the content of its name."""
    for image in images.images:
        try:
            now = file_sha256(images.path(image))
        except InputError as error:
            return [Reason(name="rom_changed", message=str(error))]
        if now != image.sha256:
            message = f"layer {image.layer} {image.name} was {image.sha256}, now the file holds {now}"
            return [Reason(name="rom_changed", message=message)]
    return []


def generated(comparison: Comparison, texts: Sequence[Generation], sequence: int = 0) -> tuple[int, ...]:
    """What the chip chose after the prompt of a sequence."""
    start = len(texts[sequence].prompt) - 1
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


def _read_back(readback: Readback | None, expectation: Expectation) -> list[Reason]:
    """Whether every ROM that had to be was read back whole, and is what its file says."""
    planned = expectation.read_back
    if not planned:
        return []
    if readback is None:
        return [Reason(name="readback", message=f"the testbench left no {READBACK_FILE} that counts")]
    for wanted, unit in zip(planned, readback.units, strict=False):
        if not wanted.is_of(unit):
            return [Reason(name="readback", message=f"{unit.name} was read back, planned was {wanted.image}")]
        if not (unit.words_hold and unit.signature_holds):
            message = f"{unit.name}: {unit.read} of {unit.slices} slices read, {unit.wrong} wrong"
            return [Reason(name="readback", message=message)]
    if len(readback.units) != len(planned):
        message = f"{len(readback.units)} ROMs were read back, {len(planned)} planned"
        return [Reason(name="readback", message=message)]
    return []


def _coverage(comparison: Comparison, adapted: Sequence[AbstractSet[TapKey]], taps: TapPlan) -> list[Reason]:
    """Whether every tap of every token was compared, those of a sequence's adapter included and no others.

    Args:
        adapted: of each adapter, the linears that it adapts.
    """
    if comparison.elements == 0:
        return [Reason(name="nothing_compared", message="no element of any tap was compared")]
    opened = {token.sequence for token in comparison.tokens if token.status == 0}
    adapters: dict[int, int | None] = dict.fromkeys(sorted(opened)) | {
        count.sequence: count.adapter for count in comparison.sequences
    }

    def missing(message: str) -> list[Reason]:
        return [Reason(name="taps_missing", message=message)]

    used = {adapter for adapter in adapters.values() if adapter is not None}
    if unknown := used - set(range(len(adapted))):
        return missing(f"adapter {min(unknown)} of {len(adapted)} was in use")
    accepted = Counter(token.sequence for token in comparison.tokens if token.status == 0)
    wanted = taps.wanted(adapted, [(adapter, accepted[number]) for number, adapter in adapters.items()])
    plan = tuple(wanted)
    counts = {(count.layer, count.tap): count for count in comparison.taps}
    if list(counts) != list(plan) or len(counts) != len(comparison.taps):
        absent = [key for key in plan if key not in counts] or [key for key in counts if key not in plan]
        named = ", ".join(f"layer {layer} {tap}" for layer, tap in absent[:3]) or "order or number"
        return missing(f"the taps compared are not those planned: {named}")
    held = {count.sequence: count for count in comparison.sequences}
    for number, adapter in adapters.items():
        due = len(taps.due(adapted[adapter] if adapter is not None else frozenset())) * accepted[number]
        vectors = held[number].vectors if number in held else 0
        if vectors != due:
            return missing(f"{vectors} of {due} vectors of sequence {number} were compared")
    for total in ("vectors", "elements", "mismatches"):
        by_tap = sum(getattr(count, total) for count in comparison.taps)
        by_sequence = sum(getattr(count, total) for count in comparison.sequences)
        if by_tap != by_sequence:
            return missing(f"{by_tap} {total} by taps, {by_sequence} by sequences")
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
