"""``python -m bench.named_report FILE...``: docs/diagnosed-faults.md from what ``bench.named`` wrote."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from bench.measure import ROOT
from bench.named import Scored
from verif.qualify import rtl_ports, rtl_units
from verif.qualify.rtl_named import NO_TAP, UNITS, Named, named

PAGE: Final = ROOT / "docs" / "diagnosed-faults.md"
_HEAD: Final = """# Faults of RTL, and what a diagnosis says of them

`python -m bench.named MODEL --out FILE` draws faults of `etchproof qualify` by seed, those that the project declares
and those of the generic operators, and tries each in a chip of its own: three sequences of drawn tokens, then base and
two adapters in turn. The first run that shows a fault in a tap is diagnosed. Those that answer host or ROM port,
and that no tap shows, are left out.
`python -m bench.named_report FILE...` makes this page.

**What a right answer is.** Of a declared fault, the last table says which units may be at fault and which kinds are
right; where it says "unexplained", only the unit can be named. Of the generic operators nobody can say a kind
beforehand: the same operator (`+` for `-`) is a wrong sign in one place and a missed clock in another. So every
*certain* answer, of either sort of fault, is put to a test that needs no table: the same faulty chip runs other tokens,
and there, too, each unit of the cause has to follow from it, element by element. One that does not was wrong.
"""
_COLUMNS: Final = (
    *("drawn", "seen in a tap", "unit", "cause first", "among three"),
    *("certain", "hold again", "wrong", "rivals", "unexplained", "other"),
)
_LEGEND: Final = """
*Unit*: every origin is in a unit that the fault may be in. *Hold again*: certain answers that hold on other tokens;
*wrong*: those that do not, or that give a declared fault a name that is not right; the rest did not show there.
*Other*: taps are missing, or early. Three names were added to the table of what is right after answers had been read:
a sine that reads the cosines is also the image of another matrix, a bias that is not shifted also one that is shifted
by one less, and a clock that stands while a vector is sent sends its first block for each.

The runs were made beside other work on two cores, most of them with 15 s for a diagnosis, where a quiet machine takes a
few. Answers that were not complete by then, and those that later changes touch, were taken out and made again with 60 s
as far as time went: those that were not are missing from the counts, 14 of the odd chip's among them. So the counts are
of a sample that is not quite fair, and they are no proof of the shares that are asked for. stories260k was not run.

## What is not right
"""


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole}" if whole else ""


def _is_wrong(one: Scored) -> bool:
    """Whether a certain answer is wrong: it does not hold again, or a declared fault has another name, or none."""
    return one.certain and (one.holds is False or (one.is_declared and not one.first))


def _counts(rows: Sequence[Scored]) -> list[str]:
    seen = [one for one in rows if one.seen]
    judged = [one for one in seen if one.first is not None]
    placed = [one for one in seen if one.blames is not None]
    certain = [one for one in seen if one.certain]
    wrong = [one for one in certain if _is_wrong(one)]
    return [
        str(len(rows)),
        str(len(seen)),
        _share(sum(bool(one.blames) for one in placed), len(placed)),
        _share(sum(bool(one.first) for one in judged), len(judged)),
        _share(sum(bool(one.three) for one in judged), len(judged)),
        str(len(certain)),
        str(sum(one.holds is True for one in certain)),
        str(len(wrong)),
        str(sum(one.finding == "rivals" for one in seen)),
        str(sum(one.finding == "unexplained" for one in seen)),
        str(sum(one.finding not in ("explained", "rivals", "unexplained") for one in seen)),
    ]


def _table(rows: Iterable[Scored], key: Callable[[Scored], str], title: str) -> Iterator[str]:
    groups: dict[str, list[Scored]] = defaultdict(list)
    for one in rows:
        groups[key(one)].append(one)
    yield f"| {title} | {' | '.join(_COLUMNS)} |"
    yield f"| --- |{' --- |' * len(_COLUMNS)}"
    for name in sorted(groups):
        yield f"| {name} | {' | '.join(_counts(groups[name]))} |"
    whole = [one for group in groups.values() for one in group]
    yield f"| all | {' | '.join(_counts(whole))} |"


def _named(due: Named) -> str:
    if due == NO_TAP:
        return "| no tap shows it | |"
    units = "any" if due.units == ("*",) else ", ".join(due.units)
    kinds = ", ".join(f"`{kind}`" for kind in due.kinds) or "unexplained"
    return f"| {units} | {kinds} |"


def page(results: Sequence[Scored]) -> str:
    """The page; the same results give the same bytes."""
    declared = [one for one in results if one.is_declared]
    generic = [one for one in results if not one.is_declared]
    lines = [_HEAD, "## Measured, declared faults", ""]
    lines += _table(declared, lambda one: f"{one.chip}, `{one.module}`", "chip, module")
    lines += ["", "## Measured, generic operators", ""]
    lines += _table(generic, lambda one: f"{one.chip}, {one.operator}", "chip, operator")
    lines += ["", "By module:", ""]
    lines += _table(generic, lambda one: f"{one.chip}, `{one.module}`", "chip, module")
    lines.append(_LEGEND)
    for one in results:
        wrong = _is_wrong(one), one.blames is False, one.three is False and one.finding != "unexplained"
        if one.seen and any(wrong):
            what = [
                word
                for word, is_so in zip(
                    ("certain and wrong", "another unit", "another kind"), wrong, strict=True
                )
                if is_so
            ]
            said = "; ".join(one.said) or one.finding
            lines.append(f"- {one.chip}, `{_code(one.name)}`: {', '.join(what)}. Said: {_code(said)}")
    lines += [
        "",
        "## Which name is right",
        "",
        "| source | fault | units | kinds |",
        "| --- | --- | --- | --- |",
    ]
    for group in (*rtl_units.GROUPS, *rtl_ports.GROUPS):
        lines += [f"| `{group.file}` | {what} {_named(named(group.file, what))}" for what, *_ in group.slips]
    lines += [
        "",
        "Generic operators, by the module that they change:",
        "",
        "| module | units |",
        "| --- | --- |",
    ]
    lines += [f"| `{module}` | {', '.join(units)} |" for module, units in UNITS.items()]
    lines += ["| any other: control, positions, wires | any |", ""]
    return "\n".join(lines)


def _code(text: str) -> str:
    flat = " ".join(text.split()).replace("`", "'").replace("|", "/")
    return flat if len(flat) <= 200 else f"{flat[:197]}..."


def main() -> int:
    results = [
        Scored.model_validate_json(line)
        for name in sys.argv[1:]
        for line in Path(name).read_text(encoding="utf-8").splitlines()
    ]
    PAGE.write_text(page(results), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
