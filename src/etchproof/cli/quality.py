"""``etchproof quality``: how far the golden model is from the float model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from etchproof.checkpoint.prompt import published_note
from etchproof.cli.console import Progress, make_console
from etchproof.cli.source import choose_project
from etchproof.errors import InputError
from etchproof.files.atomic import write_atomically
from etchproof.files.regular import check_writable
from etchproof.float_model.llama import FloatModel
from etchproof.quantize import sample_text
from etchproof.quantize.quality import measure
from etchproof.quantize.quality_report import QualityReport, TapQuality
from etchproof.run import flow, slots
from etchproof.run.watcher import tell

LENGTH: Final = 200
"""Tokens of each text, where the chip's context holds them."""

_WORST: Final = 6


def run_quality(
    *,
    project: Path | None,
    model: Path,
    recipe: str | None,
    out: Path | None,
    sequences: int,
    length: int | None,
    seed: int,
    context: int | None,
    adapters: Sequence[Path] = (),
) -> int:
    """Always 0: quality is a measurement, not a verdict."""
    found = choose_project(project, model, *adapters)
    if out is not None:
        check_writable(out, "--out")
    console = make_console()
    progress = Progress(console)
    with progress.stage("import") as say:
        design = flow.plan_design(found, model, flow.read_recipe(found, recipe), context)
        if length is None:
            length = min(LENGTH, design.quantized.context)
        if length > design.quantized.context:
            raise InputError(f"is {length}, the chip's context holds {design.context}", key="--length")
        found_adapters = slots.read_adapters(found, design.checkpoint.config, design.recipe, adapters)
        say(", ".join([design.checkpoint.name, *(adapter.name for adapter in found_adapters)]))
        tell(published_note(design.checkpoint))
    with progress.stage("quantize") as say:
        cache = flow.cache_folder()
        quantized = flow.quantize_design(design, cache, progress.busy)
        folder = flow.quantized_folder(cache)
        loaded = slots.prepare(design, quantized, found_adapters, folder, progress.busy)
        golden = flow.measurable_golden(design, quantized, [adapter.quantized for adapter in loaded])
        say(design.recipe.name)
    checkpoint = design.checkpoint
    reports = []
    for index, adapter in ((None, None), *enumerate(found_adapters)):
        what = "" if not found_adapters else "base: " if adapter is None else f"{adapter.name}: "
        with progress.stage("sample") as say:
            text = sample_text(checkpoint, sequences, length, seed, adapter)
            say(f"{what}{sequences} x {length} tokens of the float model's own, seed {seed}")
        with progress.stage("measure") as say:
            float_model = FloatModel(checkpoint.config, checkpoint.tensor, adapter=adapter)
            reports.append(measure(float_model, golden, text, index))
            say(f"{what}{reports[-1].tokens:,} positions, {len(reports[-1].taps)} taps")
    report = reports[0].model_copy(update={"adapters": tuple(reports[1:])})
    if out is not None:
        write_atomically(out, report.model_dump_json(indent=1) + "\n")
    print_quality(console, report)
    return 0


def print_quality(console: Console, report: QualityReport) -> None:
    """For the base, then each adapter: the distribution's numbers, then the taps with the most noise and bias."""
    for one in (report, *report.adapters):
        console.print()
        if report.adapters:
            console.print(Text(one.adapter or "base", style="bold"))
        for name, value in (
            ("perplexity", f"{one.perplexity_golden:.4f} golden, {one.perplexity_float:.4f} float"),
            (
                "KL(float || golden)",
                f"{one.kl_mean:.6f} mean, {one.kl_p99:.6f} 99 %, {one.kl_max:.6f} largest",
            ),
            ("same top-1", f"{100 * one.same_top1:.2f} % of {one.tokens:,} positions"),
        ):
            console.print(f"{name:<20} {value}")
        console.print()
        console.print(_worst(one))


def _worst(report: QualityReport) -> Table:
    noisy = sorted(
        (tap for tap in report.taps if tap.sqnr_db is not None), key=lambda tap: tap.sqnr_db or 0.0
    )
    biased = sorted(report.taps, key=lambda tap: -abs(tap.bias))
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("lowest SQNR", "dB", "largest bias", "std. errors"):
        table.add_column(heading, justify="left" if heading[0] == "l" else "right")
    for low, high in zip(noisy[:_WORST], biased[:_WORST], strict=False):
        table.add_row(_name(low), f"{low.sqnr_db:.1f}", _name(high), f"{high.bias:+.1f}")
    return table


def _name(tap: TapQuality) -> Text:
    return Text(tap.tap if tap.layer < 0 else f"layer {tap.layer} {tap.tap}")
