"""``etchproof quality``: how far the golden model is from the float model."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from etchproof import flow
from etchproof.cli.console import Progress, make_console
from etchproof.errors import InputError
from etchproof.project import find_project, load_project
from etchproof.quality import QualityReport, TapQuality, measure
from etchproof.quantize import sample_text
from etchproof.reference import FloatModel

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
) -> int:
    """Always 0: quality is a measurement, not a verdict."""
    found = load_project(project) if project else find_project()
    if out is not None and (out.is_dir() or not out.absolute().parent.is_dir()):
        raise InputError(f"{str(out)!r} is a folder, or in none", key="--out")
    console = make_console()
    progress = Progress(console)
    with progress.stage("import") as say:
        design = flow.plan_design(found, model, flow.read_recipe(found, recipe), context)
        if length is None:
            length = min(LENGTH, design.context)
        if length > design.context:
            raise InputError(f"is {length}, the chip's context holds {design.context}", key="--length")
        say(design.checkpoint.name)
    with progress.stage("quantize") as say:
        quantized = flow.quantize_design(design, flow.cache_folder(), progress.busy)
        say(design.recipe.name)
    with progress.stage("sample") as say:
        text = sample_text(design.checkpoint, sequences, length, seed)
        say(f"{sequences} x {length} tokens of the float model's own, seed {seed}")
    with progress.stage("measure") as say:
        checkpoint = design.checkpoint
        report = measure(
            FloatModel(checkpoint.config, checkpoint.tensor), flow.make_golden(design, quantized), text
        )
        say(f"{report.tokens:,} positions, {len(report.taps)} taps")
    if out is not None:
        out.write_text(report.model_dump_json(indent=1) + "\n", encoding="utf-8")
    print_quality(console, report)
    return 0


def print_quality(console: Console, report: QualityReport) -> None:
    """The distribution's numbers, then the taps with the most noise and the most bias."""
    console.print()
    for name, value in (
        ("perplexity", f"{report.perplexity_golden:.4f} golden, {report.perplexity_float:.4f} float"),
        (
            "KL(float || golden)",
            f"{report.kl_mean:.6f} mean, {report.kl_p99:.6f} 99 %, {report.kl_max:.6f} largest",
        ),
        ("same top-1", f"{100 * report.same_top1:.2f} % of {report.tokens:,} positions"),
    ):
        console.print(f"{name:<20} {value}")
    console.print()
    noisy = sorted(
        (tap for tap in report.taps if tap.sqnr_db is not None), key=lambda tap: tap.sqnr_db or 0.0
    )
    biased = sorted(report.taps, key=lambda tap: -abs(tap.bias))
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("lowest SQNR", "dB", "largest bias", "std. errors"):
        table.add_column(heading, justify="left" if heading[0] == "l" else "right")
    for low, high in zip(noisy[:_WORST], biased[:_WORST], strict=False):
        table.add_row(_name(low), f"{low.sqnr_db:.1f}", _name(high), f"{high.bias:+.1f}")
    console.print(table)


def _name(tap: TapQuality) -> Text:
    return Text(tap.tap if tap.layer < 0 else f"layer {tap.layer} {tap.tap}")
