"""docs/performance.md and its plots, from bench/results.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import matplotlib
from matplotlib.figure import Figure

from bench.measure import ROOT, Ratio, Section, Value
from bench.pages import template

PAGE: Final = ROOT / "docs" / "performance.md"
PLOTS: Final = ROOT / "docs" / "performance"
_COLOURS: Final = ("#1f6f8b", "#e0a458", "#8a4f7d", "#6b8f71", "#b0b7bf")


def render_report(results: Mapping[str, Section]) -> None:
    """Write the page and its plots; the same results give the same bytes."""
    PLOTS.mkdir(exist_ok=True)
    matplotlib.rcParams.update({"svg.hashsalt": "etchproof", "font.size": 9, "svg.fonttype": "none"})
    for name, draw in (
        ("cosim", _cosim),
        ("throughput", _shares),
        ("linear", _linear),
        ("layers", _layers),
        ("context", _context),
    ):
        if name in results:
            figure = Figure(figsize=(7, 2.6), layout="constrained")
            draw(figure, results[name])
            figure.savefig(PLOTS / f"{name}.svg", metadata={"Date": None})
    page = template("performance.md.j2", number=number).render(results=results)
    PAGE.write_text(page, encoding="utf-8")


def number(value: float) -> str:
    """Three significant digits, thousands apart."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _bars(axes: Any, labels: list[str], heights: list[float], unit: str) -> None:
    """Pairs of bars: this and that of each ratio."""
    bars = axes.barh(labels, heights, color=_COLOURS[:2] * (len(labels) // 2))
    axes.bar_label(bars, [number(height) for height in heights], padding=3)
    axes.invert_yaxis()
    axes.set_xlabel(unit)
    axes.margins(x=0.15)
    axes.spines[["top", "right"]].set_visible(False)


def _cosim(figure: Figure, section: Section) -> None:
    for axes, ratio in zip(figure.subplots(1, len(section.ratios)), section.ratios, strict=True):
        _bars(axes, ["all checks", "bare"], [ratio.this_median, ratio.that_median], ratio.unit)
        axes.set_title(ratio.name, fontsize=9)


def _shares(figure: Figure, section: Section) -> None:
    axes = figure.subplots()
    shares: dict[str, list[tuple[str, Value]]] = {}
    for value in section.values:
        model, _, what = value.name.partition(": ")
        if what.startswith("share of "):
            shares.setdefault(model, []).append((what.removeprefix("share of "), value))
    for row, parts in enumerate(shares.values()):
        left = 0.0
        for (phase, value), colour in zip(parts, _COLOURS, strict=True):
            axes.barh(row, value.median, left=left, color=colour, label=phase if row == 0 else None)
            left += value.median
    axes.set_yticks(range(len(shares)), list(shares))
    axes.invert_yaxis()
    axes.set_xlabel("% of a token's cycles, in the middle of the run")
    axes.legend(ncols=5, loc="upper center", bbox_to_anchor=(0.5, 1.25), frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def _linear(figure: Figure, section: Section) -> None:
    labels, heights = [], []
    for ratio in section.ratios:
        what = ratio.name.removeprefix("ROM linear, ")
        labels += [f"{what}: module", f"{what}: C++ loop"]
        heights += [ratio.this_median, ratio.that_median]
    _bars(figure.subplots(), labels, heights, section.ratios[0].unit)


def _by_layers(ratios: list[Ratio]) -> tuple[list[int], list[float]]:
    counts = [int(ratios[0].that.split()[0]), *(int(ratio.this.split()[0]) for ratio in ratios)]
    return counts, [ratios[0].that_median, *(ratio.this_median for ratio in ratios)]


def _layers(figure: Figure, section: Section) -> None:
    build = [ratio for ratio in section.ratios if ratio.unit == "s"]
    run = [ratio for ratio in section.ratios if ratio.unit == "us"]
    for axes, (ratios, label) in zip(
        figure.subplots(1, 2), ((build, "build, s"), (run, "per token and layer, us")), strict=True
    ):
        counts, medians = _by_layers(ratios)
        axes.plot(counts, medians, "o-", color=_COLOURS[0])
        axes.set_xscale("log", base=2)
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.set_ylim(0, max(medians) * 1.3)
        axes.set_xlabel("layers")
        axes.set_ylabel(label)
        axes.spines[["top", "right"]].set_visible(False)


def _context(figure: Figure, section: Section) -> None:
    axes = figure.subplots()
    first = section.ratios[0]
    positions = [16, *(int(ratio.this.split()[-1]) for ratio in section.ratios)]
    medians = [first.that_median, *(ratio.this_median for ratio in section.ratios)]
    axes.plot(positions, medians, "o-", color=_COLOURS[0])
    axes.set_xlabel("position")
    axes.set_ylabel("us per token")
    axes.set_ylim(0, max(medians) * 1.2)
    axes.spines[["top", "right"]].set_visible(False)
