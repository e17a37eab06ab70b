"""The end of a run on the terminal: the table of what was compared, the totals, the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from etchproof.compare.comparator import TapCount
from etchproof.contract.element import shown, ulps
from etchproof.contract.taps import TapKey, rows
from etchproof.run.cosim import Outcome
from etchproof.verdict.result import AdapterRecord, ProfileRecord, RunResult

EQUAL: Final = "."
MISSING: Final = "none"
_MAX_REASONS: Final = 8


def print_report(console: Console, outcome: Outcome) -> None:
    """Table, totals, verdict, and where to go from there."""
    result = outcome.result
    console.print(tap_table(result.taps, outcome.wanted, console.width))
    console.print()
    for line in summary(result):
        console.print(line, soft_wrap=True)
    console.print()
    for line in verdict(result):
        console.print(line, soft_wrap=True)
    if (waves := outcome.waves) is not None:
        size = f"{waves.size_bytes / 1e6:,.1f} MB"
        span = f"{waves.begin / 1000:,.0f} to {waves.end / 1000:,.0f} ns"
        console.print(f"waves    {waves.file}: {size}, {span}", soft_wrap=True)
    console.print(f"run      {outcome.folder}", soft_wrap=True)
    console.print(f"rerun    {result.rerun}", soft_wrap=True)
    if result.profile is not None:
        console.print()
        console.print(profile_table(result.profile))
        console.print(memory(result.profile))


def tap_table(taps: Sequence[TapCount], wanted: Mapping[TapKey, int], width: int) -> Table:
    """A row per operation, in dataflow order; a column per layer with its mismatches, as far as they fit.

    Args:
        wanted: vectors that there have to be of each tap, in dataflow order; a tap with fewer is incomplete, one that
            is not named is not there.
    """
    counts = {(count.layer, count.tap): count for count in taps}
    layers = sorted({layer for layer, _ in wanted if layer >= 0})
    shown_rows = rows(wanted)
    cells_of = {
        tap: [_cell((layer, tap), counts, wanted) for layer in layers]
        for in_layer, tap in shown_rows
        if in_layer
    }
    widths = [
        max(len(f"{layer}"), *(len(cell.plain) for cell in column))
        for layer, column in zip(layers, zip(*cells_of.values(), strict=True), strict=True)
    ]
    fits = 60 + sum(size + 2 for size in widths) <= width
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1))
    table.add_column("operation")
    for name in ("layers", "vectors", "elements", "mismatches"):
        table.add_column(name, justify="right")
    if fits:
        for layer in layers:
            table.add_column(f"{layer}", justify="right")
    else:
        table.add_column("layers that differ", overflow="ellipsis", no_wrap=True)
    for in_layer, tap in shown_rows:
        keys = [(layer, tap) for layer in (layers if in_layer else [-1]) if (layer, tap) in wanted]
        cells = cells_of[tap] if in_layer else []
        if in_layer and not fits:
            differing = [
                layer for layer, cell in zip(layers, cells, strict=True) if cell.plain not in (EQUAL, "")
            ]
            cells = [Text(_layers(differing), style="red")]
        table.add_row(*_row(tap, keys, counts, wanted), *cells)
    return table


def summary(result: RunResult) -> list[Text]:
    """What was compared, in numbers."""
    sim = result.sim
    generated = sum(len(sequence.generated_tokens) for sequence in result.sequences)
    prompts = sum(len(sequence.prompt_tokens) for sequence in result.sequences)
    stopped = ", ended by a stop token" if result.stopped_by == "stop_token" else ""
    many = f" in {len(result.sequences)} sequences" if len(result.sequences) > 1 else ""
    of_prompts = "of the prompts" if many else "of the prompt"
    return [
        *(_adapter(adapter) for adapter in result.adapters),
        Text(
            f"vectors  {result.tokens_fed} of {result.vectors.vectors}; "
            f"{sim.cycles:,} cycles, {sim.cycles_per_token:,.0f} per vector"
        )
        if result.vectors is not None
        else Text(
            f"tokens   {prompts} {of_prompts}, {generated} generated{many}{stopped if not many else ''}; "
            f"{sim.cycles:,} cycles, {sim.cycles_per_token:,.0f} per token"
        ),
        Text(
            f"time     simulator {sim.wall_s:.2f} s: start {sim.startup_s:.2f}, simulation {sim.sim_s:.2f}, "
            f"waiting {sim.wait_s:.2f}; beside it golden {sim.golden_s:.2f}, comparison {sim.compare_s:.2f}"
        ),
        Text(
            f"compared {result.taps_compared:,} vectors, {result.elements_compared:,} elements; "
            f"{result.mismatches:,} mismatches"
        ),
    ]


def _adapter(adapter: AdapterRecord) -> Text:
    """Where an adapter lay, and how it came there."""
    loads = adapter.loads
    times = {1: "loaded once", 2: "loaded twice"}.get(len(loads), f"loaded {len(loads)} times")
    first = f": {loads[0].words:,} words, {loads[0].cycles:,} cycles" if loads else ""
    wrong = next((load for load in loads if load.status), None)
    status = f", status {wrong.status}" if wrong else ""
    return Text(f"adapter  {adapter.name} in slot {adapter.slot}, {times}{first}{status}")


def verdict(result: RunResult) -> list[Text]:
    """The verdict and its reasons."""
    what = result.model.name if result.recipe is None else f"{result.model.name} under {result.recipe.name}"
    if result.verdict == "PASS":
        return [
            Text("PASS", style="bold green").append(
                f"     {what}: the chip equals the golden model", style="not bold"
            )
        ]
    lines = [Text("FAIL", style="bold red").append(f"     {what}", style="not bold default")]
    if first := result.first_divergence:
        where = f"layer {first.layer} {first.tap}" if first.layer >= 0 else first.tap
        if len(result.sequences) > 1:
            where = f"{where} of sequence {first.sequence} ({_what(result, first.sequence)})"
        distance = ulps(first.dtype, first.expected, first.got)
        apart = "" if distance is None else f", {distance:,} ulp apart"
        lines.append(
            Text(
                f"first    {where}, element {first.element} at position {first.token}: "
                f"expected {shown(first.dtype, first.expected)}, got {shown(first.dtype, first.got)}{apart}"
            )
        )
    for reason in result.reasons[:_MAX_REASONS]:
        lines.append(Text(f"reason   {reason.name}: {reason.message}"))
    if len(result.reasons) > _MAX_REASONS:
        lines.append(Text(f"         and {len(result.reasons) - _MAX_REASONS} more in run.json"))
    return lines


def _what(result: RunResult, sequence: int) -> str:
    """What runs in a sequence."""
    adapter = result.sequences[sequence].adapter if sequence < len(result.sequences) else None
    return "base" if adapter is None else result.adapters[adapter].name


def profile_table(profile: ProfileRecord) -> Table:
    """Seconds and per cent of each stage, then what ran beside the simulator."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1))
    table.add_column("stage")
    table.add_column("seconds", justify="right")
    table.add_column("per cent", justify="right")
    for stage in profile.stages:
        share = stage.wall_s / profile.total_s if profile.total_s else 0.0
        table.add_row(stage.name, f"{stage.wall_s:,.2f}", f"{100 * share:.1f}")
    table.add_row("total", f"{profile.total_s:,.2f}", "100.0")
    for stage in profile.beside:
        table.add_row(f"beside: {stage.name}", f"{stage.wall_s:,.2f}", "")
    return table


def memory(profile: ProfileRecord) -> str:
    """The most memory that the two processes held."""

    def shown(size_bytes: int | None) -> str:
        return "unknown" if size_bytes is None else f"{size_bytes / 2**20:,.0f} MiB"

    return (
        f"memory   at most {shown(profile.peak_rss_bytes)} of this process, "
        f"{shown(profile.simulator_peak_rss_bytes)} of the simulator"
    )


def _row(
    tap: str, keys: Sequence[TapKey], counts: Mapping[TapKey, TapCount], wanted: Mapping[TapKey, int]
) -> list[Text]:
    """The first columns of a row, summed over layers."""
    found = [counts[key] for key in keys if key in counts]
    vectors, elements = sum(count.vectors for count in found), sum(count.elements for count in found)
    mismatches = sum(count.mismatches for count in found)
    complete = vectors == sum(wanted[key] for key in keys) and vectors
    return [
        Text(tap),
        Text(f"{len(keys)}" if keys[0][0] >= 0 else ""),
        Text(f"{vectors:,}", style="" if complete else "bold red"),
        Text(f"{elements:,}"),
        Text(f"{mismatches:,}", style="bold red" if mismatches else ""),
    ]


def _cell(key: TapKey, counts: Mapping[TapKey, TapCount], wanted: Mapping[TapKey, int]) -> Text:
    """One tap of one layer; empty where the layer has none."""
    if key not in wanted:
        return Text("")
    count = counts.get(key)
    if count is None or count.vectors == 0:
        return Text(MISSING, style="bold red")
    if count.mismatches:
        return Text(f"{count.mismatches}", style="bold red")
    return Text(EQUAL, style="green") if count.vectors == wanted[key] else Text("short", style="bold red")


def _layers(numbers: Sequence[int]) -> str:
    """1, 2, 3, 7 as "1-3 7"."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and spans[-1][1] == number - 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return " ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in spans)
