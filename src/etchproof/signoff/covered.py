"""What the runs that passed covered: covergroups and code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from etchproof.compare.comparator import COMPARISON_FILE, Comparison
from etchproof.contract.mask import MaskSite
from etchproof.contract.taps import TapKey, TokenArrays
from etchproof.coverage import hooks
from etchproof.coverage.exclusions import (
    Exclusion,
    SignalExclusion,
    apply_exclusions,
    load_exclusions,
    source_lines,
)
from etchproof.coverage.functional import Covergroup, FunctionalCoverage, RunSample, Sampler
from etchproof.coverage.toggles import control
from etchproof.coverage.verilator import KINDS, holes, lcov, merge_all, read
from etchproof.errors import InputError
from etchproof.files.atomic import write_atomically
from etchproof.files.json_record import read_json_record
from etchproof.host.top import FILES
from etchproof.project.declaration import Project
from etchproof.quantize.quantized_model import QuantizedModel
from etchproof.regress.execute import ITEMS_FOLDER
from etchproof.regress.item import CODE_COVERAGE_FILE, ItemResult
from etchproof.regress.run import RegressionOutcome
from etchproof.regress.spec import ItemSpec
from etchproof.render.sources import testbench_names
from etchproof.render.templates import LIBRARY
from etchproof.run import flow, slots
from etchproof.run.design import Design
from etchproof.run.testrun import Chip
from etchproof.signoff.evidence import (
    CONTROL,
    LISTED,
    AccumulatorEvidence,
    CodeEvidence,
    ExclusionEvidence,
)
from etchproof.signoff.gates import StageGates, asks_for_all
from etchproof.signoff.judges import judge_file

FUNCTIONAL_FILE: Final = "functional.json"
LCOV_FILE: Final = "coverage.info"

Run = tuple[ItemSpec, ItemResult]


def passed_on(chip: Chip, outcome: RegressionOutcome, counted: Mapping[str, str]) -> list[Run]:
    """Runs that passed and count, on this fabric: with its ROM, or with weights for the corners.

    Args:
        counted: by item, why it does not count (``etchproof.signoff.counting``).
    """
    return [
        (spec, result)
        for spec in outcome.plan.items
        if (result := outcome.results[spec.name]) is not None
        and result.verdict == "PASS"
        and not counted[spec.name]
        and result.fabric_sha256 == chip.fabric.sha256
        and (spec.corners is not None or result.rom_sha256 == chip.images.sha256)
    ]


class _Weights:
    """The model of some runs, and what samples them.

    Args:
        corners: seed of the weights, None for the checkpoint's.
    """

    def __init__(self, design: Design, model: QuantizedModel, corners: int | None) -> None:
        self.model = model if corners is None else flow.corner_weights(design, model, corners)
        self.sample: Sampler = hooks.sampler(design.project)(self.model, design.plan)


def functional(
    design: Design,
    model: QuantizedModel,
    groups: Sequence[Covergroup],
    sites: Sequence[MaskSite],
    ran: Sequence[Run],
    runs: Path,
) -> tuple[FunctionalCoverage, tuple[AccumulatorEvidence, ...]]:
    """What the runs hit: each sequence goes through the golden model once more, with its adapter.

    Args:
        groups: of the coverage model.
        sites: the tensors of the mask; without them no sums are measured.
        ran: with what they recorded in ``runs``.
    """
    found = FunctionalCoverage(groups)
    if design.project.coverage is None:
        return found, ()
    weights: dict[int | None, _Weights] = {}
    for spec, result in ran:
        if spec.corners not in weights:
            weights[spec.corners] = _Weights(design, model, spec.corners)
        mine = weights[spec.corners]
        counts = mine.sample(_sample(design, mine.model, spec, result, runs))
        if spec.corners is not None:
            masks = {group.name for group in groups if group.of_mask}
            counts = {name: hits * 0 if name in masks else hits for name, hits in counts.items()}
        found.sample(result.name, counts)
    seen = [one.sample.accumulators() for one in weights.values()]
    return found, _accumulators(seen, sites, design.project) if sites else ()


def _accumulators(
    seen: Sequence[Mapping[str, tuple[int, int]]], sites: Sequence[MaskSite], project: Project
) -> tuple[AccumulatorEvidence, ...]:
    """The largest sum of each tensor over all weights, whose formats are the same.

    A declared one that was not sampled counts as never seen, which no gate takes for good.

    Raises:
        InputError: sums were sampled of what is not declared to have any.
    """
    largest: dict[str, tuple[int, int]] = {}
    for sums in seen:
        for site, pair in sums.items():
            largest[site] = max(largest.get(site, pair), pair)
    due = [one.site for one in sites if one.sums]
    if unknown := sorted(largest.keys() - set(due)):
        raise InputError(
            f"samples sums of {unknown[0]!r}, for which sites declares none",
            source=project.file,
            key="coverage.sampler",
        )
    if largest:
        largest = {**largest, **{site: (0, 0) for site in due if site not in largest}}
    return tuple(
        AccumulatorEvidence(site=site, largest=value, bound=bound) for site, (value, bound) in largest.items()
    )


def _sample(
    design: Design, model: QuantizedModel, spec: ItemSpec, result: ItemResult, runs: Path
) -> RunSample:
    cache = flow.quantized_folder(flow.cache_folder())
    comparison = read_json_record(runs / ITEMS_FOLDER / result.name / COMPARISON_FILE, Comparison)
    loaded = slots.run_adapters(design, model, spec.adapters, spec.seed, cache)
    adapters = [adapter.quantized for adapter in loaded]
    session = flow.make_golden(design, model, adapters).session()
    taps: list[Mapping[TapKey, TokenArrays]] = []
    adapted: list[tuple[int, Mapping[TapKey, TokenArrays]]] = []
    for sequence in result.sequences:
        predicted = session.predict(sequence.tokens, True, sequence.adapter)
        if sequence.adapter is None:
            taps.append(predicted)
        else:
            adapted.append((sequence.adapter, predicted))
    return RunSample(
        result.test,
        comparison.tokens,
        taps,
        adapters,
        adapted,
        comparison.sequences,
        comparison.loads,
        comparison.resets,
    )


def check_covered(
    entries: Sequence[Exclusion | SignalExclusion], gates: StageGates, source: Path, key: str
) -> None:
    """What an exclusion hands to other gates, a stage with code coverage has to ask for in full.

    Raises:
        InputError: it does not.
    """
    if not any(name.startswith("code_") for name in gates.gates):
        return
    for entry in entries:
        for name in entry.covered_by:
            if not asks_for_all(gates.gates, name):
                problem = f"{entry} is left to gate {name!r}, which this stage does not ask for in full"
                raise InputError(problem, source=source, key=key)


def code(
    design: Design, outcome: RegressionOutcome, runs: Path, chip: Chip, out: Path, gates: StageGates
) -> tuple[tuple[CodeEvidence, ...], tuple[ExclusionEvidence, ...]]:
    """What the coverage builds of this fabric counted in runs that passed, and what is left out.

    Raises:
        InputError: an exclusion is about nothing, or leaves points to a gate that does not ask for all.
    """
    project = design.project
    files = [
        runs / ITEMS_FOLDER / result.name / CODE_COVERAGE_FILE
        for result in outcome.results.values()
        if result is not None
        and result.verdict == "PASS"
        and result.kind == "coverage"
        and result.fabric_sha256 == chip.fabric.sha256
    ]
    if not files:
        return (), ()
    modules = merge_all(map(read, files)).modules
    write_atomically(out / LCOV_FILE, lcov(modules))
    source = judge_file(project, "exclusions")
    derived = hooks.exclusions(project, design.plan, chip.images)
    check_covered(derived, gates, project.file, "coverage.exclusions")
    excluded, left = apply_exclusions(
        modules,
        load_exclusions(source) if source else (),
        derived,
        source or project.file,
        source_lines(chip.fabric.folder),
    )
    beside = testbench_names(project) | {path.name for path in LIBRARY.iterdir()} | set(FILES)
    excluded |= np.array([point.file in beside for point in modules.points], dtype=bool)
    narrow = control(modules.points)
    found = []
    for kind, mask in (*((kind, modules.of(kind)) for kind in KINDS), (CONTROL, narrow)):
        counted = mask & ~excluded
        missed = holes(modules, counted, LISTED)
        found.append(
            CodeEvidence(
                kind=kind,
                points=int(counted.sum()),
                hit=int((modules.counts[counted] > 0).sum()),
                excluded=int((mask & excluded).sum()),
                holes=tuple(f"{point.file}:{point.line} {point.what}" for point in missed),
            )
        )
    return tuple(found), tuple(
        ExclusionEvidence(
            what=str(one.entry),
            kinds=one.entry.kinds,
            tag=one.entry.tag,
            covered_by=one.entry.covered_by,
            reason=one.entry.reason,
            points=one.points,
            hit=one.hit,
        )
        for one in left
        if one.points
    )
