"""What the runs that passed prove of the mask: the units of the project, observed, and their bits as evidence."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from etchproof.contract.golden import Golden
from etchproof.contract.mask import MaskSite, TriedUnit
from etchproof.contract.taps import TapKey, TokenArrays
from etchproof.coverage import hooks
from etchproof.coverage.closure import taps_needed
from etchproof.coverage.corpus import Corpus, Predict, Segment, gather
from etchproof.coverage.injection import Observed, draw
from etchproof.coverage.observability import AnyUnit, observe
from etchproof.coverage.proven import Proven, in_any, in_every
from etchproof.coverage.seen import DrawnSeen, draw_seen
from etchproof.coverage.words import words_read
from etchproof.errors import InputError
from etchproof.project.declaration import Project
from etchproof.regress.item import ItemResult
from etchproof.regress.spec import ItemSpec
from etchproof.render.images import StoredImage
from etchproof.run import flow
from etchproof.run.design import Design
from etchproof.run.testrun import Chip
from etchproof.signoff.capabilities import OBSERVABILITY, capabilities
from etchproof.signoff.evidence import LISTED, RomEvidence, RomImageEvidence, RomPartEvidence

_NO_WORDS: Final = np.zeros(0, dtype=bool)


@dataclass(frozen=True)
class Weights:
    """A model on the fabric, and what its runs fed.

    Attributes:
        units: the checkpoint's, all of them; of other weights those that hold what the checkpoint's do (``shared``).
        predict: the golden model.
    """

    units: Sequence[AnyUnit]
    segments: Sequence[Segment]
    predict: Predict


@dataclass(frozen=True)
class Mask:
    """What runs prove.

    Attributes:
        corpus: of the checkpoint's own runs; None where they fed nothing.
        drawable: by tensor what those prove alone, tables in logic apart: bits of ROM images, to be inverted.
        rom: by tensor what all runs prove.
        tables: likewise of the tables in logic.
        names: of the segments of all runs.
        tokens: that all runs fed.
    """

    corpus: Corpus | None = None
    drawable: tuple[Observed, ...] = ()
    rom: tuple[Observed, ...] = ()
    tables: tuple[Observed, ...] = ()
    names: tuple[str, ...] = ()
    tokens: int = 0


def all_units(project: Project, model: Any, plan: Any) -> tuple[AnyUnit, ...]:
    """What reads the mask, and the tables in logic."""
    return (*hooks.rom(project)(model, plan), *hooks.tables(project)(model, plan))


def shared(units: Sequence[AnyUnit], others: Sequence[AnyUnit]) -> dict[int, TriedUnit]:
    """Of a model with other weights, by their numbers, the tried units that hold exactly what the checkpoint's do.

    RoPE's tables and those in logic do not depend on weights: a run of any weights reads the same bits.
    """
    return {
        number: other
        for number, (unit, other) in enumerate(zip(units, others, strict=True))
        if isinstance(other, TriedUnit)
        and unit.site == other.site
        and all(
            (one.kind, one.site, one.image, one.bits) == (its.kind, its.site, its.image, its.bits)
            and np.array_equal(one.values, its.values)
            for one, its in zip(unit.parts(), other.parts(), strict=True)
        )
    }


def observe_all(own: Weights, others: Iterable[Weights] = ()) -> Mask:
    """What the runs prove of each tensor; nothing where the checkpoint's own feed nothing.

    Args:
        others: with other weights; what they share with the checkpoint they prove, too.

    Raises:
        UnsoundError: a unit is not what the golden model computes.
    """
    if not any(segment.sequences for segment in own.segments):
        return Mask()
    corpus = gather(own.segments, own.predict, taps_needed(own.units))
    found = [[list(observe(unit, corpus))] for unit in own.units]
    names, tokens = list(corpus.names), len(corpus.tokens)
    for weights in others:
        same = shared(own.units, weights.units)
        if not same or not any(segment.sequences for segment in weights.segments):
            continue
        its = gather(weights.segments, weights.predict, taps_needed(same.values()))
        for number, other in same.items():
            found[number].append([_later(proven, len(names)) for proven in observe(other, its)])
        names += its.names
        tokens += len(its.tokens)
    numbers: dict[str, list[int]] = {}
    for number, unit in enumerate(own.units):
        numbers.setdefault(unit.site, []).append(number)
    drawable, rom, tables = [], [], []
    for copies in numbers.values():
        units = tuple(own.units[number] for number in copies)
        alone = zip(*(found[number][0] for number in copies), strict=True)
        merged = zip(
            *([in_any(of, len(names)) for of in zip(*found[number], strict=True)] for number in copies),
            strict=True,
        )
        one = Observed(units, tuple(map(in_every, merged)))
        if any(proven.image is None for proven in one.found):
            tables.append(one)
            continue
        drawable.append(Observed(units, tuple(map(in_every, alone))))
        rom.append(one)
    return Mask(corpus, tuple(drawable), tuple(rom), tuple(tables), tuple(names), tokens)


def corner_runs(design: Design, model: Any, ran: Sequence[tuple[ItemSpec, ItemResult]]) -> Iterator[Weights]:
    """The runs that passed with weights for the corners, by their seed."""
    seeds = dict.fromkeys(spec.corners for spec, _ in ran if spec.corners is not None)
    for seed in seeds:
        assert seed is not None
        weights = flow.corner_weights(design, model, seed)
        golden = flow.make_golden(design, weights)

        def predict(tokens: Sequence[int], golden: Golden = golden) -> Mapping[TapKey, TokenArrays]:
            return golden.session().predict(tokens, True)

        segments = [Segment(its.name, its.base_sequences) for spec, its in ran if spec.corners == seed]
        yield Weights(all_units(design.project, weights, design.plan), segments, predict)


def _later(proven: Proven, segments: int) -> Proven:
    """With the segments counted after so many others."""
    first = np.where(proven.first >= 0, proven.first + segments, -1).astype(np.int16)
    return replace(proven, first=first)


def check_sites(project: Project, units: Sequence[AnyUnit], sites: Sequence[MaskSite]) -> None:
    """Refuse a project that observes other tensors than it declares.

    Raises:
        InputError: it does; the first is named.
    """
    observed = Counter(unit.site for unit in units)
    declared = Counter({one.site: one.copies for one in sites})
    for site in sorted((observed - declared) | (declared - observed)):
        said = f"declares {declared[site]} units, and rom gives {observed[site]}, of"
        if site not in observed:
            said = "declares, and rom gives no unit of"
        elif site not in declared:
            said = "does not declare, and rom gives"
        raise InputError(f"{said} {site!r}", source=project.file, key="coverage.sites")


def draw_faults(chip: Chip, mask: Mask, count: int, seed: int) -> DrawnSeen:
    """Bits to be inverted in simulation, and what was left out of them.

    They are proven ones where the project is observed, none where no run fed anything; otherwise words of memories.
    """
    if OBSERVABILITY not in capabilities(chip.design.project):
        return draw_seen(chip, count, seed)
    drawn = () if mask.corpus is None else draw(mask.drawable, mask.corpus, count, seed)
    return DrawnSeen(drawn, 0, ())


def rom_evidence(found: Sequence[Observed], mask: Mask, images: Sequence[StoredImage] = ()) -> RomEvidence:
    """The figures of every part.

    Args:
        found: of ``mask``, its ROM or its tables.
        images: of the chip, in which every bit has to be counted.
    """
    parts, by_run = [], np.zeros(len(mask.names), dtype=np.int64)
    for one in found:
        words = one.units[0].words
        for proven in one.found:
            read, visible = words_read(proven, words[proven.kind]) if words else (_NO_WORDS, _NO_WORDS)
            unread = np.argwhere(visible & ~read)
            left = np.argwhere(proven.open)
            parts.append(
                RomPartEvidence(
                    site=proven.site,
                    kind=proven.kind,
                    image=proven.image,
                    copies=proven.copies,
                    total=proven.total,
                    proven=proven.count,
                    reasons={reason: int(bits.sum()) for reason, bits in proven.reasons},
                    listed={reason: int(bits.sum()) for reason, bits in proven.listed},
                    open=tuple(proven.name(index.tolist()) for index in left[:LISTED]),
                    open_count=len(left),
                    words=int(visible.sum()),
                    words_read=int(read.sum()),
                    unread=tuple(
                        f"{proven.site} {proven.kind} {tuple(at)}" for at in unread[:LISTED].tolist()
                    ),
                )
            )
            by_run += np.array(proven.by_segment, dtype=np.int64)
    return RomEvidence(
        parts=tuple(parts),
        images=tuple(
            RomImageEvidence(layer=image.layer, name=image.name, bits=math.prod(image.shape) * image.bits)
            for image in images
        ),
        padding_bits=0,
        tokens=mask.tokens,
        by_run={name: int(count) for name, count in zip(mask.names, by_run, strict=True) if count},
    )
