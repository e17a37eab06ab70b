"""Faults of the flow and the golden model, tried.

- ``golden``: the golden model is wrong, the chip is right. Runs of the good chip, recorded once, are held against it.
- ``chip``: the chip is etched from wrong integers. It is simulated with those images.
- ``both``: chip and golden model agree, so runs say nothing. What a stage measures past both of them does: the integers
  against the files, the golden model against real arithmetic, its health, its distance from the float model. Each is
  asked for only where the stage's gates ask for it, and judged by those gates.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from etchproof import quantize
from etchproof.compare.comparator import Divergence
from etchproof.errors import EtchproofError, InputError
from etchproof.project.sources import engine_sha256, project_sha256, together
from etchproof.qualify.edits import Edit, applied
from etchproof.qualify.stored import read_stored, store
from etchproof.qualify.wrong import FlowFault, ordered
from etchproof.quantize.health import measure_health
from etchproof.quantize.quality_report import QualityReport
from etchproof.regress.execute import adapters_of, etched_of
from etchproof.regress.recorded import Recorded, record
from etchproof.regress.spec import ItemSpec
from etchproof.render.images import write_images
from etchproof.render.images_index import IndexedImage
from etchproof.run import flow, hooks
from etchproof.run.design import Design
from etchproof.run.testrun import Chip, Etched, TestRun, Variation, run_test
from etchproof.signoff import checks
from etchproof.signoff.evidence import CheckEvidence, QualityEvidence, SignoffEvidence
from etchproof.signoff.gates import GateResult, StageGates, apply_gate
from etchproof.signoff.qualification import FAULTS_FOLDER, Detection, FaultResult, State
from etchproof.sim.build import Build
from etchproof.verdict.result import Reason

if TYPE_CHECKING:  # slow to import, with PyTorch
    from etchproof.adapter import Adapter
    from etchproof.quantize.calibrate import CalibrationText
    from etchproof.quantize.quality import GoldenModel
    from etchproof.quantize.quantized_model import QuantizedAdapter

_SHARED: Final = ("etchproof.checkpoint", "etchproof.float_model", "etchproof.adapter")
"""Modules whose slips the float model has, too."""
_OF_ADAPTERS: Final = ("etchproof.adapter", "etchproof.quantize.adapter")
_PATIENCE: Final = 20.0


@dataclass(frozen=True)
class WrongBench:
    """What these faults are held against.

    Attributes:
        design: the checkpoint under its recipe; ``model`` its integers.
        chip: rendered and etched from them, with a simulator.
        gates: of the stage.
        recorded: runs of the good chip.
        adapters: as they were read, that stand for those of a command line.
        out: the folder.
    """

    design: Design
    model: Any
    chip: Chip
    gates: StageGates
    recorded: tuple[Recorded, ...]
    adapters: tuple[Adapter, ...]
    out: Path

    @cached_property
    def text(self) -> CalibrationText:
        """The calibration text, which no fault is sampled anew for."""
        return quantize.calibration_text(self.design.checkpoint, self.design.recipe)

    @cached_property
    def integers(self) -> tuple[QuantizedAdapter, ...]:
        """The right ones, of ``adapters``."""
        checkpoint = self.design.checkpoint
        return tuple(
            quantize.quantize_adapter(self.model, adapter, checkpoint, text=self.text)
            for adapter in self.adapters
        )

    @cached_property
    def quality(self) -> checks.QualityText:
        """What quality is measured on, its float model remembered."""
        return checks.quality_text(self.design)

    def key(self, fault: FlowFault) -> str:
        """What a stored result of a fault depends on."""
        return together(
            [
                ("engine", engine_sha256()),
                ("project", project_sha256(self.design.project)),
                ("checkpoint", self.design.checkpoint.sha256),
                ("rom", self.chip.images.sha256),
                ("fabric", self.chip.fabric.sha256),
                ("gates", self.gates.model_dump_json()),
                ("runs", " ".join(one.spec.model_dump_json() for one in self.recorded)),
                ("fault", fault.name),
            ]
        )


def make_bench(
    chip: Etched,
    build: Build,
    gates: StageGates,
    specs: Sequence[ItemSpec],
    adapters: Sequence[Adapter],
    out: Path,
) -> WrongBench:
    """Record the runs and measure what is right, which has to hold before any fault counts.

    Args:
        chip: it under qualification, of a Llama under a recipe.
        build: a simulator of it that nobody rewrote faults into.
        specs: runs on that fabric, cheapest first.
        adapters: of the command line.

    Raises:
        InputError: a run is no PASS, or a gate fails, without a fault.
    """
    with one_thread():
        return _make_bench(chip, build, gates, specs, adapters, out)


def _recorded(spec: ItemSpec, whole: Chip, out: Path, folder: Path) -> Recorded:
    etched = etched_of(spec, whole.design.project, out)
    chip = Chip(etched.design, etched.model, etched.fabric, etched.images, whole.build)
    return record(spec, chip, adapters_of(spec, chip), folder)


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one core: products of these sizes take ten times as long on two that others use, too."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _make_bench(
    chip: Etched,
    build: Build,
    gates: StageGates,
    specs: Sequence[ItemSpec],
    adapters: Sequence[Adapter],
    out: Path,
) -> WrongBench:
    whole = Chip(chip.design, chip.model, chip.fabric, chip.images, build)
    folder = out / "recorded"
    shutil.rmtree(folder, ignore_errors=True)
    recorded = tuple(_recorded(spec, whole, out, folder / spec.name) for spec in specs)
    bench = WrongBench(chip.design, chip.model, whole, gates, recorded, tuple(adapters), out)
    for gate in _gates(bench, chip.design, chip.model, bench.integers, past_both(gates)):
        if not gate.passed:
            raise InputError(
                f"gate {gate.name} fails without a fault: {gate.message}", source=chip.design.source.name
            )
    return bench


def standing_adapters(design: Design, named: Sequence[Adapter], out: Path) -> tuple[Adapter, ...]:
    """The adapters of a command line; one that is drawn where it names none and the chip has slots."""
    if named or not design.slots:
        return tuple(named)
    from etchproof.adapter import load_adapter
    from etchproof.adapter.config import AdapterConfig
    from etchproof.adapter.synthetic import write_synthetic_adapter

    config = AdapterConfig(r=min(4, design.recipe.lora.max_rank), lora_alpha=6, target_modules="all-linear")
    folder = write_synthetic_adapter(out / "adapter", design.checkpoint.config, config, 1, gain=0.1)
    return (load_adapter(folder, design.checkpoint.config, design.recipe.lora.max_rank),)


def past_both(gates: StageGates) -> tuple[str, ...]:
    """The gates of a stage that look past golden model and chip, cheapest first."""
    known = ("saturation", "dead", "arithmetic", "quantized", "quality_kl", "quality_top1")
    return tuple(name for name in known if name in gates.gates)


def run_flow_faults(
    bench: WrongBench, count: int, seed: int, listener: Callable[[FaultResult], None]
) -> tuple[FaultResult, ...]:
    """Draw faults that the project declares, and try each; one that changes nothing is not drawn.

    They are planted in this process, so no other thread may compute meanwhile.

    Raises:
        InputError: the project declares none, or a slip whose text is not in the code any more.
    """
    found: list[FaultResult] = []
    with one_thread():
        for fault in declared(bench, seed):
            if len(found) == count:
                break
            result = _stored(bench, fault)
            if result is not None:
                found.append(result)
                listener(result)
    return tuple(found)


def declared(bench: WrongBench, seed: int) -> Iterator[FlowFault]:
    """What ``[qualify] flow`` declares, in the order in which it is drawn; nothing where there is no such key."""
    project = bench.design.project
    if project.qualify.flow is None:
        return iter(())
    listed: Iterable[FlowFault] = hooks.hook(project, "qualify.flow", project.qualify.flow)(bench.model, seed)
    try:
        return ordered(list(listed), seed)
    except ValueError as error:
        raise InputError(str(error), source=project.file, key="qualify.flow") from error


def _stored(bench: WrongBench, fault: FlowFault) -> FaultResult | None:
    file = bench.out / FAULTS_FOLDER / f"{bench.key(fault)[:32]}.json"
    if (stored := read_stored(file, FaultResult, fault.name)) is not None:
        return stored
    result = try_fault(bench, fault)
    if result is not None:
        store(file, result)
    return result


def try_fault(bench: WrongBench, fault: FlowFault) -> FaultResult | None:
    """One fault; None where it changes nothing.

    Raises:
        InputError: a slip whose text is not in the code any more.
    """
    with applied(fault.edits):
        pass  # refused here, and not as what the flow refuses
    state: State = "survived"
    by, runs = None, 0
    try:
        made = _made(bench, fault)
        if made is None:
            return None
        if fault.side == "chip" and not _replaced(bench, made.model):
            return None
        by, runs = {"golden": _golden, "chip": _chip, "both": _both}[fault.side](bench, fault, made)
        state = "survived" if by is None else "detected"
    except InputError as error:
        state, by = "detected", Detection.of("the flow", "refused", str(error))
    except Exception as error:  # the code is wrong on purpose, and may fail in any way
        what = str(error) if isinstance(error, EtchproofError) else f"{type(error).__name__}: {error}"
        state, by = "broken", Detection.of("the flow", "raised", what)
    return FaultResult(
        name=fault.name,
        kind=fault.kind,
        where="golden model" if fault.kind == "golden" else "flow",
        place=fault.place,
        operator=fault.operator,
        was="" if not fault.edits else fault.edits[0].was,
        becomes=fault.becomes,
        state=state,
        seen_by=() if by is None else (by,),
        runs=runs,
    )


@dataclass(frozen=True)
class _Made:
    """What comes out of the flow with a fault.

    Attributes:
        design: read again where the slip is in the reading.
        model: the integers.
        adapters: of the bench, as they were read; ``integers`` are theirs.
    """

    design: Design
    model: Any
    adapters: tuple[Adapter, ...]
    integers: tuple[QuantizedAdapter, ...]


def _made(bench: WrongBench, fault: FlowFault) -> _Made | None:
    """None where it is what it was."""
    design, model = bench.design, bench.model
    adapters, integers = bench.adapters, bench.integers
    if fault.model is not None:
        model = fault.model(model)
        if model is None or _same_model(model, bench.model):
            return None
    if fault.adapters is not None and not any(recorded.adapters for recorded in bench.recorded):
        return None
    if fault.making:
        with applied(fault.making):
            if _touches(fault.making, _SHARED):
                design = flow.make_design(design.project, design.source.path, design.recipe.source)
            if _touches(fault.making, _OF_ADAPTERS):
                from etchproof.adapter import load_adapter

                adapters = tuple(load_adapter(one.path, design.checkpoint.config) for one in adapters)
                integers = tuple(
                    quantize.quantize_adapter(model, one, design.checkpoint, text=bench.text)
                    for one in adapters
                )
                if _same_adapters(integers, bench.integers):
                    return None
            else:
                model = quantize.quantize_model(design.checkpoint, design.recipe, text=bench.text)
                same = _same_model(model, bench.model)
                if same and not _touches(fault.making, _SHARED):
                    return None
    return _Made(design, model, adapters, integers)


def _touches(edits: Sequence[Edit], modules: Sequence[str]) -> bool:
    return any(edit.module == one or edit.module.startswith(f"{one}.") for edit in edits for one in modules)


def _same_model(one: Any, other: Any) -> bool:
    """The same integers and architecture."""
    return bool(one.config == other.config and quantize.content_sha256(one) == quantize.content_sha256(other))


def _same_adapters(one: Sequence[QuantizedAdapter], other: Sequence[QuantizedAdapter]) -> bool:
    """The same integers, shifts and what they stand for."""

    def shifts(matrix: Any) -> tuple[int, ...]:
        return matrix.a_shift, matrix.b_shift, matrix.a_exponent, matrix.b_exponent, matrix.h_frac

    return len(one) == len(other) and all(
        x.linears.keys() == y.linears.keys()
        and all(
            np.array_equal(x.linears[key].a, y.linears[key].a)
            and np.array_equal(x.linears[key].b, y.linears[key].b)
            and shifts(x.linears[key]) == shifts(y.linears[key])
            for key in x.linears
        )
        for x, y in zip(one, other, strict=True)
    )


# One side is wrong


def _golden(bench: WrongBench, fault: FlowFault, made: _Made) -> tuple[Detection | None, int]:
    """The golden model alone: each recorded run against it, until one is no PASS."""
    runs = 0
    for recorded in bench.recorded:
        own, integers = recorded.chip.model, [one.quantized for one in recorded.adapters]
        if fault.model is not None:
            wrong = fault.model(own)
            own = own if wrong is None else wrong
        if fault.making:
            if recorded.chip.images.sha256 != bench.chip.images.sha256:
                continue  # other weights, which nobody quantized
            own = made.model
        if fault.adapters is not None:
            if not integers:
                continue
            wrong = fault.adapters(integers)
            if wrong is None or _same_adapters(wrong, integers):
                continue
            integers = wrong
        runs += 1
        with applied(fault.computing):
            comparison, reasons = recorded.against(flow.make_golden(recorded.chip.design, own, integers))
        if reasons:
            return _of_run(recorded, comparison.first_divergence, reasons), runs
    return None, runs


def _chip(bench: WrongBench, fault: FlowFault, made: _Made) -> tuple[Detection | None, int]:
    """The chip alone: its images in the simulator, until a run is no PASS."""
    chip, runs, replaced = bench.chip, 0, _replaced(bench, made.model)
    for recorded in bench.recorded:
        if recorded.chip.images.sha256 != chip.images.sha256:
            continue
        runs += 1
        run: TestRun = run_test(
            Chip(chip.design, chip.model, recorded.chip.fabric, recorded.chip.images, chip.build),
            recorded.spec.test,
            bench.out / "wrong" / "run",
            seed=recorded.spec.seed,
            config=recorded.config,
            adapters=recorded.adapters,
            timeout_s=_PATIENCE + _PATIENCE * recorded.comparison.sim_s,
            variation=Variation(replaced=tuple(replaced), keeps_taps=False),
        )
        if run.reasons:
            first = None if run.comparison is None else run.comparison.first_divergence
            return _of_run(recorded, first, run.reasons), runs
    return None, runs


def _replaced(bench: WrongBench, model: Any) -> list[IndexedImage]:
    """The images of wrong integers that are other ones than the chip's."""
    folder, chip = bench.out / "wrong", bench.chip
    shutil.rmtree(folder, ignore_errors=True)
    images = write_images(folder / "rom", hooks.images(chip.design.project)(model, chip.design.plan))
    own = {(image.layer, image.name): image for image in chip.images.images}
    found = []
    for image in images.images:
        if image.size_bytes != own[image.layer, image.name].size_bytes:
            raise InputError(f"layer {image.layer} {image.name} has another size", source=folder)
        if image.sha256 != own[image.layer, image.name].sha256:
            found.append(IndexedImage(image.layer, image.name, image.size_bytes, images.path(image)))
    return found


def _of_run(recorded: Recorded, at: Divergence | None, reasons: Sequence[Reason]) -> Detection:
    """What a recorded run saw first."""
    spec, reason = recorded.spec, reasons[0]
    return Detection.of(spec.name, reason.name, reason.message, test=spec.test, at=at)


# Both are wrong, and agree


def _both(bench: WrongBench, fault: FlowFault, made: _Made) -> tuple[Detection | None, int]:
    with applied(fault.edits):
        names = past_both(bench.gates)
        if not fault.computing:  # integers are seen at once
            names = tuple(sorted(names, key=lambda name: name != "quantized"))
        elif not _touches(fault.computing, _SHARED):
            names = tuple(name for name in names if name != "quantized")  # these are the right ones
        for gate in _gates(bench, made.design, made.model, made.integers, names, made, fault):
            if not gate.passed:
                return Detection.of("gates", gate.name, gate.message), 0
    return None, 0


def _gates(
    bench: WrongBench,
    design: Design,
    model: Any,
    integers: Sequence[QuantizedAdapter],
    names: Sequence[str],
    made: _Made | None = None,
    fault: FlowFault | None = None,
) -> Iterator[GateResult]:
    """Each gate as the stage judges it, one after the other."""
    adapters = bench.adapters if made is None else made.adapters
    measured: dict[str, Any] = {}

    def evidence(name: str) -> SignoffEvidence:
        if name in ("saturation", "dead"):
            if "health" not in measured:
                golden = flow.measurable_golden(design, model)
                short = quantize.CalibrationText(bench.text.tokens[:2, :64], bench.text.seed)
                measured["health"] = measure_health(golden, short.tokens, design.checkpoint.tensor)
            return _evidence(health=measured["health"])
        if name in ("quality_kl", "quality_top1"):
            if "quality" not in measured:
                text = bench.quality
                if fault is not None and _touches(fault.edits, _SHARED):
                    text = checks.QualityText(text.tokens, checks.float_reference(design))
                golden = flow.measurable_golden(design, model)
                measured["quality"] = _quality(text, golden, bench.gates)
            return _evidence(quality=measured["quality"])
        check = f"signoff.{name}"
        table: dict[str, Callable[[], checks.Found]] = {
            "signoff.quantized": lambda: checks.check_quantized(
                design, model, list(zip(adapters, integers, strict=True)), bench.text
            ),
            "signoff.arithmetic": lambda: checks.check_arithmetic(design, model, integers),
        }
        found: CheckEvidence = checks.examine(check, table[check])
        return _evidence(checks=(found,))

    for name in names:
        limit = bench.gates.gates[name]
        assert isinstance(limit, (int, float))
        yield apply_gate(name, evidence(name), float(limit))


def _evidence(**fields: Any) -> SignoffEvidence:
    """What one gate looks at, and nothing else."""
    found: SignoffEvidence = SignoffEvidence.model_construct(**fields)
    return found


def _quality(text: checks.QualityText, golden: GoldenModel, gates: StageGates) -> QualityEvidence:
    """As sign-off measures it, sequence by sequence, until what is left cannot save a gate.

    Neither divergence nor a wrong top token can be taken back, so what is measured by then is a bound of the whole.
    """
    from etchproof.quantize.quality import measure

    total = text.tokens.numel()
    kl = wrong = 0.0
    reports: list[QualityReport] = []
    for sequence in text.tokens:
        report = measure(text.reference, golden, sequence[None])
        reports.append(report)
        kl += report.kl_mean * report.tokens
        wrong += (1 - report.same_top1) * report.tokens
        most, least = gates.gates.get("quality_kl"), gates.gates.get("quality_top1")
        if isinstance(most, (int, float)) and kl / total > most:
            break
        if isinstance(least, (int, float)) and 100 * (1 - wrong / total) < least:
            break
    return QualityEvidence(
        kl_mean=kl / total,
        same_top1=1 - wrong / total,
        perplexity_golden=reports[-1].perplexity_golden,
        perplexity_float=reports[-1].perplexity_float,
        tokens=total,
    )
