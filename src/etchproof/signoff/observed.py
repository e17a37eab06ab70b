"""What the runs that passed prove of the mask: the units of the project, observed, and their bits as evidence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np

from etchproof.contract.mask import MaskSite, MaskUnit
from etchproof.coverage.closure import taps_needed
from etchproof.coverage.corpus import Corpus, Predict, Segment, gather
from etchproof.coverage.injection import draw
from etchproof.coverage.observability import Proven, observe
from etchproof.coverage.seen import DrawnSeen, draw_seen
from etchproof.coverage.words import words_read
from etchproof.errors import InputError
from etchproof.project.declaration import Project
from etchproof.run.testrun import Chip
from etchproof.signoff.capabilities import OBSERVABILITY, capabilities
from etchproof.signoff.evidence import LISTED, RomEvidence, RomPartEvidence

Observed = tuple[MaskUnit, tuple[Proven, ...]]
"""A unit, and what is proven of its parts."""

_NO_WORDS: Final = np.zeros(0, dtype=bool)


def observe_all(
    roms: Sequence[MaskUnit], segments: Sequence[Segment], predict: Predict
) -> tuple[Corpus | None, list[Observed]]:
    """What the segments prove of each unit; no corpus where they feed nothing.

    Raises:
        UnsoundError: a unit is not what the golden model computes.
    """
    if not any(segment.sequences for segment in segments):
        return None, []
    corpus = gather(segments, predict, taps_needed(roms))
    return corpus, [(rom, observe(rom, corpus)) for rom in roms]


def check_sites(project: Project, units: Sequence[MaskUnit], sites: Sequence[MaskSite]) -> None:
    """Refuse a project that observes other tensors than it declares.

    Raises:
        InputError: it does; the first is named.
    """
    observed, declared = Counter(unit.site for unit in units), Counter(one.site for one in sites)
    for site in sorted((observed - declared) | (declared - observed)):
        said = "declares, and rom gives no unit of"
        if site in observed:
            said = (
                "does not declare, and rom gives"
                if site not in declared
                else "declares once what rom gives twice,"
            )
        raise InputError(f"{said} {site!r}", source=project.file, key="coverage.sites")


def draw_faults(
    chip: Chip, units: Sequence[Observed], corpus: Corpus | None, count: int, seed: int
) -> DrawnSeen:
    """Bits to be inverted in simulation; otherwise as ``etchproof.coverage.seen.draw_seen``.

    They are proven ones where the project is observed, none where no run fed anything; otherwise words of memories.
    """
    if OBSERVABILITY not in capabilities(chip.design.project):
        return draw_seen(chip, count, seed)
    return DrawnSeen(() if corpus is None else draw(units, corpus, count, seed), 0, ())


def rom_evidence(units: Sequence[Observed], corpus: Corpus | None) -> RomEvidence:
    """The figures of every part."""
    parts, by_run = [], np.zeros(len(corpus.names) if corpus else 0, dtype=np.int64)
    for unit, found in units:
        for proven in found:
            read, visible = (
                words_read(proven, unit.words[proven.kind]) if unit.words else (_NO_WORDS, _NO_WORDS)
            )
            unread = np.argwhere(visible & ~read)
            left = np.argwhere(proven.open)
            parts.append(
                RomPartEvidence(
                    site=proven.site,
                    kind=proven.kind,
                    total=proven.total,
                    proven=proven.count,
                    reasons={reason: int(bits.sum()) for reason, bits in proven.reasons},
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
    names = corpus.names if corpus else ()
    return RomEvidence(
        parts=tuple(parts),
        padding_bits=0,
        tokens=len(corpus.tokens) if corpus else 0,
        by_run={name: int(count) for name, count in zip(names, by_run, strict=True) if count},
    )
