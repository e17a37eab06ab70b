"""What a verdict rests on: one frozen record, filled by ``etchproof.signoff.run``, judged by the gates."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from etchproof.compare.readback import UnitReadback
from etchproof.coverage.exclusions import IMPOSSIBLE
from etchproof.coverage.injection import InjectedBit
from etchproof.diagnose.triage_result import Triage
from etchproof.quantize.health import ModelHealth
from etchproof.quantize.quality_report import TapQuality
from etchproof.signoff.qualification import Kind as QualifiedKind
from etchproof.signoff.record import Record, agree
from etchproof.signoff.survivors import Excuse
from etchproof.signoff.testplan import Stage
from etchproof.verdict.result import ModelRecord, Reason, RecipeRecord, Sha256

Count = Annotated[int, Field(ge=0)]


LISTED: Final = 100
"""Holes that a record names."""


class AdapterEvidence(Record):
    """An adapter that the command line names; drawn ones are the project's and need no name."""

    name: str
    path: str
    sha256: Sha256


class ItemEvidence(Record):
    """One run of the regression; no result is no PASS."""

    name: str
    test: str
    verdict: Literal["PASS", "FAIL", "MISSING"]
    reasons: tuple[Reason, ...]
    seed: int
    kind: str
    counts: bool = Field(
        description="whether it is of the chip under sign-off, by the rules of docs/signoff.md"
    )
    why_not: str = Field("", description="why it does not count")
    untouched: bool = Field(description="whether its simulator is what Verilator wrote")
    fabric_sha256: Sha256 | None = Field(description="that it simulated; None without a result")
    rom_sha256: Sha256 | None = Field(description="that it read; None without a result")
    sha256: Sha256 | None = Field(description="of its item.json; None without one")
    elements: Count
    answers: Count = Field(0, description="to tokens and to loads that the host did not stall")
    in_cycles: Count = Field(
        0, description="of them, those that took exactly the cycles that the cycle model says"
    )
    wall_s: float
    rerun: str

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        passed, there = self.verdict == "PASS", self.verdict != "MISSING"
        agree(passed <= (not self.reasons and self.elements > 0), "passed with reasons, or compared nothing")
        agree(self.counts == (not self.why_not), "counts, and says why it does not")
        agree(self.in_cycles <= self.answers, "has more answers in time than answers")
        agree(there == (self.sha256 is not None), "has no result, or none that is named")
        agree(there or not (self.elements or self.answers), "left no result and compared something")
        return self


class TestpointEvidence(Record):
    """A testpoint of the plan, and how its tests went."""

    __test__ = False  # pytest: no test class

    name: str
    stage: Stage
    desc: str
    tests: tuple[str, ...]
    passed: tuple[str, ...] = Field(description="tests of which something ran, and all of it passed")
    failed: tuple[str, ...]
    not_run: tuple[str, ...]
    untouched: tuple[str, ...] = Field(
        description="of the passed tests of the testbench, those that also ran on a simulator as Verilator wrote it"
    )

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        passed, failed, absent = set(self.passed), set(self.failed), set(self.not_run)
        agree(not passed & (failed | absent) and not failed & absent, "has a test that passed and did not")
        agree(passed | failed | absent == set(self.tests), "has a test of which nothing is said")
        agree(set(self.untouched) <= passed, "has an untouched run of a test that did not pass")
        return self

    @property
    def shown(self) -> bool:
        """Whether every test of it ran and passed."""
        return bool(self.tests) and set(self.passed) == set(self.tests)


class CheckEvidence(Record):
    """What sign-off examined itself (``etchproof.signoff.testplan.CHECKS``)."""

    name: str
    passed: bool
    message: str
    wall_s: float


LINKS: Final = (
    *("checkpoint", "quantized", "images", "files"),
    *("fabric", "simulated", "read back", "signatures"),
)
"""The chain from the checkpoint to the words of the chip, in order."""


class ProvenanceLink(Record):
    """A step from the checkpoint to the words of the chip."""

    name: str = Field(description="of LINKS")
    sha256: Sha256 | None = Field(
        description="of what the step holds, found again from its content; None of nothing"
    )
    holds: bool = Field(description="whether it follows from the step before")
    message: str


class ImageEvidence(Record):
    """One ROM file, and what the chip answered for it."""

    layer: int = Field(description="-1 outside the decoder layers")
    name: str
    bits: Count = Field(description="of an element that exist in silicon")
    size_bytes: Count
    sha256: Sha256
    units: tuple[UnitReadback, ...] = Field(description="the ROMs that hold it; each layer holds the tables")


class ProvenanceEvidence(Record):
    """From the checkpoint to the words of the chip."""

    links: tuple[ProvenanceLink, ...]
    tensors: dict[str, Sha256] = Field(description="of each quantized tensor: name, type, shape and integers")
    images: tuple[ImageEvidence, ...]


class RomPartEvidence(Record):
    """One tensor of the mask."""

    site: str
    kind: str
    image: tuple[int, str] | None = Field(None, description="that holds it: layer and name")
    copies: Count = Field(1, description="units that hold it, each for itself; a bit is seen in every one")
    total: Count
    proven: Count
    reasons: dict[str, int] = Field(description="bits that no stimulus can show, by reason")
    listed: dict[str, int] = Field(
        {},
        description="bits that are not proven and need not be, though a stimulus could show them, by reason",
    )
    open: tuple[str, ...] = Field(description="bits that are not proven, by name; the first hundred")
    open_count: Count
    words: Count = Field(0, description="of the ROM, that hold a bit which some stimulus can show")
    words_read: Count = Field(0, description="of them, those that hold a proven bit: the unit read them")
    unread: tuple[str, ...] = Field(
        (), description="the others, by their place in rows and inputs; the first hundred"
    )

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        explained = (*self.reasons.values(), *self.listed.values())
        found = self.proven + sum(explained) + self.open_count
        agree(found == self.total and min(explained, default=0) >= 0, "has bits that do not add up")
        agree(self.words_read <= self.words, "has more words read than words")
        agree(len(self.open) == min(self.open_count, LISTED), "does not name its open bits")
        return self

    @property
    def due(self) -> int:
        """Bits that have to be proven."""
        return self.total - sum(self.reasons.values()) - sum(self.listed.values())

    @property
    def tensor(self) -> str:
        """The tensor's name: the site without the kind that it ends with where a tensor has elements of several."""
        return self.site.removesuffix(f".{self.kind}")


class RomImageEvidence(Record):
    """A ROM image, every bit of which is in a part, or is padding."""

    layer: int
    name: str
    bits: Count


class RomEvidence(Record):
    """Bit observability, of the ROM images or of the tables that are made in logic."""

    parts: tuple[RomPartEvidence, ...]
    images: tuple[RomImageEvidence, ...] = Field((), description="none of tables in logic")
    padding_bits: Count = Field(description="of the images, outside every tensor; zero on disk")
    tokens: Count = Field(description="different tokens in their sequences on which the proof rests")
    by_run: dict[str, int] = Field(description="bits that each run proved first")

    @property
    def total(self) -> int:
        return sum(part.total for part in self.parts)

    @property
    def proven(self) -> int:
        return sum(part.proven for part in self.parts)

    @property
    def words(self) -> int:
        return sum(part.words for part in self.parts)

    @property
    def words_read(self) -> int:
        return sum(part.words_read for part in self.parts)

    @property
    def redundant(self) -> int:
        return sum(sum(part.reasons.values()) for part in self.parts)

    @property
    def listed(self) -> int:
        return sum(sum(part.listed.values()) for part in self.parts)

    @property
    def due(self) -> int:
        """Bits that have to be proven; those of images that no part and no padding accounts for are among them."""
        return sum(part.due for part in self.parts) + self.uncounted

    @property
    def open(self) -> int:
        return sum(part.open_count for part in self.parts)

    @property
    def uncounted(self) -> int:
        """Bits of images that are neither in a part nor padding, or that are counted too often."""
        parts: dict[tuple[int, str], int] = {}
        for part in self.parts:
            if part.image is not None:
                parts[part.image] = parts.get(part.image, 0) + part.total
        sizes = {(image.layer, image.name): image.bits for image in self.images}
        outside = sum(bits for key, bits in sizes.items() if key not in parts)
        beside = [sizes[key] - bits for key, bits in parts.items() if key in sizes]
        unknown = sum(bits for key, bits in parts.items() if key not in sizes)
        over = sum(-bits for bits in beside if bits < 0)
        rest = sum(bits for bits in beside if bits > 0)
        return outside + unknown + over + abs(rest - self.padding_bits)


class InjectionEvidence(Record):
    """Proven bits that were inverted in simulation."""

    seed: int
    bits: tuple[InjectedBit, ...]
    unseen: Count = Field(
        0, description="bits drawn beside them that change no tap of the golden model under this stimulus"
    )
    tables: tuple[str, ...] = Field(
        (), description="memories of which no bit was drawn: the golden model computes their values by itself"
    )

    @property
    def caught(self) -> int:
        return sum(bit.caught for bit in self.bits)

    @property
    def located(self) -> int:
        return sum(bit.located for bit in self.bits)


class SurvivorEvidence(Record):
    """A planted fault that no run sees, and that may stand."""

    name: str
    place: str
    was: str
    becomes: str
    excuse: Excuse
    why: str
    until: str = Field("", description="the last day on which it is waived, or the stage that sees it")
    activated: bool | None = Field(
        None, description="whether what it changes was another value in any run; null: not known"
    )


class ScoreEvidence(Record):
    """Planted faults of one kind, in one place, by one operator."""

    kind: QualifiedKind
    where: str
    operator: str
    drawn: Count
    seen: Count
    equivalent: Count
    excused: Count = Field(description="of the others those that are waived, or seen later")

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        known = self.seen + self.equivalent + self.excused
        agree(self.drawn > 0 and known <= self.drawn, f"{self.where}: knows more faults than were drawn")
        return self


class KillerEvidence(Record):
    """What saw planted faults."""

    test: str
    first: Count = Field(description="faults that it saw before any other")
    alone: Count | None = Field(
        description="those that no further test sees that they met; null where they met none"
    )


class QualificationEvidence(Record):
    """What a stage's runs see of faults that are planted on purpose (docs/qualification.md)."""

    seed: int
    runs: Count = Field(description="that each fault was held against until one saw it")
    scores: tuple[ScoreEvidence, ...]
    killers: tuple[KillerEvidence, ...]
    survivors: tuple[SurvivorEvidence, ...]
    open_items: tuple[str, ...] = Field(description="why it is no PASS; the first ones")
    open_count: Count

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        agree(len(self.open_items) == min(LISTED, self.open_count), "names other holes than it counts")
        stand = sum(one.equivalent + one.excused for one in self.scores)
        agree(stand == len(self.survivors), "excuses other survivors than it names")
        left = sum(one.drawn - one.seen - one.equivalent - one.excused for one in self.scores)
        agree(left <= self.open_count, "has fewer holes than survivors")
        return self


class CovergroupEvidence(Record):
    """A covergroup."""

    name: str
    bins: Count
    hit: Count
    holes: tuple[str, ...]

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        agree(self.hit <= self.bins, "has more bins hit than bins")
        agree(len(self.holes) == self.bins - self.hit, "does not name the bins that were not hit")
        return self


class AccumulatorEvidence(Record):
    """The sums of one linear, in all runs on the fabric, those with weights for the corners included."""

    site: str
    largest: Count = Field(description="magnitude that was seen")
    bound: Count = Field(description="that the formats of codes, scales, bias and input allow")


CONTROL: Final = "control"
"""The toggle points of signals that are too narrow for data, as a kind of its own."""


class CodeEvidence(Record):
    """Code coverage of one kind, by module merged."""

    kind: str = Field(
        description="line, branch, toggle, or control: those toggles that are of narrow signals"
    )
    points: Count
    hit: Count
    excluded: Count
    holes: tuple[str, ...] = Field(description="the first hundred: file:line what")

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        agree(self.hit <= self.points, "has more points hit than points")
        missed = self.points - self.hit
        agree(min(missed, 1) <= len(self.holes) <= min(missed, LISTED), "does not name the points not hit")
        return self


class ExclusionEvidence(Record):
    """What code coverage leaves out for one reason."""

    what: str = Field(description="file, and the points or signals of it")
    kinds: tuple[str, ...] = Field(description="of the points")
    tag: str = Field(description="which kind of reason, of etchproof.coverage.exclusions")
    covered_by: tuple[str, ...] = Field((), description="gates that show what these points would")
    reason: str
    points: Count
    hit: Count = Field(description="of them, those that were passed all the same")

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        agree(self.hit <= self.points, "leaves out fewer points than were passed of them")
        return self

    @property
    def is_stale(self) -> bool:
        """Whether it calls a point impossible that was passed."""
        return self.hit > 0 and self.tag in IMPOSSIBLE


class QualityEvidence(Record):
    """The golden model against the float model."""

    kl_mean: float
    same_top1: float = Field(description="share, 0 to 1")
    perplexity_golden: float
    perplexity_float: float
    tokens: Count
    taps: tuple[TapQuality, ...] = Field((), description="in dataflow order")


class SignoffEvidence(Record):
    """Everything that gates look at. What was not measured is None or empty, and no gate takes that for good."""

    stage: Stage
    project: str
    model: ModelRecord
    recipe: RecipeRecord | None = Field(description="None: a model of the project's own kind, as it is")
    capabilities: tuple[str, ...] = Field(
        description="what the project declares of all that can be measured; without the others nothing else is"
    )
    fabric_sha256: Sha256
    rom_sha256: Sha256
    tools: dict[str, str]
    adapters: tuple[AdapterEvidence, ...] = Field((), description="that the command line names")
    list_name: str
    not_applicable: tuple[str, ...] = Field(
        (), description="testpoints and covergroups of hardware that this chip does not have"
    )
    files: dict[str, Sha256] = Field(description="what else the sign-off left, by path in its folder")
    broken: tuple[str, ...] = Field(description="what went wrong in the regression outside its items")
    items: tuple[ItemEvidence, ...]
    testpoints: tuple[TestpointEvidence, ...] = Field(description="of the stage and those before it")
    checks: tuple[CheckEvidence, ...]
    provenance: ProvenanceEvidence | None = None
    rom: RomEvidence | None
    tables: RomEvidence | None = Field(None, description="constant tables that are made in logic")
    injection: InjectionEvidence | None
    qualification: QualificationEvidence | None = None
    covergroups: tuple[CovergroupEvidence, ...]
    accumulators: tuple[AccumulatorEvidence, ...] = ()
    code: tuple[CodeEvidence, ...]
    exclusions: tuple[ExclusionEvidence, ...] = ()
    quality: QualityEvidence | None
    health: ModelHealth | None = None
    triage: Triage | None = Field(None, description="the runs that failed, by cause; None where none did")
