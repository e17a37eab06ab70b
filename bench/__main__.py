"""``python -m bench [FIGURE...]``: measure, write bench/results.json, render docs/performance.md.

Exit status 1 when a figure misses its target, 2 when something is missing. Other figures keep their results.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from pydantic import TypeAdapter

from bench.figures import FIGURES
from bench.measure import ROOT, Section
from bench.report import render_report
from etchproof.errors import InputError

RESULTS = ROOT / "bench" / "results.json"
_SECTIONS = TypeAdapter(dict[str, Section])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0])
    parser.add_argument(
        "figures", nargs="*", metavar="FIGURE", help=f"of {', '.join(FIGURES)}; all by default"
    )
    parser.add_argument("--pairs", type=int, default=5, help="measurements of each figure, at least 5")
    parser.add_argument("--render", action="store_true", help="measure nothing, render the report again")
    arguments = parser.parse_args()
    if unknown := set(arguments.figures) - set(FIGURES):
        parser.error(f"no figure {', '.join(sorted(unknown))}; there are {', '.join(FIGURES)}")
    if arguments.pairs < 5:
        parser.error("--pairs: at least 5")
    results = _SECTIONS.validate_json(RESULTS.read_bytes()) if RESULTS.exists() else {}
    if not arguments.render:
        for name in arguments.figures or FIGURES:
            print(f"{name} ...", flush=True)
            with tempfile.TemporaryDirectory() as folder:
                results[name] = FIGURES[name](Path(folder), arguments.pairs)
            _show(results[name])
            ordered = {figure: results[figure] for figure in FIGURES if figure in results}
            RESULTS.write_bytes(_SECTIONS.dump_json(ordered, indent=1) + b"\n")
    render_report(results)
    missed = [ratio.name for part in results.values() for ratio in part.ratios if ratio.misses]
    missed += [value.name for part in results.values() for value in part.values if value.misses]
    for name in missed:
        print(f"misses its target: {name}", file=sys.stderr)
    return 1 if missed else 0


def _show(section: Section) -> None:
    for ratio in section.ratios:
        low, high = ratio.spread
        target = f", target {ratio.limit:g}" if ratio.limit else ""
        print(f"  {ratio.name}: {ratio.ratio:.3f} ({low:.3f} .. {high:.3f}{target}); "
              f"{ratio.this} {ratio.this_median:.4g} {ratio.unit}, {ratio.that} {ratio.that_median:.4g}")  # fmt: skip
    for value in section.values:
        target = f" (target {value.limit:g})" if value.limit else ""
        print(f"  {value.name}: {value.median:.4g} {value.unit}{target}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
