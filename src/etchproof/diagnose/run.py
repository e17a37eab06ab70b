"""A diagnosis from end to end: the taps of a failed run, its origins, the hypotheses on each, the record."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from etchproof.compare.differing import KEPT_FILE, read_kept
from etchproof.contract.diagnosis import Hypothesis, Unit
from etchproof.diagnose.causes import Cause, Explanation, make_causes
from etchproof.diagnose.evidence import Evidence, gather
from etchproof.diagnose.origins import Origin, make_origins, set_apart
from etchproof.diagnose.report import html
from etchproof.diagnose.result import (
    DIAGNOSIS_FILE,
    PAGE_FILE,
    CauseRecord,
    Diagnosis,
    ExplanationRecord,
    Finding,
    FirstRecord,
    OriginRecord,
    PlaceRecord,
    UnexplainedRecord,
)
from etchproof.diagnose.search import RECORDED, Deadline, Tried, try_origins
from etchproof.diagnose.units import units_of
from etchproof.files.atomic import write_atomically
from etchproof.quantize.quantized_model import QuantizedAdapter
from etchproof.run import flow
from etchproof.run.design import Design, Quantized

FLOOR_BITS: Final = 32
"""What a run has to say of a cause that is called certain: no diagnosis tries 2**25 hypotheses."""
FEW: Final = "few elements differ: a fault that nobody thought of may give the same"
NO_UNITS: Final = (
    "origins are not known: no [diagnose] units, and the golden model's predict takes no `given`"
)


def diagnose(
    design: Design, model: Any, adapters: Sequence[QuantizedAdapter], folder: Path, limit_s: float
) -> Diagnosis:
    """Why a run failed; its folder gets ``diagnosis.json`` and ``diagnosis.html``.

    Args:
        model: as the project's functions get it.
        adapters: of the run, by their index.
        folder: the run's.
        limit_s: after which no more hypotheses are tried.

    Raises:
        InputError: the run kept nothing, or the project's units cannot be made.
    """
    started = time.monotonic()
    kept = read_kept(folder / KEPT_FILE)
    golden = flow.make_golden(design, model, adapters)
    evidence = gather(kept, design.taps, golden)
    units = units_of(design, model, adapters, golden, kept)
    notes = []
    if not kept.whole:
        notes.append("more differs than a run keeps: what came last is taken to be the golden model's")
    if units is None:
        found = _record(evidence, "no_units", started, notes=[*notes, NO_UNITS])
    else:
        found = explain(evidence, units, limit_s - (time.monotonic() - started), notes)
    write_atomically(folder / DIAGNOSIS_FILE, found.to_json())
    under = f" under {design.recipe.name}" if isinstance(design.source, Quantized) else ""
    subject = f"{design.source.name}{under}"
    write_atomically(folder / PAGE_FILE, html(found, evidence, units or (), design.taps, subject))
    return found


def explain(
    evidence: Evidence, units: Sequence[Unit], limit_s: float, notes: Sequence[str] = ()
) -> Diagnosis:
    """Why a run failed, from its taps and the units of its chip.

    Args:
        limit_s: after which no more hypotheses are tried.
        notes: what is known to limit the diagnosis.
    """
    started, deadline, notes = time.monotonic(), Deadline(limit_s), list(notes)
    chip = evidence.chip
    of_golden = [one.unit.name for one in make_origins(units, evidence.golden)]
    origins = make_origins(units, chip)
    if not origins:
        finding: Finding = "golden" if of_golden else "missing" if evidence.left_out else "no_origin"
        return _record(evidence, finding, started, golden=of_golden, notes=notes)
    origins, disputed = set_apart(origins)
    tried = try_origins(origins, deadline, disputed)
    complete = not any(one.stopped for one in tried)
    if not complete:
        notes.append("time was up before every hypothesis was tried")
    notes += dict.fromkeys(f"a hypothesis failed: {text}" for one in tried for text in one.broken)
    causes, unexplained = make_causes(origins, tried)
    finding = "rivals" if any(cause.rivals for cause in causes) else "explained"
    if disputed and all(cause.best.first.kind == RECORDED for cause in causes):
        finding = "testbench"
    found: Finding = "unexplained" if unexplained else finding
    bits = [sum(origins[number].bits for number in cause.best.hypotheses) for cause in causes]
    is_enough = min(bits, default=0) >= FLOOR_BITS
    if found == "explained" and not is_enough:
        notes.append(FEW)
    return _record(
        evidence,
        found,
        started,
        origins=origins,
        causes=[_cause(origins, cause) for cause in causes],
        unexplained=[_unexplained(origins[number], tried[number]) for number in unexplained],
        golden=of_golden,
        notes=notes,
        tried=sum(len(one.holding) + one.excluded.total() for one in tried),
        complete=complete,
        certain=complete and found == "explained" and is_enough,
    )


def _cause(origins: Sequence[Origin], cause: Cause) -> CauseRecord:
    mine = [origins[number] for number in cause.best.hypotheses]
    best = _explanation(mine, cause.best)
    return CauseRecord(
        kind=best.kind,
        what=best.what,
        at=best.at,
        where=best.where,
        origins=tuple(one.unit.name for one in mine),
        explains=_counted(mine),
        rivals=tuple(_explanation(mine, rival) for rival in cause.rivals),
    )


def _counted(origins: Iterable[Origin]) -> str:
    elements = sum(one.elements for one in origins)
    return f"{elements} of {elements}"


def _explanation(origins: Sequence[Origin], explanation: Explanation) -> ExplanationRecord:
    hypotheses: list[Hypothesis] = list(explanation.hypotheses.values())
    first = explanation.first
    places = [one.unit.place for one in origins]

    def of(name: str) -> tuple[str, ...]:
        own = [getattr(one.place, name) for one in hypotheses]
        found = own if any(own) else [getattr(place, name) for place in places]
        return tuple(dict.fromkeys(one for one in found if one))

    same: dict[str, Any] = {
        name: getattr(first.place, name)
        for name in ("tensor", "element", "layer", "image", "word", "lane", "bits", "what")
        if len({getattr(one.place, name) for one in hypotheses}) == 1
    }
    inject = tuple(dict.fromkeys(text for one in hypotheses for text in one.place.inject))
    where = PlaceRecord(**same, inject=inject, instances=of("instance"), files=of("file"))
    at = first.at or origins[0].unit.name
    return ExplanationRecord(kind=first.kind, what=first.what, at=at, where=where)


def _unexplained(origin: Origin, tried: Tried) -> UnexplainedRecord:
    return UnexplainedRecord(unit=origin.unit.name, excluded=dict(sorted(tried.excluded.items())))


def _record(
    evidence: Evidence,
    finding: Finding,
    started: float,
    *,
    origins: Sequence[Origin] = (),
    causes: Sequence[CauseRecord] = (),
    unexplained: Sequence[UnexplainedRecord] = (),
    golden: Sequence[str] = (),
    notes: Sequence[str] = (),
    tried: int = 0,
    complete: bool = True,
    certain: bool = False,
) -> Diagnosis:
    return Diagnosis(
        finding=finding,
        differing=evidence.differing,
        items=len(evidence.chip),
        left_out=evidence.left_out,
        origins=tuple(map(_origin, origins)),
        causes=tuple(causes),
        unexplained=tuple(unexplained),
        golden=tuple(golden),
        notes=tuple(notes),
        tried=tried,
        complete=complete,
        certain=certain,
        wall_s=round(time.monotonic() - started, 3),
    )


def _origin(origin: Origin) -> OriginRecord:
    question = origin.question
    seen, tokens = question.seen, question.got.at[question.differs]
    row, element = int(question.differs[0]), int(origin.wrong[0][0])
    groups: dict[str, set[int]] = {}
    for at, wrong in zip(question.differs, origin.wrong, strict=True):
        for name, of in origin.unit.groups(int(np.size(question.got.values[at]))).items():
            groups.setdefault(name, set()).update(of[wrong].tolist())
    layer, tap = origin.unit.result
    return OriginRecord(
        unit=origin.unit.name,
        module=origin.unit.module,
        layer=layer,
        tap=tap,
        vectors=len(question.differs),
        of_vectors=len(question.got.at),
        elements=origin.differing,
        of_elements=origin.elements,
        sequences=ranges(seen.sequences[tokens].tolist()),
        positions=ranges(seen.positions[tokens].tolist()),
        bits=origin.bits,
        places={name: ranges(of) for name, of in groups.items()},
        first=FirstRecord(
            sequence=int(seen.sequences[tokens[0]]),
            position=int(seen.positions[tokens[0]]),
            element=element,
            follows=int(question.made[row][element]),
            got=int(question.got.values[row][element]),
        ),
    )


def ranges(numbers: Iterable[int]) -> str:
    """Numbers as "0-3 7"."""
    spans: list[list[int]] = []
    for number in sorted(set(numbers)):
        if spans and spans[-1][1] == number - 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return " ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in spans)
