"""The verdict as people read it: one HTML file that fetches nothing."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from etchproof.contract.mask import MaskSite
from etchproof.files.atomic import write_atomically
from etchproof.page.html import legible, page
from etchproof.signoff import maps, plots
from etchproof.signoff.evidence import QualificationEvidence, RomEvidence, ScoreEvidence, TestpointEvidence
from etchproof.signoff.formats import dvsim, junit
from etchproof.signoff.result import REPORTS, SignoffResult

REPORT_FILE, JUNIT_FILE, DVSIM_FILE = REPORTS
_LISTED: Final = 200  # holes of a covergroup that the page names
_PACKAGE: Final = "etchproof.signoff"


@dataclass(frozen=True)
class Tile:
    """A figure that the page begins with."""

    label: str
    figure: str
    note: str


def write_reports(result: SignoffResult, out: Path, sites: Sequence[MaskSite]) -> None:
    """``report.html``, ``junit.xml`` and ``dvsim.json``.

    Args:
        sites: the tensors of the chip's mask, in dataflow order.
    """
    write_atomically(out / DVSIM_FILE, json.dumps(dvsim(result), indent=1) + "\n")
    write_atomically(out / REPORT_FILE, html(result, sites))
    text = ET.tostring(junit(result), encoding="unicode")
    write_atomically(out / JUNIT_FILE, f"<?xml version='1.0' encoding='utf-8'?>\n{legible(text)}")


def html(result: SignoffResult, sites: Sequence[MaskSite] = ()) -> str:
    """The report; the same result gives the same bytes. ``sites`` as of ``write_reports``."""
    evidence = result.evidence
    taps = evidence.quality.taps if evidence.quality else ()
    drawn = [plots.noise_plot(taps), plots.bias_plot(taps), plots.range_plot(taps)]
    values: dict[str, Any] = dict(
        result=result,
        evidence=evidence,
        tiles=tiles(result),
        listed=_LISTED,
        stages=by_stage(evidence.testpoints),
        observability=maps.observability_map(evidence.rom, sites) if evidence.rom else None,
        images=by_image(evidence.rom) if evidence.rom else (),
        proof=plots.proof_plot(evidence.rom) if evidence.rom else None,
        triage=evidence.triage,
        planted_by_kind=planted_tiles(evidence.qualification) if evidence.qualification else (),
        planted_by=planted_lines(evidence.qualification) if evidence.qualification else (),
        accumulators=maps.accumulator_map(evidence.accumulators, sites) if evidence.accumulators else None,
        quality_maps=[maps.noise_map(taps), maps.bias_map(taps), maps.range_map(taps)] if taps else [],
        quality_plots=[plot for plot in drawn if plot],
        size=(plots.WIDTH, plots.HEIGHT),
    )
    filters: dict[str, Callable[..., Any]] = {"figure": _figure, "share": _share, "prose": _prose}
    return page(_PACKAGE, "report.html.j2", values, filters)


def tiles(result: SignoffResult) -> tuple[Tile, ...]:
    """What fits on one line and decides most."""
    evidence = result.evidence
    held = sum(gate.passed for gate in result.gates)
    passed = [item for item in evidence.items if item.verdict == "PASS"]
    shown = sum(point.shown for point in evidence.testpoints)
    elements = sum(item.elements for item in passed)
    found = [
        Tile("gates that hold", f"{held} / {len(result.gates)}", f"{len(result.waived)} waived"),
        Tile("testpoints shown", f"{shown} / {len(evidence.testpoints)}", f"up to stage {evidence.stage}"),
        Tile("runs passed", f"{len(passed)} / {len(evidence.items)}", f"list {evidence.list_name}"),
        Tile("elements compared", _short(elements), "bit for bit, no tolerance"),
    ]
    if evidence.rom:
        found.append(_proven("ROM bits proven", evidence.rom))
    if evidence.tables:
        found.append(_proven("table bits proven", evidence.tables))
    if evidence.injection:
        drawn = len(evidence.injection.bits)
        found.append(Tile("inverted bits caught", f"{evidence.injection.caught} / {drawn}", "in simulation"))
    if evidence.qualification:
        scores = evidence.qualification.scores
        seen, drawn = sum(one.seen for one in scores), sum(one.drawn for one in scores)
        same = sum(one.equivalent for one in scores)
        found.append(Tile("planted faults seen", f"{seen:,} / {drawn:,}", f"{same} change nothing"))
    return tuple(found)


def planted_tiles(found: QualificationEvidence) -> tuple[Tile, ...]:
    """How many planted faults of each kind are seen."""
    kinds = dict.fromkeys(one.kind for one in found.scores)
    return tuple(
        Tile(
            kind,
            f"{sum(one.seen for one in found.scores if one.kind == kind):,}",
            f"seen of {sum(one.drawn for one in found.scores if one.kind == kind):,}",
        )
        for kind in kinds
    )


@dataclass(frozen=True)
class ScoreLine:
    """Planted faults that have something in common."""

    name: str
    drawn: int
    seen: int
    equivalent: int
    excused: int

    @property
    def open(self) -> int:
        return self.drawn - self.seen - self.equivalent - self.excused


def planted_lines(found: QualificationEvidence) -> list[tuple[str, list[ScoreLine]]]:
    """The score by place, images together, and by operator."""

    def place(one: ScoreEvidence) -> str:
        return "images" if one.kind == "image" else one.where

    def operator(one: ScoreEvidence) -> str:
        return one.operator

    tables = []
    for title, name in (("where", place), ("operator", operator)):
        lines = []
        for key in sorted({name(one) for one in found.scores}):
            mine = [one for one in found.scores if name(one) == key]
            sums = [
                sum(getattr(one, of) for one in mine) for of in ("drawn", "seen", "equivalent", "excused")
            ]
            lines.append(ScoreLine(key, *sums))
        tables.append((title, lines))
    return tables


@dataclass(frozen=True)
class ImageLine:
    """The bits of a ROM image by what is known of them, in every copy that units hold of it."""

    layer: int
    name: str
    bits: int
    proven: int
    redundant: int
    listed: int
    open: int
    padding: int
    copies: int


def by_image(rom: RomEvidence) -> tuple[ImageLine, ...]:
    """A line for each ROM image; what is in no part of an image that has some is padding."""
    lines = []
    for image in rom.images:
        parts = [part for part in rom.parts if part.image == (image.layer, image.name)]
        lines.append(
            ImageLine(
                layer=image.layer,
                name=image.name,
                bits=image.bits,
                proven=sum(part.proven for part in parts),
                redundant=sum(sum(part.reasons.values()) for part in parts),
                listed=sum(sum(part.listed.values()) for part in parts),
                open=sum(part.open_count for part in parts) if parts else image.bits,
                padding=image.bits - sum(part.total for part in parts) if parts else 0,
                copies=max((part.copies for part in parts), default=1),
            )
        )
    return tuple(lines)


def _proven(label: str, rom: RomEvidence) -> Tile:
    share = 100 * rom.proven / rom.due if rom.due else None
    return Tile(label, _share(share), f"of {rom.due:,}, {rom.open:,} open")


def by_stage(points: Sequence[TestpointEvidence]) -> list[tuple[str, list[TestpointEvidence]]]:
    """The testpoints of each stage, stages in the order of the plan."""
    stages = dict.fromkeys(point.stage for point in points)
    return [(stage, [point for point in points if point.stage == stage]) for stage in stages]


def _figure(value: float | None) -> str:
    """A gate's figure or limit."""
    if value is None:
        return "none"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _share(value: float | None) -> str:
    """Per cent; 100 only where it is all."""
    if value is None:
        return "none"
    return "100 %" if value == 100 else f"{min(value, 99.99):.2f} %"


def _short(value: int) -> str:
    """Three digits and a word: 6.73 million."""
    for size, word in ((10**12, " trillion"), (10**9, " billion"), (10**6, " million")):
        if value >= size:
            return f"{value / size:.3g}{word}"
    return f"{value:,}"


def _prose(text: str) -> Any:
    """A testpoint's description: a line for each item of its list, words in backquotes as code."""
    from markupsafe import Markup, escape

    lines = re.split(r"\s+- (?=[A-Z])", text.strip())
    coded = (re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(line))) for line in lines)
    return Markup("<br>").join(map(Markup, coded))
