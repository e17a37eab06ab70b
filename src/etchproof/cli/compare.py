"""``etchproof compare``: what differs between the taps of two runs, as a table and in one sentence, or as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from rich.console import Console
from rich.text import Text

from etchproof.cli.console import make_console
from etchproof.cli.options import Only, selection

if TYPE_CHECKING:
    from etchproof.compare.dumps import DumpsCompared, FirstDifference
    from etchproof.compare.kept import TapDump

_WHAT: Final = {
    "size": "of another size",
    "only_a": "is in A alone",
    "only_b": "is in B alone",
    "type": "of another type",
}


def run_compare(*, a: Path, b: Path, only: Only, side: Literal["chip", "golden"], as_json: bool) -> int:
    """0 where they are equal, 1 where not."""
    chosen = selection(only)
    from etchproof.compare.dumps import compare_dumps
    from etchproof.compare.kept import TapDump

    one, other = TapDump(a), TapDump(b)
    found = compare_dumps(one, other, chosen, side)
    console = make_console()
    if as_json:
        console.print(found.model_dump_json(indent=1), soft_wrap=True)
    else:
        _print(console, one, other, found)
    return 0 if found.equal else 1


def _print(console: Console, a: TapDump, b: TapDump, found: DumpsCompared) -> None:
    from etchproof.cli.report import tap_table

    for name, dump in (("A", a), ("B", b)):
        console.print(f"{name}        {dump.path}: {dump.tokens:,} tokens", soft_wrap=True)
    console.print()
    wanted = {
        (tap.layer, tap.tap): tap.vectors + tap.sizes + tap.types + tap.only_a + tap.only_b
        for tap in found.taps
    }
    console.print(tap_table([tap.count for tap in found.taps], wanted, console.width))
    console.print()
    for line in _lines(found):
        console.print(line, soft_wrap=True)


def _lines(found: DumpsCompared) -> list[Text]:
    """Totals, what is in one alone, the first difference, and the answer."""
    from etchproof.contract.taps import shown_tap

    lines = [
        Text(
            f"compared {found.tokens:,} tokens, {found.vectors:,} vectors, {found.elements:,} elements; "
            f"{found.mismatches:,} mismatches"
        )
    ]
    for name, count, places in (
        ("A", found.tokens_only_a, found.only_a),
        ("B", found.tokens_only_b, found.only_b),
    ):
        if count:
            first = places[0]
            lines.append(
                Text(f"only {name}   {count:,} tokens, from {first.token} of sequence {first.sequence} on")
            )
        alone = [tap for tap in found.taps if (tap.only_a if name == "A" else tap.only_b) and not tap.vectors]
        if alone:
            named = ", ".join(shown_tap((tap.layer, tap.tap)) for tap in alone[:6])
            more = f" and {len(alone) - 6} more" if len(alone) > 6 else ""
            lines.append(Text(f"only {name}   {named}{more}"))
    for what, vectors in (
        ("sizes", sum(tap.sizes for tap in found.taps)),
        ("types", sum(tap.types for tap in found.taps)),
    ):
        if vectors:
            lines.append(Text(f"{what}    {vectors:,} vectors differ in it"))
    if found.fed is not None:
        fed = found.fed
        lines.append(
            Text(f"fed      {fed.a} in A, {fed.b} in B, at token {fed.token} of sequence {fed.sequence}")
        )
    if found.first is not None:
        lines.append(Text(f"first    {_first(found.first)}"))
    if found.equal:
        lines.append(Text("EQUAL", style="bold green"))
    elif not found.elements:
        lines.append(Text("DIFFER   nothing was compared", style="bold red"))
    else:
        lines.append(Text("DIFFER", style="bold red"))
    return lines


def _first(first: FirstDifference) -> str:
    from etchproof.contract.element import shown
    from etchproof.contract.taps import shown_tap

    where = f"{shown_tap((first.layer, first.tap))}, token {first.token} of sequence {first.sequence}"
    if first.a is None or first.b is None:
        return f"{where}: {_WHAT[first.what]}"
    values = f"A has {shown(first.dtype, first.a)}, B {shown(first.dtype, first.b)}"
    return f"{where}, element {first.element}: {values}"
