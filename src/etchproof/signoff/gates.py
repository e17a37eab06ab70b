"""Gates: what has to hold at a stage (``verif/signoff/gates.yaml``). Pure functions of the evidence, one result each.

A gate fails closed: evidence that is missing, empty or of nothing is never good enough.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from etchproof.signoff.capabilities import links as due_links
from etchproof.signoff.evidence import CONTROL, RomEvidence, SignoffEvidence
from etchproof.signoff.qualification import Kind
from etchproof.signoff.record import Record
from etchproof.signoff.testplan import is_check

Limit = float | dict[str, float]


class GateResult(Record):
    """One gate, applied.

    Attributes:
        name: as waivers name it: "tests_passed", "covergroup.kv_cache".
        measured: None where nothing was measured.
        required: the limit.
        passed: whether it holds.
        message: the figures in words.
    """

    name: str
    measured: float | None
    required: float
    passed: bool
    message: str


class StageGates(BaseModel):
    """What a stage asks for.

    Attributes:
        regression: the list that is run.
        injected_faults: proven bits to be inverted in simulation.
        gates: limit of each gate; of gate "covergroup" one for each covergroup.
        not_measured: what this stage does without, and why; a gate of ``GATES``, or "covergroup" for
            all of them, or for those without a limit.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    regression: str
    injected_faults: Annotated[int, Field(ge=0)] = 0
    gates: dict[str, Limit]
    not_measured: dict[str, Annotated[str, Field(min_length=20)]] = {}

    def without(self, covergroups: Collection[str]) -> StageGates:
        """These gates, for a chip that does not have some covergroups."""
        gates = {
            name: {group: required for group, required in limit.items() if group not in covergroups}
            if isinstance(limit, dict)
            else limit
            for name, limit in self.gates.items()
        }
        return self.model_copy(update={"gates": gates})


_Gate = Callable[[SignoffEvidence, float], GateResult]


def _least(name: str, measured: float | None, required: float, message: str) -> GateResult:
    return GateResult(
        name=name,
        measured=measured,
        required=required,
        passed=measured is not None and measured >= required,
        message=message,
    )


def _most(name: str, measured: float | None, required: float, message: str) -> GateResult:
    return GateResult(
        name=name,
        measured=measured,
        required=required,
        passed=measured is not None and measured <= required,
        message=message,
    )


def _percent(part: int, whole: int) -> float | None:
    """Exactly 100 only when it is all; None of nothing."""
    return 100.0 * part / whole if whole else None


def tests_passed(evidence: SignoffEvidence, required: float) -> GateResult:
    """Per cent of the regression's items; what broke outside them counts as failed."""
    passed = sum(item.verdict == "PASS" for item in evidence.items)
    whole = len(evidence.items)
    message = f"{passed} of {whole} runs passed"
    if evidence.broken:
        message += f"; {evidence.broken[0]}"
    measured = None if evidence.broken else _percent(passed, whole)
    return _least("tests_passed", measured, required, message)


def elements_compared(evidence: SignoffEvidence, required: float) -> GateResult:
    """Elements of taps compared bit for bit, in all runs that passed and count."""
    count = sum(item.elements for item in evidence.items if item.verdict == "PASS" and item.counts)
    return _least("elements_compared", count or None, required, f"{count:,} elements of taps compared")


def testpoints_passed(evidence: SignoffEvidence, required: float) -> GateResult:
    """Per cent of the stage's testpoints of which every test ran and passed."""
    shown = [point.name for point in evidence.testpoints if point.shown]
    missing = [point.name for point in evidence.testpoints if not point.shown]
    message = f"{len(shown)} of {len(evidence.testpoints)} testpoints"
    message += f"; missing {', '.join(missing[:5])}" if missing else ""
    return _least("testpoints_passed", _percent(len(shown), len(evidence.testpoints)), required, message)


def testpoints_untouched(evidence: SignoffEvidence, required: float) -> GateResult:
    """Per cent of the testpoints with tests of the testbench that a run on an untouched simulator shows, too."""
    points = [point for point in evidence.testpoints if any(not is_check(test) for test in point.tests)]
    missing = [point.name for point in points if not point.untouched]
    message = f"{len(points) - len(missing)} of {len(points)} testpoints on a simulator as Verilator wrote it"
    message += f"; not {', '.join(missing[:5])}" if missing else ""
    measured = _percent(len(points) - len(missing), len(points))
    return _least("testpoints_untouched", measured, required, message)


def cycle_model(evidence: SignoffEvidence, required: float) -> GateResult:
    """Per cent of all answers that came in exactly the cycles of the cycle model."""
    answers = sum(item.answers for item in evidence.items if item.counts)
    exact = sum(item.in_cycles for item in evidence.items if item.counts)
    message = f"{exact:,} of {answers:,} answers in exactly the cycles of the model"
    return _least("cycle_model", _percent(exact, answers), required, message)


def provenance(evidence: SignoffEvidence, required: float) -> GateResult:
    """Per cent of the links from the checkpoint to the chip's words that are there and hold."""
    links = evidence.provenance.links if evidence.provenance else ()
    due = due_links(evidence.capabilities)
    held = {link.name for link in links if link.holds} & set(due)
    broken = [f"{link.name}: {link.message}" for link in links if not link.holds]
    missing = [name for name in due if name not in {link.name for link in links}]
    message = f"{len(held)} of {len(due)} links from the model to the words of the chip"
    message += f"; missing {', '.join(missing)}" if missing else ""
    message += f"; {broken[0]}" if broken else ""
    return _least("provenance", _percent(len(held), len(due)), required, message)


def rom_observability(evidence: SignoffEvidence, required: float) -> GateResult:
    """Per cent of the bits of all ROM images that are proven to be seen, of those that any stimulus can show."""
    rom = evidence.rom
    if rom is None:
        return _least("rom_observability", None, required, "not measured")
    message = f"{observed(rom)} in {len(rom.images)} images; {rom.padding_bits:,} of padding"
    message += f"; {rom.uncounted:,} in no part of the mask" if rom.uncounted else ""
    return _least("rom_observability", _percent(rom.proven, rom.due), required, message)


def observed(rom: RomEvidence) -> str:
    """How many bits are proven, and what is said of the others."""
    figures = f"{rom.proven:,} of {rom.total:,} bits proven, {rom.redundant:,} redundant"
    return f"{figures}, {rom.listed:,} listed, {rom.open:,} open"


def table_bits(evidence: SignoffEvidence, required: float) -> GateResult:
    """Per cent of the bits of the tables in logic that are proven to be seen, of those that have to be."""
    tables = evidence.tables
    if tables is None:
        return _least("table_bits", None, required, "not measured")
    message = f"{observed(tables)} in {len(tables.parts)} tables that are made in logic"
    return _least("table_bits", _percent(tables.proven, tables.due), required, message)


def rom_words(evidence: SignoffEvidence, required: float) -> GateResult:
    """Per cent of the mask's ROM words that are shown to be read by their unit."""
    rom = evidence.rom
    words, read = (rom.words, rom.words_read) if rom else (0, 0)
    unread = [name for part in rom.parts for name in part.unread] if rom else []
    message = f"{read:,} of {words:,} ROM words read" + (f"; not {unread[0]}" if unread else "")
    return _least("rom_words", _percent(read, words), required, message)


def accumulators(evidence: SignoffEvidence, required: float) -> GateResult:
    """Per cent of the linears whose sums were seen, and stayed within what their formats allow."""
    found = evidence.accumulators
    bad = [one.site for one in found if not 0 < one.largest <= one.bound]
    message = f"sums of {len(found)} linears seen, {len(found) - len(bad)} within what their formats allow"
    message += f"; not {bad[0]}" if bad else ""
    return _least("accumulators", _percent(len(found) - len(bad), len(found)), required, message)


def injected_faults_drawn(evidence: SignoffEvidence, required: float) -> GateResult:
    """Proven bits that were inverted in simulation."""
    drawn = len({bit.site for bit in evidence.injection.bits}) if evidence.injection else 0
    message = f"{drawn} bits inverted"
    if evidence.injection and evidence.injection.unseen:
        message += f"; {evidence.injection.unseen} drawn beside them change no tap under this stimulus"
    if evidence.injection and evidence.injection.tables:
        tables = ", ".join(evidence.injection.tables)
        message += f"; none of the tables that the golden model computes by itself: {tables}"
    return _least("injected_faults_drawn", drawn or None, required, message)


def injected_faults_caught(evidence: SignoffEvidence, required: float) -> GateResult:
    """Per cent of them that were caught where the proof says."""
    if evidence.injection is None:
        return _least("injected_faults_caught", None, required, "not measured")
    bits = evidence.injection.bits
    good = sum(bit.caught and bit.located for bit in bits)
    missed = [bit.site for bit in bits if not (bit.caught and bit.located)]
    message = f"{evidence.injection.caught} of {len(bits)} caught, {good} where the proof says"
    message += f"; not {missed[0]}" if missed else ""
    return _least("injected_faults_caught", _percent(good, len(bits)), required, message)


def qualified(evidence: SignoffEvidence, required: float) -> GateResult:
    """Per cent of the faults planted on purpose that a run sees, or that are proven to change nothing."""
    found = evidence.qualification
    if found is None:
        return _least(QUALIFIED, None, required, "not measured: etchproof qualify, then --qualified DIR")
    drawn, seen = sum(one.drawn for one in found.scores), sum(one.seen for one in found.scores)
    same, left = (sum(one.equivalent for one in found.scores), sum(one.excused for one in found.scores))
    message = f"{seen:,} of {drawn:,} planted faults seen, {same} change nothing, {left} let pass"
    message += f"; {found.open_count} open: {found.open_items[0]}" if found.open_count else ""
    measured = None if found.open_count else _percent(seen + same, drawn)
    return _least(QUALIFIED, measured, required, message)


def _qualified_drawn(kind: str, evidence: SignoffEvidence, required: float) -> GateResult:
    """Planted faults of a kind."""
    scores = evidence.qualification.scores if evidence.qualification else ()
    drawn = sum(one.drawn for one in scores if one.kind in QUALIFIED_KINDS[kind])
    return _least(f"{QUALIFIED_DRAWN}.{kind}", drawn or None, required, f"{drawn} planted")


def _check(name: str) -> _Gate:
    def gate(evidence: SignoffEvidence, required: float) -> GateResult:
        found = [check for check in evidence.checks if check.name == f"signoff.{name}"]
        measured = 100.0 if found and all(check.passed for check in found) else 0.0 if found else None
        return _least(name, measured, required, found[0].message if found else "not examined")

    return gate


def _code(kind: str) -> _Gate:
    def gate(evidence: SignoffEvidence, required: float) -> GateResult:
        found = next((code for code in evidence.code if code.kind == kind), None)
        if found is None:
            return _least(f"code_{kind}", None, required, "not measured")
        message = f"{found.hit:,} of {found.points:,} {kind} points, {found.excluded:,} excluded"
        of = "toggle" if kind == CONTROL else kind
        stale = [one for one in evidence.exclusions if one.is_stale and of in one.kinds]
        if stale:
            message += f"; {stale[0].hit:,} were passed that an exclusion calls impossible: {stale[0].what}"
        return _least(f"code_{kind}", None if stale else _percent(found.hit, found.points), required, message)

    return gate


def quality_kl(evidence: SignoffEvidence, required: float) -> GateResult:
    """At most this mean KL divergence between float and golden model."""
    quality = evidence.quality if evidence.quality and evidence.quality.tokens else None
    message = f"mean KL {quality.kl_mean:.5f} on {quality.tokens:,} tokens" if quality else "not measured"
    return _most("quality_kl", quality.kl_mean if quality else None, required, message)


def quality_top1(evidence: SignoffEvidence, required: float) -> GateResult:
    """Per cent of tokens on which both find the same token most likely."""
    quality = evidence.quality if evidence.quality and evidence.quality.tokens else None
    message = f"{100 * quality.same_top1:.1f} % the same top token" if quality else "not measured"
    return _least("quality_top1", 100 * quality.same_top1 if quality else None, required, message)


def saturation(evidence: SignoffEvidence, required: float) -> GateResult:
    """At most this per cent of any tap's elements at an end of its width."""
    health = evidence.health
    worst = health.worst if health and health.tokens else None
    measured = worst.share if worst else None
    return _most("saturation", measured, required, str(health) if worst else "not measured")


def dead(evidence: SignoffEvidence, required: float) -> GateResult:
    """At most so many taps that never change, and gains that became 0."""
    health = evidence.health if evidence.health and evidence.health.taps else None
    message = "; ".join(health.dead[:3]) or "no dead tap, no dead gain" if health else "not measured"
    return _most("dead", float(health.dead_count) if health else None, required, message)


QUALIFIED: Final = "qualified"
QUALIFIED_KINDS: Final[Mapping[str, tuple[Kind, ...]]] = {
    "rtl": ("rtl",),
    "image": ("image",),
    "flow": ("flow", "golden"),
    "checker": ("checker",),
}
"""What is planted in, and the kinds of faults that are."""

COVERGROUP: Final = "covergroup"
QUALIFIED_DRAWN: Final = "qualified_drawn"
FAMILIES: Final = (COVERGROUP, QUALIFIED_DRAWN)
"""Each stands for several gates: one for each covergroup, one for each of ``QUALIFIED_KINDS``."""

GATES: Final[Mapping[str, _Gate]] = {
    "tests_passed": tests_passed,
    "elements_compared": elements_compared,
    "testpoints_passed": testpoints_passed,
    "testpoints_untouched": testpoints_untouched,
    "cycle_model": cycle_model,
    "provenance": provenance,
    "rom_observability": rom_observability,
    "rom_words": rom_words,
    "table_bits": table_bits,
    "accumulators": accumulators,
    "injected_faults_drawn": injected_faults_drawn,
    "injected_faults_caught": injected_faults_caught,
    QUALIFIED: qualified,
    "lint": _check("lint"),
    "fabric_invariance": _check("fabric_invariance"),
    "rom_files": _check("rom_files"),
    "rom_readback": _check("rom_readback"),
    "rom_signature": _check("rom_signature"),
    "quantized": _check("quantized"),
    "arithmetic": _check("arithmetic"),
    "checker": _check("checker"),
    "code_line": _code("line"),
    "code_branch": _code("branch"),
    "code_toggle": _code("toggle"),
    "code_control": _code(CONTROL),
    "quality_kl": quality_kl,
    "quality_top1": quality_top1,
    "saturation": saturation,
    "dead": dead,
}
"""Every gate but those of ``FAMILIES``."""


def apply_gates(stage: StageGates, evidence: SignoffEvidence) -> tuple[GateResult, ...]:
    """Every gate of a stage, in the order of the file."""
    return tuple(apply_gate(name, evidence, limit) for name, limit in _named(stage.gates))


def apply_gate(name: str, evidence: SignoffEvidence, required: float) -> GateResult:
    """One gate, by the name that its result carries."""
    family, _, member = name.partition(".")
    of = {COVERGROUP: _covergroup, QUALIFIED_DRAWN: _qualified_drawn}.get(family)
    return GATES[name](evidence, required) if of is None else of(member, evidence, required)


def asks_for_all(gates: Mapping[str, Limit], name: str) -> bool:
    """Whether a gate that counts per cent is one of these, and its limit is 100."""
    kind, _, group = name.partition(".")
    limit = gates.get(kind)
    return (limit.get(group) if isinstance(limit, dict) else None if group else limit) == 100


def is_gate(name: str) -> bool:
    """Whether ``apply_gate`` knows it."""
    family, _, member = name.partition(".")
    return name in GATES or family == COVERGROUP or (family == QUALIFIED_DRAWN and member in QUALIFIED_KINDS)


def _named(gates: Mapping[str, Limit]) -> Iterator[tuple[str, float]]:
    for name, limit in gates.items():
        if isinstance(limit, dict):
            yield from ((f"{name}.{group}", required) for group, required in limit.items())
        else:
            yield name, limit


def _covergroup(name: str, evidence: SignoffEvidence, required: float) -> GateResult:
    """Per cent of a covergroup's bins that were hit."""
    found = next((group for group in evidence.covergroups if group.name == name), None)
    message = f"{found.hit} of {found.bins} bins" if found else "no such covergroup was sampled"
    if found and found.holes:
        message += f"; not {', '.join(found.holes[:5])}"
    measured = _percent(found.hit, found.bins) if found else None
    return _least(f"{COVERGROUP}.{name}", measured, required, message)
