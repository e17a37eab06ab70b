"""Faults in RTL: where they may be, and sources that hold them all, of which a plusarg picks one (mutation schemata).

The sources are those that are simulated, read as they are synthesized (``SYNTHESIS`` defined), so nothing that only a
simulation has is changed. A fault in a function, or in a process that loops, is a copy of the whole, chosen once a
call: inside of a loop a choice costs an eighth of a simulation's speed, outside of it nothing that can be measured.
Anywhere else it is a choice in place.

Other sources watch faults in place of having them: the chip is right, and says of each fault whether what it changes
would ever have been something else (weak mutation: Howden, "Weak Mutation Testing and Completeness of Test Sets",
IEEE TSE 1982).
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from etchproof.schemata import operators
from etchproof.schemata.facts import Facts
from etchproof.schemata.holders import ACTIVE, DIFFERS, PACKAGE, Edit, Function, Holder, below, children
from etchproof.schemata.operators import Node, kind

PLUSARG: Final = "ep_fault"

WATCHED: Final = "ep_watched"
"""Plusarg with the file into which sources that watch faults write the numbers of those that differ."""


class _ElsewhereError(Exception):
    """A text begins or ends in a macro or in an included file, so that it does not stand in the source."""


_LONG: Final = 100
_ASSIGNMENT: Final = re.compile(r"(.*?[^<>=!])\s*(<|[-+*/%&|^]|<<<?|>>>?|)=\s(.*);", re.DOTALL)
_FUNCTIONS: Final = frozenset({"FunctionDeclaration", "TaskDeclaration"})
_PROCESSES: Final = frozenset({"AlwaysFFBlock", "AlwaysCombBlock", "AlwaysBlock", "AlwaysLatchBlock"})
_LOOPS: Final = frozenset({"ForLoopStatement", "LoopStatement", "DoWhileStatement", "ForeachLoopStatement"})
_MODULES: Final = frozenset({"ModuleDeclaration", "PackageDeclaration", "InterfaceDeclaration"})
_NO_CODE: Final = frozenset(
    {
        "VariableDimension",
        "ParameterDeclarationStatement",
        "ParameterPortList",
        "ParameterValueAssignment",
        "FunctionPortList",
        "AnsiPortList",
        "EventControlWithExpression",
        "TypedefDeclaration",
        "GenvarDeclaration",
        "InitialBlock",
        "FinalBlock",
        "SystemName",
    }
)
"""What holds no value that a circuit computes."""


@dataclass(frozen=True, slots=True)
class RtlFault:
    """A fault in a source.

    Attributes:
        file: name in the fabric.
        line: from 1.
        module: or package.
        operator: of ``etchproof.schemata.operators``.
        was: the source that it changes.
        edit: the change.
        holder: begin of the function or process, or of the assignment, in which it is.
        occurrence: how many such changes of such a text the module has before.
        is_whole: whether what is changed may be any text, and no expression or statement: it is planted in a copy.
    """

    file: str
    line: int
    column: int
    module: str
    operator: str
    was: str
    edit: Edit
    holder: int
    occurrence: int
    is_whole: bool = False

    @property
    def name(self) -> str:
        """Of this fault alone, wherever in its module the text stands."""
        again = f" #{self.occurrence + 1}" if self.occurrence else ""
        return f"{self.module}: {self.operator}: {_flat(self.was)} -> {_flat(self.edit.text)}{again}"

    @property
    def place(self) -> str:
        """Where it is now."""
        return f"{self.file}:{self.line}"


def _flat(text: str) -> str:
    """One line, of a long text its beginning and a hash of the whole."""
    line = " ".join(text.split())
    return line if len(line) <= _LONG else f"{line[:_LONG]}...{hashlib.sha256(line.encode()).hexdigest()[:8]}"


class Source:
    """One source: its syntax, and every place that a fault may be in.

    Args:
        name: in the fabric.
        text: its content.
        tree: slang's syntax tree of it.
        facts: of the fabric; None where it was not elaborated.
    """

    def __init__(self, name: str, text: str, tree: Any, facts: Facts | None = None) -> None:
        self.name = name
        self.text = text
        self._bytes = text.encode()
        self._tree = tree
        self._facts = facts or Facts({}, {})
        self._buffer = tree.root.sourceRange.end.buffer
        self.holders: dict[int, Holder] = {}
        self._modules: dict[int, str] = {}  # of each holder
        self._states = dict(_next_states(tree.root, self._text))
        self._enums = list(_local_enums(tree.root))

    @property
    def bound(self) -> set[str]:
        """Modules that a ``bind`` of this source puts into others: they watch, and are no part of the chip."""
        found = (node for node in below(self._tree.root) if kind(node) == "BindDirective")
        return {node.instantiation.type.valueText for node in found}

    def faults(self) -> Iterator[RtlFault]:
        """Every fault that the operators know, in the order of the source."""
        before: Counter[tuple[str, str, str, str]] = Counter()
        for fault in self._walk(self._tree.root, module="", holder=None):
            same = (fault.module, fault.operator, _flat(fault.was), _flat(fault.edit.text))
            yield replace(fault, occurrence=before[same])
            before[same] += 1

    def around(self, start: int, end: int) -> tuple[str, Holder] | None:
        """The module, and the function, process or assignment, in which a text is; None where it is in none of them."""
        if not self.holders:
            for _ in self.faults():
                pass  # finds the holders
        for holder in self.holders.values():
            inside = holder.body if holder.how != "function" else (holder.start, holder.end)
            if inside[0] <= start and end <= inside[1]:
                return self._modules[holder.start], holder
        return None

    def _text(self, node: Node) -> str:
        span = node.sourceRange
        if not self._is_here(span):
            raise _ElsewhereError
        return self._bytes[span.start.offset : span.end.offset].decode()

    def _is_here(self, span: Any) -> bool:
        """Whether a text begins and ends in this source; else in a macro, or in an included file."""
        return bool(span.start.buffer == span.end.buffer == self._buffer)

    def _walk(self, node: Node, module: str, holder: Holder | None) -> Iterator[RtlFault]:
        what = kind(node)
        if what in _NO_CODE:
            return
        is_here = self._is_here(node.sourceRange)  # what is below may be, all the same
        if what == "DefaultCaseItem" and self._is_complete(node.parent):
            return  # no value is left for it
        if what in _MODULES:
            module = node.header.name.valueText
        if holder is None and is_here:
            holder = self._holder(node, what)
            if holder is not None:
                self._modules[holder.start] = module
        if holder is not None and is_here:
            for operator, text, changed in self._changes(node):
                span = changed.sourceRange
                start, end = span.start.offset, span.end.offset
                before = self._bytes[:start]
                line = before.count(b"\n") + 1
                column = start - before.rfind(b"\n")
                edit = Edit(start, end, text)
                was = self._bytes[start:end].decode()
                yield RtlFault(self.name, line, column, module, operator, was, edit, holder.start, 0)
        for child in children(node):
            if what == "CastExpression" and child is node.left:
                continue  # a width, or a type
            yield from self._walk(child, module, holder)

    def _changes(self, node: Node) -> Iterator[tuple[str, str, Node]]:
        """Operator, new text and the node that it replaces; none whose text a macro has a part in."""
        bits = self._facts.operand_bits(self.name, node)
        known = {
            "operand_bits": None if bits is None else bits[1],
            "chosen_from": self._facts.chosen_from(self.name, node),
        }
        with suppress(_ElsewhereError):
            for operator, text in operators.expressions(node, self._text, **known):
                yield operator, text, node
        with suppress(_ElsewhereError):
            for change in operators.statements(node, self._text, self._states):
                if self._is_here(change[2].sourceRange):
                    yield change

    def _is_complete(self, case: Node) -> bool:
        """Whether a case names every state of a register: what its default does, no chip ever does."""
        items = [item for item in below(case) if kind(item) == "StandardCaseItem" and item.parent == case]
        with suppress(_ElsewhereError):
            names = {self._text(value) for item in items for value in children(item.expressions)}
            return any(states <= names for states in self._enums)
        return False

    def _holder(self, node: Node, what: str) -> Holder | None:
        span = node.sourceRange
        start, end = span.start.offset, span.end.offset
        if what in _FUNCTIONS:
            with suppress(_ElsewhereError):
                self.holders[start] = Holder(start, end, "function", Function.of(node, self._text))
            return self.holders.get(start)
        if what in _PROCESSES:
            body = node.statement
            if kind(body) == "TimingControlStatement":
                body = body.statement
            loops = any(kind(inner) in _LOOPS for inner in below(body))
            how = "process" if loops else "place"
        elif what == "ContinuousAssign":
            body, how = node.assignments[0].right, "assign"
        elif what == "Declarator" and kind(node.parent) == "NetDeclaration" and node.initializer is not None:
            body, how = node.initializer.expr, "assign"
        else:
            return None
        span = body.sourceRange
        if not self._is_here(span):
            return None
        self.holders[start] = Holder(start, end, how, None, (span.start.offset, span.end.offset))
        return self.holders[start]

    def with_faults(
        self, faults: Mapping[int, RtlFault], watched: bool = False
    ) -> tuple[str, list[tuple[int, int, int]]]:
        """The source with faults by number, and where each stands in it: begin, end, number.

        Numbers of one holder need not be consecutive.

        Args:
            watched: the source stays right and says which of the faults would have changed something; none
                ``is_whole``.
        """
        held: dict[int, dict[int, RtlFault]] = defaultdict(dict)
        for number, fault in faults.items():
            held[fault.holder][number] = fault
        out, spans, at = bytearray(), [], 0
        for start in sorted(held):
            holder = self.holders[start]
            out += self._bytes[at : holder.start]
            at = holder.end
            within = (
                self._in_place(holder.start, holder.end, held[start], _is_told)
                if watched
                else self._held(holder, held[start])
            )
            for piece, number in within:
                if number:
                    spans.append((len(out), len(out) + len(piece), number))
                out += piece
        out += self._bytes[at:]
        return out.decode(), spans

    def _held(self, holder: Holder, faults: Mapping[int, RtlFault]) -> Iterator[tuple[bytes, int]]:
        """What stands in place of a function, process or assignment, piece by piece, each with its fault or 0."""
        start, end = holder.body
        if holder.how == "assign":
            texts = {
                number: replace(fault, edit=Edit(start, end, self._edited(start, end, fault.edit).decode()))
                for number, fault in faults.items()
                if fault.is_whole
            }
            yield from self._in_place(holder.start, holder.end, {**faults, **texts}, _is_chosen)
            return
        if holder.how == "place" and not any(fault.is_whole for fault in faults.values()):
            yield from self._in_place(holder.start, holder.end, faults, _is_chosen)
            return
        if holder.how != "function":
            yield self._bytes[holder.start : start] + f"case ({ACTIVE})\n".encode(), 0
            for number, fault in faults.items():
                yield f"{number}: ".encode(), 0
                yield self._edited(start, end, fault.edit), number
                yield b"\n", 0
            yield b"default: " + self._bytes[start:end] + b"\nendcase" + self._bytes[end : holder.end], 0
            return
        function = holder.function
        assert function is not None
        whole = self._bytes[holder.start : holder.end]
        yield function.renamed(whole, holder.start, None, 0), 0
        for number, fault in faults.items():
            yield b"\n", 0
            yield function.renamed(whole, holder.start, fault.edit, number), number
        yield b"\n" + function.dispatch(whole, holder.start, list(faults)), 0

    def _edited(self, start: int, end: int, edit: Edit) -> bytes:
        return self._bytes[start : edit.start] + edit.text.encode() + self._bytes[edit.end : end]

    def _in_place(
        self,
        start: int,
        end: int,
        faults: Mapping[int, RtlFault],
        condition: Callable[[int, RtlFault], str],
    ) -> Iterator[tuple[bytes, int]]:
        """A text with choices in it, the outermost first.

        Args:
            condition: under which a fault is in the text's place.
        """
        at = start
        inner = dict(faults)
        while inner:
            first = min(inner.values(), key=lambda fault: (fault.edit.start, -fault.edit.end)).edit
            here = {n: f for n, f in inner.items() if (f.edit.start, f.edit.end) == (first.start, first.end)}
            within = {n: f for n, f in inner.items() if n not in here and f.edit.end <= first.end}
            inner = {n: f for n, f in inner.items() if n not in here and n not in within}
            yield self._bytes[at : first.start], 0
            at = first.end
            nested = self._in_place(first.start, first.end, within, condition)
            if any(fault.operator == "dropped" for fault in here.values()):
                left_out = " || ".join(condition(number, fault) for number, fault in here.items())
                yield (
                    f"begin if (!({left_out})) ".encode(),
                    next(iter(here)),
                )  # an else behind it is of another if
                yield from nested
                yield b" end", 0
                continue
            yield b"(", 0
            for number, fault in here.items():
                yield f"{condition(number, fault)} ? ({fault.edit.text}) : ".encode(), number
            yield b"(", 0
            yield from nested
            yield b"))", 0
        yield self._bytes[at:end], 0


def _is_chosen(number: int, fault: RtlFault) -> str:
    """Whether a fault is in the chip."""
    return f"{ACTIVE} == {number}"


def _is_told(number: int, fault: RtlFault) -> str:
    """That it is not, whoever hears whether it would change its text's value."""
    was, becomes = fault.was, fault.edit.text
    if fault.operator == "dropped":
        match = _ASSIGNMENT.fullmatch(was)
        assert match is not None, was
        was, operator, value = match.groups()
        becomes = value if operator in ("", "<") else f"({was}) {operator} ({value})"
    return f"{DIFFERS}({number}, ({was}) !== ({becomes}))"


def _local_enums(root: Node) -> Iterator[set[str]]:
    """The names of each enumeration that a module declares in itself, so that no port of it is of that type."""
    for module in (node for node in below(root) if kind(node) == "ModuleDeclaration"):
        for node in (inner for inner in below(module) if kind(inner) == "EnumType"):
            yield {member.name.valueText for member in below(node) if kind(member) == "Declarator"}


def _next_states(root: Node, text: Callable[[Node], str]) -> Iterator[tuple[str, str]]:
    """Of each name of an enumeration, the next one; the last is followed by the first."""
    for node in below(root):
        if kind(node) == "EnumType":
            names = [member.name.valueText for member in below(node) if kind(member) == "Declarator"]
            yield from zip(names, [*names[1:], *names[:1]], strict=True)


def package_source(watched: bool = False) -> str:
    """The package in which the chosen fault is known, 0 for none; or what sources call that watch faults."""
    if watched:
        return f"""// What the chip would have done with faults in it. Written by Etchproof.
package {PACKAGE};
  import "DPI-C" function bit ep_differs(input int unsigned number, input bit differs);
endpackage
"""
    return f"""// Which fault of the schemata is in the chip; 0 for none. Written by Etchproof.
package {PACKAGE};
  function automatic int unsigned chosen();
    if ($value$plusargs("{PLUSARG}=%d", chosen) == 0) chosen = 0;
  endfunction
  int unsigned active = chosen();
endpackage
"""
