"""Faults in RTL: where they may be, and sources that hold them all, of which a plusarg picks one (mutation schemata).

The sources are those that are simulated, read as they are synthesized (``SYNTHESIS`` defined), so nothing that only a
simulation has is changed. A fault in a function, or in a process that loops, is a copy of the whole, chosen once a
call: inside of a loop a choice costs an eighth of a simulation's speed, outside of it nothing that can be measured.
Anywhere else it is a choice in place.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from etchproof.qualify import operators
from etchproof.qualify.facts import Facts
from etchproof.qualify.operators import Node, kind

PACKAGE: Final = "ep_fault_pkg"
PLUSARG: Final = "ep_fault"

_LONG: Final = 100
_ACTIVE: Final = f"{PACKAGE}::active"
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
class Edit:
    """A text in place of another, by offsets in a source."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class RtlFault:
    """A fault in a source.

    Attributes:
        file: name in the fabric.
        line: from 1.
        module: or package.
        operator: of ``etchproof.qualify.operators``.
        was: the source that it changes.
        edit: the change.
        holder: begin of the function or process, or of the assignment, in which it is.
        occurrence: how many such changes of such a text the module has before.
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
        self._bytes = text.encode()
        self._tree = tree
        self._facts = facts or Facts({}, {})
        self._buffer = tree.root.sourceRange.end.buffer
        self.holders: dict[int, _Holder] = {}
        self._states = dict(_next_states(tree.root, self._text))

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

    def _text(self, node: Node) -> str:
        span = node.sourceRange
        return self._bytes[span.start.offset : span.end.offset].decode()

    def _walk(self, node: Node, module: str, holder: _Holder | None) -> Iterator[RtlFault]:
        what = kind(node)
        span = node.sourceRange
        if what in _NO_CODE or not (span.start.buffer == span.end.buffer == self._buffer):
            return  # the latter is of a macro, or of an included file
        if what in _MODULES:
            module = node.header.name.valueText
        if holder is None:
            holder = self._holder(node, what)
        if holder is not None:
            bits = self._facts.operand_bits(self.name, node)
            known = {
                "operand_bits": None if bits is None else bits[1],
                "chosen_from": self._facts.chosen_from(self.name, node),
            }
            found = [
                (operator, text, node) for operator, text in operators.expressions(node, self._text, **known)
            ]
            found += operators.statements(node, self._text, self._states)
            for operator, text, changed in found:
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

    def _holder(self, node: Node, what: str) -> _Holder | None:
        span = node.sourceRange
        start, end = span.start.offset, span.end.offset
        if what in _FUNCTIONS:
            holder = _Holder(start, end, "function", _Function.of(node, self._text))
        elif what in _PROCESSES:
            body = node.statement
            if kind(body) == "TimingControlStatement":
                body = body.statement
            loops = any(kind(inner) in _LOOPS for inner in below(body))
            span = body.sourceRange
            holder = _Holder(
                start, end, "process" if loops else "place", None, (span.start.offset, span.end.offset)
            )
        elif what == "ContinuousAssign" or (what == "Declarator" and kind(node.parent) == "NetDeclaration"):
            holder = _Holder(start, end, "place")
        else:
            return None
        self.holders[start] = holder
        return holder

    def with_faults(self, faults: Mapping[int, RtlFault]) -> tuple[str, list[tuple[int, int, int]]]:
        """The source with faults by number, and where each stands in it: begin, end, number.

        Numbers of one holder need not be consecutive.
        """
        held: dict[int, dict[int, RtlFault]] = defaultdict(dict)
        for number, fault in faults.items():
            held[fault.holder][number] = fault
        out, spans, at = bytearray(), [], 0
        for start in sorted(held):
            holder = self.holders[start]
            out += self._bytes[at : holder.start]
            at = holder.end
            for piece, number in self._held(holder, held[start]):
                if number:
                    spans.append((len(out), len(out) + len(piece), number))
                out += piece
        out += self._bytes[at:]
        return out.decode(), spans

    def _held(self, holder: _Holder, faults: Mapping[int, RtlFault]) -> Iterator[tuple[bytes, int]]:
        """What stands in place of a function, process or assignment, piece by piece, each with its fault or 0."""
        if holder.how == "place":
            yield from self._in_place(holder.start, holder.end, faults)
            return
        if holder.how == "process":
            start, end = holder.body
            yield self._bytes[holder.start : start] + f"case ({_ACTIVE})\n".encode(), 0
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

    def _in_place(self, start: int, end: int, faults: Mapping[int, RtlFault]) -> Iterator[tuple[bytes, int]]:
        """A text with choices in it, the outermost first."""
        at = start
        inner = dict(faults)
        while inner:
            first = min(inner.values(), key=lambda fault: (fault.edit.start, -fault.edit.end)).edit
            here = {n: f for n, f in inner.items() if (f.edit.start, f.edit.end) == (first.start, first.end)}
            within = {n: f for n, f in inner.items() if n not in here and f.edit.end <= first.end}
            inner = {n: f for n, f in inner.items() if n not in here and n not in within}
            yield self._bytes[at : first.start], 0
            at = first.end
            if any(fault.operator == "dropped" for fault in here.values()):
                kept = " && ".join(f"{_ACTIVE} != {number}" for number in here)
                yield f"if ({kept}) ".encode(), next(iter(here))
                yield from self._in_place(first.start, first.end, within)
                continue
            yield b"(", 0
            for number, fault in here.items():
                yield f"{_ACTIVE} == {number} ? ({fault.edit.text}) : ".encode(), number
            yield b"(", 0
            yield from self._in_place(first.start, first.end, within)
            yield b"))", 0
        yield self._bytes[at:end], 0


@dataclass(frozen=True, slots=True)
class _Holder:
    start: int
    end: int
    how: str  # "function" or "process": in copies; "place": in place
    function: _Function | None = None
    body: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class _Function:
    """A function or task, as copies of it are made."""

    name: str
    names: tuple[tuple[int, int], ...]  # where the name stands in the source
    prototype: tuple[int, int]
    arguments: tuple[str, ...]
    is_void: bool
    end: str

    @staticmethod
    def of(node: Node, text: Callable[[Node], str]) -> _Function:
        prototype = node.prototype
        name = text(prototype.name)
        names = []
        for inner in (prototype.name, *below(node)):
            if (
                kind(inner) in ("IdentifierName", "IdentifierSelectName")
                and inner.identifier.valueText == name
            ):
                start = inner.sourceRange.start.offset
                names.append((start, start + len(name.encode())))
        ports = [] if prototype.portList is None else [port for port in below(prototype.portList)]
        arguments = tuple(port.declarator.name.valueText for port in ports if kind(port) == "FunctionPort")
        span = prototype.sourceRange
        is_task = kind(node) == "TaskDeclaration"
        is_void = is_task or kind(prototype.returnType) == "VoidType"
        return _Function(
            name,
            tuple(sorted(set(names))),
            (span.start.offset, span.end.offset),
            arguments,
            is_void,
            "endtask" if is_task else "endfunction",
        )

    def renamed(self, whole: bytes, start: int, edit: Edit | None, number: int) -> bytes:
        """A copy under the name of a fault, with the fault in it; 0 is the original."""
        edits = [Edit(begin, end, f"{self.name}__f{number}") for begin, end in self.names]
        if edit is not None:
            inside = [one for one in edits if edit.start <= one.start and one.end <= edit.end]
            new = edit.text.replace(self.name, f"{self.name}__f{number}") if inside else edit.text
            edits = [one for one in edits if one not in inside] + [Edit(edit.start, edit.end, new)]
        out, at = bytearray(), start
        for one in sorted(edits, key=lambda one: one.start):
            out += whole[at - start : one.start - start] + one.text.encode()
            at = one.end
        return bytes(out + whole[at - start :])

    def dispatch(self, whole: bytes, start: int, numbers: Sequence[int]) -> bytes:
        """What has the function's name: it calls the copy that is chosen."""
        begin, end = self.prototype
        head = whole[begin - start : end - start].decode()
        given = f"({', '.join(self.arguments)})"
        ahead = "" if self.is_void else f"{self.name} = "
        lines = [f"{head};", f"  case ({_ACTIVE})"]
        lines += [f"    {number}: {ahead}{self.name}__f{number}{given};" for number in numbers]
        lines += [f"    default: {ahead}{self.name}__f0{given};", "  endcase", self.end]
        before = whole[: begin - start].decode()
        return f"{before}{chr(10).join(lines)}\n".encode()


def children(node: Node) -> Iterator[Node]:
    """The nodes directly below a node; tokens are none."""
    for index in range(len(node)):
        child = node[index]
        if child is not None and hasattr(child, "sourceRange"):
            yield child


def below(node: Node) -> Iterator[Node]:
    """A node and every node below it."""
    yield node
    for child in children(node):
        yield from below(child)


def _next_states(root: Node, text: Callable[[Node], str]) -> Iterator[tuple[str, str]]:
    """Of each name of an enumeration, the next one; the last is followed by the first."""
    for node in below(root):
        if kind(node) == "EnumType":
            names = [member.name.valueText for member in below(node) if kind(member) == "Declarator"]
            yield from zip(names, [*names[1:], *names[:1]], strict=True)


def package_source() -> str:
    """The package in which the chosen fault is known; 0 is none."""
    return f"""// Which fault of the schemata is in the chip; 0 for none. Written by Etchproof.
package {PACKAGE};
  function automatic int unsigned chosen();
    if ($value$plusargs("{PLUSARG}=%d", chosen) == 0) chosen = 0;
  endfunction
  int unsigned active = chosen();
endpackage
"""
