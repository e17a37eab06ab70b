"""Fewer tests of triggers: a chip of many layers has many gated clocks, of which all but a few stand still.

Verilator looks at each clock in every evaluation, often several times, and tests for each function whether one of its
clocks has risen. Here, in the C++ that it wrote: all clocks of a vector are looked at together; and tests that follow
each other are put under a test of whether any of them can hold. Neither changes what is evaluated, or in which order.
Whatever is not understood stays as it is.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from etchproof.sim.rewrite.bitwise import Bits, Conjunction, Literal, NotUnderstoodError, bits_of, last_name

_BODY: Final = r"\(\w+\* vlSelf\) \{\n(?P<head>.*?    // Body\n)(?P<body>.*?)^\}\n"
_LOOK: Final = re.compile(r"^void \w+___eval_triggers_vec__act" + _BODY, re.MULTILINE | re.DOTALL)
_EVALUATION: Final = re.compile(r"^void \w+___eval_nba" + _BODY, re.MULTILINE | re.DOTALL)
_ASSIGNED: Final = re.compile(
    r"\s*vlSelfRef\.(?P<to>__VactTriggered\[\d+U\]|__Vtrigprevexpr_\w+)\s*=(?P<value>.*)", re.DOTALL
)
_PREVIOUS: Final = re.compile(r"\b__Vtrigprevexpr_\w+\s*=[^=]")
_FUNCTION: Final = re.compile(
    r"^(?:VL_ATTR_COLD )?void (?P<name>\w+)\([^\n]*\) \{\n.*?^\}\n", re.MULTILINE | re.DOTALL
)
_BEFORE: Final = re.compile(r"___(?:eval_initial|eval_static|ctor_var_reset)")  # the first look
_NUMBER: Final = re.compile(r"^ +([CSIQ]Data)/\*(\d+):(\d+)\*/ (\w+);$", re.MULTILINE)
_WAITING: Final = "vlSelfRef.__VdlySched.awaitingCurrentTime()"
_SCHEDULER: Final = "    VlDelayScheduler __VdlySched;\n"

_TEST: Final = re.compile(r"    if \((?P<condition>[^{}]*?)\) \{\n(?P<then>(?:     .*\n)*)    \}\n")
_MASK: Final = re.compile(
    r"[\s(]*(?:(?P<plain>\d+)|0x(?P<hex>[0-9a-f]+))ULL\s*&\s*vlSelfRef\.__VnbaTriggered\[(?P<word>\d+)U\]\s*\)*\s*(?:\||$)"
)
_TOGETHER: Final = 6
"""Tests under one."""


class Quickened(NamedTuple):
    """What was changed; 0 for what was left alone.

    Attributes:
        signals: in which clocks are found, all bits at once.
        tests: under others.
    """

    signals: int
    tests: int


def quicken_triggers(folder: Path) -> Quickened:
    """Rewrite the C++ in ``folder``; returns how much was changed."""
    signals = tests = 0
    texts = {file: file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.cpp"))}
    headers = [file.read_text(encoding="utf-8") for file in folder.glob("*.h")]
    declared = {
        name: (of, int(high) - int(low) + 1)
        for text in headers
        for of, high, low, name in _NUMBER.findall(text)
    }
    for file, text in texts.items():
        changed = text
        if found := _LOOK.search(text):
            look = _understood(found["body"], declared)
            header = folder / f"{found[0].split('___eval_')[0].removeprefix('void ')}.h"
            if look and _only_there(texts, found[0]) and _add_members(header, look):
                signals += len(look.signals)
                changed = changed.replace(found["body"], _quickened(look, found["body"]))
        if evaluation := _EVALUATION.search(changed):
            nested, count = _nested(evaluation["body"])
            tests += count
            changed = changed.replace(evaluation["body"], nested)
        if changed != text:
            file.write_text(changed, encoding="utf-8")
    return Quickened(signals, tests)


class _Edge(NamedTuple):
    """A trigger: a bit of a signal that rose or fell; or a delay that is over."""

    signal: str
    bit: int
    fell: bool


@dataclass(frozen=True)
class _Look:
    """How triggers are computed.

    Attributes:
        signals: what they depend on, with the C++ types.
        triggers: by word of triggers: what sets each bit, None for nothing.
    """

    signals: dict[str, str]
    triggers: dict[str, list[_Edge | None]]


def _understood(body: str, declared: Mapping[str, tuple[str, int]]) -> _Look | None:
    """What a look does; None where it does anything but find edges of signals, and whether a delay is over."""
    assigned = [_ASSIGNED.fullmatch(statement) for statement in body.rstrip().removesuffix(";").split(";\n")]
    if not all(assigned):
        return None
    values = {f"vlSelfRef.{match['to']}": match["value"] for match in assigned if match}
    widths = {name: width for name, (_, width) in declared.items()}
    try:
        bits = {name: bits_of(value, widths) for name, value in values.items()}
        was = {name: _signal(found) for name, found in bits.items() if "__VactTriggered" not in name}
        triggers = {
            name: [None if bit is None else _edge(bit, was) for bit in found]
            for name, found in bits.items()
            if "__VactTriggered" in name
        }
    except NotUnderstoodError:
        return None
    return _Look({literal.name: declared[last_name(literal.name)][0] for literal in was.values()}, triggers)


def _signal(bits: Bits) -> Literal:
    """The one bit of a signal that a variable holds."""
    if bits[0] is None or len(bits[0]) != 1 or any(bit is not None for bit in bits[1:]):
        raise NotUnderstoodError("more than a bit")
    (literal,) = bits[0]
    if literal.inverted:
        raise NotUnderstoodError("an inverted bit")
    return literal


def _edge(bit: Conjunction, was: Mapping[str, Literal]) -> _Edge:
    now = {(each.name, each.bit, each.inverted) for each in bit if each.name not in was}
    then = {(was[each.name].name, was[each.name].bit, each.inverted) for each in bit if each.name in was}
    if len(now) != 1:
        raise NotUnderstoodError("no edge")
    ((name, index, fell),) = now
    if then == {(name, index, not fell)} or (name == _WAITING and not then and not fell):
        return _Edge(name, index, fell)
    raise NotUnderstoodError("no edge")


def _only_there(texts: dict[Path, str], look: str) -> bool:
    """Whether nothing but the look itself, and what comes before the first, sets what a signal was."""
    for text in texts.values():
        for function in _FUNCTION.finditer(text):
            if function[0] != look and not _BEFORE.search(function["name"]) and _PREVIOUS.search(function[0]):
                return False
    return True


def _add_members(header: Path, look: _Look) -> bool:
    text = header.read_text(encoding="utf-8")
    if text.count(_SCHEDULER) != 1:
        return False
    members = "".join(f"    {of} __Vlook_{index} = 0;\n" for index, of in enumerate(look.signals.values()))
    header.write_text(
        text.replace(_SCHEDULER, f"{_SCHEDULER}    bool __Vlooked = false;\n{members}"), encoding="utf-8"
    )
    return True


def _quickened(look: _Look, body: str) -> str:
    """The body of a look: the first as it was, later ones by all bits of a signal at once."""
    lines = []
    for index, signal in enumerate(look.signals):
        lines += [
            f"const QData rose{index} VL_ATTR_UNUSED = {signal} & ~static_cast<QData>(vlSelfRef.__Vlook_{index});",
            f"const QData fell{index} VL_ATTR_UNUSED = vlSelfRef.__Vlook_{index} & ~static_cast<QData>({signal});",
        ]
    names = list(look.signals)
    for word, edges in look.triggers.items():
        terms: dict[tuple[str, int], int] = defaultdict(
            int
        )  # masks, by what is tested and how far it is shifted
        for place, edge in enumerate(edges):
            if edge is not None and edge.signal == _WAITING:
                terms[f"static_cast<QData>({_WAITING})", place] = 1
            elif edge is not None:
                number = names.index(edge.signal)
                terms[f"{'fell' if edge.fell else 'rose'}{number}", place - edge.bit] |= 1 << edge.bit
        shifted = [
            f"(({name} & 0x{mask:x}ULL) {'<<' if places >= 0 else '>>'} {abs(places)})"
            for (name, places), mask in terms.items()
        ]
        lines.append(f"{word} = {' | '.join(shifted) or '0ULL'};")
    now = [f"vlSelfRef.__Vlook_{index} = {signal};" for index, signal in enumerate(look.signals)]
    later = "".join(f"    {line}\n" for line in (*lines, *now))
    first = "".join(f"    {line}\n" for line in ("vlSelfRef.__Vlooked = true;", *now, "return;"))
    return f"    if (VL_UNLIKELY(!vlSelfRef.__Vlooked)) {{\n{body}{first}    }}\n{later}"


def _nested(body: str) -> tuple[str, int]:
    """Statements with runs of tests put under common ones; how many tests are."""
    parts: list[str] = []
    run: list[tuple[dict[int, int], str]] = []
    count = at = 0

    def close() -> None:
        nonlocal count
        count += len(run) if len(run) > _TOGETHER else 0
        level = list(run)
        while len(level) > _TOGETHER:
            chunks = [level[start : start + _TOGETHER] for start in range(0, len(level), _TOGETHER)]
            level = [_under_one(chunk) for chunk in chunks]
        parts.extend(text for _, text in level)
        run.clear()

    for test in _TEST.finditer(body):
        masks = _masks(test["condition"])
        if test.start() != at or masks is None or "__VnbaTriggered" in test["then"]:
            close()
        if masks is None or "__VnbaTriggered" in test["then"]:
            parts.append(body[at : test.end()])
        else:
            parts.append(body[at : test.start()])
            run.append((masks, test[0]))
        at = test.end()
    close()
    return "".join([*parts, body[at:]]), count


def _masks(condition: str) -> dict[int, int] | None:
    """The bits of each word of triggers of which one must be set; None for another kind of condition."""
    masks: dict[int, int] = {}
    at = 0
    while at < len(condition):
        match = _MASK.match(condition, at)
        if match is None:
            return None
        value = int(match["hex"], 16) if match["hex"] else int(match["plain"])
        masks[int(match["word"])] = masks.get(int(match["word"]), 0) | value
        at = match.end()
    return masks


def _under_one(tests: Sequence[tuple[dict[int, int], str]]) -> tuple[dict[int, int], str]:
    masks: dict[int, int] = {}
    for each, _ in tests:
        for word, value in each.items():
            masks[word] = masks.get(word, 0) | value
    words = (
        f"(0x{value:x}ULL & vlSelfRef.__VnbaTriggered[{word}U])" for word, value in sorted(masks.items())
    )
    inner = "".join(text for _, text in tests)
    return masks, f"    if ({' | '.join(words)}) {{\n{inner}    }}\n"
